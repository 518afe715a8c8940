import { randomInt } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { until } from '../support/wait.js';
import { compare } from './differential.js';
import { conversation } from './generate.js';
import { openSides, type Sides } from './sides.js';

/** Conversations at least, and how long to go on with more, milliseconds. */
const FEWEST = 60;
const BUDGET_MS = 15_000;

const seed = Number(process.env.CONVERSATION_SEED ?? randomInt(2 ** 31));
let sides: Sides;

beforeAll(async () => {
  sides = await openSides();
});

afterAll(async () => {
  await sides?.drop();
});

test('in random conversations the server says the same through the proxy and directly', async () => {
  const deadline = Date.now() + BUDGET_MS;
  let number = 0;
  for (; number < FEWEST || Date.now() < deadline; number++) {
    const found = await compare(sides, conversation(seed, number));
    expect(found?.text, `CONVERSATION_SEED=${seed} CONVERSATION=${number} npm run conversations`).toBe(
      undefined,
    );
  }
  console.log(`CONVERSATION_SEED=${seed}, ${number} conversations`);
  await until(() => sides.sessions() === 0, { what: 'all sessions of the proxy to end' });
}, 300_000);
