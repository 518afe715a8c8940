/**
 * Durable steps a second against the ceiling on the same server: a plain client loop of BEGIN; the SQL; UPDATE of one
 * row; COMMIT at the same concurrency. The instances are there beforehand: they become visible in one COMMIT.
 */
import pg from 'pg';
import type { TestDatabase, TestRole } from '../test/support/postgres.js';
import { startProxyProcess } from './proxy-process.js';
import { percentile, printTable } from './table.js';

const ROUNDS = 3;

export async function steps(database: TestDatabase, seconds: number): Promise<void> {
  const role = await database.createRole('stepper');
  const rows: string[][] = [];
  let prepared = false;
  for (const concurrency of [1, 10, 20]) {
    const proxy = await startProxyProcess(database, [`max_user_connections=${concurrency}`]);
    try {
      if (!prepared) await prepare(database, role);
      prepared = true;
      const login = new pg.Client({ connectionString: proxy.url(role) });
      await login.connect();
      await run(login, 1, 20 * concurrency); // sessions open, plans made
      const ceilings: number[] = [];
      const rates = new Map<number, number[]>([
        [1, []],
        [5, []],
      ]);
      for (let round = 0; round < ROUNDS; round += 1) {
        const top = await ceiling(role, concurrency, seconds / 2);
        ceilings.push(top);
        for (const [length, list] of rates) {
          list.push(await run(login, length, Math.ceil((top * seconds) / 2 / length)));
        }
      }
      await login.end();
      const top = percentile(ceilings, 0.5);
      for (const [length, list] of rates) {
        const rate = percentile(list, 0.5);
        rows.push([
          `${concurrency}, ${length}-step`,
          top.toFixed(0),
          rate.toFixed(0),
          (rate / top).toFixed(2),
          (rate / length).toFixed(0),
        ]);
      }
    } finally {
      await proxy.stop();
    }
  }
  printTable(
    `Durable steps (INSERT of one row each), ${ROUNDS} alternating rounds, medians`,
    ['concurrency, chain', 'ceiling tx/s', 'steps/s', 'ratio', 'instances/s'],
    rows,
  );
}

async function prepare(database: TestDatabase, role: TestRole): Promise<void> {
  const admin = new pg.Client({ connectionString: database.adminUrl });
  await admin.connect();
  await admin.query(
    `SELECT df.grant_usage('${role.name}');
     CREATE TABLE work (key int, at timestamptz DEFAULT clock_timestamp());
     CREATE TABLE state (id int PRIMARY KEY, n int) WITH (fillfactor = 50);
     INSERT INTO state SELECT i, 0 FROM generate_series(1, 100) AS g (i);
     GRANT ALL ON work, state TO ${role.name}`,
  );
  await admin.end();
}

/** Transactions a second of the plain loop. */
async function ceiling(role: TestRole, concurrency: number, seconds: number): Promise<number> {
  const clients = await Promise.all(
    Array.from({ length: concurrency }, async () => {
      const client = new pg.Client({ connectionString: role.url });
      await client.connect();
      return client;
    }),
  );
  let transactions = 0;
  const start = performance.now();
  const end = start + seconds * 1000;
  await Promise.all(
    clients.map(async (client, i) => {
      while (performance.now() < end) {
        await client.query('BEGIN');
        await client.query('INSERT INTO work (key) VALUES (1)');
        await client.query('UPDATE state SET n = n + 1 WHERE id = $1', [i + 1]);
        await client.query('COMMIT');
        transactions += 1;
      }
    }),
  );
  const elapsed = (performance.now() - start) / 1000;
  await Promise.all(clients.map((client) => client.end()));
  return transactions / elapsed;
}

/** Steps a second from the COMMIT of the starts until the last instance has completed. */
async function run(client: pg.Client, length: number, instances: number): Promise<number> {
  const chain = Array.from({ length }, () => `'INSERT INTO work (key) VALUES (1)'`).join(' ~> ');
  await client.query('BEGIN');
  await client.query(`SELECT count(df.start(${chain}, 'bench')) FROM generate_series(1, $1::int)`, [
    instances,
  ]);
  await client.query('COMMIT');
  const start = performance.now();
  for (;;) {
    const answer = await client.query<{ open: boolean }>(
      `SELECT EXISTS (SELECT FROM df.instances WHERE status IN ('pending', 'running')) AS open`,
    );
    if (!answer.rows[0]?.open) break;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return (instances * length) / ((performance.now() - start) / 1000);
}
