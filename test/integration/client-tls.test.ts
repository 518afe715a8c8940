import { execFile } from 'node:child_process';
import { chmodSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { BlockList, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls, type TLSSocket, type ConnectionOptions as TlsOptions } from 'node:tls';
import { promisify } from 'node:util';
import pg from 'pg';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ClientTlsConfig } from '../../src/config/config.js';
import { createClientTls } from '../../src/proxy/client-tls.js';
import { readClientTls } from '../../src/proxy/client-tls-files.js';
import { FieldCode, fieldText, readFields } from '../../src/wire/fields.js';
import { message } from '../../src/wire/message.js';
import { cancelPacket, startupPacket } from '../../src/wire/startup.js';
import {
  type Authority,
  type Certificate,
  certificateDirectory,
  createAuthority,
  opensslMissing,
} from '../support/certificates.js';
import { query } from '../support/frontend.js';
import {
  asSuperuser,
  createTestDatabase,
  type TestDatabase,
  type TestRole,
  urlFor,
} from '../support/postgres.js';
import { ipv4Header } from '../support/proxy-header.js';
import { open, RawClient, readToEnd } from '../support/raw-client.js';
import { until } from '../support/wait.js';
import { startWireProxy, type WireProxy } from '../support/wire-proxy.js';

const missing = opensslMissing();
if (missing !== undefined) console.log(`skipped: test/integration/client-tls.test.ts ${missing}`);

const SSL_REQUEST = Buffer.from('0000000804d2162f', 'hex');
const GSSENC_REQUEST = Buffer.from('0000000804d21630', 'hex');

describe.skipIf(missing !== undefined)('TLS for clients', () => {
  let db: TestDatabase;
  let role: TestRole;
  let files: ReturnType<typeof certificateDirectory>;
  let authority: Authority;
  let server: Certificate;
  let wire: WireProxy;

  beforeAll(async () => {
    files = certificateDirectory();
    authority = createAuthority(files.path);
    server = authority.issue('proxy', ['DNS:localhost', 'IP:127.0.0.1']);
    db = await createTestDatabase();
    role = await db.createRole('tls');
    wire = await startTls();
  });
  afterAll(async () => {
    await wire?.close();
    await db?.drop();
    files?.remove();
  });

  function config(change: Partial<ClientTlsConfig> = {}): ClientTlsConfig {
    return { mode: 'allow', ...server, caFile: undefined, clientCertificate: 'none', ...change };
  }

  function startTls(
    change: Partial<ClientTlsConfig> = {},
    options: Parameters<typeof startWireProxy>[1] = {},
  ) {
    return startWireProxy(urlFor(db.name), {
      clientTls: createClientTls(readClientTls(config(change))),
      ...options,
    });
  }

  /** A TLS connection; `direct` without asking first. */
  async function openTls(
    to: WireProxy,
    direct: boolean,
    options: TlsOptions = {},
    header: Buffer = Buffer.alloc(0),
  ): Promise<TLSSocket> {
    const socket = await open(to.host, to.port);
    if (header.length > 0) socket.write(header);
    if (!direct) {
      socket.write(SSL_REQUEST);
      expect((await next(socket)).toString()).toBe('S');
    }
    return await secured(socket, options);
  }

  function secured(socket: Socket, options: TlsOptions = {}): Promise<TLSSocket> {
    return new Promise((resolve, reject) => {
      const secure = connectTls({
        socket,
        ca: authority.cert,
        host: 'localhost',
        servername: 'localhost',
        ALPNProtocols: ['postgresql'],
        ...options,
      });
      secure.once('error', reject);
      secure.once('secureConnect', () => {
        secure.off('error', reject);
        secure.on('error', () => {});
        resolve(secure);
      });
    });
  }

  /** Logs in on a connection that is open. */
  async function logIn(socket: Socket, as: TestRole = role): Promise<RawClient> {
    const client = new RawClient(socket);
    client.read();
    client.send(startupPacket({ user: as.name, database: db.name }));
    await client.waitFor('R');
    client.send(message(0x70, Buffer.from(`${as.password}\0`)));
    await client.ready();
    return client;
  }

  async function noSessions(of: WireProxy = wire): Promise<void> {
    await until(() => of.proxy.sessions() === 0, { what: 'all sessions to end' });
  }

  async function noBackends(): Promise<void> {
    await until(
      () =>
        asSuperuser(db.name, async (client) => {
          const { rows } = await client.query('SELECT 1 FROM pg_stat_activity WHERE usename = $1', [
            role.name,
          ]);
          return rows.length === 0;
        }),
      { what: 'the server processes to end' },
    );
  }

  test('pg and postgres connect, verify the name, and carry a megabyte each way', async () => {
    const url = `postgresql://${role.name}:${role.password}@localhost:${wire.port}/${db.name}`;
    const text = 'x'.repeat(1_000_000);
    const client = new pg.Client({
      ...{ host: '127.0.0.1', port: wire.port, user: role.name, password: role.password, database: db.name },
      ssl: { ca: authority.cert, servername: 'localhost' },
    });
    await client.connect();
    const { rows } = await client.query('SELECT $1::text AS same', [text]);
    expect(rows[0].same).toBe(text);
    await client.end();
    const sql = postgres(url, { ssl: { ca: authority.cert }, max: 3 });
    const all = await Promise.all(
      Array.from({ length: 9 }, (_, i) => sql`SELECT ${i}::int AS i, ${text} AS same`),
    );
    expect(all.every(([row], i) => row!.i === i && row!.same === text)).toBe(true);
    await sql.end();
    await noSessions();
  });

  test.each([
    ['SSLRequest', false],
    ['direct TLS', true],
  ])('%s: a session with everything in it', async (_, direct) => {
    const socket = await openTls(wire, direct);
    expect(socket.getProtocol()).toBe('TLSv1.3');
    const client = await logIn(socket);
    client.forget();
    client.send(query("SELECT length(repeat('x', 3000000))"), query('SELECT 2'));
    await client.ready(2);
    expect(client.types()).toBe('TDCZTDCZ');
    await client.end();
    await noSessions();
  });

  test('TLS 1.2 is taken, 1.1 is not', async () => {
    const socket = await openTls(wire, false, { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' });
    expect(socket.getProtocol()).toBe('TLSv1.2');
    await (await logIn(socket)).end();
    // Security level 0, or the client's own library refuses before a word is said.
    await expect(
      openTls(wire, false, { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }),
    ).rejects.toThrow();
    await noSessions();
  });

  test('direct TLS must name the protocol; another name is refused in either way', async () => {
    const silent = await openTls(wire, true, { ALPNProtocols: [] });
    silent.write(startupPacket({ user: role.name }));
    expect(await readToEnd(silent)).toHaveLength(0);
    silent.destroy();
    for (const direct of [true, false]) {
      await expect(openTls(wire, direct, { ALPNProtocols: ['http/1.1'] })).rejects.toMatchObject({
        code: 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL',
      });
    }
    // Clients before PostgreSQL 17 name none with SSLRequest.
    await (await logIn(await openTls(wire, false, { ALPNProtocols: [] }))).end();
    await noSessions();
  });

  test('a handshake in pieces of one byte', async () => {
    const relay = await open(wire.host, wire.port);
    const { Duplex } = await import('node:stream');
    let pending = Promise.resolve();
    const trickle = new Duplex({
      read() {},
      write(chunk: Buffer, _encoding, done) {
        pending = pending.then(async () => {
          for (const byte of chunk) {
            relay.write(Buffer.of(byte));
            await new Promise(setImmediate);
          }
        });
        void pending.then(() => done());
      },
    });
    relay.on('data', (chunk) => trickle.push(chunk));
    relay.on('end', () => trickle.push(null));
    const secure = await secured(trickle as unknown as Socket);
    const client = new RawClient(secure);
    client.read();
    client.send(startupPacket({ user: role.name, database: db.name }));
    await client.waitFor('R');
    relay.destroy();
    await noSessions();
  });

  test('after GSSENCRequest TLS still works; TLS inside TLS and a second request are refused', async () => {
    const socket = await open(wire.host, wire.port);
    socket.write(GSSENC_REQUEST);
    expect((await next(socket)).toString()).toBe('N');
    socket.write(SSL_REQUEST);
    expect((await next(socket)).toString()).toBe('S');
    const secure = await secured(socket);
    secure.write(SSL_REQUEST);
    expect(report(await readToEnd(secure))).toMatchObject({ severity: 'FATAL', code: '0A000' });
    secure.destroy();
    const direct = await openTls(wire, true);
    direct.write(SSL_REQUEST);
    expect(report(await readToEnd(direct))).toMatchObject({ severity: 'FATAL', code: '0A000' });
    direct.destroy();
    await noSessions();
  });

  test('bytes behind an SSLRequest are refused, not read as if they had been encrypted', async () => {
    const socket = await open(wire.host, wire.port);
    socket.write(Buffer.concat([SSL_REQUEST, startupPacket({ user: role.name })]));
    const answer = await readToEnd(socket);
    expect(report(answer)).toMatchObject({
      code: '08P01',
      message: 'received unencrypted data after SSL request',
    });
    socket.destroy();
    await noSessions();
  });

  test('a client that asked for TLS may go on without, unless TLS is required', async () => {
    const plain = await logIn(await open(wire.host, wire.port));
    await plain.end();
    const strict = await startTls({ mode: 'require' });
    const socket = await open(strict.host, strict.port);
    socket.write(startupPacket({ user: role.name, database: db.name }));
    const refusal = report(await readToEnd(socket));
    expect(refusal).toMatchObject({ severity: 'FATAL', code: '28000' });
    expect(refusal.message).toContain('no encryption');
    socket.destroy();
    await (await logIn(await openTls(strict, false))).end();
    await noSessions(strict);
    await strict.close();
  });

  test('a cancel request stops the query over TLS, direct TLS and in plain, and is closed after the server', async () => {
    const client = await logIn(await openTls(wire, false));
    const key = client.key();
    for (const how of ['ssl', 'direct', 'plain'] as const) {
      client.forget();
      client.send(query('SELECT pg_sleep(30)'));
      await until(() =>
        asSuperuser(db.name, async (admin) => {
          const { rows } = await admin.query(
            "SELECT 1 FROM pg_stat_activity WHERE usename = $1 AND state = 'active'",
            [role.name],
          );
          return rows.length === 1;
        }),
      );
      const canceller =
        how === 'plain' ? await open(wire.host, wire.port) : await openTls(wire, how === 'direct');
      canceller.write(cancelPacket(key));
      expect(await readToEnd(canceller)).toHaveLength(0);
      await client.ready();
      expect(client.error().code).toBe('57014');
      canceller.destroy();
    }
    await client.end();
    await noSessions();
  });

  test('a close without close_notify, a reset and a half-close leave nothing behind', async () => {
    for (const direct of [false, true]) {
      for (const end of ['fin', 'reset', 'half'] as const) {
        const raw = await open(wire.host, wire.port);
        if (!direct) {
          raw.write(SSL_REQUEST);
          await next(raw);
        }
        const client = await logIn(await secured(raw));
        client.forget();
        if (end === 'fin') raw.end();
        else if (end === 'reset') raw.resetAndDestroy();
        else {
          client.send(query('SELECT pg_sleep(0.1)'), query('SELECT 2'));
          client.socket.end();
          await client.ready(2);
          expect(client.types()).toBe('TDCZTDCZ');
        }
        await noSessions();
        await noBackends();
        raw.destroy();
      }
    }
  });

  test('a client that goes, is silent or sends junk in the middle of the handshake leaves nothing behind', async () => {
    const hasty = await startTls({}, { loginTimeoutMs: 300 });
    for (const act of [
      (socket: Socket) => socket.end(),
      (socket: Socket) => socket.resetAndDestroy(),
      (socket: Socket) => socket.write('GET / HTTP/1.1\r\n\r\n'),
      (socket: Socket) => socket.write(Buffer.from('160301020001000001fc0303', 'hex')),
      () => {},
    ]) {
      const socket = await open(hasty.host, hasty.port);
      socket.write(SSL_REQUEST);
      expect((await next(socket)).toString()).toBe('S');
      act(socket);
      await noSessions(hasty);
      socket.destroy();
    }
    const direct = await open(hasty.host, hasty.port);
    direct.write(Buffer.from('160301020001000001fc0303', 'hex'));
    // Nothing that is no TLS may be said to it.
    expect(await readToEnd(direct)).toHaveLength(0);
    direct.destroy();
    await noSessions(hasty);
    expect(hasty.logLines.filter((line) => JSON.parse(line).level > 20)).toEqual([]);
    await hasty.close();
  });

  test('a server process that is terminated is one FATAL and a close that is in order', async () => {
    const socket = await openTls(wire, false);
    const client = await logIn(socket);
    client.forget();
    const { rows } = await asSuperuser(db.name, (admin) =>
      admin.query('SELECT pg_terminate_backend(pid) AS done FROM pg_stat_activity WHERE usename = $1', [
        role.name,
      ]),
    );
    expect(rows).toHaveLength(1);
    await until(() => client.ended);
    expect(client.types()).toBe('E');
    socket.destroy();
    await noSessions();
  });

  test('closing the proxy tells encrypted sessions 57P01', async () => {
    const own = await startTls();
    const client = await logIn(await openTls(own, true));
    const handshaking = await open(own.host, own.port);
    handshaking.write(SSL_REQUEST);
    await next(handshaking);
    client.forget();
    const last = readToEnd(handshaking);
    handshaking.resume();
    const closing = own.close(500);
    await until(() => client.ended);
    expect(client.error().code).toBe('57P01');
    expect(await last).toHaveLength(0);
    client.socket.destroy();
    handshaking.destroy();
    await closing;
    await noBackends();
  });

  test('behind a balancer: who fails too often is shut out, with the right password too', async () => {
    const balancers = new BlockList();
    balancers.addAddress('127.0.0.1');
    const own = await startTls(
      {},
      { proxyProtocolFrom: balancers, failedLoginLimit: { count: 2, windowMs: 60_000 } },
    );
    const attempt = async (direct: boolean, from: string, password: string) => {
      const client = new RawClient(await openTls(own, direct, {}, ipv4Header(from)));
      client.read();
      client.send(startupPacket({ user: role.name, database: db.name }));
      await until(() => client.types() !== '');
      client.send(message(0x70, Buffer.from(`${password}\0`)));
      await until(() => /[EZ]/.test(client.types()));
      client.socket.destroy();
      return client.error().code ?? 'in';
    };
    expect(await attempt(false, '203.0.113.7', role.password)).toBe('in');
    expect(await attempt(false, '203.0.113.7', 'wrong')).toBe('28P01');
    expect(await attempt(true, '203.0.113.7', 'wrong')).toBe('28P01');
    expect(await attempt(true, '203.0.113.7', role.password)).toBe('28000');
    expect(await attempt(true, '203.0.113.8', role.password)).toBe('in');
    await own.close();
  });

  test('a reader that stands still holds up its server, and nobody else', async () => {
    const slow = await logIn(await openTls(wire, false));
    slow.socket.removeAllListeners('data');
    slow.socket.pause();
    slow.send(query("SELECT repeat('x', 1000) FROM generate_series(1, 300000)"));
    await until(() =>
      asSuperuser(db.name, async (admin) => {
        const { rows } = await admin.query(
          "SELECT 1 FROM pg_stat_activity WHERE usename = $1 AND wait_event = 'ClientWrite'",
          [role.name],
        );
        return rows.length === 1;
      }),
    );
    await (await logIn(await openTls(wire, false))).end();
    slow.socket.destroy();
    await noSessions();
    await noBackends();
  });

  describe('client certificates', () => {
    let stranger: Authority;
    let mine: Certificate;
    let foreign: Certificate;
    beforeAll(() => {
      stranger = createAuthority(files.path, 'stranger');
      mine = authority.issue('client');
      foreign = stranger.issue('client');
    });

    function shown({ certFile, keyFile }: Certificate): TlsOptions {
      return { cert: readFileSync(certFile), key: readFileSync(keyFile) };
    }

    async function refusal(to: WireProxy, options: TlsOptions = {}) {
      const socket = await openTls(to, false, options);
      socket.write(startupPacket({ user: role.name, database: db.name }));
      const answer = report(await readToEnd(socket));
      socket.destroy();
      return answer;
    }

    test('required: none and a foreign one are told why, a good one logs in with the password', async () => {
      const own = await startTls({ clientCertificate: 'require', caFile: authority.certFile });
      const expected = {
        severity: 'FATAL',
        code: '28000',
        message: 'connection requires a valid client certificate',
      };
      expect(await refusal(own)).toEqual({ ...expected, detail: undefined });
      expect(await refusal(own, shown(foreign))).toEqual({
        ...expected,
        detail: expect.stringContaining('The certificate was not accepted'),
      });
      await (await logIn(await openTls(own, false, shown(mine)))).end();
      await (await logIn(await openTls(own, true, shown(mine)))).end();
      await (await logIn(await openTls(own, false, { ...shown(mine), maxVersion: 'TLSv1.2' }))).end();
      await own.close();
    });

    test('requested: none is fine, a foreign one is refused', async () => {
      const own = await startTls({ clientCertificate: 'request', caFile: authority.certFile });
      await (await logIn(await openTls(own, false))).end();
      await (await logIn(await openTls(own, false, shown(mine)))).end();
      expect(await refusal(own, shown(foreign))).toMatchObject({ code: '28000' });
      await own.close();
    });
  });

  describe('files', () => {
    function failure(change: Partial<ClientTlsConfig>): string {
      try {
        readClientTls(config(change));
      } catch (error) {
        expect(error).toMatchObject({ name: 'ConfigError' });
        return (error as Error).message;
      }
      throw new Error('no error');
    }

    test('that are missing, no certificate, no key or of another pair are named', () => {
      const junk = join(files.path, 'junk');
      writeFileSync(junk, 'nothing', { mode: 0o600 });
      const other = authority.issue('other');
      expect(failure({ certFile: join(files.path, 'none') })).toMatch(/"client_tls_cert_file".*none: ENOENT/);
      expect(failure({ keyFile: join(files.path, 'none') })).toMatch(/"client_tls_key_file".*none: ENOENT/);
      expect(failure({ certFile: junk })).toMatch(/"client_tls_cert_file".*no certificate/);
      expect(failure({ keyFile: junk })).toMatch(/"client_tls_key_file".*no private key/);
      expect(failure({ keyFile: other.keyFile })).toMatch(
        /"client_tls_key_file".*not that of the certificate/,
      );
      expect(failure({ caFile: junk, clientCertificate: 'require' })).toMatch(/"client_tls_ca_file"/);
      expect(failure({ keyFile: files.path })).toMatch(/"client_tls_key_file".*not a regular file/);
    });

    test('a key that others may read is refused', () => {
      const loose = join(files.path, 'loose.key');
      copyFileSync(server.keyFile, loose);
      for (const mode of [0o640, 0o604, 0o660, 0o610]) {
        chmodSync(loose, mode);
        expect(failure({ keyFile: loose })).toMatch(/"client_tls_key_file".*group or world access/);
      }
      chmodSync(loose, 0o400);
      expect(() => readClientTls(config({ keyFile: loose }))).not.toThrow();
    });
  });

  const psql = promisify(execFile);
  const noPsql = psql('psql', ['--version']).then(
    () => undefined,
    () => 'the program psql is not installed',
  );
  test('psql with each sslmode gets what it asks for', async (context) => {
    const reason = await noPsql;
    if (reason !== undefined) {
      console.log(`skipped: psql with each sslmode: ${reason}`);
      context.skip();
    }
    const strict = await startTls({ mode: 'require' });
    const off = await startWireProxy(urlFor(db.name));
    const ask = async (to: WireProxy, mode: string, more = '') => {
      const info = `host=localhost hostaddr=127.0.0.1 port=${to.port} user=${role.name} dbname=${db.name} sslmode=${mode} sslrootcert=${authority.certFile} gssencmode=prefer ${more}`;
      const { stdout } = await psql('psql', ['-XAtc', '\\conninfo', info], {
        env: { ...process.env, PGPASSWORD: role.password },
      });
      return /SSL connection \(protocol: (TLS[^,]*)/.exec(stdout)?.[1] ?? 'plain';
    };
    for (const [mode, whenOff, whenAllowed, whenRequired] of [
      ['disable', 'plain', 'plain', /no encryption/],
      ['allow', 'plain', 'plain', 'TLSv1.3'],
      ['prefer', 'plain', 'TLSv1.3', 'TLSv1.3'],
      ['require', /does not support SSL/, 'TLSv1.3', 'TLSv1.3'],
      ['verify-full', /does not support SSL/, 'TLSv1.3', 'TLSv1.3'],
    ] as const) {
      for (const [to, expected] of [
        [off, whenOff],
        [wire, whenAllowed],
        [strict, whenRequired],
      ] as const) {
        const answer = ask(to, mode);
        if (typeof expected === 'string') expect(await answer, mode).toBe(expected);
        else await expect(answer, mode).rejects.toThrow(expected);
      }
    }
    await strict.close();
    await off.close();
  });
});

function next(socket: Socket): Promise<Buffer> {
  return new Promise((resolve) => {
    socket.once('data', (chunk) => {
      socket.pause();
      resolve(chunk as Buffer);
    });
    socket.resume();
  });
}

function report(bytes: Buffer) {
  const fields = bytes[0] === 0x45 ? readFields(bytes.subarray(5)) : [];
  return {
    severity: fieldText(fields, FieldCode.Severity),
    code: fieldText(fields, FieldCode.Code),
    message: fieldText(fields, FieldCode.Message),
    detail: fieldText(fields, FieldCode.Detail),
  };
}
