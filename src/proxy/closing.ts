import type { Socket } from 'node:net';

/** How long a client may keep its side open after it has got everything, milliseconds. */
const LINGER_MS = 2_000;

/** Settles when the socket is closed for good. */
export function closed(socket: Socket): Promise<void> {
  if (socket.closed) return Promise.resolve();
  return new Promise((resolve) => {
    socket.once('close', () => resolve());
  });
}

/** Destroys the socket unless it has closed by then. */
export function destroyAfter(socket: Socket, ms: number): void {
  if (socket.closed) return;
  const timer = setTimeout(() => socket.destroy(), ms);
  socket.once('close', () => clearTimeout(timer));
}

/**
 * Ends a client's connection so that it still gets what is due to it: last bytes, then FIN. What it sends is read and
 * dropped, as unread bytes would turn the close into a reset that can overtake the last message. A client that does
 * not close its own side is closed after a while.
 */
export function dismiss(client: Socket, last?: Buffer): void {
  if (client.destroyed || client.writableEnded) return;
  client.once('finish', () => destroyAfter(client, LINGER_MS));
  client.resume();
  if (last === undefined) client.end();
  else client.end(last);
}
