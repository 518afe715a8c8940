/**
 * One connection to one host: DNS, TCP or Unix socket, encryption.
 *
 * Several addresses of a name are tried in the order of the resolver, each within the time-out, as libpq does with
 * connect_timeout. An address that refuses encryption (or, with `prefer`, cannot agree on it) is not left for another.
 */
import { lookup } from 'node:dns/promises';
import { connect, isIP, type Socket } from 'node:net';
import type { UpstreamTls } from '../config/upstream-tls.js';
import { isNamed, isUnixSocket, socketPath, type UpstreamAddress } from './address.js';
import { noteChannelBinding } from './channel-binding.js';
import { encrypt, TlsRefused } from './encrypt.js';

/** How the bytes on the way to the server are protected. */
export type Protection = 'plain' | 'encrypted' | 'verified';

/** A connection that is made. */
export interface Reached {
  /** Not flowing, with an 'error' listener; a tls.TLSSocket where it is encrypted. */
  readonly socket: Socket;
  /** The host it goes to, as configured. */
  readonly address: UpstreamAddress;
  /** The same with the address that the host's name had: whoever means this server must go there. */
  readonly exact: UpstreamAddress;
  readonly protection: Protection;
}

/** How hosts are connected to. */
export interface Transport {
  /** Undefined: never encrypted. */
  readonly tls: UpstreamTls | undefined;
  /** Undefined: no keep-alive. */
  readonly keepAliveIdleMs: number | undefined;
}

/** The host cannot be reached; the message is the reason, without the host. */
export class NotReached extends Error {
  /** Of the operating system (ECONNREFUSED, …); undefined for others. */
  readonly code: string | undefined;
  constructor(reason: string, code?: string) {
    super(reason);
    this.code = code;
  }
}

/**
 * Connects to one host.
 * @param timeoutMs for each address of it, encryption included
 * @throws NotReached
 */
export async function reach(
  address: UpstreamAddress,
  transport: Transport,
  timeoutMs: number,
): Promise<Reached> {
  if (isUnixSocket(address)) {
    const socket = await within(timeoutMs, (adopt) => {
      return connected(adopt(connect({ path: socketPath(address) })));
    });
    return { socket, address, exact: address, protection: 'plain' };
  }
  const targets = await resolve(address, timeoutMs);
  const failures: NotReached[] = [];
  for (const target of targets) {
    try {
      const made = await secured(address, target, transport, timeoutMs);
      if (transport.tls !== undefined) noteChannelBinding(made.socket, transport.tls.channelBinding);
      return { address, exact: isNamed(address) ? { ...address, ip: target } : address, ...made };
    } catch (error) {
      if (!(error instanceof NotReached)) throw error;
      failures.push(error);
    }
  }
  const [first] = failures;
  if (failures.length === 1) throw first;
  const reasons = failures.map((failure, i) => `${targets[i]}: ${failure.message}`);
  throw new NotReached(
    new Set(failures.map(({ message }) => message)).size === 1 ? first!.message : reasons.join(', '),
    first!.code,
  );
}

/** TCP and encryption; with `prefer`, a second connection without it where the handshake fails. */
async function secured(
  address: UpstreamAddress,
  target: string,
  transport: Transport,
  timeoutMs: number,
): Promise<{ socket: Socket; protection: Protection }> {
  const { tls } = transport;
  const open = (adopt: (socket: Socket) => Socket) => tcp(adopt, target, address.port, transport);
  if (tls === undefined || tls.mode === 'disable') {
    return { socket: await within(timeoutMs, open), protection: 'plain' };
  }
  try {
    let protection: Protection = 'plain';
    const socket = await within(timeoutMs, async (adopt) => {
      const raw = await open(adopt);
      const encrypted = await encrypt(raw, address.host, tls);
      if (encrypted === undefined) return raw;
      protection = tls.verifyChain ? 'verified' : 'encrypted';
      return adopt(encrypted);
    });
    return { socket, protection };
  } catch (error) {
    if (!(error instanceof TlsRefused)) throw error;
    if (tls.mode !== 'prefer' || !error.mayGoWithout) throw new NotReached(error.message, error.code);
    return { socket: await within(timeoutMs, open), protection: 'plain' };
  }
}

function tcp(
  adopt: (socket: Socket) => Socket,
  target: string,
  port: number,
  { keepAliveIdleMs }: Transport,
): Promise<Socket> {
  const keepAlive =
    keepAliveIdleMs === undefined ? {} : { keepAlive: true, keepAliveInitialDelay: keepAliveIdleMs };
  return connected(adopt(connect({ host: target, port, noDelay: true, ...keepAlive })));
}

function connected(socket: Socket): Promise<Socket> {
  return new Promise((resolve, reject) => {
    socket.once('connect', () => {
      socket.off('error', onError);
      resolve(socket);
    });
    const onError = (error: NodeJS.ErrnoException) => reject(new NotReached(reasonText(error), error.code));
    socket.once('error', onError);
  });
}

/**
 * Runs `work`, and destroys the socket that it adopted last if it fails or takes longer. Adopted sockets have an
 * 'error' listener for good: whatever happens between two owners is seen at 'close'.
 */
async function within(
  timeoutMs: number,
  work: (adopt: (socket: Socket) => Socket) => Promise<Socket>,
): Promise<Socket> {
  let latest: Socket | undefined;
  const adopt = (socket: Socket): Socket => {
    socket.on('error', () => {});
    latest = socket;
    return socket;
  };
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new NotReached(`no answer within ${timeoutMs} ms`, 'ETIMEDOUT')),
      timeoutMs,
    );
  });
  const working = work(adopt);
  try {
    return await Promise.race([working, late]);
  } catch (error) {
    working.catch(() => {}); // it ends when its socket does
    latest?.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** The same host once for each address of its name. @throws NotReached */
export async function eachAddress(address: UpstreamAddress, timeoutMs: number): Promise<UpstreamAddress[]> {
  if (!isNamed(address)) return [address];
  return (await resolve(address, timeoutMs)).map((ip) => ({ ...address, ip }));
}

async function resolve({ host, ip }: UpstreamAddress, timeoutMs: number): Promise<string[]> {
  if (ip !== undefined || isIP(host) !== 0) return [ip ?? host];
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new NotReached(`host name not resolved within ${timeoutMs} ms`, 'ETIMEDOUT')),
      timeoutMs,
    );
  });
  try {
    const found = await Promise.race([lookup(host, { all: true, verbatim: true }), late]);
    return found.map(({ address }) => address);
  } catch (error) {
    if (error instanceof NotReached) throw error;
    const { code } = error as NodeJS.ErrnoException;
    throw new NotReached(reasonText(error as NodeJS.ErrnoException), code);
  } finally {
    clearTimeout(timer);
  }
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
