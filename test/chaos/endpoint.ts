/** Where the requests of durable functions go: every attempt gets a number of its own as its answer, some only late. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Dice } from './dice.js';

export interface Endpoint {
  readonly url: string;
  /** Attempts so far. */
  readonly attempts: number;
  /** Idempotency keys under which there were requests of an order. */
  keys(order: number): ReadonlySet<string>;
  /** Whether this attempt was one of the order's. */
  answered(order: number, attempt: number): boolean;
  close(): Promise<void>;
}

export async function openEndpoint(dice: Dice): Promise<Endpoint> {
  const keys = new Map<number, Set<string>>();
  const orders: number[] = [];
  const server = createServer((request, response) => {
    const order = Number(request.url?.slice(1));
    const key = String(request.headers['idempotency-key']);
    const known = keys.get(order) ?? new Set();
    keys.set(order, known.add(key));
    const attempt = orders.push(order);
    request.resume();
    request.on('end', () => {
      setTimeout(() => response.end(String(attempt)), dice.once(3) ? dice.between(50, 800) : 0);
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get attempts() {
      return orders.length;
    },
    keys: (order) => keys.get(order) ?? new Set(),
    answered: (order, attempt) => orders[attempt - 1] === order,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
