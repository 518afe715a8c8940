import { END, Lexer, OPERATOR, PUNCTUATION, QUOTED_NAME, WORD } from './lexer.js';
import type { Scope } from './operands.js';
import { isOperator, type Operator, SCHEMA } from './operators.js';
import { findOurs, type Naming } from './ours.js';
import type { Parser } from './parser.js';
import type { Text } from './text.js';
import { as, stringOf, type Tree, walk } from './tree.js';

/**
 * The operators that are ours in a plpgsql body.
 *
 * plpgsql's own parser says where the expressions and statements are, but gives them as texts without places,
 * and changes some (INTO is blanked out, PERFORM becomes SELECT, CASE is built anew). So each operator of the
 * body that might be ours is marked first, in a copy: the k-th `~>` becomes `OPERATOR(<mark>k.~>)`, which has
 * the same precedence. Whatever text plpgsql makes of it, the tree of that text then tells which operator of
 * the body it is about.
 *
 * The parser has no catalog: some uses of types that are defined by a table's column or row it refuses. It is then
 * asked again with `a.b%TYPE` and `a.b%ROWTYPE` replaced. If it still refuses the body, the calls of df functions
 * in it are read by themselves: they can be found by their tokens.
 */

/** Not a schema that anybody has. */
const MARK = '__pg_durable_proxy_mark_';

/** Of the statements with bodies in one body no more than this are read: each is looked up in the whole of it. */
const MAX_NESTED = 32;

/** parseMode values of PLpgSQL_expr (parser.h). */
const STATEMENT = 0;
const FIRST_ASSIGNMENT = 3;

export interface PlpgsqlOperators {
  /** Offsets in the body. */
  ours: { at: number; operator: Operator }[];
  /** Statements of the body that have bodies themselves (DO, CREATE FUNCTION), each with the text it is in. */
  nested: { statement: unknown; text: Buffer }[];
}

/**
 * `body` is the content of the literal that ends `before` and begins `after` in the bytes of the statement:
 * the statement with the marked body between the two is what plpgsql's parser gets.
 */
export function plpgsqlOperators(
  body: Text,
  before: Buffer,
  after: Buffer,
  scope: Scope,
  parser: Parser,
): PlpgsqlOperators {
  const { marked, places } = markOperators(body.bytes);
  const mayNest = /\b(do|function|procedure)\b/i.test(body.bytes.toString('latin1'));
  const result: PlpgsqlOperators = { ours: [], nested: [] };
  if (places.length === 0 && !mayNest) return result;

  const found = new Set<number>();
  const naming: Naming = (names) =>
    names.length === 2 && names[0]!.startsWith(MARK) && isOperator(names[1]) ? names[1] : undefined;
  const look = (text: Buffer, inner: Scope, statements: boolean) => {
    const tree = parser.parse(text);
    if (tree === null) return;
    for (const { fields } of findOurs(tree, inner, naming)) {
      const mark = stringOf((fields.name as unknown[])[0])!;
      found.add(Number(mark.slice(MARK.length)));
    }
    if (!statements || !mayNest || result.nested.length >= MAX_NESTED) return;
    for (const raw of tree.stmts as Tree[]) {
      if (as(raw.stmt, 'DoStmt') ?? as(raw.stmt, 'CreateFunctionStmt')) {
        result.nested.push({ statement: raw.stmt, text });
      }
    }
  };

  const tag = unusedTag(marked);
  const parts = [before, tag, marked, NEWLINE, tag, after];
  let tree = parser.parsePlpgsql(Buffer.concat(parts));
  if (tree === null && REFERENCED_TYPE.test(Buffer.concat(parts).toString('latin1'))) {
    tree = parser.parsePlpgsql(Buffer.concat(parts.map(withoutReferencedTypes)));
  }
  if (tree === null) {
    for (const call of dfCalls(marked)) look(Buffer.concat([SELECT, call]), scope, false);
  } else {
    const { expressions, inner } = readFunction(tree, scope);
    for (const { query, mode } of expressions) {
      if (!query.includes(MARK) && !(mode === STATEMENT && mayNest)) continue;
      const text = Buffer.from(query);
      if (mode === STATEMENT) look(text, inner, true);
      else look(Buffer.concat([SELECT, mode >= FIRST_ASSIGNMENT ? assignedValue(text) : text]), inner, false);
    }
  }
  for (const k of found) result.ours.push(places[k]!);
  return result;
}

const SELECT = Buffer.from('SELECT ');
const NEWLINE = Buffer.from('\n');

/** The body with its operators marked, and where each of them stands in it. */
function markOperators(body: Buffer): { marked: Buffer; places: PlpgsqlOperators['ours'] } {
  const lexer = new Lexer(body);
  const parts: Buffer[] = [];
  const places: PlpgsqlOperators['ours'] = [];
  let done = 0;
  while (lexer.next() !== END) {
    const at = lexer.start;
    // OPERATOR(~>) is the operator; OPERATOR(schema.~>) is another's.
    if (lexer.kind === WORD && lexer.raw().toLowerCase() === 'operator') {
      lexer.next();
      lexer.next();
    }
    if (lexer.kind !== OPERATOR || lexer.end - lexer.start > 3) {
      if (lexer.start !== at) skipParenthesis(lexer);
      continue;
    }
    const operator = lexer.raw();
    if (!isOperator(operator)) continue;
    if (lexer.start !== at) lexer.next();
    parts.push(body.subarray(done, at));
    parts.push(Buffer.from(` OPERATOR(${MARK}${places.length}.${operator}) `));
    places.push({ at, operator });
    done = lexer.end;
  }
  parts.push(body.subarray(done));
  return { marked: Buffer.concat(parts), places };
}

function skipParenthesis(lexer: Lexer): void {
  while (lexer.kind !== END && lexer.raw() !== ')') lexer.next();
}

function unusedTag(body: Buffer): Buffer {
  for (let n = 0; ; n++) {
    const tag = Buffer.from(`$body${n}$`);
    if (!body.includes(tag)) return tag;
  }
}

const REFERENCED_TYPE = /%\s*(?:row)?type\b/i;

/** `a.b%TYPE[]` becomes a type that nobody knows, `a%ROWTYPE` a record. */
function withoutReferencedTypes(text: Buffer): Buffer {
  const lexer = new Lexer(text);
  const parts: Buffer[] = [];
  let done = 0;
  /** Where the name began that the tokens read last are part of, or -1. */
  let name = -1;
  let kind = lexer.next();
  while (kind !== END) {
    const dotted = kind === PUNCTUATION && lexer.raw() === '.';
    if (kind === WORD || kind === QUOTED_NAME) {
      if (name < 0 || text[lexer.start - 1] !== 0x2e) name = lexer.start;
    } else if (kind === OPERATOR && lexer.raw() === '%' && name >= 0) {
      const start = name;
      name = -1;
      kind = lexer.next();
      const word = kind === WORD ? lexer.raw().toLowerCase() : '';
      if (word !== 'type' && word !== 'rowtype') continue;
      parts.push(text.subarray(done, start), Buffer.from(word === 'type' ? `${MARK}type` : 'record'));
      done = lexer.end;
      for (kind = lexer.next(); kind === PUNCTUATION && /[[\]]/.test(lexer.raw()); kind = lexer.next()) {
        done = lexer.end;
      }
      continue;
    } else if (!dotted) name = -1;
    kind = lexer.next();
  }
  parts.push(text.subarray(done));
  return Buffer.concat(parts);
}

/** All expressions of a plpgsql function, and the scope with its variables. */
function readFunction(
  tree: Tree,
  scope: Scope,
): { expressions: { query: string; mode: number }[]; inner: Scope } {
  const expressions: { query: string; mode: number }[] = [];
  const textNames = new Set(scope.textNames);
  walk(tree, (type, fields) => {
    if (type === 'PLpgSQL_expr') {
      expressions.push({ query: String(fields.query ?? ''), mode: Number(fields.parseMode ?? STATEMENT) });
    } else if (type === 'PLpgSQL_var') {
      const typeName = String(as(fields.datatype, 'PLpgSQL_type')?.typname ?? '');
      if (TEXT_TYPE.test(typeName)) textNames.add(String(fields.refname));
    }
  });
  return { expressions, inner: { ...scope, textNames } };
}

const TEXT_TYPE =
  /^\s*(?:pg_catalog\s*\.\s*)?(?:text|varchar|character(?:\s+varying)?|char|bpchar|name)\s*(?:\(\s*\d+\s*\))?\s*$/i;

/** What stands to the right of the `:=` or `=` of an assignment. */
function assignedValue(assignment: Buffer): Buffer {
  const lexer = new Lexer(assignment);
  let depth = 0;
  while (lexer.next() !== END) {
    const raw = lexer.end - lexer.start <= 2 ? lexer.raw() : '';
    if (raw === '[' || raw === '(') depth++;
    else if (raw === ']' || raw === ')') depth--;
    else if (depth === 0 && (raw === ':=' || (raw === '=' && lexer.kind === OPERATOR))) {
      return assignment.subarray(lexer.end);
    }
  }
  return assignment;
}

/** The outermost calls `df.name( … )` in the tokens of a body. */
function dfCalls(body: Buffer): Buffer[] {
  const calls: Buffer[] = [];
  const lexer = new Lexer(body);
  while (lexer.next() !== END) {
    if (!isName(lexer, SCHEMA)) continue;
    const { start } = lexer;
    if (lexer.next() !== PUNCTUATION || lexer.raw() !== '.') continue;
    const name = lexer.next();
    if (name !== WORD && name !== QUOTED_NAME) continue;
    let depth = 0;
    for (let kind = lexer.next(); kind !== END; kind = lexer.next()) {
      const raw = kind === PUNCTUATION ? lexer.raw() : '';
      if (raw === '(') depth++;
      else if (raw === ')') depth--;
      if (depth === 0) break;
    }
    if (lexer.raw() === ')') calls.push(body.subarray(start, lexer.end));
  }
  return calls;
}

function isName(lexer: Lexer, name: string): boolean {
  if (lexer.kind === WORD) return lexer.raw().toLowerCase() === name;
  return lexer.kind === QUOTED_NAME && lexer.raw() === `"${name}"`;
}
