import { setTimeout as delay } from 'node:timers/promises';
import type { UpstreamAddress } from './address.js';
import { DialError, dial, type Reached, Servers, type Target } from './dial.js';
import { eachAddress, NotReached, reach } from './reach.js';

/** A server answers a CancelRequest by closing; one that does not within this time is not waited for. */
const CLOSE_TIMEOUT_MS = 10_000;

/**
 * Sends a CancelRequest to the server as it came, encrypted as sessions are, and waits until the server has closed its
 * side: only then has the signal been sent (protocol chapter "Canceling Requests in Progress"). The server answers
 * nothing, whatever the key.
 *
 * With several servers it goes to the one that has the session. A key that is not known here (a session of another
 * proxy, or of another worker) goes to all of them, to each address that the name of one has now: the one that made it
 * heeds it, the others do nothing.
 * @param packet the whole packet
 * @param at the server that has the session, if the caller knows it
 * @throws DialError when the server cannot be reached; with several, when none can
 */
export async function forwardCancel(
  target: Target,
  packet: Buffer,
  connectTimeoutMs = CLOSE_TIMEOUT_MS,
  at?: UpstreamAddress,
): Promise<void> {
  if (!(target instanceof Servers)) {
    await send(await dial(target, connectTimeoutMs), packet);
    return;
  }
  const known = at ?? target.keys.find(packet);
  const servers = known === undefined ? await everyServer(target, connectTimeoutMs) : [known];
  const attempts = await Promise.allSettled(
    servers.map(async (server) => send(await reach(server, target.transport, connectTimeoutMs), packet)),
  );
  if (attempts.some(({ status }) => status === 'fulfilled')) return;
  const { reason } = attempts[0] as PromiseRejectedResult;
  throw reason instanceof NotReached
    ? new DialError(`could not send cancel request: ${reason.message}`, reason.code)
    : reason;
}

/** How long a cancel request of ours may take, milliseconds: a proxy that is to end does not wait for a silent server. */
const STOP_MS = 2_000;

/**
 * Has the server stop what it does for a session that is about to be closed. Never rejects, and takes no longer than
 * two seconds.
 */
export async function stopStatement(target: Target, packet: Buffer, at: UpstreamAddress): Promise<void> {
  const sent = forwardCancel(target, packet, STOP_MS, at).catch(() => {});
  await Promise.race([sent, delay(STOP_MS, undefined, { ref: false })]);
}

/** A name that cannot be resolved stays what it is: connecting to it says why. */
async function everyServer({ hosts }: Servers, timeoutMs: number): Promise<UpstreamAddress[]> {
  const addresses = await Promise.all(
    hosts.map((host) => eachAddress(host, timeoutMs).catch((): UpstreamAddress[] => [host])),
  );
  return addresses.flat();
}

async function send({ socket }: Reached, packet: Buffer): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(() => socket.destroy(), CLOSE_TIMEOUT_MS);
    // A reset is a close as well.
    socket.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
    socket.resume();
    socket.write(packet);
  });
}
