import { describe, expect, it } from 'vitest';
import { MENTIONS_DF, OPERATORS, scan } from '../../../src/rewrite/recognise.js';

/** The flags of a text, also when it stands in a larger buffer, and also by the way of large texts. */
function flags(sql: string): number {
  const around = Buffer.from(`~>${sql}\0df.x ~> '`);
  const found = scan(around, 2, 2 + Buffer.byteLength(sql));
  const padding = `SELECT ${'1234567, '.repeat(400)}0;\n`;
  const large = Buffer.from(padding + sql);
  expect(scan(large, 0, large.length)).toBe(found);
  return found;
}

describe('text with nothing of ours raises no flag', () => {
  it.each([
    'SELECT abalance FROM pgbench_accounts WHERE aid = 1;',
    "SELECT a || b, 'x' || 'y', a && b, |/ 25, ||/ 27 FROM t",
    "SELECT * FROM t WHERE tags @> '{a}' AND t.doc @> $1 AND f(x) @> 'y'",
    "SELECT '(a|b)', 'a&b', a >= b, a => b, a <> b, a -> 'b', a ->> 'b', a #> b",
    "UPDATE users SET password_digest = $1, updated_at = 'now' WHERE deleted_at IS NULL",
    'SELECT pdf.x, dfx.y, "dff".z, df FROM t',
    'SELECT a & b, a | b, flags & mask FROM t',
    'SELECT a &< b, a &> b, a |>> b, a <<| b, a -|- b, a |&> b',
  ])('%s', (sql) => expect(flags(sql)).toBe(0));
});

describe('text that may hold an operator of ours raises OPERATORS', () => {
  it.each([
    "SELECT 'a' ~> 'b'",
    "SELECT 'a'~>'b'",
    "SELECT 'a' |=> 'b'",
    "SELECT 'a' ?> 'b' !> 'c'",
    "SELECT @> 'a'",
    "SELECT @>'a'",
    "SELECT 1, @> ('a')",
    "SELECT -- loop\n@> 'a'",
    "SELECT/**/@>/**/'a'",
    "SELECT 'a' & 'b'",
    "SELECT 'a'&'b'",
    "SELECT 'a' | 'b'",
    "SELECT 'a'|/* x */'b'",
    "SELECT 'a'/**/|--x\n'b'",
    "SELECT 'a' | $$b$$",
    "SELECT 'a' | E'b'",
    "SELECT 'a' | U&'b'",
    "DO 'BEGIN x := ''a'' & ''b''; END'",
    "DO E'BEGIN x := \\'a\\' & \\'b\\'; END'",
    "DO $$BEGIN x :=@> 'a'; END$$",
    "DO $$BEGIN RETURN @> 'a'; END$$",
    "DO E'BEGIN RETURN\\n@> $x$a$x$; END'",
    'SELECT df.start(a & b)',
    'SELECT df.start(a|b)',
    'SELECT "df".start(t.a & f(b))',
    'SELECT df.start(@> body)',
    'SELECT df.start(c.x @> y)',
    'SELECT U&"d\\0066".start(a & b)',
  ])('%s', (sql) => expect(flags(sql) & OPERATORS).toBe(OPERATORS));
});

describe('text that names df or pg_durable raises MENTIONS_DF', () => {
  it.each([
    "SELECT df.start('x')",
    "SELECT DF.START('x')",
    "select Df . start('x'), dF.x",
    'SELECT * FROM "df".instances',
    "SELECT df/* c */.start('x')",
    "DO E'BEGIN\\ndf.start(1)'",
    'SELECT U&"\\0064f".x',
    'CREATE EXTENSION pg_durable',
    'SHOW PG_DURABLE.database',
    'DROP SCHEMA df/**/',
  ])('%s', (sql) => expect(flags(sql) & MENTIONS_DF).toBe(MENTIONS_DF));
});

describe('a huge text', () => {
  it.each(["SELECT 'a' ~> 'b'", "SELECT @> 'a'", "SELECT 'a' & 'b'", 'SELECT df.start(a & b)'])(
    'is recognised by its operators: %s',
    (sql) => {
      const bytes = Buffer.from(`SELECT '${'0123456789'.repeat(100_000)}';${sql}`);
      expect(scan(bytes, 0, bytes.length) & OPERATORS).toBe(OPERATORS);
    },
  );

  it('without any has none', () => {
    const bytes = Buffer.from(
      `INSERT INTO t VALUES ${"(1, 'a||b', 'a|b>c', now()), ".repeat(1000)}(1)`.repeat(10),
    );
    expect(scan(bytes, 0, 20_000) & OPERATORS).toBe(0);
  });
});

describe('the cost of the scan', () => {
  const cost = (sql: string, rounds: number): number => {
    const bytes = Buffer.from(sql);
    for (let i = 0; i < rounds; i++) scan(bytes, 0, bytes.length);
    const from = process.hrtime.bigint();
    for (let i = 0; i < rounds; i++) scan(bytes, 0, bytes.length);
    return Number(process.hrtime.bigint() - from) / rounds / 1000;
  };

  it('is far below a microsecond for a short statement', () => {
    const spent = cost('SELECT abalance FROM pgbench_accounts WHERE aid = 123456789;', 200_000);
    console.log(`scan of 60 bytes: ${spent.toFixed(3)} µs`);
    expect(spent).toBeLessThan(1);
  });

  it('is below ten milliseconds for a megabyte, whatever is in it', () => {
    for (const text of [
      'SELECT abcdef FROM t WHERE a = 1 ',
      'a|b|c d',
      "'|' ",
      'df&d',
      'dddd',
      '@>@>',
      '||||',
      'a|b.c',
      '????',
      '<b>x</b>',
    ]) {
      const spent = cost(text.repeat(1_000_000 / text.length), 5);
      console.log(`scan of 1 MB of ${JSON.stringify(text)}: ${(spent / 1000).toFixed(2)} ms`);
      expect(spent).toBeLessThan(10_000);
    }
  });
});
