import pg from 'pg';
import postgres from 'postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { OwnServer } from '../support/own-server.js';
import {
  asSuperuser,
  createTestDatabase,
  type TestDatabase,
  type TestRole,
  urlFor,
} from '../support/postgres.js';
import { startProxy, type TestProxy } from '../support/proxy.js';
import { serverUrlVariable } from '../support/server.js';
import { until } from '../support/wait.js';
import { type BothWays, failure, openBothWays, told } from './both-ways.js';
import { lacking, start, testUnless, the } from './programs.js';

// What clients see when the server ends a session or a statement: the same as without the proxy.

let both: BothWays;

beforeAll(async () => {
  both = await openBothWays();
});
afterAll(() => both?.close());

const withPsql = testUnless(lacking('psql'));

/** Ends the role's session whose last statement has this mark. */
async function terminate(mark: string): Promise<void> {
  await until(
    () =>
      asSuperuser(both.database.name, async (root) => {
        const { rowCount } = await root.query(
          'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 AND strpos(query, $2) > 0',
          [both.role.name, mark],
        );
        return rowCount;
      }),
    { what: `the session of ${mark}` },
  );
}

test('pg: a session that is ended, while it is idle and while it works', async () => {
  const seen = await both.same(async (url) => {
    const results: unknown[] = [];
    for (const mark of ['SELECT 1 AS idle', 'SELECT pg_sleep(60) AS busy']) {
      const client = new pg.Client({ connectionString: url });
      const errors: unknown[] = [];
      let ended = false;
      client.on('error', (error) => errors.push(told(error)));
      client.on('end', () => {
        ended = true;
      });
      await client.connect();
      const answer = client.query(mark).then(
        () => 'answered',
        (error: unknown) => told(error),
      );
      if (mark.includes('idle')) await answer;
      await terminate(mark);
      await until(() => ended, { what: 'the end of the session' });
      results.push(await answer, errors.slice(0, 1));
    }
    return results;
  });
  expect(JSON.stringify(seen)).toContain('57P01');
});

test('pg and postgres: time-outs of statements, of locks, of idle transactions', async () => {
  const seen = await both.same(async (url) => {
    const client = new pg.Client({ connectionString: url });
    const errors: unknown[] = [];
    let ended = false;
    client.on('error', (error) => errors.push(told(error)));
    client.on('end', () => {
      ended = true;
    });
    await client.connect();
    await client.query('CREATE TABLE locked (id int)');
    const results: unknown[] = [];
    await client.query("SET statement_timeout = '20ms'");
    results.push(await failure(client.query('SELECT pg_sleep(60)')));
    await client.query('RESET statement_timeout');
    await client.query('BEGIN; LOCK TABLE locked');
    const sql = postgres(url, { max: 1, connection: { lock_timeout: 20 } });
    results.push(await failure(sql`SELECT * FROM locked`));
    await sql.end();
    await client.query("SET idle_in_transaction_session_timeout = '20ms'");
    await until(() => ended, { what: 'the server to end the session' });
    return [...results, errors.slice(0, 1)];
  });
  expect(seen.map((each) => (Array.isArray(each) ? each[0] : each)).map((each) => each.code)).toEqual([
    '57014',
    '55P03',
    '25P03',
  ]);
});

withPsql('psql: a session that is ended is made anew', async () => {
  const seen = await both.same(async (url) => {
    const psql = start(the('psql'), ['-X', '-A', '-t'], { url });
    psql.child.stdin.write("SELECT 'first session';\n");
    await psql.says(/^first session$/m);
    await terminate('first session');
    // Psql notices when it sends; interactive or not, it connects again only if it is asked to.
    psql.child.stdin.end("SELECT 'lost';\n\\c\nSELECT 'second session';\n");
    const { status, stdout, stderr } = await psql.ended;
    return { status, stdout, stderr };
  });
  expect(seen.stderr).toContain('FATAL:  terminating connection due to administrator command');
});

test('a pool of pg lives through a restart of the server, and so do steps', async () => {
  const server = await OwnServer.start();
  const before = process.env[serverUrlVariable];
  process.env[serverUrlVariable] = server.url();
  let database: TestDatabase | undefined;
  let proxy: TestProxy | undefined;
  let pool: pg.Pool | undefined;
  try {
    database = await createTestDatabase();
    const role: TestRole = await database.createRole('survivor');
    proxy = await startProxy({ database });
    await asSuperuser(database.name, (root) => root.query('SELECT df.grant_usage($1)', [role.name]));
    pool = new pg.Pool({ connectionString: proxy.url(role), max: 4 });
    const errors: string[] = [];
    pool.on('error', (error) => errors.push((error as { code?: string }).code ?? error.message));
    const all = () => Promise.all(Array.from({ length: 4 }, () => pool!.query('SELECT pg_sleep(0.05)')));
    await all();
    const { rows } = await pool.query("SELECT df.start('SELECT 1' ~> df.sleep(1) ~> 'SELECT 2') AS id");

    await server.stop();
    await until(() => errors.length === 4, { what: 'all four sessions to hear of it' });
    expect(errors).toEqual(['57P01', '57P01', '57P01', '57P01']);
    const refused = await failure(pool.query('SELECT 1'));
    expect(refused.message).toBeTruthy();

    await server.start();
    await until(async () => (await pool!.query('SELECT 1')).rowCount === 1, {
      what: 'the pool to work again',
    });
    await all();
    const id = rows[0].id as string;
    const status = 'SELECT df.status($1) AS status';
    await until(async () => (await pool!.query(status, [id])).rows[0].status === 'completed', {
      timeoutMs: 30_000,
      what: 'the instance to complete',
    });
  } finally {
    await pool?.end();
    await proxy?.stop();
    await database?.drop();
    process.env[serverUrlVariable] = before;
    await server.remove();
  }
  expect(urlFor('postgres')).toBe(before);
});
