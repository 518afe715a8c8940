/**
 * A TCP forwarder between proxy and server that loses messages at a chosen moment, as networks do.
 *
 * A connection passes bytes on both ways until a rule takes it: then either what the client has sent is dropped and
 * both ends are cut (`request`), or it is passed on, the server's answer is waited for and swallowed, and then both
 * ends are cut (`answer`); `hold` swallows the answer and leaves the connection as it is.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';

export type Loss = 'request' | 'answer' | 'hold';

/** Looks at what a client sends, in the order in which it comes; `before` is all that it sent until then. */
export type Rule = (chunk: Buffer, before: Buffer) => Loss | null;

export interface Forwarder {
  readonly port: number;
  /** Set it to lose something; null: everything passes. */
  rule: Rule | null;
  /** How many connections were taken by a rule. */
  readonly lost: number;
  close(): Promise<void>;
}

/** Listens on a free port of loopback. A flight of the executor is one write, so it mostly arrives as one chunk. */
export async function startForwarder(to: { host: string; port: number }): Promise<Forwarder> {
  const sockets = new Set<Socket>();
  let lost = 0;
  const server: Server = createServer((client) => {
    const upstream = connect(to.port, to.host);
    let before: Buffer = Buffer.alloc(0);
    let taken: Loss | null = null;
    const cut = (): void => {
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        cut();
      });
    }
    client.on('data', (chunk: Buffer) => {
      if (taken === null) {
        taken = forwarder.rule?.(chunk, before) ?? null;
        if (taken !== null) lost += 1;
        before = Buffer.concat([before, chunk]);
      }
      if (taken === 'request') cut();
      else upstream.write(chunk);
    });
    upstream.on('data', (chunk: Buffer) => {
      if (taken === null) client.write(chunk);
      else if (taken === 'answer' && endsWithReady(chunk)) cut();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address() as { port: number };
  const forwarder: Forwarder = {
    port: address.port,
    rule: null,
    get lost() {
      return lost;
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return forwarder;
}

/** Loses what contains `text` for the `nth` time (from 1), once. */
export function nth(text: string, n: number, loss: Loss): Rule {
  let count = 0;
  return (chunk) => {
    if (!chunk.includes(text)) return null;
    count += 1;
    return count === n ? loss : null;
  };
}

/** ReadyForQuery: everything that was sent has been carried out. */
function endsWithReady(chunk: Buffer): boolean {
  return chunk.length >= 6 && chunk[chunk.length - 6] === 0x5a && chunk.readInt32BE(chunk.length - 5) === 5;
}
