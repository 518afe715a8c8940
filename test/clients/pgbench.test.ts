import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect } from 'vitest';
import { createTestDatabase, type TestDatabase, type TestRole } from '../support/postgres.js';
import { type SpawnedProxy, spawnProxy } from '../support/proxy.js';
import { until } from '../support/wait.js';
import { lacking, run, succeed, testUnless, the } from './programs.js';

// CLIENTS_LONG=1 (npm run clients): a minute for each mode instead of three seconds.
const seconds = process.env.CLIENTS_LONG === '1' ? 60 : 3;
const clients = 64;

const withPgbench = testUnless(lacking('pgbench'));

let db: TestDatabase;
let role: TestRole;
let proxy: SpawnedProxy;
let root: pg.Client;
let home: string;

beforeAll(async () => {
  if (lacking('pgbench') !== undefined) return;
  home = await mkdtemp(join(tmpdir(), 'pg-durable-pgbench-'));
  db = await createTestDatabase();
  role = await db.createRole('bench');
  root = new pg.Client({ connectionString: db.superUrl });
  await root.connect();
  await root.query(`GRANT CREATE ON SCHEMA public TO ${role.name}`);
  proxy = await spawnProxy({ database: db });
  await root.query('SELECT df.grant_usage($1)', [role.name]);
  const made = await succeed(the('pgbench'), ['-i', '-q', '-s', '4'], { url: proxy.url(role) });
  expect(made).toBe('');
});

afterAll(async () => {
  await proxy?.stop();
  await root?.end();
  await db?.drop();
  if (home !== undefined) await rm(home, { recursive: true, force: true });
});

async function value(sql: string): Promise<number> {
  return Number((await root.query({ text: sql, rowMode: 'array' })).rows[0][0]);
}

/** Transactions that pgbench says it has done. All clients must have come to the end, and none with an error. */
async function bench(args: string[], through = proxy): Promise<number> {
  const all = ['-n', '-c', String(clients), '-j', '2', ...args];
  const { status, stdout, stderr } = await run(the('pgbench'), all, {
    url: through.url(role),
    timeoutMs: (seconds + 60) * 1000,
  });
  expect({ status, errors: stderr.replace(/^pgbench \(.*\)\n/, '') }).toEqual({ status: 0, errors: '' });
  expect(stdout).toMatch(new RegExp(`number of clients: ${clients}\\n`));
  expect(stdout).toMatch(/number of failed transactions: 0 /);
  return Number(/number of transactions actually processed: (\d+)/.exec(stdout)![1]);
}

async function noSessions(): Promise<void> {
  await until(
    async () =>
      (await value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'")) === 0,
    { what: 'the sessions of pgbench to end' },
  );
}

for (const mode of ['simple', 'extended', 'prepared']) {
  withPgbench(
    `pgbench -M ${mode} -c ${clients} -j 2 for ${seconds} s: no error, no session and no transaction lost`,
    async () => {
      const before = await value('SELECT count(*) FROM pgbench_history');
      const done = await bench(['-M', mode, '-T', String(seconds)]);
      console.log(`pgbench -M ${mode}: ${done} transactions in ${seconds} s`);
      expect(done).toBeGreaterThan(clients);
      expect((await value('SELECT count(*) FROM pgbench_history')) - before).toBe(done);
      const sums = ['pgbench_branches:bbalance', 'pgbench_tellers:tbalance', 'pgbench_accounts:abalance'];
      for (const [table, column] of sums.map((each) => each.split(':'))) {
        expect(await value(`SELECT sum(${column}) FROM ${table}`)).toBe(
          await value('SELECT sum(delta) FROM pgbench_history'),
        );
      }
      await noSessions();
    },
    (seconds + 90) * 1000,
  );
}

withPgbench('df.start with operators and bound operands, in each mode', async () => {
  const script = join(home, 'start.sql');
  await writeFile(
    script,
    `\\set n random(1, 100)
     BEGIN;
     SELECT df.start('SELECT ' || :n |=> 'n' ~> ('SELECT $n' & 'SELECT 2'), 'bench') AS id;
     COMMIT;\n`,
  );
  let started = 0;
  for (const mode of ['simple', 'extended', 'prepared'])
    started += await bench(['-M', mode, '-t', '1', '-f', script]);
  expect(started).toBe(3 * clients);
  await until(
    async () => (await value("SELECT count(*) FROM df.instances WHERE status = 'completed'")) === started,
    {
      timeoutMs: 40_000,
      what: `${started} instances to complete`,
    },
  );
});

withPgbench('a connection for each transaction', async () => {
  const script = join(home, 'one.sql');
  await writeFile(script, 'SELECT 1;\n');
  expect(await bench(['-C', '-t', '5', '-f', script])).toBe(5 * clients);
  await noSessions();
});

withPgbench('workers = 2: as with one process', async () => {
  const shared = await spawnProxy({ database: db, settings: { workers: '2' } });
  try {
    const script = join(home, 'many.sql');
    await writeFile(script, "BEGIN; SELECT df.start('SELECT 1' ~> 'SELECT 2', 'workers'); COMMIT;\n");
    expect(await bench(['-M', 'prepared', '-t', '1', '-f', script], shared)).toBe(clients);
    expect(await bench(['-C', '-t', '3', '-S'], shared)).toBe(3 * clients);
    await until(
      async () =>
        (await value(
          "SELECT count(*) FROM df.instances WHERE label = 'workers' AND status = 'completed'",
        )) === clients,
      { timeoutMs: 40_000, what: `${clients} instances to complete` },
    );
    await noSessions();
  } finally {
    await shared.stop();
  }
});
