/**
 * `npm run bench`: everything that the README says about speed, measured in one run on one machine, as ratios.
 *
 * BENCH_SECONDS (default 3): length of each timed round. BENCH_ONLY: names of parts (pass-through, steps, latency).
 */
import { createTestDatabase } from '../test/support/postgres.js';
import { startServer } from '../test/support/server.js';
import { latency } from './latency.js';
import { passThrough } from './pass-through.js';
import { steps } from './steps.js';

const seconds = Number(process.env.BENCH_SECONDS ?? 3);
const only = process.env.BENCH_ONLY?.split(',');
const parts = { 'pass-through': passThrough, steps, latency };

const server = await startServer();
const database = await createTestDatabase();
try {
  for (const [name, part] of Object.entries(parts)) {
    if (only === undefined || only.includes(name)) await part(database, seconds);
  }
} finally {
  await database.drop();
  await server.stop();
}
