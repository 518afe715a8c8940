import fc from 'fast-check';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRewriter, type Rewritten, type StatementRewriter } from '../../src/rewrite/rewriter.js';
import { migrate } from '../../src/state/migrate.js';
import { guideStatements } from '../conformance/guide-statements.js';
import { query } from '../support/frontend.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { RawClient } from '../support/raw-client.js';
import { statement, withBody } from '../unit/rewrite/generated.js';
import { seed } from '../unit/rewrite/seed.js';

/**
 * The server as the judge: with schema df on the search_path the operators can be used without the proxy. So
 * the text that the user wrote, sent there, and the rewritten text, sent without df on the path, must mean the
 * same to the server: the same view definition, the same function, the same result, or the same error at the
 * same place of the user's text.
 */

const examples = guideStatements();

let database: TestDatabase;
let rewriter: StatementRewriter;
/** Sends what the user wrote; df is on the path. */
let plain: RawClient;
/** Sends what the rewriter made of it; df is not on the path. */
let proxied: RawClient;

beforeAll(async () => {
  database = await createTestDatabase();
  rewriter = await createRewriter();
  const admin = new pg.Client({ connectionString: database.adminUrl });
  await admin.connect();
  await migrate(admin);
  await admin.query(`
    CREATE TABLE t (id text, col text, a int, b int, x int, y text, tags text[], ip inet, mask inet, c int, q text);
    CREATE TABLE u (a int, b text); CREATE TABLE l (x text);
    CREATE FUNCTION f(x int) RETURNS text LANGUAGE sql RETURN x::text;
    CREATE OPERATOR ~> (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl);
    CREATE TABLE users (id int, name text, active boolean); CREATE TABLE github_commits (sha text);
  `);
  await admin.end();
  plain = await connect();
  proxied = await connect();
  await run(plain, Buffer.from('SET search_path = public, df'));
  await run(proxied, Buffer.from('SET search_path = public'));
});

afterAll(async () => {
  await plain?.end();
  await proxied?.end();
  await rewriter?.close();
  await database?.drop();
});

function connect(parameters: Record<string, string> = {}): Promise<RawClient> {
  const url = new URL(database.adminUrl);
  return RawClient.login({
    host: url.hostname,
    port: Number(url.port),
    user: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
    database: database.name,
    parameters,
  });
}

interface Answer {
  error?: { code: string | undefined; message: string | undefined; position: number | undefined };
  value?: string | null | undefined;
}

async function run(client: RawClient, sql: Buffer): Promise<Answer> {
  client.forget();
  client.send(query(sql));
  await client.ready();
  if (client.count('E') === 0) return { value: client.value() };
  const { code, message, position } = client.error();
  return { error: { code, message, position: position === undefined ? undefined : Number(position) } };
}

const syntax = { clientEncoding: 'UTF8', standardConformingStrings: true };

/** What the session says to `sql`, and to `after` behind it, in a transaction that is rolled back. */
async function tried(client: RawClient, sql: Buffer, after: string): Promise<Answer> {
  await run(client, Buffer.from('BEGIN'));
  const answer = await run(client, sql);
  const then = answer.error === undefined ? await run(client, Buffer.from(after)) : answer;
  await run(client, Buffer.from('ROLLBACK'));
  return then;
}

/** Both ways give the same; returns it. */
async function expectSame(
  sql: string | Buffer,
  after: string,
  session = { plain, proxied, syntax },
): Promise<Answer> {
  const written = Buffer.from(sql as string);
  const rewritten: Rewritten | null = await rewriter.rewrite(written, session.syntax);
  const direct = await tried(session.plain, written, after);
  const through = await tried(session.proxied, rewritten?.sql ?? written, after);
  const { error } = through;
  if (error?.position !== undefined)
    error.position = rewritten?.positions.original(error.position) ?? error.position;
  // The message may name the operator as it was written.
  if (error?.message !== undefined)
    error.message = error.message.replaceAll(/OPERATOR\(df\.([^)]*)\)|df\.([~|&?!@=>]+)/g, '$1$2');
  expect(through).toEqual(direct);
  return direct;
}

const VIEW = "SET LOCAL search_path = ''; SELECT pg_get_viewdef('pg_temp.v'::regclass)";

describe('the examples of the user guide mean the same to the server', () => {
  it.each(examples.filter((sql) => /^SELECT/.test(sql)))('%s', async (sql) => {
    await expectSame(`CREATE TEMP VIEW v AS ${sql}`, VIEW);
  });

  it('most of them without an error', async () => {
    let views = 0;
    for (const sql of examples) {
      if (/^SELECT/.test(sql) && (await expectSame(`CREATE TEMP VIEW v AS ${sql}`, VIEW)).value) views++;
    }
    expect(views).toBeGreaterThan(80);
  });
});

describe('generated statements mean the same to the server', () => {
  const holds = (property: (sql: string) => Promise<void>, from: typeof statement) =>
    fc.assert(
      fc.asyncProperty(from, ({ sql }) => property(sql)),
      { seed, numRuns: 150 },
    );

  it('as views', () =>
    holds(async (sql) => {
      if (sql.startsWith('SELECT') && !sql.includes(';'))
        await expectSame(`CREATE TEMP VIEW v AS ${sql}`, VIEW);
      else await expectSame(sql, 'SELECT 1');
    }, statement));

  it('as functions and blocks', () =>
    holds(async (sql) => {
      await expectSame(sql, 'SELECT 1');
    }, withBody));
});

describe('a body is run as written', () => {
  const envelope =
    '{"node_type":"THEN","left_node":{"node_type":"SQL","query":"a"},"right_node":{"node_type":"SQL","query":"it\'s"}}';
  const make = "'a' ~> 'it''s'";
  const doubled = (text: string) => text.replaceAll("'", "''");
  it.each([
    ['sql in $$', `CREATE FUNCTION pg_temp.g() RETURNS text LANGUAGE sql AS $$ SELECT ${make} $$`],
    ['sql in quotes', `CREATE FUNCTION pg_temp.g() RETURNS text LANGUAGE sql AS 'SELECT ${doubled(make)}'`],
    ['sql by RETURN', `CREATE FUNCTION pg_temp.g() RETURNS text LANGUAGE sql RETURN ${make}`],
    [
      'sql by BEGIN ATOMIC',
      `CREATE FUNCTION pg_temp.g() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT ${make}; END`,
    ],
    [
      'plpgsql in $x$',
      `CREATE FUNCTION pg_temp.g() RETURNS text LANGUAGE plpgsql AS $x$ BEGIN RETURN ${make}; END $x$`,
    ],
    [
      "plpgsql in E''",
      `CREATE FUNCTION pg_temp.g() RETURNS text LANGUAGE plpgsql AS E'BEGIN\\n RETURN \\'a\\'~>\\'it\\'\\'s\\'; END'`,
    ],
    [
      "plpgsql in U&''",
      `CREATE FUNCTION pg_temp.g() RETURNS text LANGUAGE plpgsql AS U&'\\0042EGIN RETURN ${doubled(make)}; END'`,
    ],
  ])('%s', async (_, sql) => {
    const { value } = await expectSame(sql, 'SELECT pg_temp.g()');
    expect(value).toBe(envelope);
  });

  it('DO', async () => {
    const { value } = await expectSame(
      `CREATE TEMP TABLE made (e text); DO $$ DECLARE e text := 'a'; BEGIN e := e ~> 'it''s'; INSERT INTO made VALUES (e); END $$`,
      'SELECT e FROM made',
    );
    expect(value).toBe(envelope);
  });
});

describe('sessions with other settings', () => {
  async function session(clientEncoding: string, standardConformingStrings: boolean) {
    const parameters = {
      client_encoding: clientEncoding,
      standard_conforming_strings: standardConformingStrings ? 'on' : 'off',
      backslash_quote: 'on',
      escape_string_warning: 'off',
    };
    const made = {
      plain: await connect({ ...parameters, search_path: 'public, df' }),
      proxied: await connect({ ...parameters, search_path: 'public' }),
      syntax: { clientEncoding, standardConformingStrings },
    };
    return { ...made, end: () => Promise.all([made.plain.end(), made.proxied.end()]) };
  }

  it.each(['SJIS', 'BIG5', 'GBK', 'GB18030', 'UHC', 'JOHAB', 'EUC_JP', 'LATIN1', 'WIN1252', 'KOI8R'])(
    'client_encoding %s',
    async (encoding) => {
      const both = await session(encoding, true);
      // A character of the encoding, one with a second byte that is a backslash where there are such.
      const char = Buffer.from(
        {
          SJIS: '835c',
          BIG5: 'a55c',
          GBK: '815c',
          GB18030: '815c',
          UHC: 'b0a1',
          JOHAB: 'b0a1',
          EUC_JP: 'a4a2',
        }[encoding] ?? 'e9',
        'hex',
      ).toString('latin1');
      const text = (sql: string) => Buffer.from(sql.replaceAll('¤', char), 'latin1');
      const { value } = await expectSame(
        text("CREATE TEMP VIEW v AS SELECT '¤' ~> E'¤' AS \"¤\", '¤' & $$¤$$ AS ¤2 /* ¤ */"),
        "SELECT length(pg_get_viewdef('pg_temp.v'::regclass)) > 50",
        both,
      );
      expect(value).toBe('t');
      const { error } = await expectSame(text("SELECT '¤¤', '¤' ~> '¤' ~> '¤' & '¤', '¤¤' || nix"), '', both);
      expect(error).toMatchObject({
        code: '42703',
        position: "SELECT '¤¤', '¤' ~> '¤' ~> '¤' & '¤', '¤¤' || n".length,
      });
      await both.end();
    },
  );

  it('standard_conforming_strings off', async () => {
    const both = await session('UTF8', false);
    const { value } = await expectSame(
      "SELECT 'it\\'s' ~> '\\\\'",
      "SELECT 'it\\'s' OPERATOR(df.~>) '\\\\'",
      both,
    );
    expect(value).toBe(
      '{"node_type":"THEN","left_node":{"node_type":"SQL","query":"it\'s"},"right_node":{"node_type":"SQL","query":"\\\\"}}',
    );
    const made = await expectSame(
      "CREATE FUNCTION pg_temp.g() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN \\'it\\\\\\'s\\' ~> ''x''; END'",
      'SELECT pg_temp.g()',
      both,
    );
    expect(made.value).toContain(`"query":"it's"`);
    await both.end();
  });
});
