import { createServer, type Server, type Socket } from 'node:net';
import { socketPath } from '../upstream/dial.js';

/** A place where clients connect. */
export interface Listener {
  /** The real port in place of 0. */
  readonly host: string;
  readonly port: number;
  /** Accepts nobody any more. Connections that are there go on. */
  close(): void;
}

/**
 * Accepts clients.
 * @param where as in the options of the proxy: port 0 takes a free one; a host that begins with `/` is a directory
 *   for a Unix socket
 * @param accept gets each client; nothing has been read of it
 * @throws the error of the listening socket (EADDRINUSE, EACCES, …)
 */
export async function openListener(
  where: { host: string; port: number },
  accept: (client: Socket) => void,
): Promise<Listener> {
  // A client may half-close: its FIN ends its own direction only. Paused: in a proxy of several processes another
  // one reads.
  const server = createServer(
    {
      allowHalfOpen: true,
      pauseOnConnect: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
    },
    accept,
  );
  const { host, port } = where;
  const close = () => void server.close();
  if (host.startsWith('/')) {
    await listening(server, { path: socketPath(where) });
    return { host, port, close };
  }
  await listening(server, { host, port });
  const address = server.address();
  return { host, port: typeof address === 'object' && address !== null ? address.port : port, close };
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
