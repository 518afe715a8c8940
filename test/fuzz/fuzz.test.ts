import { randomInt } from 'node:crypto';
import { beforeAll, describe, test } from 'vitest';
import { fuzzedProgram, MODES } from './program.js';

const seed = Number(process.env.FUZZ_SEED ?? randomInt(2 ** 31));
/** Malformed inputs at most, and how long at most, milliseconds, for each way in which clients are authenticated. */
const INPUTS = 1_500;
const BUDGET_MS = 3_000;

beforeAll(() => {
  console.log(`FUZZ_SEED=${seed}`);
});

// Most of the time is spent waiting for time-outs, so that they run side by side.
describe('malformed inputs', () => {
  test.concurrent.for(MODES)(
    'client_auth = %s: they end their own connection and nothing else, and nothing is left of them',
    { timeout: 180_000 },
    async (mode, { expect }) => {
      const victim = await fuzzedProgram(mode);
      try {
        const { tally, held } = await victim.suffer(seed, INPUTS, BUDGET_MS);
        console.log(`${mode}: ${JSON.stringify(tally)}, ${JSON.stringify(held)}`);
        expect(tally.inputs).toBeGreaterThan(100);
      } finally {
        await victim.stop();
      }
    },
  );
});

/** What a program that has the fault is found out by. */
const FAULTS: readonly (readonly [fault: string, found: RegExp])[] = [
  // The slowest first.
  ['forgets a connection', /connections hung/],
  ['keeps a socket', /waited .* for about what it held at first/],
  ['keeps a timer', /waited .* for about what it held at first/],
  ['keeps memory', /grown from/],
  ['says something', /the program complained: a warning/],
  // Whoever is just connecting or logging in notices first.
  ['rejects without a handler', /ECONNREFUSED|ECONNRESET|connection closed|connection lost|has ended/],
  ['ends', /ECONNREFUSED|ECONNRESET|connection closed|connection lost|has ended/],
];

describe('the checks', () => {
  test.concurrent.for(FAULTS)(
    'a program that %s is found out',
    { timeout: 180_000 },
    async ([fault, found], { expect }) => {
      const victim = await fuzzedProgram('password', { fault, patienceMs: 3_000 });
      try {
        await expect(victim.suffer(seed, 120)).rejects.toThrow(found);
      } finally {
        await victim.stop();
      }
    },
  );
});
