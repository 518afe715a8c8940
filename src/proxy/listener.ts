import { lstatSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { ListenAddress } from '../config/kinds.js';
import { addressText, socketPath } from '../upstream/dial.js';

/** A place where clients connect. */
export interface Listener {
  /** With the real port in place of 0. */
  readonly address: ListenAddress;
  /** Accepts nobody any more; a Unix socket's file goes at once. Connections that are there go on. */
  close(): void;
}

/** Nobody can connect there; the message names the place and the reason. */
export class ListenError extends Error {
  override readonly name = 'ListenError';
  /** Of the operating system. */
  readonly code: string | undefined;
  constructor(address: ListenAddress, reason: string, code?: string) {
    super(`cannot listen on ${listenText(address)}: ${reason}`);
    this.code = code;
  }
}

/** As it is written in the configuration. */
export function listenText({ host, port }: ListenAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Bytes of a Unix socket's path that the operating system takes (sockaddr_un, without the NUL). */
const MAX_SOCKET_PATH = process.platform === 'linux' ? 107 : 103;
/** Before TCP begins to ask whether a silent client is still there, milliseconds. */
const KEEP_ALIVE_MS = 30_000;

/**
 * Begins to listen.
 * @param unixSocketMode permissions of a Unix socket's file: whoever may write to it may connect
 * @param accept gets each client; nothing has been read of it
 * @throws ListenError
 */
export async function openListener(
  address: ListenAddress,
  unixSocketMode: number,
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
      keepAliveInitialDelay: KEEP_ALIVE_MS,
    },
    accept,
  );
  if (address.host.startsWith('/')) await listenOnPath(server, address, unixSocketMode);
  else await listening(server, address).catch((error) => fail(address, error));
  // Accepting can fail for a moment (no file descriptor left); the listener stays.
  server.on('error', () => {});
  const bound = server.address();
  return {
    address: typeof bound === 'object' && bound !== null ? { ...address, port: bound.port } : address,
    close: () => void server.close(),
  };
}

/** Begins to listen in all places, or in none. @throws ListenError */
export async function openListeners(
  addresses: readonly ListenAddress[],
  unixSocketMode: number,
  accept: (client: Socket) => void,
): Promise<Listener[]> {
  const listeners: Listener[] = [];
  try {
    for (const address of addresses) listeners.push(await openListener(address, unixSocketMode, accept));
  } catch (error) {
    for (const listener of listeners) listener.close();
    throw error;
  }
  return listeners;
}

/** A file that was left behind by a process that is gone is replaced, one that somebody listens on is not. */
async function listenOnPath(server: Server, address: ListenAddress, mode: number): Promise<void> {
  const path = socketPath(address);
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH) {
    throw new ListenError(address, `the path ${path} is longer than ${MAX_SOCKET_PATH} bytes`);
  }
  try {
    await listening(server, { path, mode });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || !(await isAbandoned(path))) {
      fail(address, error);
    }
    try {
      unlinkSync(path);
    } catch {
      // Gone already, or not ours to remove: listening says which.
    }
    await listening(server, { path, mode }).catch((again) => fail(address, again));
  }
}

/** Whether it is a socket on which nobody listens. */
async function isAbandoned(path: string): Promise<boolean> {
  try {
    if (!lstatSync(path).isSocket()) return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(false);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code === 'ECONNREFUSED' || error.code === 'ENOENT');
    });
  });
}

function listening(server: Server, where: { path: string; mode: number } | ListenAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    const listen = (options: { path: string } | ListenAddress) =>
      server.listen(options, () => {
        server.off('error', reject);
        resolve();
      });
    if (!('path' in where)) {
      listen(where);
      return;
    }
    // The file is made by this call, and nobody may connect between that and a change of its permissions.
    const before = process.umask(0o777 & ~where.mode);
    try {
      listen({ path: where.path });
    } finally {
      process.umask(before);
    }
  });
}

function fail(address: ListenAddress, error: unknown): never {
  const { code } = error as NodeJS.ErrnoException;
  const unix = address.host.startsWith('/');
  const taken = unix ? `${addressText(address)} is taken` : 'the port is taken';
  throw new ListenError(
    address,
    code === 'EADDRINUSE' ? `${taken} by another program` : (code ?? 'it did not work'),
    code,
  );
}
