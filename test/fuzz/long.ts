/**
 * `npm run fuzz`: malformed inputs against the built program, on a server of its own. FUZZ_INPUTS: how many
 * (100 000); FUZZ_SEED: which. Exit status 1 if the program dies, grows, holds on to something, or complains.
 */
import { randomInt } from 'node:crypto';
import { startServer } from '../support/server.js';
import { fuzzedProgram } from './program.js';

const BATCH = 5_000;

const seed = Number(process.env.FUZZ_SEED ?? randomInt(2 ** 31));
const inputs = Number(process.env.FUZZ_INPUTS ?? 100_000);
console.log(`FUZZ_SEED=${seed}`);

const server = await startServer();
try {
  const began = Date.now();
  const victim = await fuzzedProgram();
  let done = 0;
  for (let round = 0; done < inputs; round++) {
    const { tally, held } = await victim.suffer(seed + round, Math.min(BATCH, inputs - done));
    done += tally.inputs;
    console.log(
      `${done} inputs, ${tally.connections} connections, ${tally.patient.length} without an end of their own; ` +
        `${Math.round(held.memory / 2 ** 20)} MB, ${held.descriptors} descriptors, ${Math.round((Date.now() - began) / 1000)} s`,
    );
  }
  await victim.stop();
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await server.stop();
}
