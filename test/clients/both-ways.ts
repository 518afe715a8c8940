import { expect } from 'vitest';
import {
  createTestDatabase,
  type TestDatabase,
  type TestRole,
  urlFor,
  withClient,
} from '../support/postgres.js';
import { startWireProxy, type WireProxy } from '../support/wire-proxy.js';

/** A database of its own, reached directly and through the proxy. */
export interface BothWays {
  readonly database: TestDatabase;
  readonly role: TestRole;
  readonly wire: WireProxy;
  readonly direct: string;
  readonly proxied: string;
  /**
   * What `work` gives, which must be the same directly and through the proxy. Before each of the two, the schema
   * public is made anew.
   */
  same<T>(work: (url: string) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export async function openBothWays(): Promise<BothWays> {
  const database = await createTestDatabase();
  const role = await database.createRole('client');
  const wire = await startWireProxy(urlFor(database.name));
  const direct = urlFor(database.name, role);
  const proxied = new URL(direct);
  proxied.host = `${wire.host}:${wire.port}`;
  const same = async <T>(work: (url: string) => Promise<T>): Promise<T> => {
    const outcomes: T[] = [];
    for (const url of [direct, proxied.href]) {
      await withClient(database.superUrl, (root) =>
        root.query(`DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION ${role.name}`),
      );
      outcomes.push(await work(url));
    }
    expect(outcomes[1]).toEqual(outcomes[0]);
    return outcomes[1]!;
  };
  return {
    database,
    role,
    wire,
    direct,
    proxied: proxied.href,
    same,
    close: async () => {
      await wire.close();
      await database.drop();
    },
  };
}

/** What of an error a client's user can see. */
export function told(error: unknown): Record<string, unknown> {
  const { message, code, position, detail, hint, where, schema, table, constraint } = error as Record<
    string,
    unknown
  >;
  return { message, code, position, detail, hint, where, schema, table, constraint };
}

/** The error that this ends with. */
export async function failure(work: Promise<unknown>): Promise<Record<string, unknown>> {
  return await work.then(
    () => {
      throw new Error('it did not fail');
    },
    (error: unknown) => told(error),
  );
}
