/** Ordinary traffic: requests a second through the proxy against direct, in alternating rounds. */
import pg from 'pg';
import type { TestDatabase, TestRole } from '../test/support/postgres.js';
import { leanClient, prepared, query } from './lean-client.js';
import { startProxyProcess } from './proxy-process.js';
import { percentile, printTable } from './table.js';

const ROUNDS = 4;
const ROWS = 10_000;

export async function passThrough(database: TestDatabase, seconds: number): Promise<void> {
  const role = await database.createRole('reader');
  const admin = new pg.Client({ connectionString: database.adminUrl });
  await admin.connect();
  await admin.query(
    `CREATE TABLE accounts AS SELECT i AS aid, i * 7 AS abalance FROM generate_series(1, ${ROWS}) AS g (i);
     ALTER TABLE accounts ADD PRIMARY KEY (aid);
     ANALYZE accounts;
     GRANT SELECT ON accounts TO ${role.name}`,
  );
  await admin.end();
  const proxy = await startProxyProcess(database);
  try {
    const rows: string[][] = [];
    for (const clients of [1, 8]) {
      for (const mode of ['simple', 'prepared'] as const)
        rows.push(await compare(role, proxy.url(role), clients, mode, seconds));
    }
    printTable(
      `Pass-through: SELECT by key, ${ROUNDS} alternating rounds of ${seconds / 2} s, medians`,
      ['clients, protocol', 'direct req/s', 'proxy req/s', 'ratio', 'direct ms', 'proxy ms'],
      rows,
    );
  } finally {
    await proxy.stop();
  }
}

async function compare(
  role: TestRole,
  through: string,
  clients: number,
  mode: 'simple' | 'prepared',
  seconds: number,
) {
  const direct: number[] = [];
  const proxied: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    direct.push(await rate(role.url, clients, mode, seconds / 2));
    proxied.push(await rate(through, clients, mode, seconds / 2));
  }
  const [d, p] = [percentile(direct, 0.5), percentile(proxied, 0.5)];
  return [
    `${clients}, ${mode}`,
    d.toFixed(0),
    p.toFixed(0),
    (p / d).toFixed(2),
    ((1000 * clients) / d).toFixed(3),
    ((1000 * clients) / p).toFixed(3),
  ];
}

async function rate(
  url: string,
  clients: number,
  mode: 'simple' | 'prepared',
  seconds: number,
): Promise<number> {
  const sql = 'SELECT abalance FROM accounts WHERE aid = $1';
  const statement = prepared(sql, '4711');
  const request = mode === 'simple' ? query(sql.replace('$1', '4711')) : statement.run;
  const connections = await Promise.all(Array.from({ length: clients }, () => leanClient(url)));
  if (mode === 'prepared')
    await Promise.all(connections.map((connection) => connection.ask(statement.parse)));
  let requests = 0;
  const start = performance.now();
  const end = start + seconds * 1000;
  await Promise.all(
    connections.map(async (connection) => {
      while (performance.now() < end) {
        await connection.ask(request);
        requests += 1;
      }
    }),
  );
  const elapsed = (performance.now() - start) / 1000;
  for (const connection of connections) connection.close();
  return requests / elapsed;
}
