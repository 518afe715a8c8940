import { chmod, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { BlockList, connect as connectPath, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { ListenError } from '../../src/proxy/listener.js';
import { login } from '../../src/upstream/login.js';
import { FieldCode, fieldText, readFields } from '../../src/wire/fields.js';
import { message } from '../../src/wire/message.js';
import { cancelPacket, startupPacket } from '../../src/wire/startup.js';
import { createTestDatabase, type TestDatabase, type TestRole, urlFor } from '../support/postgres.js';
import { program } from '../support/program.js';
import { ipv4Header, ipv6Header, proxyHeader } from '../support/proxy-header.js';
import { open, RawClient, readToEnd } from '../support/raw-client.js';
import { until } from '../support/wait.js';
import { startWireProxy, type WireProxy } from '../support/wire-proxy.js';

let db: TestDatabase;
let role: TestRole;
const closers: Array<() => Promise<unknown>> = [];

beforeAll(async () => {
  db = await createTestDatabase();
  role = await db.createRole('admission');
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});
afterAll(() => db?.drop());

async function start(options: Parameters<typeof startWireProxy>[1]): Promise<WireProxy> {
  const wire = await startWireProxy(urlFor(db.name), options);
  closers.push(() => wire.close());
  return wire;
}

function client(to: WireProxy, password = role.password): pg.Client {
  const made = new pg.Client({ host: to.host, port: to.port, user: role.name, password, database: db.name });
  made.on('error', () => {});
  return made;
}

async function connected(to: WireProxy): Promise<pg.Client> {
  const made = client(to);
  await made.connect();
  return made;
}

function report(bytes: Buffer) {
  const fields = bytes[0] === 0x45 ? readFields(bytes.subarray(5)) : [];
  return { code: fieldText(fields, FieldCode.Code), message: fieldText(fields, FieldCode.Message) };
}

describe('max_client_connections', () => {
  test('a client too many is told what the server would tell it; who leaves makes room; cancel requests come in', async () => {
    const wire = await start({ maxClientConnections: 2 });
    const first = await connected(wire);
    const second = await connected(wire);
    await expect(client(wire).connect()).rejects.toMatchObject({
      severity: 'FATAL',
      code: '53300',
      message: 'sorry, too many clients already',
    });
    const key = first as unknown as { processID: number; secretKey: number };
    const secret = Buffer.alloc(8);
    secret.writeInt32BE(key.processID, 0);
    secret.writeInt32BE(key.secretKey, 4);
    const asleep = expect(first.query('SELECT pg_sleep(30)')).rejects.toMatchObject({ code: '57014' });
    await until(async () => {
      const canceller = await open(wire.host, wire.port);
      canceller.write(cancelPacket(secret));
      await readToEnd(canceller);
      canceller.destroy();
      return await Promise.race([asleep.then(() => true), new Promise((resolve) => setTimeout(resolve, 50))]);
    });
    // Who has not said what it wants does not count.
    const silent = await open(wire.host, wire.port);
    await second.end();
    await until(async () => {
      const again = client(wire);
      await again.connect();
      await again.end();
      return true;
    });
    silent.destroy();
    await first.end();
  });

  test('connections that never say what they want are bounded, too', async () => {
    const wire = await start({ maxClientConnections: 2 });
    const silent: Socket[] = [];
    for (let i = 0; i < 40; i++) silent.push(await open(wire.host, wire.port));
    await until(() => wire.proxy.sessions() === 20, { what: 'twice two and sixteen connections' });
    for (const socket of silent) socket.destroy();
    await until(() => wire.proxy.sessions() === 0);
    await (await connected(wire)).end();
  });
});

describe('failed logins', () => {
  test('from loopback are not counted', async () => {
    const wire = await start({ failedLoginLimit: { count: 1, windowMs: 60_000 } });
    for (let i = 0; i < 3; i++) {
      await expect(client(wire, 'wrong').connect()).rejects.toMatchObject({ code: '28P01' });
    }
    await (await connected(wire)).end();
  });

  test('shut their address out for a while, and no other address', async () => {
    const wire = await start({
      failedLoginLimit: { count: 2, windowMs: 1_500 },
      proxyProtocolFrom: loopback(),
    });
    const attempt = async (from: string, user = '') => {
      const { answer } = await ask(wire, ipv4Header(from), startupPacket({ user, database: db.name }));
      return report(answer);
    };
    // The server refuses who does not say who it is, with 28000.
    const refused = { code: '28000', message: 'no PostgreSQL user name specified in startup packet' };
    const shutOut = { code: '28000', message: 'too many failed logins from this address' };
    expect(await attempt('203.0.113.7')).toEqual(refused);
    expect(await attempt('203.0.113.7')).toEqual(refused);
    expect(await attempt('203.0.113.7')).toEqual(shutOut);
    expect(await attempt('203.0.113.8')).toEqual(refused);
    await until(async () => (await attempt('203.0.113.7')).message === refused.message, {
      what: 'the window to end',
    });
    const warnings = wire.logLines.filter((line) => JSON.parse(line).level >= 40);
    expect(warnings).toHaveLength(1);
    expect(JSON.parse(warnings[0]!)).toMatchObject({ client: '203.0.113.7' });
    // A connection that is not encrypted says nothing about who it is.
    for (let i = 0; i < 3; i++) {
      expect(await attempt('203.0.113.9', role.name)).toEqual({
        code: '28000',
        message: expect.stringMatching(/which this unencrypted connection would reveal/),
      });
    }
    expect(await attempt('203.0.113.9')).toEqual(refused);
  });

  test('cannot be made many by making them at the same time: a guess that is answered late learns nothing', async () => {
    const wire = await start({
      clientAuth: { mode: 'relay' },
      failedLoginLimit: { count: 2, windowMs: 60_000 },
      proxyProtocolFrom: loopback(),
    });
    let asked = 0;
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const guess = async (password: string, wait = Promise.resolve()) => {
      const socket = await open(wire.host, wire.port);
      socket.write(ipv4Header('203.0.113.7'));
      const outcome = await login({
        socket,
        startup: startupPacket({ user: role.name, database: db.name }),
        user: role.name,
        answer: async () => {
          asked++;
          await wait;
          return { password };
        },
      }).then(
        () => ({ code: 'in' }),
        ({ code, message }) => ({ code, message }),
      );
      socket.destroy();
      return outcome;
    };
    const late = [guess(role.password, held), guess('wrong', held)];
    await until(() => asked === 2, { what: 'both to be asked' });
    for (let i = 0; i < 2; i++) expect(await guess('wrong')).toMatchObject({ code: '28P01' });
    release();
    const shutOut = { code: '28000', message: 'too many failed logins from this address' };
    expect(await Promise.all(late)).toEqual([shutOut, shutOut]);
  });
});

function loopback(): BlockList {
  const list = new BlockList();
  list.addSubnet('127.0.0.0', 8, 'ipv4');
  return list;
}

/** Sends the parts in writes of their own, and reads until the proxy closes. */
async function ask(to: WireProxy, ...parts: Buffer[]): Promise<{ answer: Buffer }> {
  const socket = await open(to.host, to.port);
  for (const part of parts) socket.write(part);
  const answer = await readToEnd(socket);
  socket.destroy();
  return { answer };
}

describe('the PROXY protocol', () => {
  async function logIn(to: WireProxy, header: Buffer, pieces = header.length): Promise<RawClient> {
    const raw = new RawClient(await open(to.host, to.port));
    raw.read();
    await raw.sendInChunks(header, () => pieces);
    raw.send(startupPacket({ user: role.name, database: db.name }));
    await raw.waitFor('R');
    raw.send(message(0x70, Buffer.from(`${role.password}\0`)));
    await raw.ready();
    return raw;
  }

  test('names the client in the log; the header may come in pieces or with what follows', async () => {
    const wire = await start({ proxyProtocolFrom: loopback() });
    // A client on the balancer's own loopback, whose balancer is on ours: the password may be asked for.
    for (const pieces of [1, 7, 1000]) {
      await (await logIn(wire, ipv4Header('127.9.9.9', Buffer.alloc(20)), pieces)).end();
    }
    const socket = await open(wire.host, wire.port);
    socket.write(
      Buffer.concat([ipv4Header('127.9.9.9'), startupPacket({ user: role.name, database: db.name })]),
    );
    await new Promise<void>((resolve) => {
      socket.once('data', (bytes) => {
        expect((bytes as Buffer)[0]).toBe(0x52);
        resolve();
      });
    });
    socket.destroy();
    await (await logIn(wire, proxyHeader(0x20, 0))).end();
    const opened = wire.logLines
      .map((line) => JSON.parse(line))
      .filter(({ msg }) => msg === 'session opened');
    expect(opened.map((line) => line.client)).toEqual(['127.9.9.9', '127.9.9.9', '127.9.9.9', '127.0.0.1']);
  });

  test('a client from elsewhere is not on loopback, although its balancer is: no password in clear text', async () => {
    const wire = await start({ proxyProtocolFrom: loopback() });
    const unknown = proxyHeader(0x21, 0x00);
    for (const header of [
      ipv4Header('203.0.113.7'),
      ipv6Header('20010db8000000000000000000000001'),
      unknown,
    ]) {
      const { answer } = await ask(wire, header, startupPacket({ user: role.name, database: db.name }));
      expect(report(answer)).toMatchObject({ code: '28000', message: expect.stringMatching(/TLS/) });
    }
  });

  test('no header, version 1 and nonsense are closed without a word, also in the time-out', async () => {
    const wire = await start({ proxyProtocolFrom: loopback(), loginTimeoutMs: 300 });
    const hello = startupPacket({ user: role.name, database: db.name });
    for (const bytes of [
      hello,
      Buffer.concat([Buffer.from('PROXY TCP4 203.0.113.7 203.0.113.8 1 2\r\n'), hello]),
      proxyHeader(0x21, 0x12, Buffer.alloc(12)),
      Buffer.from('0d0a0d0a', 'hex'),
    ]) {
      expect((await ask(wire, bytes)).answer).toHaveLength(0);
    }
    await until(() => wire.proxy.sessions() === 0);
  });

  test('from an address that is not listed it is junk', async () => {
    const elsewhere = new BlockList();
    elsewhere.addSubnet('203.0.113.0', 24, 'ipv4');
    const wire = await start({ proxyProtocolFrom: elsewhere });
    const { answer } = await ask(wire, ipv4Header('127.9.9.9'));
    expect(answer).toHaveLength(0);
    await (await connected(wire)).end();
  });
});

describe('listeners', () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'listen-'));
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  test('several at once, TCP and Unix socket, with the permissions asked for; the file goes with the proxy', async () => {
    const umask = process.umask();
    const wire = await start({
      listen: [
        { host: '127.0.0.1', port: 0 },
        { host: '127.0.0.1', port: 0 },
        { host: directory, port: 6432 },
      ],
      unixSocketMode: 0o770,
    });
    const path = join(directory, '.s.PGSQL.6432');
    expect(process.umask()).toBe(umask);
    expect((await stat(path)).mode & 0o777).toBe(0o770);
    const second = new pg.Client({
      host: directory,
      port: 6432,
      user: role.name,
      password: role.password,
      database: db.name,
    });
    await second.connect();
    await second.end();
    await wire.close();
    await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('a socket file that nobody listens on is replaced; one that is in use, and other files, are not', async () => {
    const listen = [{ host: directory, port: 7000 }];
    const path = join(directory, '.s.PGSQL.7000');
    await abandon(path);
    const wire = await start({ listen });
    await expect(startWireProxy(urlFor(db.name), { listen })).rejects.toThrow(/taken by another program/);
    connectPath(path).destroy();
    await wire.close();
    await writeFile(path, 'mine');
    await expect(startWireProxy(urlFor(db.name), { listen })).rejects.toBeInstanceOf(ListenError);
    await chmod(path, 0o600);
    await rm(path);
  });

  test('all or none: where the second cannot be had, the first is given back', async () => {
    const taken = await start({});
    const first = { host: directory, port: 7001 };
    await expect(
      startWireProxy(urlFor(db.name), { listen: [first, { host: '127.0.0.1', port: taken.port }] }),
    ).rejects.toThrow(/cannot listen on 127\.0\.0\.1:\d+: the port is taken/);
    await expect(stat(join(directory, '.s.PGSQL.7001'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('a path that is too long is a clear error', async () => {
    await expect(
      startWireProxy(urlFor(db.name), { listen: [{ host: `/tmp/${'x'.repeat(120)}`, port: 1 }] }),
    ).rejects.toThrow(/longer than \d+ bytes/);
  });
});

test('with several workers: a Unix socket is local, and refused logins count together', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'listen-'));
  const proxy = program([
    ...['serve', '--listen', `127.0.0.1:0,${directory}`, '--upstream', db.adminUrl],
    ...['workers=2', 'proxy_protocol_from=127.0.0.0/8', 'max_failed_logins=4'].flatMap((set) => [
      '--set',
      set,
    ]),
  ]);
  closers.push(async () => {
    proxy.child.kill('SIGTERM');
    expect(await proxy.ended).toBe(0);
    await rm(directory, { recursive: true, force: true });
  });
  await proxy.line(/listening on \/\S+:6432\n/);
  const [, port] = await proxy.line(/^pg-durable-proxy listening on 127\.0\.0\.1:(\d+), upstream \S+\n/);
  const { name: user, password } = role;
  const local = Array.from(
    { length: 4 },
    () => new pg.Client({ host: directory, port: 6432, user, password, database: db.name }),
  );
  await Promise.all(local.map((each) => each.connect()));
  await Promise.all(local.map((each) => each.end()));

  const at = { host: '127.0.0.1', port: Number(port) };
  const attempt = async () => {
    const socket = await open(at.host, at.port);
    // Who does not say who it is, is refused by the server.
    socket.write(Buffer.concat([ipv4Header('203.0.113.9'), startupPacket({ user: '', database: db.name })]));
    const answer = report(await readToEnd(socket));
    socket.destroy();
    return answer.message ?? '';
  };
  // Two at the same time are with two workers. Each hears of the other's a moment later.
  await until(
    async () => {
      const answers = await Promise.all([attempt(), attempt()]);
      return answers.every((answer) => answer === 'too many failed logins from this address');
    },
    { everyMs: 50 },
  );
});

/** Leaves a socket file behind, as a process that was killed does. */
async function abandon(path: string): Promise<void> {
  const { spawn } = await import('node:child_process');
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  const child = spawn(process.execPath, ['-e', script]);
  await new Promise((resolve) => child.once('exit', resolve));
  expect((await stat(path)).isSocket()).toBe(true);
}
