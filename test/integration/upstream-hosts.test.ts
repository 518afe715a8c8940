import { readFile } from 'node:fs/promises';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { configuredServers } from '../../src/upstream/configured.js';
import { dial } from '../../src/upstream/dial.js';
import { startForwarder } from '../chaos/forwarder.js';
import { OwnServer } from '../support/own-server.js';
import { program, run } from '../support/program.js';
import { startProxyAt } from '../support/proxy.js';
import { open } from '../support/raw-client.js';
import { sendCancel } from '../support/send-cancel.js';
import { until } from '../support/wait.js';
import { startWireProxy } from '../support/wire-proxy.js';

const PASSWORD = 'of-the-application';
const SETTINGS = { enable_superuser_instances: 'on', upstream_connect_timeout: '3s', poll_interval: '100ms' };

/** Begins as the primary; the tests at the end swap the two. */
let first: OwnServer;
let second: OwnServer;

beforeAll(async () => {
  first = await OwnServer.start({ hba: ['local all all scram-sha-256'] });
  await first.query(`CREATE ROLE app LOGIN PASSWORD '${PASSWORD}'`);
  await first.query(`CREATE ROLE dba LOGIN SUPERUSER PASSWORD '${first.password}'`);
  second = await first.makeStandby();
});

afterAll(async () => {
  await second?.remove();
  await first?.remove();
});

/** An upstream URL of the superuser. */
function url(servers: readonly OwnServer[], parameters: string, role = 'postgres'): string {
  const hosts = servers.map(({ port }) => `127.0.0.1:${port}`).join(',');
  return `postgresql://${role}:${first.password}@${hosts}/postgres?${parameters}`;
}

/** The port of the server that a session of a client would be on. */
async function chosen(servers: readonly OwnServer[], target: string): Promise<number> {
  const upstream = url(servers, `target_session_attrs=${target}`);
  const configured = configuredServers(loadConfig({ flags: { upstream } }).upstream);
  try {
    const { socket, address } = await dial(configured.clients, 3_000);
    socket.destroy();
    return address.port;
  } finally {
    configured.close();
  }
}

async function connect(port: number, user = 'app', password = PASSWORD): Promise<pg.Client> {
  const client = new pg.Client({ host: '127.0.0.1', port, database: 'postgres', user, password });
  client.on('error', () => {});
  await client.connect();
  return client;
}

/** Of the server that a session through the proxy is on. */
async function serverPort(client: pg.Client): Promise<number> {
  return (await client.query('SELECT inet_server_port() AS port')).rows[0].port;
}

describe('of a primary and its standby', () => {
  it.each([
    ['any', 'the first'],
    ['read-write', 'primary'],
    ['primary', 'primary'],
    ['read-only', 'standby'],
    ['standby', 'standby'],
    ['prefer-standby', 'standby'],
  ])('target_session_attrs=%s takes %s, in whichever order they are', async (target, which) => {
    const ports = { primary: first.port, standby: second.port };
    expect([await chosen([first, second], target), await chosen([second, first], target)]).toEqual(
      which === 'the first'
        ? [ports.primary, ports.standby]
        : [ports[which as 'primary'], ports[which as 'primary']],
    );
  });

  it('none is good: each is named with its reason', async () => {
    await expect(chosen([first], 'standby')).rejects.toThrow(
      `no server for target_session_attrs=standby: 127.0.0.1:${first.port}: server is not in hot standby mode`,
    );
    await expect(chosen([second], 'read-write')).rejects.toThrow(
      `127.0.0.1:${second.port}: session is read-only`,
    );
  });

  it('none can be asked: a client hears that, and not who was to ask and what for', async () => {
    const upstream = url([first], 'target_session_attrs=primary', 'somebody');
    const servers = configuredServers(loadConfig({ flags: { upstream } }).upstream).clients;
    const proxy = await startWireProxy(first.url(), { upstream: servers });
    await expect(connect(proxy.port)).rejects.toMatchObject({
      code: '08006',
      message: `no server for target_session_attrs=primary: 127.0.0.1:${first.port}: it could not be asked what it is`,
    });
    expect(proxy.logLines.join()).toContain('password authentication failed');
    await proxy.close();
    servers.close();
  });

  it('prefer-standby is content with the primary', async () => {
    expect(await chosen([first], 'prefer-standby')).toBe(first.port);
  });

  it('clients read on the standby while the engine writes on the primary, and a cancel finds its host', async () => {
    const proxy = await startProxyAt(url([first, second], 'target_session_attrs=standby'), SETTINGS);
    const other = await startProxyAt(url([first, second], 'target_session_attrs=read-write'), SETTINGS);
    try {
      const reader = await connect(proxy.port);
      expect(await serverPort(reader)).toBe(second.port);
      for (const port of [proxy.port, other.port]) {
        // the second one has never seen the key: it asks all hosts
        const text = `SELECT pg_sleep(60), ${port}`;
        const sleeping = reader.query(text).catch((error: unknown) => error);
        await until(
          async () =>
            (await second.query(`SELECT FROM pg_stat_activity WHERE query = '${text}'`)).rowCount === 1,
          { what: 'the statement on the standby' },
        );
        await sendCancel(port, reader);
        expect(await sleeping).toMatchObject({ code: '57014' });
      }
      await reader.end();
    } finally {
      await proxy.stop();
      await other.stop();
    }
  });
});

describe('a proxy of several processes', () => {
  it('chooses in each of them, and a cancel finds its host through any', async () => {
    const upstream = url([second, first], 'target_session_attrs=read-write');
    const proxy = program([
      ...['serve', '--listen', '127.0.0.1:0', '--upstream', upstream],
      ...['--set', 'workers=2', '--set', 'enable_superuser_instances=on'],
    ]);
    try {
      const port = Number((await proxy.line(/listening on 127\.0\.0\.1:(\d+)/))[1]);
      const clients = await Promise.all([1, 2, 3, 4].map(() => connect(port)));
      for (const client of clients) expect(await serverPort(client)).toBe(first.port);
      const sleeping = clients[0]!.query('SELECT pg_sleep(60)').catch((error: unknown) => error);
      await until(
        async () =>
          (await first.query("SELECT FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'")).rowCount ===
          1,
        { what: 'the statement' },
      );
      // handed out in turn: one of the two reaches the process that has not seen the key
      await Promise.all([sendCancel(port, clients[0]!), sendCancel(port, clients[0]!)]);
      expect(await sleeping).toMatchObject({ code: '57014' });
      const watches = await first.query(
        "SELECT FROM pg_stat_activity WHERE application_name = 'pg_durable:watch'",
      );
      expect(watches.rowCount).toBe(3);
      for (const client of clients) await client.end();
    } finally {
      proxy.child.kill('SIGTERM');
      await proxy.ended;
    }
    expect(proxy.stderr()).not.toContain(first.password);
  });
});

describe('hosts that cannot be reached', () => {
  it('are passed over, and all named if there is no other', async () => {
    const nobody = 'postgresql://postgres@127.0.0.1:1,[::1]:1/postgres';
    const servers = configuredServers(loadConfig({ flags: { upstream: nobody } }).upstream);
    await expect(dial(servers.clients, 1_000)).rejects.toThrow(
      /^could not connect to any server: 127\.0\.0\.1:1: .+; \[::1\]:1: .+$/,
    );
    const upstream = url([first], '').replace('127.0.0.1', '127.0.0.1:1,127.0.0.1');
    const found = await dial(configuredServers(loadConfig({ flags: { upstream } }).upstream).clients, 1_000);
    found.socket.destroy();
    expect(found.address.port).toBe(first.port);
  });
});

describe('TCP keep-alive', () => {
  const linux = process.platform === 'linux';
  if (!linux) console.log('skipped: upstream-hosts.test.ts, keep-alive: it is read from /proc/net/tcp');

  /** Hundredths of a second until the kernel probes the connection; undefined if it never will. */
  async function probesIn(localPort: number, remotePort: number): Promise<number | undefined> {
    const hex = (port: number) => `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
    const lines = (await readFile('/proc/net/tcp', 'utf8'))
      .split('\n')
      .map((line) => line.trim().split(/\s+/));
    const line = lines.find(
      (each) => each[1]?.endsWith(hex(localPort)) && each[2]?.endsWith(hex(remotePort)),
    );
    const [kind, when] = line![5]!.split(':');
    return kind === '02' ? Number.parseInt(when!, 16) : undefined;
  }

  it.skipIf(!linux).each([
    ['', 3000],
    ['keepalives_idle=600', 60_000],
    ['keepalives=0', undefined],
  ])('of connections to the server is as the URL says: %s', async (parameters, expected) => {
    const configured = configuredServers(
      loadConfig({ flags: { upstream: url([first], parameters) } }).upstream,
    );
    const { socket } = await dial(configured.clients, 3_000);
    const found = await probesIn(socket.localPort!, first.port);
    socket.destroy();
    configured.close();
    if (expected === undefined) expect(found).toBe(undefined);
    else {
      expect(found).toBeLessThanOrEqual(expected);
      expect(found).toBeGreaterThan(expected - 1000);
    }
  });

  it.skipIf(!linux)('finds clients that are gone', async () => {
    const proxy = await startWireProxy(first.url());
    const socket = await open(proxy.host, proxy.port);
    await until(() => proxy.proxy.sessions() === 1);
    expect(await probesIn(proxy.port, socket.localPort!)).toBeGreaterThan(2000);
    socket.destroy();
    await proxy.close();
  });
});

describe('a server on a Unix socket', () => {
  it('is worked with like any other', async () => {
    await first.stop();
    await first.start({ unix_socket_directories: first.dataDir });
    const upstream = `postgresql://postgres:${first.password}@/postgres?host=${first.dataDir}&port=${first.port}&sslmode=require`;
    const proxy = await startProxyAt(upstream, SETTINGS);
    try {
      const client = await connect(proxy.port, 'postgres', first.password);
      expect((await client.query('SELECT inet_server_port() AS port')).rows).toEqual([{ port: null }]);
      const { rows } = await client.query("SELECT df.start('SELECT 1' ~> 'SELECT 2') AS id");
      await completed(client, rows[0].id);
      await client.end();
      expect((await run(['doctor', '--upstream', upstream])).stdout).toMatch(
        /^ok +connection by a Unix socket$/m,
      );
    } finally {
      await proxy.stop();
    }
  });
});

describe('a role or password that is changed while the proxy runs', () => {
  it('of the admin is an error in the log, tried again until it is right', async () => {
    // the schemas belong to who has installed them, and no other admin role works with them
    const uninstall = () => first.query('DROP SCHEMA IF EXISTS df, _df CASCADE');
    await uninstall();
    const proxy = await startProxyAt(url([first], '', 'dba'), SETTINGS);
    const logged = () => proxy.logLines.filter((line) => line.includes('refuses the admin role'));
    try {
      const client = await connect(proxy.port, 'postgres', first.password);
      await first.query("ALTER ROLE dba PASSWORD 'another'");
      await first.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'dba'");
      const { rows } = await client.query("SELECT df.start('SELECT 1') AS id");
      await until(() => logged().length > 0, { what: 'the error in the log' });
      expect(JSON.parse(logged()[0]!)).toMatchObject({ level: 50, code: '28P01' });
      await first.query(`ALTER ROLE dba PASSWORD '${first.password}'`);
      await completed(client, rows[0].id);
      await client.end();
    } finally {
      await proxy.stop();
      await uninstall();
    }
  });
});

describe('a server that becomes read-only, and writable again', () => {
  it('is left and found again without a restart of the proxy', async () => {
    const proxy = await startProxyAt(url([first], 'target_session_attrs=read-write'), SETTINGS);
    const attempt = async () => {
      const client = await connect(proxy.port);
      await client.end();
    };
    try {
      await attempt();
      await first.query('ALTER SYSTEM SET default_transaction_read_only = on');
      await first.query('SELECT pg_reload_conf()');
      await until(
        async () =>
          await attempt().then(
            () => false,
            (error: { code: string; message: string }) =>
              error.code === '08006' && error.message.includes('session is read-only'),
          ),
        { what: 'the refusal' },
      );
      const root = new pg.Client({
        connectionString: first.url(),
        options: '-c default_transaction_read_only=off',
      });
      await root.connect();
      await root.query('ALTER SYSTEM RESET default_transaction_read_only');
      await root.query('SELECT pg_reload_conf()');
      await root.end();
      await until(() => attempt().then(() => true), { what: 'a session' });
    } finally {
      await proxy.stop();
    }
  });
});

describe('when the standby takes over', () => {
  it('clients, steps and management follow, and instances go on; the former primary is left alone', async () => {
    const proxy = await startProxyAt(url([first, second], 'target_session_attrs=read-write'), SETTINGS);
    try {
      const before = await connect(proxy.port);
      expect(await serverPort(before)).toBe(first.port);
      await first.query("SELECT df.grant_usage('app')");
      // A test before has restarted the primary: the standby has to be connected again before the clock runs.
      await replayed(second, first);
      const { rows } = await before.query(
        "SELECT df.start('SELECT 1' ~> df.sleep(2) ~> 'SELECT inet_server_port() AS port' |=> 'last') AS id",
      );
      const id = rows[0].id as string;
      await replayed(second, first);

      await first.stop();
      await expect(connect(proxy.port)).rejects.toMatchObject({ code: '08006' });
      await second.query('SELECT pg_promote()');
      const after = await until(() => connect(proxy.port), { what: 'a session on the new primary' });
      expect(await serverPort(after)).toBe(second.port);
      await completed(after, id);
      const { rows: results } = await after.query('SELECT df.result($1) AS result', [id]);
      expect(JSON.parse(results[0].result).rows).toEqual([{ port: second.port }]);
      await after.end();

      await first.follow(second);
      await first.start();
      const later = await connect(proxy.port);
      expect(await serverPort(later)).toBe(second.port);
      await later.end();
    } finally {
      await proxy.stop();
    }
  });
});

describe('a primary that answers no more, without closing anything', () => {
  it('is left for the standby that was promoted, with all that the proxy had open there', async () => {
    // The test before has swapped the two.
    const line = await startForwarder({ host: '127.0.0.1', port: second.port });
    const upstream = url([first], 'target_session_attrs=primary').replace('@', `@127.0.0.1:${line.port},`);
    const proxy = await startProxyAt(upstream, { ...SETTINGS, upstream_connect_timeout: '1s' });
    try {
      const before = await connect(proxy.port);
      expect(await serverPort(before)).toBe(second.port);
      await replayed(first, second);
      const { rows } = await before.query(
        "SELECT df.start(df.sleep(2) ~> 'SELECT inet_server_port() AS port' |=> 'last') AS id",
      );
      await replayed(first, second);
      line.rule = () => 'hold';
      await first.query('SELECT pg_promote()');
      const after = await until(() => connect(proxy.port), { timeoutMs: 30_000, what: 'a session' });
      expect(await serverPort(after)).toBe(first.port);
      await completed(after, rows[0].id);
      expect(proxy.logLines.some((text) => text.includes('server is no longer the one to work with'))).toBe(
        true,
      );
      await after.end();
    } finally {
      await line.close();
      await proxy.stop();
    }
  });
});

async function completed(client: pg.Client, id: string): Promise<void> {
  await until(
    async () => (await client.query('SELECT df.status($1) AS status', [id])).rows[0].status === 'completed',
    { timeoutMs: 30_000, what: `the end of instance ${id}` },
  );
}

/** Until the standby has everything that the primary has now. */
async function replayed(standby: OwnServer, primary: OwnServer): Promise<void> {
  const { rows } = await primary.query('SELECT pg_current_wal_lsn()::text AS now');
  await until(
    async () =>
      (await standby.query(`SELECT pg_last_wal_replay_lsn() >= '${rows[0].now}' AS done`)).rows[0].done,
    { what: 'the standby' },
  );
}
