import { createRequire } from 'node:module';
import { OPERATOR_NAMES } from '../../../src/rewrite/operators.js';

/** libpg-query's own API, apart from ours, to judge what the rewriter made. */
const library = createRequire(import.meta.url)('libpg-query') as {
  loadModule(): Promise<void>;
  parseSync(sql: string): object;
  parsePlPgSQLSync(sql: string): object;
  scanSync(sql: string): { tokens: { start: number; end: number; tokenName: string }[] };
};

export const loadGrammar = () => library.loadModule();
export const grammarTokens = (sql: string) => library.scanSync(sql).tokens;

const PLACES = new Set(['location', 'stmt_location', 'stmt_len', 'rexpr_list_start', 'rexpr_list_end']);

type Json = { [key: string]: unknown };

/**
 * The tree of a text as comparable JSON: no locations, `df.~>` as `~>` (operators of the DSL only), and bodies
 * of functions as trees too.
 */
export function comparable(sql: string): unknown {
  return normal(library.parseSync(sql), sql);
}

function normal(value: unknown, sql: string): unknown {
  if (Array.isArray(value)) return value.map((item) => normal(item, sql));
  if (typeof value !== 'object' || value === null) return value;
  const object = value as Json;
  const result: Json = {};
  for (const [key, child] of Object.entries(object)) {
    if (PLACES.has(key)) continue;
    if (key === 'A_Expr')
      result[key] = { ...(normal(child, sql) as Json), name: operatorName((child as Json).name) };
    else result[key] = normal(child, sql);
  }
  const body = 'DoStmt' in object || 'CreateFunctionStmt' in object ? bodyTree(object, sql) : undefined;
  return body === undefined ? result : { ...result, ...body };
}

function operatorName(names: unknown): string[] {
  const list = (names as { String: { sval: string } }[]).map((name) => name.String.sval);
  const ours =
    list.length === 2 && list[0] === 'df' && (OPERATOR_NAMES as readonly string[]).includes(list[1]!);
  return ours ? list.slice(1) : list;
}

/** The statement with its body as trees instead of text; the text must hold one such statement only. */
function bodyTree(statement: Json, sql: string): Json | undefined {
  const type = Object.keys(statement)[0]!;
  const fields = statement[type] as Json;
  const options = ((fields.args && type === 'DoStmt' ? fields.args : fields.options) ?? []) as {
    DefElem: Json;
  }[];
  const find = (name: string) =>
    options.find((option) => option.DefElem.defname === name)?.DefElem.arg as Json;
  const language = (find('language')?.String as Json | undefined)?.sval ?? 'plpgsql';
  const as = find('as');
  if (as === undefined) return undefined;
  const text = ((as.List ? ((as.List as Json).items as Json[])[0]!.String : as.String) as Json)
    .sval as string;
  const trees = language === 'sql' ? comparable(text) : plpgsqlTrees(sql);
  const others = options.filter((option) => option.DefElem.defname !== 'as');
  const rest = normal({ ...fields, options: undefined, args: undefined, parameters: fields.parameters }, sql);
  return { [type]: { ...(rest as Json), others: normal(others, sql), body: trees } };
}

/** The trees of all expressions of a plpgsql function, in plpgsql's order. */
function plpgsqlTrees(sql: string): unknown[] {
  const trees: unknown[] = [];
  const visit = (value: unknown) => {
    if (Array.isArray(value)) value.forEach(visit);
    else if (typeof value === 'object' && value !== null) {
      for (const [key, child] of Object.entries(value as Json)) {
        if (key === 'PLpgSQL_expr') {
          const { query, parseMode } = child as { query: string; parseMode?: number };
          // Assignments are compared by what they assign.
          const text = (parseMode ?? 0) >= 3 ? query.replace(/^[^:=]*:?=/, 'SELECT ') : query;
          trees.push(comparable(parseMode === 2 ? `SELECT ${text}` : text));
        } else visit(child);
      }
    }
  };
  visit(library.parsePlPgSQLSync(sql));
  return trees;
}

/** How many operators of the DSL the tree has without a schema and with schema df. */
export function countOperators(sql: string): { bare: number; qualified: number } {
  let bare = 0;
  let qualified = 0;
  const visit = (value: unknown) => {
    if (Array.isArray(value)) value.forEach(visit);
    else if (typeof value === 'object' && value !== null) {
      const expression = (value as Json).A_Expr as { name: { String: { sval: string } }[] } | undefined;
      const names = expression?.name.map((name) => name.String.sval) ?? [];
      if ((OPERATOR_NAMES as readonly string[]).includes(names.at(-1) ?? '')) {
        if (names.length === 1) bare++;
        else if (names[0] === 'df') qualified++;
      }
      Object.values(value).forEach(visit);
    }
  };
  visit(library.parseSync(sql));
  return { bare, qualified };
}
