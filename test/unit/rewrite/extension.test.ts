import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  createRewriter,
  PRODUCT,
  type Rewritten,
  type StatementRewriter,
} from '../../../src/rewrite/rewriter.js';
import { extensionBodies } from '../../../src/state/extension.js';
import { type Generated, statement, withBody } from './generated.js';
import { seed } from './seed.js';
import { comparable, loadGrammar } from './trees.js';

const UTF8 = { clientEncoding: 'UTF8', standardConformingStrings: true };

let rewriter: StatementRewriter;
let plain: StatementRewriter;
beforeAll(async () => {
  await loadGrammar();
  rewriter = await createRewriter({ extension: await extensionBodies('admin', 'control') });
  plain = await createRewriter();
});
afterAll(() => Promise.all([rewriter.close(), plain.close()]));

const rewrite = async (sql: string, syntax = UTF8): Promise<Rewritten | null> => {
  const bytes = Buffer.from(sql);
  return (rewriter.scan(bytes, 0, bytes.length) & PRODUCT) === 0 ? null : rewriter.rewrite(bytes, syntax);
};
const tagsOf = async (sql: string) => [...((await rewrite(sql))?.tags ?? [])];

/** A statement's kind in the tree of the rewritten text. */
const kinds = (sql: string) =>
  (comparable(sql) as { stmts: { stmt: object }[] }).stmts.map(({ stmt }) => Object.keys(stmt)[0]);

describe('statements about the extension', () => {
  it.each([
    ['CREATE EXTENSION pg_durable', 'CREATE EXTENSION', 'DoStmt'],
    [
      'create extension IF NOT EXISTS "pg_durable" WITH SCHEMA "x y" VERSION \'1\' CASCADE',
      'CREATE EXTENSION',
      'DoStmt',
    ],
    ["ALTER EXTENSION pg_durable UPDATE TO '9'", 'ALTER EXTENSION', 'DoStmt'],
    ["COMMENT ON EXTENSION pg_durable IS 'it''s $1 \\x é'", 'COMMENT', 'DoStmt'],
    ['DROP EXTENSION IF EXISTS pg_durable CASCADE', 'DROP EXTENSION', 'DoStmt'],
    ['DROP EXTENSION "a ""b", pg_durable, c', 'DROP EXTENSION', 'DoStmt'],
    ['SHOW pg_durable.max_user_connections', 'SHOW', 'SelectStmt'],
    ['SHOW pg_durable.http.mode', 'SHOW', 'SelectStmt'],
    ['SHOW "pg_durable.http.mode"', 'SHOW', 'SelectStmt'],
    ['ALTER ROLE r SET "pg_durable.retention_days" TO \'3\'', 'ALTER ROLE', 'DoStmt'],
    ["SET SESSION pg_durable.retention_days = '3'", 'SET', 'DoStmt'],
    ['SET LOCAL pg_durable.retention_days TO DEFAULT', 'SET', 'DoStmt'],
    ['RESET pg_durable.retention_days', 'RESET', 'DoStmt'],
    ['ALTER SYSTEM RESET pg_durable.retention_days', 'ALTER SYSTEM', 'DoStmt'],
    ['ALTER ROLE ALL IN DATABASE d SET pg_durable.retention_days = 4', 'ALTER ROLE', 'DoStmt'],
    ['ALTER DATABASE d RESET pg_durable.retention_days', 'ALTER DATABASE', 'DoStmt'],
  ])('%s', async (sql, tag, kind) => {
    const rewritten = await rewrite(` /* before */ ${sql} -- behind`);
    expect([...rewritten!.tags!]).toEqual([[0, tag]]);
    const text = rewritten!.sql.toString();
    expect(kinds(text)).toEqual([kind]);
    expect(text.startsWith(' /* before */ ') && text.endsWith(' -- behind')).toBe(true);
    // It fits any literal and any encoding.
    expect(text).toMatch(/^[\x20-\x7e]*$/);
    expect(text).not.toMatch(/[\\$]/);
    expect(rewritten!.positions.original(40)).toBe(15);
    expect(rewritten!.positions.original(text.length + 1)).toBe(14 + sql.length + 11);
  });

  it('keep their places among others', async () => {
    expect(await tagsOf('SELECT 1; ; DROP EXTENSION pg_durable; COMMIT;SHOW pg_durable.x')).toEqual([
      [1, 'DROP EXTENSION'],
      [3, 'SHOW'],
    ]);
  });

  it('keep the number of their lines', async () => {
    const sql = 'SELECT 1;\nCREATE EXTENSION\n  pg_durable\n  CASCADE;\nSELECT 2';
    expect((await rewrite(sql))!.sql.toString().split('\n')).toHaveLength(5);
  });

  it.each([
    'CREATE EXTENSION pg_durable_x',
    'CREATE EXTENSION "PG_DURABLE"',
    "COMMENT ON EXTENSION pg_durable_x IS 'pg_durable'",
    "COMMENT ON SCHEMA pg_durable IS 'extension'",
    'ALTER EXTENSION pg_durable SET SCHEMA public',
    'ALTER EXTENSION pg_durable ADD TABLE x',
    'DROP SCHEMA pg_durable CASCADE',
    'SHOW pg_durable',
    'SHOW pg_durable."x y"',
    'SHOW my.pg_durable',
    "SET application_name = 'pg_durable.x'",
    "SET pg_durable.x = 'a', 'b' extension",
    "SELECT current_setting('x' || 'pg_durable.x')",
    "SELECT public.set_config('pg_durable.x', '1', false)",
    "SELECT 'CREATE EXTENSION pg_durable', 'SET pg_durable.x = 1'",
    'CREATE TABLE pg_durable (extension int, "SET pg_durable.x" int)',
    "INSERT INTO t VALUES ('SHOW pg_durable.x'); -- CREATE EXTENSION pg_durable",
    "DO $$ BEGIN RAISE NOTICE 'CREATE EXTENSION pg_durable;'; END $$",
    "DO $$ BEGIN EXECUTE 'CREATE EXTENSION ' || 'pg_durable'; END $$",
    "CREATE FUNCTION f() RETURNS text LANGUAGE plperl AS 'CREATE EXTENSION pg_durable;'",
  ])('are not: %s', async (sql) => expect(await rewrite(sql)).toBeNull());

  it.each([
    ['BEGIN CREATE EXTENSION pg_durable; END', 1],
    ['BEGIN IF true THEN DROP EXTENSION pg_durable; ELSE CREATE EXTENSION pg_durable; END IF; END', 2],
    ["BEGIN EXECUTE 'CREATE EXTENSION pg_durable'; SET LOCAL pg_durable.x = 1; END", 2],
    [
      "DECLARE x text := 'CREATE EXTENSION pg_durable;'; BEGIN LOOP CREATE EXTENSION pg_durable; END LOOP; END",
      1,
    ],
  ])('are found in the body %s', async (body, times) => {
    const literals = [`$$${body}$$`, `'${body.replaceAll("'", "''")}'`, `E'${body.replaceAll("'", "''")}'`];
    for (const literal of literals) {
      const rewritten = await rewrite(`DO ${literal}`);
      expect(rewritten!.tags).toBeNull();
      expect(rewritten!.blocks).toBe(true);
      const text = rewritten!.sql.toString();
      expect(text.split('/* pg_durable: ').length - 1).toBe(times);
      expect(kinds(text)).toEqual(['DoStmt']);
    }
  });

  it('are found in bodies within bodies, each with its quotes', async () => {
    const inner = `DO 'BEGIN CREATE EXTENSION pg_durable; END'`;
    const sql = `CREATE FUNCTION f() RETURNS void LANGUAGE sql AS '${inner.replaceAll("'", "''")}'`;
    const text = (await rewrite(sql))!.sql.toString();
    expect(kinds(text)).toEqual(['CreateFunctionStmt']);
    expect(text).toContain("DO ''''/* pg_durable: CREATE EXTENSION */");
  });

  it('elsewhere are but CREATE EXTENSION', async () => {
    const there = async (sql: string) => rewriter.elsewhere.rewrite(Buffer.from(sql), UTF8);
    expect([...(await there('CREATE EXTENSION pg_durable'))!.tags!]).toEqual([[0, 'CREATE EXTENSION']]);
    expect(await there('DROP EXTENSION pg_durable')).toBeNull();
    expect(await there('SHOW pg_durable.x')).toBeNull();
    expect(await there("SELECT 'a' ~> 'b', 'pg_durable'")).toBeNull();
    expect(await there('DO $$ BEGIN CREATE EXTENSION pg_durable; END $$')).not.toBeNull();
    expect((await rewrite('DROP EXTENSION pg_durable'))!.tags!.get(0)).toBe('DROP EXTENSION');
  });

  it('are read also when the text is large', async () => {
    const sql = `${'SELECT 1;\n'.repeat(20_000)}CREATE EXTENSION pg_durable`;
    expect([...(await rewrite(sql))!.tags!]).toEqual([[20_000, 'CREATE EXTENSION']]);
  });
});

describe('all other statements', () => {
  const same = async ({ sql }: Generated) => {
    const bytes = Buffer.from(sql);
    const [mine, without] = [await rewriter.rewrite(bytes, UTF8), await plain.rewrite(bytes, UTF8)];
    expect(mine?.sql.toString()).toBe(without?.sql.toString());
    expect(mine?.tags ?? null).toBeNull();
  };
  it('become what they become without it', () =>
    fc.assert(fc.asyncProperty(fc.oneof(statement, withBody), same), { seed, numRuns: 200 }));

  it('stay as they are, though they speak of it', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.constantFrom(
            'pg_durable',
            '"pg_durable"',
            "'pg_durable.x'",
            'extension',
            'set',
            'show',
            'create',
            '.',
            'x',
            '=',
            '(',
            ')',
            ',',
            ';',
            "'SHOW pg_durable.x'",
            'select',
            '/*',
            '*/',
            '--\n',
            '$$',
            'begin',
          ),
          { maxLength: 12 },
        ),
        async (words) => {
          const sql = words.join(' ');
          const rewritten = await rewrite(sql);
          if (rewritten === null) return;
          // Only what the grammar takes for one of these statements.
          const before = kinds(sql);
          expect(before.some((kind) => /Extension|Variable|Drop/.test(kind!))).toBe(true);
          expect(kinds(rewritten.sql.toString())).toHaveLength(before.length);
        },
      ),
      { seed, numRuns: 2000 },
    ));
});
