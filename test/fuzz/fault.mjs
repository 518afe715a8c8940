/**
 * Loaded into the fuzzed program to give it the fault that FUZZ_FAULT names, so that a test can see that it would be
 * noticed. Each shows at every second connection, once the probe has
 * looked for the first time.
 */

import { createSocket } from 'node:dgram';
import { subscribe } from 'node:diagnostics_channel';
import { isMainThread } from 'node:worker_threads';

const kept = [];
/** A batch of a test may have no more than twenty connections; a run of a hundred thousand inputs would show one each. */
const fourTimes = (fault) => () => {
  for (let i = 0; i < 4; i++) fault();
};
const FAULTS = {
  'keeps a socket': fourTimes(() => createSocket('udp4').bind(0, '127.0.0.1')),
  'keeps a timer': fourTimes(() => setTimeout(() => {}, 2 ** 30)),
  // Enough to show after some dozen connections instead of a hundred thousand.
  'keeps memory': () => kept.push(new Array(400_000).fill(kept.length)),
  'says something': () => process.stderr.write('a warning\n'),
  'rejects without a handler': () => void Promise.reject(new Error('of nobody')),
  ends: () => process.exit(0),
  'forgets a connection': (socket) => {
    socket.read = () => null;
    socket.resume = () => socket;
    socket.end = () => socket;
    socket.destroy = () => socket;
  },
};

const fault = FAULTS[process.env.FUZZ_FAULT];
let connections = 0;
if (isMainThread) {
  process.once('SIGUSR2', () => {
    subscribe('net.server.socket', ({ socket }) => {
      if (++connections % 2 === 0) fault(socket);
    });
  });
}
