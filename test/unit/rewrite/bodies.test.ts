import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRewriter, type StatementRewriter } from '../../../src/rewrite/rewriter.js';

const UTF8 = { clientEncoding: 'UTF8', standardConformingStrings: true };

let rewriter: StatementRewriter;
beforeAll(async () => {
  rewriter = await createRewriter();
});
afterAll(() => rewriter.close());

const rewrite = async (sql: string) =>
  (await rewriter.rewrite(Buffer.from(sql), UTF8))?.sql.toString() ?? null;

/** In `marked`, each ⟨op⟩ is ours; every other operator stays. */
async function expectOurs(marked: string): Promise<void> {
  const sql = marked.replaceAll(/⟨(.*?)⟩/g, '$1');
  const expected = marked.replaceAll(/⟨(.*?)⟩/g, 'OPERATOR(df.$1)');
  expect(await rewrite(sql)).toBe(expected === sql ? null : expected);
}

describe('plpgsql: an operator is rewritten wherever plpgsql has an expression', () => {
  it.each([
    ['PERFORM', "BEGIN PERFORM df.start('a' ⟨~>⟩ b); END"],
    [
      'default',
      "DECLARE a text := 'a' ⟨~>⟩ 'b'; b text DEFAULT 'a' ⟨&⟩ 'b'; c CONSTANT text = 'a' ⟨|⟩ 'b'; BEGIN END",
    ],
    ['assignment', "DECLARE a text; BEGIN a := 'a' ⟨~>⟩ 'b'; a = a ⟨&⟩ 'b'; END"],
    ['assignment to an element', "DECLARE a text[]; i int; BEGIN a[i & 1] := 'a' ⟨~>⟩ 'b'; END"],
    [
      'text variables',
      'DECLARE a text; b varchar(9); n int; BEGIN a := a ⟨&⟩ b; a := a ⟨|⟩ a; n := n & n; END',
    ],
    [
      'IF',
      "BEGIN IF df.start('a' ⟨&⟩ b) = 'x' THEN NULL; ELSIF df.start(c ⟨|⟩ d) IS NULL THEN NULL; END IF; END",
    ],
    [
      'CASE',
      'DECLARE x text; BEGIN CASE df.explain(a ⟨&⟩ b) WHEN x, df.explain(c ⟨|⟩ d) THEN NULL; ELSE NULL; END CASE; END',
    ],
    [
      'FOR over a query',
      'DECLARE r record; BEGIN FOR r IN SELECT df.start(q ⟨~>⟩ p) FROM plans WHERE a & 1 = 1 LOOP NULL; END LOOP; END',
    ],
    [
      'FOR over EXECUTE',
      "DECLARE r record; BEGIN FOR r IN EXECUTE 'SELECT ''a'' ~> ''b''' USING 'a' ⟨&⟩ 'b' LOOP NULL; END LOOP; END",
    ],
    [
      'WHILE, EXIT and ASSERT',
      "BEGIN WHILE f(@> y) OR df.start(⟨@>⟩ x) = '' LOOP EXIT WHEN 'a' ⟨&⟩ 'b' = ''; END LOOP; ASSERT 'a' ⟨|⟩ 'b' = ''; END",
    ],
    [
      'SELECT INTO',
      "DECLARE a text; BEGIN SELECT df.start('a' ⟨~>⟩ b) INTO STRICT a FROM t WHERE x | y = 1; END",
    ],
    [
      'INSERT RETURNING INTO',
      "DECLARE a text; BEGIN INSERT INTO t VALUES (df.start('a' ⟨~>⟩ b)) RETURNING id INTO a; END",
    ],
    ['cursors', "DECLARE c CURSOR (k text) FOR SELECT df.start(k ⟨&⟩ k); BEGIN OPEN c('a' ⟨|⟩ 'b'); END"],
    ['RAISE', "BEGIN RAISE NOTICE '% ~> %', 'a' ⟨~>⟩ 'b', 5 & 3 USING hint = 'a' ⟨&⟩ 'b'; END"],
    ['CALL', "BEGIN CALL p('a' ⟨~>⟩ 'b'); END"],
    ['exception handlers', "BEGIN NULL; EXCEPTION WHEN others THEN PERFORM df.start('a' ⟨~>⟩ b); END"],
    ['nested blocks and labels', "<<l>> DECLARE a text; BEGIN <<m>> BEGIN a := 'a' ⟨~>⟩ 'b'; END m; END l"],
    [
      'qualified operators around',
      "BEGIN PERFORM a OPERATOR(pg_catalog.&) b, 'a' ⟨~>⟩ 'b' OPERATOR(df.|) c; END",
    ],
  ])('%s', (_, body) => expectOurs(`DO $$ ${body} $$`));

  it('in functions: RETURN, RETURN NEXT, RETURN QUERY', async () => {
    await expectOurs(
      'CREATE FUNCTION f(a text) RETURNS text AS $$ BEGIN RETURN a ⟨&⟩ $1; END $$ LANGUAGE plpgsql',
    );
    await expectOurs(
      "CREATE FUNCTION f(n int) RETURNS SETOF text AS $$ BEGIN RETURN QUERY SELECT 'a' ⟨~>⟩ x FROM t WHERE n & $1 = 1; " +
        "RETURN QUERY EXECUTE 'x' USING n | 1; END $$ LANGUAGE plpgsql",
    );
    await expectOurs(
      'CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.job := df.start(NEW.a ⟨&⟩ NEW.b); RETURN NEW; END $$',
    );
    await expectOurs(
      'CREATE FUNCTION f(a int, OUT b text) LANGUAGE plpgsql AS $$ BEGIN b := a & $1; b := b ⟨&⟩ b; END $$',
    );
  });

  it('not in comments, literals and names', () =>
    expectOurs(
      `DO $$ BEGIN -- 'a' ~> 'b'\n /* 'a' & 'b' */ PERFORM 'a ~> b', "a ~> b", $q$ 'a' ~> 'b' $q$, df.start('c'⟨~>⟩'d'); END $$`,
    ));

  it('the same text twice, once as code and once as a comment', () =>
    expectOurs(
      'DO $$ BEGIN -- PERFORM df.start(a & b)\n PERFORM df.start(a ⟨&⟩ b); PERFORM df.start(a ⟨&⟩ b); END $$',
    ));

  it('even if plpgsql cannot be parsed without the catalog, in calls of df', () =>
    expectOurs(
      'DO $$ BEGIN not_declared := 1; PERFORM df.start(\'a\' ⟨~>⟩ (b ⟨&⟩ c)), 5 & 3; x := "df".explain(p ⟨|⟩ q); END $$',
    ));

  it('with types that only the catalog knows', () =>
    expectOurs(
      'CREATE FUNCTION f(x t.c%TYPE) RETURNS s.t.c%TYPE LANGUAGE plpgsql AS $$ DECLARE r "S".t%ROWTYPE; ' +
        "y t.c%type[] := ARRAY['a']; w text; BEGIN r.a := 'a' ⟨~>⟩ 'b'; w := w ⟨&⟩ w; RETURN r.n % 2 & 1; END $$",
    ));

  it('not in a body that is broken', () => expectOurs("DO $$ BEGIN PERFORM ('a' ~> 'b'; END $$"));

  it('several statements in one text, each with its own body', () =>
    expectOurs(
      "SELECT 'a' ⟨~>⟩ 'b'; DO $$ BEGIN PERFORM 'a' ⟨~>⟩ 'b'; END $$; DO 'BEGIN PERFORM ''a'' ⟨~>⟩ ''b''; END'; SELECT 5 & 3",
    ));

  it('a body within a body', async () => {
    await expectOurs(
      "DO $a$ BEGIN CREATE FUNCTION g() RETURNS text LANGUAGE sql AS $q$ SELECT 'a' ⟨&⟩ 'b' $q$; " +
        "CREATE FUNCTION h(x text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN x ⟨&⟩ x; END'; END $a$",
    );
    await expectOurs(
      "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $a$ DO $b$ BEGIN PERFORM 'a' ⟨~>⟩ 'b'; END $b$ $a$",
    );
  });

  it('but not in text that the server builds and executes', () =>
    expectOurs("DO $$ BEGIN EXECUTE 'SELECT df.start(''a'' ~> ''b'')'; END $$"));
});

describe('sql bodies', () => {
  it.each([
    "CREATE FUNCTION f(a text, b int) RETURNS text LANGUAGE sql AS $$ SELECT a ⟨~>⟩ 'x'; SELECT b & 1; SELECT $1 ⟨&⟩ $1 $$",
    "CREATE FUNCTION f(a text) RETURNS text LANGUAGE sql AS 'SELECT df.start(''x'' ⟨~>⟩ a)'",
    'CREATE FUNCTION f(a text, n int) RETURNS text LANGUAGE sql RETURN a ⟨&⟩ a || (n & 1)',
    "CREATE FUNCTION f(a text) RETURNS text BEGIN ATOMIC SELECT 5 & 3; SELECT a ⟨~>⟩ 'x'; END",
    'CREATE PROCEDURE f(a text) LANGUAGE SQL AS $$ INSERT INTO t VALUES (df.start(a ⟨|⟩ b)) $$',
    "CREATE FUNCTION f(a text DEFAULT 'x' ⟨~>⟩ 'y') RETURNS text LANGUAGE sql AS $$ SELECT a $$",
  ])('%s', (marked) => expectOurs(marked));
});

describe('the literal around a body keeps its kind', () => {
  const body = "BEGIN PERFORM df.start('a' ~> $q$b$q$); END";
  const after = "BEGIN PERFORM df.start('a' OPERATOR(df.~>) $q$b$q$); END";
  const doubled = (text: string) => text.replaceAll("'", "''");
  it.each([
    ['$$', `$$${body}$$`, `$$${after}$$`],
    ['$tag$', `$tag$${body}$tag$`, `$tag$${after}$tag$`],
    ['plain', `'${doubled(body)}'`, `'${doubled(after)}'`],
    ['unicode', `U&'${doubled(body)}'`, `U&'${doubled(after)}'`],
    ['escape', `E'${doubled(body)}\\n'`, `E'${doubled(after)}\\n'`],
    ["escape with \\'", `E'${body.replaceAll("'", "\\'")}'`, `E'${after.replaceAll("'", "\\'")}'`],
    [
      'escaped operator',
      `E'${doubled(body).replace('~>', '~\\x3e\\x20/**/')} -- ~>'`,
      `E'${doubled(after).replace('~>)', '~>)\\x20/**/')} -- ~>'`,
    ],
    ['escaped letters', `U&'\\0042${doubled(body).slice(1)}'`, `U&'\\0042${doubled(after).slice(1)}'`],
    [
      'continued',
      `'${doubled(body).replace(' (', "'\n  '(")}'\n ' '`,
      `'${doubled(after).replace(' (', "'\n  '(")}'\n ' '`,
    ],
  ])('%s', async (_, before, expected) => {
    expect(await rewrite(`DO ${before}`)).toBe(`DO ${expected}`);
  });

  it('an operator split over the parts of a literal is left alone', async () => {
    expect(await rewrite("DO 'BEGIN PERFORM ''a'' ~'\n'> ''b''; END'")).toBeNull();
  });

  it('a literal with its own escape character is left alone', async () => {
    expect(await rewrite(`DO U&'${doubled(body)}' UESCAPE '!'`)).toBeNull();
  });
});
