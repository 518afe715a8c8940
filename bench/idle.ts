/** Memory per client that is connected and does nothing. BENCH_IDLE: how many, default 2000. */
import type { TestDatabase } from '../test/support/postgres.js';
import { prepareAccounts } from './accounts.js';
import { type LeanClient, leanClient, query } from './lean-client.js';
import { type Leg, residentKb, startForwarder, startProxy, through } from './legs.js';
import { startPgBouncer } from './pgbouncer.js';
import { printTable } from './table.js';

/** For garbage to be collected, milliseconds. */
const SETTLE_MS = 3_000;

/** @param database on a server that takes so many connections */
export async function idle(database: TestDatabase): Promise<void> {
  const role = await prepareAccounts(database);
  const count = idleClients();
  const rows: string[][] = [];
  const start: Array<() => Promise<Leg | undefined>> = [
    () => startPgBouncer('PgBouncer', role),
    () => startForwarder(role),
    () => startProxy('proxy', database),
    () => startProxy('2 workers', database, ['workers=2']),
  ];
  for (const open of start) {
    const leg = await open();
    if (leg === undefined) continue;
    const url = through(leg, role);
    const warm = await connectMany(url, 20);
    await settle();
    const before = residentKb(leg.pids());
    const connections = await connectMany(url, count);
    await settle();
    const after = residentKb(leg.pids());
    rows.push([leg.name, before.toFixed(0), after.toFixed(0), ((after - before) / count).toFixed(1)]);
    for (const connection of [...warm, ...connections]) connection.close();
    await leg.stop();
  }
  printTable(
    `${count} idle clients: resident memory, kB, each after one statement`,
    ['', 'before', 'after', 'kB per client'],
    rows,
  );
}

export function idleClients(): number {
  return Number(process.env.BENCH_IDLE ?? 2000);
}

async function connectMany(url: string, count: number): Promise<LeanClient[]> {
  const connections: LeanClient[] = [];
  let left = count;
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      while (left-- > 0) {
        const connection = await leanClient(url);
        await connection.ask(query('SELECT 1'));
        connections.push(connection);
      }
    }),
  );
  return connections;
}

function settle(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, SETTLE_MS);
  });
}
