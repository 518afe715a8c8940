import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { withClient } from '../support/postgres.js';
import { startProxy } from '../support/proxy.js';
import { until } from '../support/wait.js';

let d: Durable;

beforeAll(async () => {
  d = await Durable.open();
});
afterAll(() => d?.close());

test('a notification by somebody without any rights stops nothing', async () => {
  await d.app.query('CREATE SEQUENCE runs');
  const stranger = await d.database.createRole('stranger');
  await withClient(d.database.superUrl, async (gate) => {
    await gate.query('SELECT pg_advisory_lock(9)');
    const id = await d.start(`'SELECT nextval(''runs''), pg_advisory_xact_lock(9) /* mine */'`);
    const decoy = await d.start(`'SELECT pg_sleep(60) /* decoy */'`);
    await until(async () => (await d.running('/* mine */')) > 0 && (await d.running('/* decoy */')) > 0);
    await withClient(stranger.url, async (client) => {
      const executor = String(await d.value('SELECT owner FROM _df.instances WHERE id = $1', [id]));
      for (const payload of [executor, id, '', 'no id', executor])
        await client.query('SELECT pg_notify($1, $2)', ['_df_cancel', payload]);
    });
    // notifications come in the order of the commits: when this one has been heard, so have the others
    await d.app.query('SELECT df.cancel($1)', [decoy]);
    await until(async () => (await d.running('/* decoy */')) === 0, { timeoutMs: 3000 });
    expect(await d.running('/* mine */')).toBe(1);
    await gate.query('SELECT pg_advisory_unlock(9)');
    expect(await d.ended(id)).toBe('completed');
  });
  expect(await d.value('SELECT last_value::int FROM runs')).toBe(1);
});

describe('a stop while the database cannot be reached', () => {
  const closers: Array<() => Promise<unknown>> = [];
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });

  test.each([
    ['connections are refused', 'refuse'],
    ['nothing is answered', 'swallow'],
  ] as const)('ends within its time and a few seconds: %s', async (_, how) => {
    const line = await startLine(new URL(d.database.adminUrl));
    closers.push(() => line.close());
    const upstream = new URL(d.database.adminUrl);
    upstream.host = `127.0.0.1:${line.port}`;
    const proxy = await startProxy({
      database: { ...d.database, adminUrl: upstream.href },
      settings: { drain_timeout: '1s', lease_duration: '2s', poll_interval: '50ms' },
    });
    // whatever waits for the database at that moment: steps, their checkpoints, timers, claims
    const role = await d.user('stopped');
    const client = new pg.Client({ connectionString: proxy.url(role) });
    client.on('error', () => {});
    await client.connect();
    const ids: string[] = [];
    for (const graph of [
      `'SELECT pg_sleep(60) /* cut */'`,
      `df.loop('SELECT 1')`,
      'df.loop(df.sleep(0))',
      'df.sleep(1)',
    ]) {
      ids.push(await d.start(graph, client));
    }
    await until(() => d.running('/* cut */'));

    line.cut(how);
    if (how === 'refuse') {
      await until(() => proxy.logLines.some((text) => /trying again|was lost|failed/.test(text)), {
        what: 'the proxy to notice',
      });
    }
    const begun = performance.now();
    await proxy.stop();
    expect(performance.now() - begun).toBeLessThan(1000 + 6000);

    for (const id of ids) await d.root.query('SELECT df.cancel($1)', [id]);
  });
});

/** A line to the server that can be cut: at once and for good, or so that nothing comes through any more. */
async function startLine(to: URL) {
  const sockets = new Set<Socket>();
  let silent = false;
  const server = createServer((client) => {
    const upstream = connect(Number(to.port), to.hostname);
    for (const [from, into] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from);
      from.on('error', () => {});
      from.on('close', () => {
        sockets.delete(from);
        into.destroy();
      });
      from.on('data', (chunk) => {
        if (!silent) into.write(chunk);
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const destroy = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: (server.address() as { port: number }).port,
    cut(how: 'refuse' | 'swallow') {
      if (how === 'swallow') {
        silent = true;
        return;
      }
      server.close();
      destroy();
    },
    async close() {
      destroy();
      if (server.listening) await new Promise((resolve) => server.close(resolve));
    },
  };
}
