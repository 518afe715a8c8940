/** A host whose name has two addresses, with a server behind each: a cancel request must find the one of the session. */
import { connect, createServer, type Server } from 'node:net';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { configuredServers } from '../../src/upstream/configured.js';
import { serverUrl, withClient } from '../support/postgres.js';
import { sendCancel } from '../support/send-cancel.js';
import { until } from '../support/wait.js';
import { startWireProxy, type WireProxy } from '../support/wire-proxy.js';

const NAME = 'two-addresses.test';
const FIRST = '127.0.0.1';
const SECOND = '127.0.0.2';
/** What the name stands for at the moment. */
const name = vi.hoisted(() => ({ addresses: [] as string[] }));

vi.mock('node:dns/promises', async (original) => ({
  ...(await original<typeof import('node:dns/promises')>()),
  lookup: async () => name.addresses.map((address) => ({ address, family: 4 })),
}));

const linux = process.platform === 'linux';
if (!linux)
  console.log('skipped: cancel-address.test.ts needs 127.0.0.2, which only Linux has without set-up');

describe.skipIf(!linux)('a name with two addresses', () => {
  const listeners: Server[] = [];
  /** Connections to the first address, where the session is not. */
  let strays = 0;

  function listen(address: string, port: number, onConnection: () => void = () => {}): Promise<number> {
    const to = new URL(serverUrl());
    const server = createServer((client) => {
      onConnection();
      const upstream = connect(Number(to.port), to.hostname);
      for (const socket of [client, upstream]) socket.on('error', () => {});
      client.pipe(upstream).pipe(client);
    });
    listeners.push(server);
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, address, () => resolve((server.address() as { port: number }).port));
    });
  }

  function proxyTo(port: number): Promise<WireProxy> {
    const url = new URL(serverUrl());
    url.host = `${NAME}:${port}`;
    const { upstream } = loadConfig({ flags: { upstream: url.href } });
    return startWireProxy(serverUrl(), { upstream: configuredServers(upstream).clients });
  }

  const proxies: WireProxy[] = [];
  beforeAll(async () => {
    // A port that is free at both.
    for (let port: number | undefined; port === undefined; ) {
      const found = await listen(SECOND, 0);
      port = await listen(FIRST, found, () => strays++).catch(() => undefined);
      if (port !== undefined) proxies.push(await proxyTo(port), await proxyTo(port));
    }
  });
  afterAll(async () => {
    for (const proxy of proxies) await proxy.close();
    for (const listener of listeners) listener.close();
  });

  it('the request goes to the address that the session is on; from a proxy that does not know it, to each', async () => {
    const [own, other] = proxies as [WireProxy, WireProxy];
    const { username, password } = new URL(serverUrl());
    const client = new pg.Client({
      ...{ host: own.host, port: own.port, user: username, password, database: 'postgres' },
    });
    name.addresses = [SECOND];
    await client.connect();
    // From now on the name leads somewhere else first.
    name.addresses = [FIRST, SECOND];
    for (const [through, expected] of [
      [own, 0],
      [other, 1],
    ] as const) {
      const text = `SELECT pg_sleep(60), ${through.port}`;
      const sleeping = client.query(text).catch((error: unknown) => error);
      await until(
        () =>
          withClient(serverUrl(), async (root) => {
            const found = await root.query('SELECT FROM pg_stat_activity WHERE query = $1', [text]);
            return found.rowCount === 1;
          }),
        { what: 'the statement' },
      );
      await sendCancel(through.port, client);
      expect(await sleeping).toMatchObject({ code: '57014' });
      expect(strays).toBe(expected);
    }
    await client.end();
  });
});
