/** Large streams: COPY out and in, and a result of a million small rows. BENCH_COPY_MB: size of a COPY, default 1024. */
import { strict as assert } from 'node:assert';
import type { TestDatabase } from '../test/support/postgres.js';
import { prepareAccounts } from './accounts.js';
import { compare, headings, row } from './compare.js';
import { copyIn, leanClient, query } from './lean-client.js';
import { startLegs, stopLegs, through } from './legs.js';
import { printTable } from './table.js';

const ROUNDS = 3;
const LINE = 1000;
const ROWS = 1_000_000;

export async function bulk(database: TestDatabase): Promise<void> {
  const megabytes = Number(process.env.BENCH_COPY_MB ?? 1024);
  assert(megabytes >= 1, 'BENCH_COPY_MB takes a number from 1');
  const lines = Math.ceil((megabytes * 1e6) / (LINE + 1));
  const role = await prepareAccounts(database);
  const legs = await startLegs(database, role);
  const timed = async (url: string, amount: number, work: (ask: Ask) => Promise<void>) => {
    const connection = await leanClient(url);
    const begun = performance.now();
    await work(connection);
    const seconds = (performance.now() - begun) / 1000;
    connection.close();
    return { amount, seconds };
  };
  try {
    const out = query(`COPY (SELECT repeat('x', ${LINE}) FROM generate_series(1, ${lines})) TO STDOUT`);
    const line = Buffer.from(`${'x'.repeat(LINE)}\n`);
    const rows = [
      row(
        'COPY out, MB',
        await compare(legs, ROUNDS, (leg) =>
          timed(through(leg, role), megabytes, (connection) => connection.ask(out)),
        ),
      ),
      row(
        'COPY in, MB',
        await compare(legs, ROUNDS, (leg) =>
          timed(through(leg, role), megabytes, (connection) =>
            // the server reads and drops: its disk is not what is measured
            copyIn(connection, 'COPY sink FROM STDIN WHERE false', line, lines),
          ),
        ),
      ),
      row(
        '1 M small rows, thousands',
        await compare(legs, ROUNDS, (leg) =>
          timed(through(leg, role), ROWS / 1000, (connection) =>
            connection.ask(query(`SELECT i, i * 2 FROM generate_series(1, ${ROWS}) AS g (i)`)),
          ),
        ),
      ),
    ];
    printTable(
      `Large streams, amount a second and CPU per unit, ${megabytes} MB a COPY, ${ROUNDS} alternating rounds, medians`,
      headings(legs),
      rows,
    );
  } finally {
    await stopLegs(legs);
  }
}

type Ask = Awaited<ReturnType<typeof leanClient>>;
