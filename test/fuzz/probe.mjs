/**
 * Loaded into the fuzzed program before its own code (NODE_OPTIONS): on SIGUSR2 it collects the garbage and writes what
 * is left to the file FUZZ_PROBE, as JSON.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { isMainThread } from 'node:worker_threads';

if (isMainThread) {
  process.on('SIGUSR2', async () => {
    for (let i = 0; i < 3; i++) {
      globalThis.gc();
      await nextTurn();
    }
    const { heapUsed, external } = process.memoryUsage();
    const timers = process.getActiveResourcesInfo().filter((type) => type === 'Timeout').length;
    const file = process.env.FUZZ_PROBE;
    writeFileSync(`${file}.new`, JSON.stringify({ used: heapUsed + external, timers }));
    renameSync(`${file}.new`, file);
  });
}
