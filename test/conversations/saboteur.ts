import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { until } from '../support/wait.js';

/** Gets the server's messages as they come, whole, and gives what the client gets instead. */
export type Sabotage = (messages: Buffer[]) => Buffer[];

/** Stands between a client and a proxy, and does to the server's messages what a bug of the proxy could do. */
export interface Saboteur {
  readonly port: number;
  close(): Promise<void>;
}

export async function startSaboteur(host: string, port: number, sabotage: Sabotage): Promise<Saboteur> {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const proxy = connect({ host, port, noDelay: true });
    client.setNoDelay(true);
    let held: Buffer = Buffer.alloc(0);
    proxy.on('data', (chunk: Buffer) => {
      held = Buffer.concat([held, chunk]);
      const messages: Buffer[] = [];
      while (held.length >= 5 && held.length > held.readUInt32BE(1)) {
        const total = 1 + held.readUInt32BE(1);
        messages.push(held.subarray(0, total));
        held = held.subarray(total);
      }
      client.write(Buffer.concat(sabotage(messages)));
    });
    client.on('data', (chunk) => proxy.write(chunk));
    for (const [socket, other] of [
      [client, proxy],
      [proxy, client],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('end', () => other.end());
      socket.on('close', () => sockets.delete(socket));
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      server.close();
      for (const socket of sockets) socket.destroy();
      await until(() => sockets.size === 0, { what: 'the sockets to close' });
    },
  };
}
