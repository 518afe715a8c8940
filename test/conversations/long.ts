/**
 * `npm run conversations`: random conversations with the server, directly and through the proxy, on a server of its
 * own. CONVERSATIONS: how many (5 000); CONVERSATION_SEED: which; CONVERSATION: only the one with that number. Exit
 * status 1 if one differs, or if there is a kind of message that none had.
 */
import { randomInt } from 'node:crypto';
import { startServer } from '../support/server.js';
import { until } from '../support/wait.js';
import { compare } from './differential.js';
import { conversation } from './generate.js';
import { Reach } from './reach.js';
import { readable } from './readable.js';
import { openSides } from './sides.js';

const MOST_SHOWN = 5;
/** So many conversations have every kind of message in them. */
const MANY = 1_000;

const seed = Number(process.env.CONVERSATION_SEED ?? randomInt(2 ** 31));
const only = process.env.CONVERSATION === undefined ? undefined : Number(process.env.CONVERSATION);
const first = only ?? 0;
const last = only === undefined ? Number(process.env.CONVERSATIONS ?? 5_000) : only + 1;
console.log(`CONVERSATION_SEED=${seed}`);
if (only !== undefined) console.log(readable(conversation(seed, only)));

const server = await startServer();
const sides = await openSides();
const reach = new Reach();
try {
  const began = Date.now();
  let different = 0;
  let held = 0;
  for (let number = first; number < last && different < MOST_SHOWN; number++) {
    const found = await compare(sides, conversation(seed, number), reach);
    held++;
    if (found !== null) {
      different++;
      console.log(`\nCONVERSATION_SEED=${seed} CONVERSATION=${number}\n${found.text}`);
    }
    if (held % 500 === 0) console.log(`${held} conversations, ${Math.round((Date.now() - began) / 1000)} s`);
  }
  await until(() => sides.sessions() === 0, { what: 'all sessions of the proxy to end' });
  console.log(`${held} conversations, ${different} different, ${Math.round((Date.now() - began) / 1000)} s`);
  console.log(String(reach));
  if (different > 0) process.exitCode = 1;
  if (held >= MANY && reach.missing().length > 0) {
    console.log(`never had: ${reach.missing().join(', ')}`);
    process.exitCode = 1;
  }
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await sides.drop();
  await server.stop();
}
