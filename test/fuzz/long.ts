/**
 * `npm run fuzz`: malformed inputs against the built program, on a server of its own, a third for each way in which
 * clients are authenticated. FUZZ_INPUTS: how many (100 000); FUZZ_SEED: which. Exit status 1 if the program dies,
 * grows, holds on to something, lets a connection hang, or complains.
 */
import { randomInt } from 'node:crypto';
import { startServer } from '../support/server.js';
import { fuzzedProgram, type Held, MODES } from './program.js';

const BATCH = 5_000;

const seed = Number(process.env.FUZZ_SEED ?? randomInt(2 ** 31));
const inputs = Number(process.env.FUZZ_INPUTS ?? 100_000);
console.log(`FUZZ_SEED=${seed}`);

const megabytes = (bytes: number) => (bytes / 2 ** 20).toFixed(1);
const shown = ({ used, memory, descriptors, timers }: Held) =>
  `${megabytes(used)} MB in use, ${megabytes(memory)} MB resident, ${descriptors} descriptors, ${timers} timers`;

const server = await startServer();
try {
  const began = Date.now();
  let all = 0;
  let round = 0;
  for (const mode of MODES) {
    const victim = await fuzzedProgram(mode);
    try {
      const due = Math.ceil(inputs / MODES.length);
      for (let done = 0; done < due; round++) {
        const { tally, held } = await victim.suffer(seed + round, Math.min(BATCH, due - done));
        done += tally.inputs;
        all += tally.inputs;
        console.log(
          `${mode}: ${done} inputs; ${tally.connections} connections, ${tally.encrypted} of them with TLS, ` +
            `${tally.proxied} with a PROXY header, ${tally.left} left open; ${shown(held)}; ` +
            `${Math.round((Date.now() - began) / 1000)} s`,
        );
      }
    } finally {
      await victim.stop();
    }
  }
  console.log(`${all} inputs, ${Math.round((Date.now() - began) / 1000)} s`);
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await server.stop();
}
