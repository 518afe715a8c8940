import { addressText, type UpstreamAddress } from './address.js';
import { NotReached, type Reached, reach, type Transport } from './reach.js';
import { type NoServer, Servers } from './servers.js';

export { addressText, socketPath, type UpstreamAddress } from './address.js';
export type { Reached } from './reach.js';
export { Servers } from './servers.js';

/** What can be dialled: the configured servers, or one address by itself, without encryption. */
export type Target = Servers | UpstreamAddress;

/** The server cannot be reached; the message names it and the reason. */
export class DialError extends Error {
  /** connection_failure */
  readonly code = '08006';
  /** The operating system's or TLS's code of the first failure, where there is one: ECONNREFUSED, … */
  readonly reasonCode: string | undefined;
  /** What clients are told, who need not have logged in. */
  readonly forClient: string;
  constructor(message: string, reasonCode?: string, forClient: string = message) {
    super(message);
    this.name = 'DialError';
    this.reasonCode = reasonCode;
    this.forClient = forClient;
  }
}

const PLAIN: Transport = { tls: undefined, keepAliveIdleMs: 30_000 };

/**
 * Opens a connection to a server that is good for the target: encrypted as the configuration says, Nagle off,
 * keep-alive as configured. The socket is not flowing: whoever gets it attaches its listeners first. It has an 'error'
 * listener, so that a lost connection is a 'close' like any other.
 *
 * Hosts are tried in order, those that failed lately last. Where the target wants a certain kind of server
 * (target_session_attrs), the one that `Servers` knows to be of that kind is dialled.
 * @param timeoutMs for each address that is tried, encryption included
 * @throws DialError
 */
export async function dial(target: Target, timeoutMs: number): Promise<Reached> {
  if (!(target instanceof Servers)) return await dialEach([target], PLAIN, timeoutMs);
  if (target.wanted === 'any') return await dialEach(target.inOrder(), target.transport, timeoutMs, target);
  const address = await chosen(target, timeoutMs);
  try {
    return await dialEach([address], target.transport, timeoutMs);
  } catch (error) {
    if (await target.stillGood(address)) throw error;
    return await dialEach([await chosen(target, timeoutMs)], target.transport, timeoutMs);
  }
}

async function chosen(servers: Servers, timeoutMs: number): Promise<UpstreamAddress> {
  try {
    return await servers.choose(timeoutMs);
  } catch (error) {
    const { message, code, forClient } = error as NoServer;
    throw new DialError(message, code, forClient);
  }
}

async function dialEach(
  addresses: readonly UpstreamAddress[],
  transport: Transport,
  timeoutMs: number,
  servers?: Servers,
): Promise<Reached> {
  const failures: NotReached[] = [];
  for (const address of addresses) {
    try {
      return await reach(address, transport, timeoutMs);
    } catch (error) {
      if (!(error instanceof NotReached)) throw error;
      servers?.failed(address);
      failures.push(error);
    }
  }
  const [first] = failures;
  if (failures.length === 1) {
    throw new DialError(
      `could not connect to server at ${addressText(addresses[0]!)}: ${first!.message}`,
      first!.code,
    );
  }
  const reasons = failures.map(({ message }, i) => `${addressText(addresses[i]!)}: ${message}`);
  throw new DialError(`could not connect to any server: ${reasons.join('; ')}`, first?.code);
}
