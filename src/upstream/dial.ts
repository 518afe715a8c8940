import { connect, type Socket } from 'node:net';

/** A server. A host that begins with `/` is the directory of a Unix socket, whose name the port completes. */
export interface UpstreamAddress {
  host: string;
  port: number;
}

/** The server cannot be reached; the message names it and the reason, and is fit for a client. */
export class DialError extends Error {
  /** connection_failure */
  readonly code = '08006';
  constructor(address: UpstreamAddress, reason: string) {
    super(`could not connect to server at ${addressText(address)}: ${reason}`);
    this.name = 'DialError';
  }
}

export function addressText(address: UpstreamAddress): string {
  if (address.host.startsWith('/')) return socketPath(address);
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** The path of a Unix socket as PostgreSQL forms it. */
export function socketPath(address: UpstreamAddress): string {
  return `${address.host.replace(/\/+$/, '')}/.s.PGSQL.${address.port}`;
}

/**
 * Opens a connection to the server, Nagle off, keep-alive on. The socket is not flowing: whoever gets it attaches
 * its listeners first. It has an 'error' listener, so that a lost connection is a 'close' like any other. TLS towards the server is a step between the connection and
 * the return.
 * @param timeoutMs for the whole of it
 * @throws DialError
 */
export function dial(address: UpstreamAddress, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = address.host.startsWith('/')
      ? connect({ path: socketPath(address) })
      : connect({
          host: address.host,
          port: address.port,
          noDelay: true,
          keepAlive: true,
          keepAliveInitialDelay: 30_000,
        });
    const fail = (reason: string) => {
      clearTimeout(timer);
      socket.off('connect', onConnect);
      socket.destroy();
      reject(new DialError(address, reason));
    };
    const onError = (error: NodeJS.ErrnoException) => fail(reasonText(error));
    const onConnect = () => {
      clearTimeout(timer);
      // Whatever happens between two owners is seen at 'close'; an 'error' without a listener would end the process.
      socket.on('error', () => {});
      socket.off('error', onError);
      resolve(socket);
    };
    const timer = setTimeout(() => fail(`no answer within ${timeoutMs} ms`), timeoutMs);
    socket.once('connect', onConnect);
    // Stays on after a failure, so that a late error of the destroyed socket has a listener.
    socket.on('error', onError);
  });
}

function reasonText(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'ECONNREFUSED':
      return 'connection refused';
    case 'ETIMEDOUT':
      return 'connection timed out';
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'host name could not be resolved';
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return 'no route to host';
    case 'ENOENT':
      return 'no such socket';
    case 'EACCES':
      return 'permission denied';
    default:
      return error.code ?? 'connection failed';
  }
}
