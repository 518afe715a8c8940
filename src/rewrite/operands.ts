import { as, listOf, namesOf, type Tree } from './tree.js';

/**
 * What the parse tree alone says about the type of an operand.
 *
 * `literal`: a string literal without a type. `text`: surely a string (a cast to text, a parameter declared
 * text, format()). `stringish`: probably a string (`||`, ->>). `not a string`: proven something else (a
 * number, an array, a cast to date). Everything else is `unknown`: a column, a function, a subquery.
 */
export type Knowledge = 'literal' | 'text' | 'stringish' | 'not a string' | 'unknown';

/** What is declared around an expression: names of variables and numbers of parameters that are text. */
export interface Scope {
  textNames: ReadonlySet<string>;
  textParameters: ReadonlySet<number>;
}

export const NO_SCOPE: Scope = { textNames: new Set(), textParameters: new Set() };

const STRING_TYPES = new Set(['text', 'varchar', 'bpchar', 'char', 'name', 'unknown']);
/** Types known not to be strings. A type that is in neither set (a domain, an enum) proves nothing. */
const OTHER_TYPES = new Set(
  (
    'int2 int4 int8 smallint integer bigint numeric decimal float4 float8 real bool boolean money oid xid xid8 cid tid ' +
    'bit varbit bytea json jsonb jsonpath xml uuid inet cidr macaddr macaddr8 date time timetz timestamp timestamptz ' +
    'interval point line lseg box path polygon circle tsvector tsquery pg_lsn pg_snapshot int4range int8range numrange ' +
    'tsrange tstzrange daterange int4multirange int8multirange nummultirange tsmultirange tstzmultirange datemultirange ' +
    'regclass regproc regprocedure regtype regrole regnamespace regoper regoperator regconfig regdictionary ' +
    'cube hstore ltree lquery ltxtquery seg isbn isbn13 geometry geography vector'
  ).split(' '),
);

/** Functions of pg_catalog that return text whatever they are given. */
const TEXT_FUNCTIONS = new Set(
  (
    'format concat concat_ws quote_literal quote_ident quote_nullable replace upper lower initcap repeat to_char md5 ' +
    'lpad rpad btrim ltrim rtrim left right translate regexp_replace split_part string_agg chr jsonb_pretty'
  ).split(' '),
);

const ARITHMETIC_OR_COMPARISON = new Set([
  '+',
  '-',
  '*',
  '/',
  '%',
  '^',
  '=',
  '<',
  '>',
  '<=',
  '>=',
  '<>',
  '!=',
]);

/** Node types whose value is a boolean, an array, a row or a number. */
const NEVER_STRINGS = new Set([
  'A_ArrayExpr',
  'RowExpr',
  'BoolExpr',
  'NullTest',
  'BooleanTest',
  'CurrentOfExpr',
  'GroupingFunc',
  'JsonIsPredicate',
]);

/** Knowledge about a type name (TypeName fields). */
export function typeKnowledge(typeName: unknown): 'text' | 'not a string' | 'unknown' {
  const fields = (typeName ?? {}) as Tree;
  if (listOf(fields.arrayBounds).length > 0) return 'not a string';
  const name = namesOf(fields.names).at(-1) ?? '';
  if (STRING_TYPES.has(name)) return 'text';
  return OTHER_TYPES.has(name) ? 'not a string' : 'unknown';
}

/** `node` is an expression; the candidate operators of the DSL themselves are not looked into. */
export function knowledge(node: unknown, scope: Scope): Knowledge {
  for (;;) {
    const type = node === null || node === undefined ? undefined : Object.keys(node)[0];
    if (type === undefined) return 'unknown';
    const fields = as(node, type)!;
    switch (type) {
      case 'A_Const':
        if (fields.sval !== undefined) return 'literal';
        return fields.isnull === true ? 'unknown' : 'not a string';
      case 'TypeCast':
        return typeKnowledge(fields.typeName);
      case 'CollateClause':
        // Only strings have collations.
        return knowledgeOfCollated(fields.arg);
      case 'ColumnRef': {
        const names = namesOf(fields.fields);
        return names.length === 1 && scope.textNames.has(names[0]!) ? 'text' : 'unknown';
      }
      case 'ParamRef':
        return scope.textParameters.has(Number(fields.number ?? 0)) ? 'text' : 'unknown';
      case 'FuncCall': {
        const names = namesOf(fields.funcname);
        const builtin = names.length === 1 || (names.length === 2 && names[0] === 'pg_catalog');
        return builtin && TEXT_FUNCTIONS.has(names.at(-1)!) ? 'text' : 'unknown';
      }
      case 'SubLink':
        return fields.subLinkType === 'EXPR_SUBLINK' ? 'unknown' : 'not a string';
      case 'SQLValueFunction':
        return /DATE|TIME/.test(String(fields.op)) ? 'not a string' : 'unknown';
      case 'A_Expr':
        return ofOperator(fields, scope);
      default:
        return NEVER_STRINGS.has(type) ? 'not a string' : 'unknown';
    }
  }
}

function knowledgeOfCollated(arg: unknown): Knowledge {
  return as(arg, 'A_Const') === undefined ? 'text' : 'literal';
}

function ofOperator(fields: Tree, scope: Scope): Knowledge {
  if (fields.kind !== 'AEXPR_OP') return fields.kind === 'AEXPR_NULLIF' ? 'unknown' : 'not a string';
  const name = namesOf(fields.name).at(-1)!;
  if (ARITHMETIC_OR_COMPARISON.has(name)) return 'not a string';
  if (name === '->>' || name === '#>>') return 'stringish';
  if (name !== '||') return 'unknown';
  // `||` of strings is a string; of a string and an array or jsonb it is not. Chains lean left.
  let part: Tree | undefined = fields;
  while (part !== undefined && part.kind === 'AEXPR_OP' && namesOf(part.name).at(-1) === '||') {
    const right = as(part.rexpr, 'A_Expr') === undefined ? knowledge(part.rexpr, scope) : 'unknown';
    if (right === 'not a string') return 'unknown';
    if (right === 'text') return 'text';
    const left: unknown = part.lexpr;
    part = as(left, 'A_Expr');
    if (part === undefined && knowledge(left, scope) === 'text') return 'text';
  }
  return 'stringish';
}
