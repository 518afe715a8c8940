import { readFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { createSecureContext, TLSSocket } from 'node:tls';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { withAdminConnection } from '../../src/admin-connection.js';
import { loadConfig } from '../../src/config/load.js';
import { configuredServers } from '../../src/upstream/configured.js';
import { dial } from '../../src/upstream/dial.js';
import { login } from '../../src/upstream/login.js';
import { startupPacket } from '../../src/wire/startup.js';
import {
  type Authority,
  type Certificate,
  certificateDirectory,
  createAuthority,
  opensslMissing,
} from '../support/certificates.js';
import { query } from '../support/frontend.js';
import { OwnServer } from '../support/own-server.js';
import { serverUrl } from '../support/postgres.js';
import { run } from '../support/program.js';
import { startProxyAt } from '../support/proxy.js';
import { RawClient } from '../support/raw-client.js';
import { sendCancel } from '../support/send-cancel.js';
import { until } from '../support/wait.js';
import { startWireProxy } from '../support/wire-proxy.js';

const missing = opensslMissing();
if (missing !== undefined) console.log(`skipped, TLS towards the server: ${missing}`);

let directory: ReturnType<typeof certificateDirectory> | undefined;
let server: OwnServer;
let authority: Authority;
let stranger: Authority;
let client: Certificate;
let unknownClient: Certificate;
/** Of the server. */
let major: number;

beforeAll(async () => {
  if (missing !== undefined) return;
  directory = certificateDirectory();
  authority = createAuthority(directory.path, 'authority');
  stranger = createAuthority(directory.path, 'stranger');
  client = authority.issue('bearer');
  unknownClient = stranger.issue('bearer2');
  server = await OwnServer.start({
    tls: { server: authority.issue('server', ['DNS:localhost']), caFile: authority.certFile },
    hba: ['hostssl all bearer 127.0.0.1/32 cert', 'host all bearer 127.0.0.1/32 reject'],
  });
  await server.query('CREATE ROLE bearer LOGIN');
  const { rows } = await server.query("SELECT current_setting('server_version_num')::int / 10000 AS major");
  major = rows[0].major;
});

afterAll(async () => {
  await server?.remove();
  directory?.remove();
});

/** The server's view of a connection made by the configured dial, and ours. */
async function connection(upstream: string) {
  const config = loadConfig({ flags: { upstream }, sets: ['upstream_connect_timeout=5s'] });
  return await withAdminConnection(config, async (admin, { protection, address }) => {
    const { rows } = await admin.query<{ ssl: boolean; role: string }>(
      'SELECT ssl, current_user::text AS role FROM pg_stat_ssl WHERE pid = pg_backend_pid()',
    );
    return { protection, ...rows[0]!, port: address.port };
  });
}

const at = (host: string, parameters = '') =>
  server.url().replace('127.0.0.1', host) + (parameters === '' ? '' : `?${parameters}`);

describe.skipIf(missing !== undefined)('a server with TLS', () => {
  it.for([
    ['localhost', '', 'encrypted'],
    ['127.0.0.1', 'sslmode=disable', 'plain'],
    ['127.0.0.1', 'sslmode=allow', 'encrypted'],
    ['127.0.0.1', 'sslmode=prefer', 'encrypted'],
    ['127.0.0.1', 'sslmode=require', 'encrypted'],
    ['127.0.0.1', 'sslmode=require&sslnegotiation=direct', 'encrypted'],
    ['127.0.0.1', 'sslmode=require&sslrootcert=AUTHORITY', 'verified'],
    ['127.0.0.1', 'sslmode=verify-ca&sslrootcert=AUTHORITY', 'verified'],
    ['localhost', 'sslmode=verify-full&sslrootcert=AUTHORITY', 'verified'],
    ['localhost', 'sslmode=verify-full&sslrootcert=AUTHORITY&sslnegotiation=direct', 'verified'],
  ] as const)('%s %s is %s', async ([host, parameters, protection], context) => {
    if (parameters.includes('direct') && major < 17) {
      console.log(`skipped, ${parameters}: a server of version ${major} knows no direct TLS`);
      context.skip();
    }
    const url = at(host, parameters.replace('AUTHORITY', authority.certFile));
    expect(await connection(url)).toMatchObject({ protection, ssl: protection !== 'plain' });
  });

  it.each([
    ['127.0.0.1', 'sslmode=require&sslrootcert=STRANGER', /not issued by an authority in sslrootcert/],
    ['127.0.0.1', 'sslmode=verify-ca&sslrootcert=STRANGER', /not issued by an authority in sslrootcert/],
    ['localhost', 'sslmode=verify-full&sslrootcert=STRANGER', /not issued by an authority in sslrootcert/],
    ['localhost', 'sslmode=verify-full&sslrootcert=system', /not issued by an authority in sslrootcert/],
    ['127.0.0.1', 'sslmode=verify-full&sslrootcert=AUTHORITY', /does not match the host name/],
  ])('%s %s is refused', async (host, parameters, reason) => {
    const url = at(
      host,
      parameters.replace('AUTHORITY', authority.certFile).replace('STRANGER', stranger.certFile),
    );
    await expect(connection(url)).rejects.toThrow(reason);
  });

  it.each([
    ['', 'SCRAM-SHA-256-PLUS'],
    ['channel_binding=require', 'SCRAM-SHA-256-PLUS'],
    ['channel_binding=disable', 'SCRAM-SHA-256'],
  ])('a login over it is bound to the channel: sslmode=require %s', async (parameter, mechanism) => {
    const url = at('127.0.0.1', `sslmode=require&${parameter}`);
    const { upstream } = loadConfig({ flags: { upstream: url } });
    const { socket } = await dial(configuredServers(upstream).clients, 5_000);
    const sent: string[] = [];
    const write = socket.write.bind(socket);
    socket.write = ((bytes: Buffer) => {
      sent.push(bytes.toString('latin1'));
      return write(bytes);
    }) as typeof socket.write;
    await login({
      socket,
      startup: startupPacket({ user: 'postgres', database: 'postgres' }),
      user: 'postgres',
      answer: async () => ({ password: server.password }),
    });
    expect(sent.some((text) => text.includes(`${mechanism}\0`))).toBe(true);
    socket.destroy();
    expect(await connection(url)).toMatchObject({ ssl: true });
  });

  it('somebody in between with a certificate of his own gets no login that is bound to the channel', async () => {
    const between = await decrypting(stranger.issue('between', ['DNS:localhost']), server.port);
    const url = (parameters: string) =>
      at('127.0.0.1', parameters).replace(`:${server.port}/`, `:${between.port}/`);
    try {
      expect(await connection(url('sslmode=require&channel_binding=disable'))).toMatchObject({ ssl: false });
      await expect(connection(url('sslmode=require&channel_binding=require'))).rejects.toThrow(
        /channel binding required, but the server does not offer it/,
      );
      await expect(
        connection(`${url('sslmode=verify-ca')}&sslrootcert=${authority.certFile}`),
      ).rejects.toThrow(/not issued by an authority/);
    } finally {
      await between.close();
    }
  });

  it('takes a client certificate, and only one of its authority', async () => {
    const base = `postgresql://bearer@127.0.0.1:${server.port}/postgres`;
    const by = ({ certFile, keyFile }: Certificate) =>
      `${base}?sslmode=require&sslcert=${certFile}&sslkey=${keyFile}`;
    expect(await connection(by(client))).toMatchObject({ role: 'bearer', ssl: true });
    await expect(connection(`${base}?sslmode=require`)).rejects.toThrow(/valid client certificate/);
    await expect(connection(by(unknownClient))).rejects.toThrow();
    await expect(connection(`${base}?sslmode=disable`)).rejects.toMatchObject({ code: '28000' });
  });

  it('has its sessions, steps, management and cancel requests encrypted, and doctor says so', async () => {
    const forwarder = await recordOpenings(server.port);
    const parameters = `sslmode=verify-full&sslrootcert=${authority.certFile}`;
    const url = `postgresql://postgres:${server.password}@localhost:${forwarder.port}/postgres?${parameters}`;
    const proxy = await startProxyAt(url, { enable_superuser_instances: 'on' });
    try {
      const app = new pg.Client({
        connectionString: `postgresql://postgres:${server.password}@127.0.0.1:${proxy.port}/postgres`,
      });
      await app.connect();
      const { rows } = await app.query("SELECT df.start('SELECT 1' ~> 'SELECT 2') AS id");
      await until(
        async () => (await app.query('SELECT df.status($1) AS s', [rows[0].id])).rows[0].s === 'completed',
        { what: 'the end of the instance' },
      );
      const { rows: counts } = await app.query(
        `SELECT count(*) FILTER (WHERE ssl)::int AS encrypted, count(*) FILTER (WHERE NOT ssl)::int AS plain
         FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE backend_type = 'client backend'`,
      );
      expect(counts[0].plain).toBe(0);
      expect(counts[0].encrypted).toBeGreaterThanOrEqual(3);
      const sleeping = app.query('SELECT pg_sleep(60)').catch((error: unknown) => error);
      await until(
        async () =>
          (await server.query("SELECT FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'"))
            .rowCount === 1,
        { what: 'the statement on the server' },
      );
      await sendCancel(proxy.port, app);
      expect(await sleeping).toMatchObject({ code: '57014' });
      await app.end();
      expect(new Set(forwarder.openings)).toEqual(new Set(['SSLRequest']));
      const report = await run(['doctor', '--upstream', url]);
      expect(report.stdout).toMatch(
        /^ok +encrypted \(TLSv1\.3\), server certificate verified: its host name$/m,
      );
    } finally {
      await proxy.stop();
      await forwarder.close();
    }
  });

  it('loses nothing at the ends of a session: a client that half-closes and reads late, a FATAL, a reset', async () => {
    const upstream = at('localhost', `sslmode=verify-full&sslrootcert=${authority.certFile}`);
    const servers = configuredServers(loadConfig({ flags: { upstream } }).upstream);
    const wire = await startWireProxy(server.url(), { upstream: servers.clients });
    const login = () =>
      RawClient.login({
        ...{ host: wire.host, port: wire.port, database: 'postgres' },
        ...{ user: 'postgres', password: server.password },
      });
    const backends = async () =>
      (await server.query("SELECT FROM pg_stat_activity WHERE backend_type = 'client backend'")).rowCount! -
      1;
    try {
      const large = "SELECT repeat('x', 1000) FROM generate_series(1, 5000)";
      const late = await login();
      late.forget();
      late.socket.pause();
      late.socket.end(query(large));
      // The server has said everything, or waits for the reader.
      await until(
        async () =>
          (await backends()) === 0 ||
          (await server.query("SELECT FROM pg_stat_activity WHERE wait_event = 'ClientWrite'")).rowCount ===
            1,
        { what: 'the answer on its way' },
      );
      late.socket.resume();
      await until(() => late.ended, { what: 'the end of the answer' });
      expect(late.count('D')).toBe(5000);
      expect(late.types().slice(-2)).toBe('CZ');

      const ended = await login();
      ended.forget();
      await server.query('SELECT pg_terminate_backend(pid) FROM pg_stat_ssl WHERE ssl');
      await until(() => ended.closed, { what: 'the close' });
      expect(ended.types()).toBe('E');
      expect(ended.error()).toMatchObject({ code: '57P01' });

      const reset = await login();
      reset.send(query(large), query(large));
      await reset.waitFor('D', 1);
      reset.socket.resetAndDestroy();
      await until(async () => wire.proxy.sessions() === 0 && (await backends()) === 0, {
        what: 'the end of all sessions',
      });
    } finally {
      await wire.close();
    }
  });

  it('that restarts, the executor finds again', async () => {
    const parameters = `sslmode=verify-full&sslrootcert=${authority.certFile}`;
    const proxy = await startProxyAt(at('localhost', parameters), { enable_superuser_instances: 'on' });
    const connect = async () => {
      const app = new pg.Client({
        connectionString: `postgresql://postgres:${server.password}@127.0.0.1:${proxy.port}/postgres`,
      });
      app.on('error', () => {});
      await app.connect();
      return app;
    };
    try {
      const before = await connect();
      const { rows } = await before.query("SELECT df.start('SELECT 1' ~> df.sleep(1) ~> 'SELECT 2') AS id");
      await server.stop();
      await expect(connect()).rejects.toMatchObject({
        code: '08006',
        message: expect.stringMatching(/could not connect to server at localhost:\d+: connection refused/),
      });
      await server.start();
      const after = await connect();
      await until(
        async () => (await after.query('SELECT df.status($1) AS s', [rows[0].id])).rows[0].s === 'completed',
        { timeoutMs: 30_000, what: 'the end of the instance' },
      );
      await after.end();
    } finally {
      await proxy.stop();
    }
  });
});

describe('a server without TLS', () => {
  it('is used as it is with prefer, and refused by everything stricter', async () => {
    expect(await connection(serverUrl())).toMatchObject({ protection: 'plain', ssl: false });
    await expect(connection(`${serverUrl()}?sslmode=require`)).rejects.toThrow(
      /server does not support SSL, but sslmode=require requires it/,
    );
    await expect(connection(`${serverUrl()}?sslmode=require&sslnegotiation=direct`)).rejects.toThrow();
  });
});

describe('somebody in between', () => {
  const parts: Server[] = [];
  afterAll(() => {
    for (const part of parts) part.close();
  });
  /** Answers each connection with these bytes and says nothing more. */
  async function answering(bytes: Buffer): Promise<number> {
    const part = createServer((socket) => {
      socket.on('error', () => {});
      if (bytes.length > 0) socket.once('data', () => socket.write(bytes));
    });
    parts.push(part);
    await new Promise<void>((resolve) => part.listen(0, '127.0.0.1', resolve));
    return (part.address() as { port: number }).port;
  }
  const dialled = async (port: number, parameters: string) => {
    const { upstream } = loadConfig({
      flags: { upstream: `postgresql://a@127.0.0.1:${port}/x?${parameters}` },
    });
    return await dial(configuredServers(upstream).clients, 500);
  };

  it('who sends bytes behind the answer to SSLRequest gets no session', async () => {
    const port = await answering(Buffer.from('SR\0\0\0\x08\0\0\0\0'));
    await expect(dialled(port, 'sslmode=prefer')).rejects.toThrow(/unencrypted data after SSL response/);
  });

  it('who answers something else gets none either', async () => {
    const port = await answering(Buffer.from('H'));
    await expect(dialled(port, 'sslmode=prefer')).rejects.toThrow(/invalid response to SSL negotiation/);
  });

  it('who does not answer costs the time-out and no more', async () => {
    const port = await answering(Buffer.alloc(0));
    const began = performance.now();
    await expect(dialled(port, 'sslmode=require')).rejects.toThrow(/no answer within 500 ms/);
    expect(performance.now() - began).toBeLessThan(5_000);
  });
});

/** Ends the TLS of whoever connects and passes the rest on, unencrypted. */
async function decrypting({ certFile, keyFile }: Certificate, port: number) {
  const secureContext = createSecureContext({ cert: readFileSync(certFile), key: readFileSync(keyFile) });
  const sockets = new Set<Socket>();
  const part = createServer((raw) => {
    sockets.add(raw.on('error', () => {}));
    raw.once('data', () => {
      raw.write('S');
      const from = new TLSSocket(raw, { isServer: true, secureContext });
      const to = connect({ port, host: '127.0.0.1' });
      sockets.add(to.on('error', () => {}));
      from.on('error', () => {});
      from.pipe(to).pipe(from);
    });
  });
  await new Promise<void>((resolve) => part.listen(0, '127.0.0.1', resolve));
  return {
    port: (part.address() as { port: number }).port,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => part.close(resolve));
    },
  };
}

/** A forwarder that notes what kind of packet each connection opens with. */
async function recordOpenings(port: number) {
  const openings: string[] = [];
  const sockets = new Set<Socket>();
  const names = new Map([
    [80877103, 'SSLRequest'],
    [80877102, 'CancelRequest'],
    [196608, 'StartupMessage'],
  ]);
  const forwarder = createServer({ allowHalfOpen: true }, (from) => {
    const to = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    for (const socket of [from, to]) {
      sockets.add(socket);
      socket.on('error', () => {});
    }
    from.once('data', (first: Buffer) => {
      openings.push(names.get(first.readInt32BE(4)) ?? `0x${first.readUInt32BE(4).toString(16)}`);
    });
    from.pipe(to);
    to.pipe(from);
  });
  await new Promise<void>((resolve) => forwarder.listen(0, '127.0.0.1', resolve));
  return {
    port: (forwarder.address() as { port: number }).port,
    openings,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => forwarder.close(resolve));
    },
  };
}
