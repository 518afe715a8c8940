/**
 * Connects to a URL's host: looks its addresses up once, drops those that are not public, and connects to one of the
 * rest. Since nobody looks it up again in between, a name that changes its mind (DNS rebinding) gains nothing. TLS and
 * the Host header know the name only. No proxy of the environment is used. Source: df-api §4.12, step 4.
 */
import { isIP, connect as netConnect, type Socket } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import { isRestricted } from './address.js';
import { Blocked } from './failure.js';
import { hostOf, portOf } from './policy.js';

/** The way out of this process; tests have one of their own. */
export interface Network {
  /** Every address of a name; `role` is on whose behalf. */
  resolve(name: string, role: string, signal: AbortSignal): Promise<readonly string[]>;
  /** A connection to one of the addresses, which are tried in their order. */
  connect(addresses: readonly string[], port: number, signal: AbortSignal): Promise<Socket>;
}

export interface ConnectRules {
  readonly blockPrivate: boolean;
  /** Authorities whose certificates are taken; undefined: those that Node comes with. */
  readonly ca: readonly string[] | undefined;
}

/** An address that does not answer within this time has the next one tried. */
const NEXT_ADDRESS_MS = 1000;

/**
 * A connection over which the URL can be requested, encrypted for https.
 * @throws Blocked, what resolver, network and TLS say, the reason of the signal
 */
export async function connectTo(
  url: URL,
  rules: ConnectRules,
  network: Network,
  role: string,
  signal: AbortSignal,
): Promise<Socket> {
  const host = hostOf(url);
  const isAddress = isIP(host) !== 0;
  const found = isAddress ? [host] : await unlessAborted(network.resolve(host, role, signal), signal);
  const open = rules.blockPrivate ? found.filter((address) => !isRestricted(address)) : found;
  if (open.length === 0) {
    throw new Blocked(
      `Blocked: the resolved IP address for '${host}' is in a restricted range. df.http() cannot access private or internal network addresses.`,
    );
  }
  const socket = await network.connect(open, portOf(url), signal);
  if (url.protocol === 'http:') return socket;
  const secure = tlsConnect({
    socket,
    host,
    servername: isAddress ? '' : host.replace(/\.$/, ''),
    ALPNProtocols: ['http/1.1'],
    ...(rules.ca === undefined ? {} : { ca: [...rules.ca] }),
  });
  return ready(secure, 'secureConnect', signal);
}

/** A TCP connection by this machine's routes. */
export function connectDirectly(
  addresses: readonly string[],
  port: number,
  signal: AbortSignal,
): Promise<Socket> {
  const known = addresses.map((address) => ({ address, family: isIP(address) }));
  const socket = netConnect({
    host: 'pinned.invalid', // looked up below, and nowhere else
    port,
    lookup: (_host, { all }, answer) => {
      const first = known[0] as (typeof known)[number];
      if (all === true) answer(null, known);
      else answer(null, first.address, first.family);
    },
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: NEXT_ADDRESS_MS,
    noDelay: true,
  });
  return ready(socket, 'connect', signal);
}

/** The socket when it is ready; destroyed when it does not come to that. */
function ready<S extends Socket>(
  socket: S,
  event: 'connect' | 'secureConnect',
  signal: AbortSignal,
): Promise<S> {
  return new Promise((resolve, reject) => {
    const fail = (error: unknown): void => {
      signal.removeEventListener('abort', aborted);
      socket.destroy();
      reject(error);
    };
    const aborted = (): void => fail(signal.reason);
    socket.on('error', fail); // stays: a late error has somebody to hear it
    socket.once('close', () => fail(new Error('the connection was closed')));
    socket.once(event, () => {
      signal.removeEventListener('abort', aborted);
      resolve(socket);
    });
    if (signal.aborted) aborted();
    else signal.addEventListener('abort', aborted, { once: true });
  });
}

function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const aborted = (): void => reject(signal.reason);
    if (signal.aborted) aborted();
    signal.addEventListener('abort', aborted, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', aborted));
  });
}
