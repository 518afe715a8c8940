import { createServer, type Server, type Socket } from 'node:net';
import { socketPath } from '../upstream/dial.js';
import type { ProxyOptions } from './options.js';
import { Session } from './session.js';

export type { ProxyOptions } from './options.js';

export interface Proxy {
  /**
   * Starts to accept clients.
   * @returns where: the real port in place of 0
   * @throws the error of the listening socket (EADDRINUSE, EACCES, …)
   */
  listen(): Promise<{ host: string; port: number }>;
  /**
   * Accepts nobody any more and ends the sessions: idle ones at once, the others when their transaction ends, and
   * all that are left after `graceMs` milliseconds. Clients are told with 57P01. A second call with a shorter time
   * shortens the wait.
   */
  close(graceMs?: number): Promise<void>;
  /** Client connections that are open now, in any phase. */
  sessions(): number;
}

const DEFAULT_GRACE_MS = 1_000;
/** After the last word to a client, milliseconds. */
const FORCE_MS = 3_000;

export function createProxy(options: ProxyOptions): Proxy {
  const sessions = new Set<Session>();
  let closing: Promise<void> | undefined;
  let hurry: (graceMs: number) => void = () => {};

  const accept = (client: Socket) => {
    const session = new Session(client, options);
    sessions.add(session);
    void session.run().finally(() => sessions.delete(session));
  };
  // A client may half-close: its FIN ends its own direction only.
  const server = createServer(
    { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 },
    accept,
  );

  const shutDown = async () => {
    const stopped = new Promise<void>((resolve) => {
      // The callback comes when the last connection has gone; an error only says that it never listened.
      server.close(() => resolve());
    });
    for (const session of sessions) session.drain();
    const timers: NodeJS.Timeout[] = [];
    const after = (ms: number, act: (session: Session) => void) => {
      timers.push(
        setTimeout(() => {
          for (const session of sessions) act(session);
        }, ms),
      );
    };
    hurry = (graceMs) => {
      after(graceMs, (session) => session.terminate());
      after(graceMs + FORCE_MS, (session) => session.destroy());
    };
    return stopped.finally(() => {
      for (const timer of timers) clearTimeout(timer);
      hurry = () => {};
    });
  };

  return {
    async listen() {
      const { host, port } = options.listen;
      if (host.startsWith('/')) {
        await listening(server, { path: socketPath(options.listen) });
        return { host, port };
      }
      await listening(server, { host, port });
      const address = server.address();
      return { host, port: typeof address === 'object' && address !== null ? address.port : port };
    },
    close(graceMs = DEFAULT_GRACE_MS) {
      closing ??= shutDown();
      hurry(graceMs);
      return closing;
    },
    sessions: () => sessions.size,
  };
}

function listening(server: Server, where: { path: string } | { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => {
      server.off('error', reject);
      // Accepting can fail for a moment (no file descriptor left); the listener stays.
      server.on('error', () => {});
      resolve();
    });
  });
}
