/**
 * Starts a second against a plain INSERT of one row, both through the proxy and at the same concurrency. The functions
 * begin with a long sleep: the executor takes each of them up and parks it, as it does in life, but runs no step.
 */
import pg from 'pg';
import type { TestDatabase, TestRole } from '../test/support/postgres.js';
import { type ProxyProcess, startProxyProcess } from './proxy-process.js';
import { percentile, printTable } from './table.js';

const ROUNDS = 3;
const CLIENTS = [1, 10, 50];

const chain = (nodes: number) =>
  ['df.sleep(86400)', ...Array.from({ length: nodes - 1 }, (_, i) => `'SELECT ${i}'`)].join(' ~> ');

const STATEMENTS = {
  insert: `INSERT INTO plain (what) VALUES ('a row of about the size of a started function')`,
  one: `SELECT df.start(${chain(1)}, 'bench')`,
  // a step more is two nodes more: itself and the THEN that it is chained with
  twenty: `SELECT df.start(${chain(10)} & 'SELECT 1', 'bench')`,
} as const;

interface Round {
  readonly rate: number;
  /** Of each call, milliseconds. */
  readonly calls: readonly number[];
}

export async function starts(database: TestDatabase, seconds: number): Promise<void> {
  const role = await database.createRole('starter');
  const proxy = await startProxyProcess(database);
  try {
    await prepare(database, role);
    const rows: string[][] = [];
    for (const clients of CLIENTS) {
      const found = new Map<string, Round[]>(Object.keys(STATEMENTS).map((name) => [name, []]));
      const connections = await connect(proxy, role, clients);
      for (let round = 0; round < ROUNDS; round += 1) {
        for (const [name, sql] of Object.entries(STATEMENTS)) {
          found.get(name)!.push(await run(connections, sql, seconds / 2));
        }
      }
      await Promise.all(connections.map((client) => client.end()));
      rows.push(row(clients, found));
    }
    await allParked(database);
    printTable(
      `Starts/s through the proxy, 1 and 21 nodes, ${ROUNDS} alternating rounds of ${seconds / 2} s, medians; call in milliseconds`,
      ['clients', 'INSERT/s', 'starts/s', 'ratio', 'p50', 'p99', '21 nodes/s', 'ratio', 'p50', 'p99'],
      rows,
    );
  } finally {
    await proxy.stop();
  }
}

async function prepare(database: TestDatabase, role: TestRole): Promise<void> {
  const admin = new pg.Client({ connectionString: database.adminUrl });
  await admin.connect();
  await admin.query(
    `SELECT df.grant_usage('${role.name}');
     CREATE TABLE plain (id bigserial PRIMARY KEY, what text);
     GRANT ALL ON plain TO ${role.name};
     GRANT ALL ON SEQUENCE plain_id_seq TO ${role.name}`,
  );
  await admin.end();
}

export function connect(proxy: ProxyProcess, role: TestRole, count: number): Promise<pg.Client[]> {
  return Promise.all(
    Array.from({ length: count }, async () => {
      const client = new pg.Client({ connectionString: proxy.url(role) });
      await client.connect();
      return client;
    }),
  );
}

/** What was started is not to be in the way of what is measured next. */
async function allParked(database: TestDatabase): Promise<void> {
  const root = new pg.Client({ connectionString: database.superUrl });
  await root.connect();
  const open =
    'SELECT EXISTS (SELECT FROM _df.instances WHERE wake_at <= now() OR owner IS NOT NULL) AS open';
  while ((await root.query<{ open: boolean }>(open)).rows[0]?.open === true) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await root.end();
}

async function run(connections: readonly pg.Client[], sql: string, seconds: number): Promise<Round> {
  const calls: number[] = [];
  const begun = performance.now();
  const end = begun + seconds * 1000;
  await Promise.all(
    connections.map(async (client) => {
      while (performance.now() < end) {
        const called = performance.now();
        await client.query(sql);
        calls.push(performance.now() - called);
      }
    }),
  );
  return { rate: calls.length / ((performance.now() - begun) / 1000), calls };
}

function row(clients: number, found: ReadonlyMap<string, readonly Round[]>): string[] {
  const rate = (name: string) =>
    percentile(
      found.get(name)!.map((round) => round.rate),
      0.5,
    );
  const calls = (name: string, p: number) =>
    percentile(
      found.get(name)!.flatMap((round) => round.calls),
      p,
    ).toFixed(2);
  const starts = (name: string) => [
    rate(name).toFixed(0),
    (rate(name) / rate('insert')).toFixed(2),
    calls(name, 0.5),
    calls(name, 0.99),
  ];
  return [String(clients), rate('insert').toFixed(0), ...starts('one'), ...starts('twenty')];
}
