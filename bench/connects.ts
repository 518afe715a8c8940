/** Connections a second, each with a SCRAM login on both sides and one statement. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestDatabase } from '../test/support/postgres.js';
import { prepareAccounts } from './accounts.js';
import { compare, headings, row } from './compare.js';
import { leanClient, query } from './lean-client.js';
import { direct, type Leg, startForwarder, startProxy, stopLegs, through } from './legs.js';
import { startPgBouncer, verifierLine } from './pgbouncer.js';
import { printTable } from './table.js';

const ROUNDS = 4;

export async function connects(database: TestDatabase, seconds: number): Promise<void> {
  const role = await prepareAccounts(database);
  // A server connection for each client, as the others have it; and as it comes, with server connections used again.
  const pgBouncer = await startPgBouncer('PgBouncer', role, ['server_lifetime = 0']);
  const pooling = await startPgBouncer('PgBouncer pooling', role);
  const home = await mkdtemp(join(tmpdir(), 'bench-verifiers-'));
  const verifiers = join(home, 'verifiers');
  await writeFile(verifiers, await verifierLine(role), { mode: 0o600 });
  const scram = ['client_auth=scram', `auth_file=${verifiers}`];
  const legs: Leg[] = [
    direct(role),
    ...(pgBouncer === undefined || pooling === undefined ? [] : [pgBouncer, pooling]),
    await startForwarder(role),
    await startProxy('proxy', database, scram),
    await startProxy('2 workers', database, [...scram, 'workers=2']),
  ];
  const request = query('SELECT 1');
  const connect = async (leg: Leg) => {
    const url = through(leg, role);
    let amount = 0;
    const begun = performance.now();
    await Promise.all(
      Array.from({ length: 4 }, async () => {
        while (performance.now() - begun < (seconds * 1000) / 2) {
          const connection = await leanClient(url);
          await connection.ask(request);
          connection.close();
          amount++;
        }
      }),
    );
    return { amount, seconds: (performance.now() - begun) / 1000 };
  };
  try {
    const rows = [row('4 at a time', await compare(legs, ROUNDS, connect))];
    printTable(
      `Connections/s with SCRAM and one statement, CPU per connection, ${ROUNDS} alternating rounds of ${seconds / 2} s, medians`,
      headings(legs),
      rows,
    );
  } finally {
    await stopLegs(legs);
    await rm(home, { recursive: true });
  }
}
