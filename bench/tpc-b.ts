/** pgbench's own mix of five statements in a transaction. */
import type { TestDatabase } from '../test/support/postgres.js';
import { prepareAccounts } from './accounts.js';
import { compare, headings, row } from './compare.js';
import { startLegs, stopLegs, through } from './legs.js';
import { pgbench, pgbenchIsHere } from './pgbench.js';
import { printTable } from './table.js';

const ROUNDS = 4;

export async function tpcB(database: TestDatabase, seconds: number): Promise<void> {
  if (!pgbenchIsHere) {
    console.log('\nTPC-B left out: pgbench is not on the PATH');
    return;
  }
  const role = await prepareAccounts(database);
  const legs = await startLegs(database, role);
  try {
    const rows: string[][] = [];
    for (const mode of ['simple', 'prepared']) {
      const results = await compare(legs, ROUNDS, (leg) =>
        pgbench(through(leg, role), ['-n', '-M', mode, '-c8', '-j2', '-T', String(seconds)]),
      );
      rows.push(row(`8, ${mode}`, results));
    }
    printTable(
      `TPC-B (pgbench), transactions/s and CPU per transaction, ${ROUNDS} alternating rounds of ${seconds} s, medians`,
      headings(legs),
      rows,
    );
  } finally {
    await stopLegs(legs);
  }
}
