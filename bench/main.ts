/**
 * `npm run bench`: everything that the documentation says about speed, measured in one run on one machine, as ratios.
 *
 * Arguments: names of sections, all if none is given (`npm run bench -- pass-through bulk`).
 * BENCH_SECONDS (default 3): length of each timed round; BENCH_COPY_MB (1024); BENCH_IDLE (2000).
 */
import { createTestDatabase, type TestDatabase } from '../test/support/postgres.js';
import { startServer } from '../test/support/server.js';
import { bulk } from './bulk.js';
import { connects } from './connects.js';
import { idle, idleClients } from './idle.js';
import { latency } from './latency.js';
import { passThrough } from './pass-through.js';
import { starts } from './starts.js';
import { steps } from './steps.js';
import { tpcB } from './tpc-b.js';

const seconds = Number(process.env.BENCH_SECONDS ?? 3);
const sections: Record<string, (database: TestDatabase, seconds: number) => Promise<void>> = {
  'pass-through': passThrough,
  'tpc-b': tpcB,
  connects,
  bulk,
  starts,
  steps,
  latency,
  idle,
};

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !(name in sections));
if (unknown.length > 0) {
  console.error(`no section ${unknown.join(', ')}: there are ${Object.keys(sections).join(', ')}`);
  process.exit(2);
}
const chosen = Object.keys(sections).filter((name) => asked.length === 0 || asked.includes(name));

/** Idle clients need a server that takes so many; the others are measured on one of ordinary size. */
async function on(maxConnections: number, names: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  const server = await startServer({ max_connections: String(maxConnections) });
  const database = await createTestDatabase();
  try {
    for (const name of names) await sections[name]!(database, seconds);
  } finally {
    await database.drop();
    await server.stop();
  }
}

await on(
  200,
  chosen.filter((name) => name !== 'idle'),
);
await on(
  idleClients() + 100,
  chosen.filter((name) => name === 'idle'),
);
