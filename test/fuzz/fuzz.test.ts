import { randomInt } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openSides, type Sides } from '../conversations/sides.js';
import { asSuperuser } from '../support/postgres.js';
import { until } from '../support/wait.js';
import { batch, ordinarySession } from './attack.js';
import { holdings } from './health.js';
import { fuzzedProgram } from './program.js';

const seed = Number(process.env.FUZZ_SEED ?? randomInt(2 ** 31));
/** Malformed inputs at most, and how long at most, milliseconds: here, and against the built program. */
const INPUTS = 3_000;
const BUDGET_MS = 7_000;

let sides: Sides;

beforeAll(async () => {
  console.log(`FUZZ_SEED=${seed}`);
  sides = await openSides();
});

afterAll(async () => {
  await sides?.drop();
});

test('malformed inputs before and after the login end their own connection and nothing else', async () => {
  const target = sides.proxied;
  // A server that is busy does not see that its client has gone.
  await asSuperuser(target.database, (client) =>
    client.query(`ALTER ROLE ${target.user} SET statement_timeout = '2s'`),
  );
  const letGo = async () => {
    await until(() => sides.sessions() === 0, { timeoutMs: 30_000, what: 'all sessions to end' });
    const left = () =>
      asSuperuser(target.database, async (client) => {
        const { rows } = await client.query('SELECT query FROM pg_stat_activity WHERE usename = $1', [
          target.user,
        ]);
        return rows.length === 0;
      });
    await until(left, { timeoutMs: 30_000, what: 'the server processes to end' });
  };
  await batch(target, seed + 0x5eed, 200);
  await letGo();
  const before = holdings();
  const tally = await batch(target, seed, INPUTS, Date.now() + BUDGET_MS);
  console.log(
    `${tally.inputs} inputs, ${tally.connections} connections, ${tally.patient.length} without an end of their own`,
  );
  await letGo();
  await ordinarySession(target);
  await letGo();
  const after = holdings();
  // Threads that read large statements have descriptors of their own, and stay.
  await until(() => !(holdings().sockets > before.sockets), { what: 'the sockets to be given back' });
  expect(after.memory - before.memory).toBeLessThan(150 * 2 ** 20);
  expect(sides.complaints()).toEqual([]);
  expect(tally.inputs).toBeGreaterThan(300);
}, 180_000);

test('the built program as well', async () => {
  const victim = await fuzzedProgram();
  try {
    await victim.suffer(seed, INPUTS, Date.now() + BUDGET_MS / 2);
  } finally {
    await victim.stop();
  }
}, 180_000);
