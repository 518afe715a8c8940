import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRewriter, type StatementRewriter } from '../../../src/rewrite/rewriter.js';
import { comparable, loadGrammar } from './trees.js';

const UTF8 = { clientEncoding: 'UTF8', standardConformingStrings: true };

let rewriter: StatementRewriter;
beforeAll(async () => {
  await loadGrammar();
  rewriter = await createRewriter();
});
afterAll(() => rewriter.close());

const rewrite = async (sql: string) =>
  (await rewriter.rewrite(Buffer.from(sql), UTF8))?.sql.toString() ?? null;

describe('operators that mean something else stay untouched', () => {
  it.each([
    'SELECT 5 & 3, 5 | 3, a & 1, 2 | a FROM df.instances',
    "SELECT * FROM t WHERE tags @> '{a}'",
    "SELECT '{a}'::jsonb @> 'x', '{1}' @> array_column, 'x' @> 'y'",
    'SELECT ip | mask, ip & netmask FROM hosts',
    'SELECT c ~> 1, cube ~> -2 FROM cubes ORDER BY c ~> 1',
    'SELECT a & b, a | b, a ~> b FROM t',
    "SELECT B'101' & B'110', X'1f' | b, 'x' & B'1'",
    "SELECT 'a' ~> 5, 'a' & 5, 'a' |=> 5, 'a' ?> true, 'x' & now()::date, ARRAY[1] ~> 'a'",
    "SELECT '1.2.3.4'::inet & '255.0.0.0', '1.2.3.4'::inet | '0.0.0.1'::inet",
    "SELECT df.start('x'), 5 & 3",
    "SELECT df.status(a & b), df.setvar('n', (a | 1)::text)",
    "SELECT df.start('SELECT ' || (a & 4)::text)",
    "SELECT df.start('SELECT 1', (a & b)::text)",
    "SELECT df.sleep(a & b), df.wait_for_signal('x', a | b)",
    "SELECT 'a' OPERATOR(pg_catalog.&) 'b', 'a' OPERATOR(df.~>) 'b', 'a' OPERATOR(x.~>) 'b'",
    "SELECT 'a' ~> ANY (ARRAY['b']), a ~>- 'b', 'a' ~>~ 'b'",
    'CREATE OPERATOR ~> (LEFTARG = text, RIGHTARG = text, FUNCTION = f)',
    'DROP OPERATOR & (text, text)',
    "SELECT 'a ~> b', $$ 'a' ~> 'b' $$, \"~>\", 'it''s ~> x' -- 'a' ~> 'b'\n /* 'a' & 'b' */",
    'SELECT xdf.start(a & b), start(a & b), dfx.seq(a | b, c), x.df(a & b)',
    'SELECT "DF".start(a & b)',
    "CREATE FUNCTION f() RETURNS text LANGUAGE python AS $$ x = 'a' & 'b' $$",
    "CREATE FUNCTION f() RETURNS text LANGUAGE c AS 'a & b', 'f'",
    "DO LANGUAGE plperl $$ 'a' ~> 'b' $$",
    "COMMENT ON FUNCTION f IS 'a ~> b'",
    'SELEC df.start(a ~> b)',
    "SELECT 'a' ~> ",
    "SELECT 'a' ~> 'b",
    "SELECT 'a' ~> 'b' /* ",
    '',
    ';',
  ])('%s', async (sql) => expect(await rewrite(sql)).toBeNull());
});

/** Each `⟨op⟩` in the text is ours; other operators are not. */
const cases: [string, string][] = [
  ['argument of df.start', 'SELECT df.start(a ⟨&⟩ b)'],
  ['named argument', 'SELECT df.start(label => x, fut => a ⟨|⟩ b)'],
  ['old named argument', 'SELECT df.start(fut := a ⟨~>⟩ b)'],
  ['quoted function', 'SELECT "df"."start"(a ⟨&⟩ b)'],
  ['name in capitals', 'SELECT DF.Start(a ⟨&⟩ b)'],
  ['name with a database', 'SELECT db.df.start(a ⟨&⟩ b)'],
  ['unicode name', 'SELECT U&"d\\0066".start(a ⟨&⟩ b)'],
  ['all three of df.if', 'SELECT df.if(a ⟨&⟩ b, c ⟨|⟩ d, e ⟨~>⟩ f)'],
  ['the steps of df.if_rows', 'SELECT df.if_rows(a & b, c ⟨|⟩ d, else_branch => e ⟨~>⟩ f)'],
  ['body and condition of df.loop', 'SELECT df.loop(a ⟨&⟩ b, c ⟨|⟩ d)'],
  ['df.explain', 'SELECT df.explain(a ⟨&⟩ b)'],
  ['only the step of df.as', 'SELECT df.as(a ⟨&⟩ b, c & d)'],
  ['through CASE', 'SELECT df.start(CASE WHEN a & b THEN c ⟨&⟩ d ELSE e ⟨|⟩ f END)'],
  ['through COALESCE', 'SELECT df.start(COALESCE(a ⟨&⟩ b, c))'],
  ['through a subquery', 'SELECT df.start((SELECT a ⟨&⟩ b FROM t WHERE c & d = e))'],
  ['through a union', 'SELECT df.start((SELECT a ⟨&⟩ b UNION ALL VALUES (c ⟨|⟩ d)))'],
  ['through casts and collation', 'SELECT df.start(((a ⟨&⟩ b)::text::varchar(10) COLLATE "C"))'],
  ['operands down the tree', 'SELECT df.start(a ⟨&⟩ (b ⟨|⟩ (c ⟨~>⟩ d)))'],
  ['operands up the tree', 'SELECT df.sleep(1) ⟨&⟩ b ⟨|⟩ c ⟨~>⟩ d'],
  ['a builder on the right', 'SELECT a ⟨&⟩ df.sleep(1)'],
  ['beside what was qualified by hand', 'SELECT a OPERATOR(df.~>) b ⟨&⟩ c'],
  ['the loop operator', 'SELECT df.start(⟨@>⟩ x), @> y FROM t'],
  ['literals', "SELECT 'a' ⟨&⟩ 'b', 'a' ⟨|⟩ $$b$$, E'a' ⟨&⟩ U&'b', ⟨@>⟩ 'x', 'a'::text ⟨|⟩ 'b'::varchar"],
  ['literals at large', "INSERT INTO plans SELECT 'a' ⟨&⟩ 'b', 5 & 3"],
  ['text by declaration', 'PREPARE p (text, int, varchar) AS SELECT $1 ⟨&⟩ $3, $1 & $2'],
  ['format and concatenation', "SELECT format('%s', a) ⟨~>⟩ x, (a || 'b') ⟨~>⟩ c, (a || b) & c"],
  ['~> with a literal', "SELECT a ⟨~>⟩ 'b', 'a' ⟨~>⟩ b, $1 ⟨~>⟩ 'b', a ~> b"],
  ['operators that nobody else has', 'SELECT a ⟨|=>⟩ b, a ⟨?>⟩ b, a ⟨!>⟩ b'],
  ['name of a result', 'SELECT df.start(a ⟨|=>⟩ (b & c))'],
  ['of unknown type', 'SELECT df.start(a::step ⟨&⟩ b::my.domain)'],
  ['written OPERATOR()', 'SELECT df.start(a ⟨OPERATOR(&)⟩ b)'],
  ['aggregate over steps', "SELECT df.start(string_agg(a, ',') ⟨~>⟩ 'x') FROM t"],
  ['in a window and filter', "SELECT count(*) FILTER (WHERE df.start(a ⟨&⟩ b) = 'x') FROM t"],
];

describe('operators are ours', () => {
  it.each(cases)('%s: %s', async (_, marked) => {
    const sql = marked.replaceAll(/⟨(.*?)⟩/g, '$1');
    const expected = marked.replaceAll(/⟨(?:OPERATOR\()?(.*?)\)?⟩/g, 'OPERATOR(df.$1)');
    const rewritten = await rewrite(sql);
    expect(rewritten).toBe(expected);
    expect(comparable(rewritten!)).toEqual(comparable(sql));
  });
});

describe('blanks', () => {
  it.each([
    ["SELECT $1~>'a'", "SELECT $1 OPERATOR(df.~>)'a'"],
    ["SELECT a~>'b'", "SELECT a OPERATOR(df.~>)'b'"],
    ["SELECT é~>'b'", "SELECT é OPERATOR(df.~>)'b'"],
    ["SELECT 'a'~>'b'", "SELECT 'a'OPERATOR(df.~>)'b'"],
    ['SELECT $$a$$~>$$b$$', 'SELECT $$a$$ OPERATOR(df.~>)$$b$$'],
    ["SELECT ('a')~>b", "SELECT ('a')OPERATOR(df.~>)b"],
    ['SELECT "a"~>\'b\'', 'SELECT "a"OPERATOR(df.~>)\'b\''],
  ])('come only where words would run together: %s', async (sql, expected) => {
    expect(await rewrite(sql)).toBe(expected);
    expect(comparable(expected)).toEqual(comparable(sql));
  });
});
