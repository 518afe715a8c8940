import { dial, type UpstreamAddress } from './dial.js';

/** A server answers a CancelRequest by closing; one that does not within this time is not waited for. */
const CLOSE_TIMEOUT_MS = 10_000;

/**
 * Sends a CancelRequest to the server as it came and waits until the server has closed its side: only then has the
 * signal been sent (protocol chapter "Canceling Requests in Progress"). The server answers nothing, whatever the key.
 * @param packet the whole packet
 * @throws DialError when the server cannot be reached
 */
export async function forwardCancel(
  address: UpstreamAddress,
  packet: Buffer,
  connectTimeoutMs = CLOSE_TIMEOUT_MS,
): Promise<void> {
  const socket = await dial(address, connectTimeoutMs);
  await new Promise<void>((resolve) => {
    const timer = setTimeout(() => socket.destroy(), CLOSE_TIMEOUT_MS);
    // A reset is a close as well; 'close' follows it.
    socket.on('error', () => {});
    socket.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
    socket.resume();
    socket.write(packet);
  });
}
