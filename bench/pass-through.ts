/** Ordinary traffic: requests a second and CPU time per request, and what a single client waits. */
import type { TestDatabase } from '../test/support/postgres.js';
import { prepareAccounts, SELECT_ACCOUNT } from './accounts.js';
import { compare, headings, row } from './compare.js';
import { leanClient, prepared, query } from './lean-client.js';
import { type Leg, startLegs, stopLegs, through } from './legs.js';
import { pgbench, pgbenchIsHere } from './pgbench.js';
import { percentile, printTable } from './table.js';

const ROUNDS = 4;

export async function passThrough(database: TestDatabase, seconds: number): Promise<void> {
  const role = await prepareAccounts(database);
  const legs = await startLegs(database, role);
  try {
    const rows: string[][] = [];
    for (const clients of [1, 8, 64]) {
      for (const mode of ['simple', 'prepared'] as const) {
        const results = await compare(legs, ROUNDS, (leg) =>
          select(through(leg, role), clients, mode, seconds / 2),
        );
        rows.push(row(`${clients}, ${mode}`, results));
      }
    }
    printTable(
      `SELECT by key (${pgbenchIsHere ? 'pgbench -S' : 'own client'}), requests/s and CPU per request, ` +
        `${ROUNDS} alternating rounds of ${seconds / 2} s, medians, no TLS on any leg`,
      headings(legs),
      rows,
    );
    await waits(legs, (leg) => through(leg, role), seconds / 4);
  } finally {
    await stopLegs(legs);
  }
}

async function select(url: string, clients: number, mode: 'simple' | 'prepared', seconds: number) {
  if (!pgbenchIsHere) {
    const times = await askAgainAndAgain(url, clients, mode, seconds);
    return { amount: times.length, seconds };
  }
  const threads = Math.min(2, clients);
  return await pgbench(url, [
    ...['-n', '-S', '-M', mode, '-c', String(clients), '-j', String(threads)],
    ...['-T', String(Math.max(1, Math.round(seconds)))],
  ]);
}

/** Milliseconds that one client waits for an answer. */
async function waits(legs: readonly Leg[], url: (leg: Leg) => string, seconds: number): Promise<void> {
  const rows: string[][] = [];
  for (const mode of ['simple', 'prepared'] as const) {
    for (const share of [0.5, 0.99]) rows.push([`${mode} p${share * 100}`]);
    const times = new Map(legs.map((leg) => [leg, { half: [] as number[], most: [] as number[] }]));
    for (let round = 0; round < 2 * ROUNDS; round++) {
      for (const leg of legs) {
        const taken = await askAgainAndAgain(url(leg), 1, mode, seconds);
        times.get(leg)?.half.push(percentile(taken, 0.5));
        times.get(leg)?.most.push(percentile(taken, 0.99));
      }
    }
    for (const { half, most } of times.values()) {
      rows.at(-2)?.push(percentile(half, 0.5).toFixed(3));
      rows.at(-1)?.push(percentile(most, 0.5).toFixed(3));
    }
  }
  printTable('One client, own: time to the answer, milliseconds', ['', ...legs.map((leg) => leg.name)], rows);
}

/** @returns milliseconds of each request */
async function askAgainAndAgain(
  url: string,
  clients: number,
  mode: 'simple' | 'prepared',
  seconds: number,
): Promise<number[]> {
  const statement = prepared(SELECT_ACCOUNT, '4711');
  const request = mode === 'simple' ? query(SELECT_ACCOUNT.replace('$1', '4711')) : statement.run;
  const connections = await Promise.all(Array.from({ length: clients }, () => leanClient(url)));
  if (mode === 'prepared')
    await Promise.all(connections.map((connection) => connection.ask(statement.parse)));
  const times: number[] = [];
  const end = performance.now() + seconds * 1000;
  await Promise.all(
    connections.map(async (connection) => {
      for (let begun = performance.now(); begun < end; ) {
        await connection.ask(request);
        const now = performance.now();
        times.push(now - begun);
        begun = now;
      }
    }),
  );
  for (const connection of connections) connection.close();
  return times;
}
