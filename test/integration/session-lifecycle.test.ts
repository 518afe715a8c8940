import { createServer, type Server, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FieldCode, fieldText, readFields } from '../../src/wire/fields.js';
import { cancelPacket, protocolVersion, startupPacket } from '../../src/wire/startup.js';
import { bind, copyData, execute, parse, query, sync } from '../support/frontend.js';
import {
  asSuperuser,
  createTestDatabase,
  type TestDatabase,
  type TestRole,
  urlFor,
} from '../support/postgres.js';
import { authenticationOk, open, RawClient, readToEnd } from '../support/raw-client.js';
import { until } from '../support/wait.js';
import { startWireProxy, type WireProxy } from '../support/wire-proxy.js';

let db: TestDatabase;
let role: TestRole;
let wire: WireProxy;

beforeAll(async () => {
  db = await createTestDatabase();
  role = await db.createRole('lifecycle');
  wire = await startWireProxy(urlFor(db.name));
});

afterAll(async () => {
  await wire?.close();
  await db?.drop();
});

function connect(to: WireProxy = wire, options: Partial<Parameters<typeof RawClient.login>[0]> = {}) {
  return RawClient.login({
    host: to.host,
    port: to.port,
    user: role.name,
    password: role.password,
    database: db.name,
    ...options,
  });
}

async function noSessions(to: WireProxy = wire): Promise<void> {
  await until(() => to.proxy.sessions() === 0, { what: 'all sessions to end' });
}

/** Server processes of the role. */
async function backends(): Promise<{ pid: number; state: string; query: string; wait_event: string }[]> {
  return asSuperuser(
    db.name,
    async (client) =>
      (
        await client.query('SELECT pid, state, query, wait_event FROM pg_stat_activity WHERE usename = $1', [
          role.name,
        ])
      ).rows,
  );
}

async function noBackends(): Promise<void> {
  await until(async () => (await backends()).length === 0, { what: 'the server processes to end' });
}

function report(bytes: Buffer) {
  const fields = bytes[0] === 0x45 ? readFields(bytes.subarray(5)) : [];
  return {
    severity: fieldText(fields, FieldCode.Severity),
    code: fieldText(fields, FieldCode.Code),
    message: fieldText(fields, FieldCode.Message),
  };
}

test('cancel stops the query of its own connection and no other', async () => {
  const victim = await connect();
  const bystander = await connect();
  const key = victim.key();
  bystander.forget();
  bystander.send(query('SELECT pg_sleep(1.5)'));
  for (let round = 0; round < 10; round++) {
    victim.forget();
    victim.send(query('SELECT pg_sleep(30)'));
    await until(async () =>
      (await backends()).some((each) => each.query === 'SELECT pg_sleep(30)' && each.state === 'active'),
    );
    const canceller = await open(wire.host, wire.port);
    canceller.write(cancelPacket(key));
    // The close of the cancel socket says that the server has sent the signal.
    expect(await readToEnd(canceller)).toHaveLength(0);
    await victim.ready();
    expect(victim.error().code).toBe('57014');
  }
  // A cancel that was answered cannot hit a query that is sent later.
  victim.forget();
  victim.send(query('SELECT pg_sleep(0.2)'));
  await victim.ready();
  expect(victim.types()).toBe('TDCZ');
  await bystander.ready();
  expect(bystander.types()).toBe('TDCZ');
  await Promise.all([victim.end(), bystander.end()]);
  await noSessions();
});

test('a cancel request that the server does not take is closed without a word, also when the proxy is to stop', async () => {
  const silent = createServer((socket) => void socket.on('error', () => {}).resume());
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const { port } = silent.address() as { port: number };
  const own = await startWireProxy(urlFor(db.name), { upstream: { host: '127.0.0.1', port } });
  const request = async () => {
    const socket = await open(own.host, own.port);
    socket.write(cancelPacket(Buffer.alloc(8)));
    return socket;
  };
  const waiting = await request();
  const connections = () =>
    new Promise<number>((resolve) => silent.getConnections((_, count) => resolve(count)));
  await until(async () => (await connections()) === 1, { what: 'the request to be with the server' });
  silent.close();
  expect((await readToEnd(await request())).length).toBe(0);
  let closed = false;
  waiting.on('close', () => {
    closed = true;
  });
  const answer = readToEnd(waiting);
  const idle = await open(own.host, own.port);
  await until(() => own.proxy.sessions() === 2, { what: 'the proxy to have both' });
  const closing = own.proxy.close(60_000);
  // A drain leaves it alone; the end of the time does not.
  expect(report(await readToEnd(idle))).toMatchObject({ code: '57P01' });
  expect(closed).toBe(false);
  await own.close(0);
  await closing;
  expect((await answer).length).toBe(0);
  idle.destroy();
});

test('a cancel with an unknown key is closed without a word', async () => {
  const canceller = await open(wire.host, wire.port);
  canceller.write(cancelPacket(Buffer.from('0000000100000002', 'hex')));
  expect(await readToEnd(canceller)).toHaveLength(0);
  await noSessions();
});

test('protocol 3.2 is negotiated by the server; its longer cancel key works', async () => {
  const client = await connect(wire, { protocol: protocolVersion(3, 2) });
  const direct = await connect({ ...wire, ...upstreamAddress() }, { protocol: protocolVersion(3, 2) });
  expect(client.key().length).toBe(direct.key().length);
  client.send(query('SELECT pg_sleep(30)'));
  await until(async () => (await backends()).some((each) => each.state === 'active'));
  const canceller = await open(wire.host, wire.port);
  canceller.write(cancelPacket(client.key()));
  await readToEnd(canceller);
  await client.ready(2);
  expect(client.error().code).toBe('57014');
  await client.end();
  await direct.end();
});

test('an unknown minor version and unknown options are answered by the server', async () => {
  const client = await connect(wire, {
    protocol: protocolVersion(3, 9999),
    parameters: { '_pq_.unheard_of': '1' },
  });
  expect(client.messages.filter((each) => each.type === 'v')).toHaveLength(1);
  await client.end();
});

for (const major of [2, 4]) {
  test(`protocol ${major}.0 gets the server's own answer`, async () => {
    const answers: string[] = [];
    for (const to of [upstreamAddress(), wire]) {
      const socket = await open(to.host, to.port);
      socket.write(startupPacket({ user: role.name }, protocolVersion(major, 0)));
      answers.push((await readToEnd(socket)).toString('latin1'));
    }
    expect(answers[1]).toBe(answers[0]);
    expect(answers[1]).toContain('unsupported frontend protocol');
  });
}

test('encryption is declined once for each kind, in either order', async () => {
  for (const codes of [
    [80877103, 80877104],
    [80877104, 80877103],
  ]) {
    const socket = await open(wire.host, wire.port);
    for (const code of codes) {
      const answer = new Promise<Buffer>((resolve) => {
        socket.once('data', (chunk) => resolve(chunk as Buffer));
      });
      socket.write(request(code));
      expect((await answer).toString()).toBe('N');
    }
    socket.removeAllListeners('data');
    socket.write(request(codes[0]!));
    expect(report(await readToEnd(socket))).toMatchObject({ severity: 'FATAL', code: '0A000' });
  }
  await noSessions();
});

test('bytes behind an encryption request are refused', async () => {
  const socket = await open(wire.host, wire.port);
  socket.write(Buffer.concat([request(80877103), startupPacket({ user: role.name })]));
  expect(report(await readToEnd(socket))).toMatchObject({ severity: 'FATAL', code: '08P01' });
  await noSessions();
});

test('junk, direct TLS and impossible lengths are closed, and the proxy lives', async () => {
  for (const junk of [
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Buffer.from('160301020001000001fc0303', 'hex'),
    Buffer.from([0, 0, 0, 7, 0, 3, 0, 0]),
    Buffer.from([0, 0, 0x27, 0x15, 0, 3, 0, 0]),
    Buffer.from([0xff, 0xff, 0xff, 0xff]),
    Buffer.from([0, 0, 0, 9, 4, 0xd2, 0x16, 0x2f, 0]),
  ]) {
    const socket = await open(wire.host, wire.port);
    socket.write(junk);
    expect(await readToEnd(socket)).toHaveLength(0);
  }
  await noSessions();
  await (await connect()).end();
});

test('a start-up packet byte by byte is as good as one in a piece', async () => {
  const direct = await connect({ ...wire, ...upstreamAddress() });
  const client = await connect();
  const socket = await open(wire.host, wire.port);
  const raw = new RawClient(socket);
  raw.read();
  await raw.sendInChunks(startupPacket({ user: role.name, database: db.name }), () => 1);
  await raw.waitFor('R');
  expect(raw.messages[0]!.body.readInt32BE(0)).toBe(3);
  raw.socket.end();
  await Promise.all([direct.end(), client.end()]);
  await noSessions();
  await noBackends();
});

test("a start-up packet without a user, or malformed, gets the server's own error", async () => {
  for (const packet of [
    startupPacket({ database: db.name }),
    // no terminator
    Buffer.from([0, 0, 0, 14, 0, 3, 0, 0, 0x75, 0x73, 0x65, 0x72, 0, 0x61]),
  ]) {
    const answers: string[] = [];
    for (const to of [upstreamAddress(), wire]) {
      const socket = await open(to.host, to.port);
      socket.write(packet);
      answers.push((await readToEnd(socket)).toString('latin1'));
    }
    expect(answers[1]).toBe(answers[0]);
    expect(answers[1]).toContain('FATAL');
  }
});

test('a client that never finishes its start-up is told and closed', async () => {
  const hasty = await startWireProxy(urlFor(db.name), { loginTimeoutMs: 200 });
  const silent = await open(hasty.host, hasty.port);
  silent.write(Buffer.from([0, 0]));
  expect(report(await readToEnd(silent))).toMatchObject({ severity: 'FATAL', code: '57014' });
  // Asked for its password, and never answers.
  const asked = await open(hasty.host, hasty.port);
  asked.write(startupPacket({ user: role.name, database: db.name }));
  const bytes = await readToEnd(asked);
  expect(bytes[0]).toBe(0x52);
  expect(report(bytes.subarray(9))).toMatchObject({ code: '57014' });
  silent.destroy();
  asked.destroy();
  await noSessions(hasty);
  await noBackends();
  await hasty.close();
});

test('a client that is gone before it is asked for its password leaves nothing', async () => {
  for (const go of ['resetAndDestroy', 'end'] as const) {
    for (let i = 0; i < 10; i++) {
      const socket = await open(wire.host, wire.port);
      socket.write(startupPacket({ user: role.name, database: db.name }));
      // Together with the packet, and while the connection to the server is being made.
      if (i % 2 === 1) await until(() => wire.proxy.sessions() > 0, { everyMs: 1 });
      socket[go]();
      socket.resume();
      await until(() => socket.closed, { timeoutMs: 5_000, what: 'the close' });
    }
  }
  await noSessions();
  await noBackends();
});

test('health checks that connect and hang up leave nothing in the log above debug', async () => {
  const before = wire.logLines.length;
  for (let i = 0; i < 20; i++) {
    const socket = await open(wire.host, wire.port);
    if (i % 2 === 0) socket.end();
    else socket.resetAndDestroy();
  }
  await noSessions();
  const loud = wire.logLines.slice(before).filter((line) => JSON.parse(line).level > 20);
  expect(loud).toEqual([]);
});

test('a server that cannot be reached is an ErrorResponse 08006 that names it', async () => {
  const closedPort = await unusedPort();
  const lost = await startWireProxy(urlFor(db.name), { upstream: { host: '127.0.0.1', port: closedPort } });
  const socket = await open(lost.host, lost.port);
  socket.write(startupPacket({ user: 'someone', database: db.name }));
  expect(report(await readToEnd(socket))).toEqual({
    severity: 'FATAL',
    code: '08006',
    message: `could not connect to server at 127.0.0.1:${closedPort}: connection refused`,
  });
  socket.destroy();
  await noSessions(lost);
  await lost.close();
});

test('a server that refuses or closes during the login: its own words, or 08006', async () => {
  let behave: (socket: Socket) => void = () => {};
  const fake = await fakeServer((socket) => behave(socket));
  const to = await startWireProxy(urlFor(db.name), { upstream: fake.address });
  const attempt = async () => {
    const socket = await open(to.host, to.port);
    socket.write(startupPacket({ user: 'someone', database: db.name }));
    const answer = report(await readToEnd(socket));
    socket.destroy();
    return answer;
  };
  const starting = Buffer.concat([Buffer.from('SFATAL\0C57P03\0Mthe database system is starting up\0\0')]);
  const head = Buffer.from([0x45, 0, 0, 0, starting.length + 4]);
  behave = (socket) => socket.end(Buffer.concat([head, starting]));
  expect(await attempt()).toEqual({
    severity: 'FATAL',
    code: '57P03',
    message: 'the database system is starting up',
  });
  behave = (socket) => socket.end();
  expect(await attempt()).toMatchObject({ code: '08006' });
  behave = (socket) => socket.resetAndDestroy();
  expect(await attempt()).toMatchObject({ code: '08006' });
  behave = (socket) => socket.write(Buffer.from('HTTP/1.1 400 Bad Request'));
  expect(await attempt()).toMatchObject({ code: '08P01' });
  // GSSAPI
  behave = (socket) => socket.write(Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 7]));
  expect(await attempt()).toMatchObject({ code: '0A000' });
  // Only channel binding.
  const plus = Buffer.from('\0\0\0\nSCRAM-SHA-256-PLUS\0\0', 'latin1');
  behave = (socket) => socket.write(Buffer.concat([Buffer.from([0x52, 0, 0, 0, plus.length + 4]), plus]));
  expect(await attempt()).toMatchObject({ code: '0A000' });
  // An error without a single field.
  behave = (socket) => socket.end(Buffer.from([0x45, 0, 0, 0, 5, 0]));
  expect(await attempt()).toEqual({ severity: undefined, code: undefined, message: undefined });
  await noSessions(to);
  await to.close();
  await fake.close();
});

test('a client that dies in the middle of a message takes its server process with it', async () => {
  for (const bytes of [
    query(`SELECT '${'x'.repeat(5000)}'`).subarray(0, 2000),
    copyData(Buffer.alloc(50_000)).subarray(0, 20_000),
    Buffer.from([0x51, 0]),
  ]) {
    for (const die of ['resetAndDestroy', 'destroy', 'end'] as const) {
      const client = await connect();
      client.send(bytes);
      client.socket[die]();
      await noBackends();
      client.socket.destroy();
    }
  }
  await noSessions();
});

test('a client that dies in the middle of a large result frees the server', async () => {
  const client = await connect();
  // Not reading at all: a socket without listeners would go on flowing, and the query would end by itself.
  client.socket.pause();
  client.send(query("SELECT repeat('x', 1000) FROM generate_series(1, 1000000)"));
  await until(async () => (await backends()).some((each) => each.wait_event === 'ClientWrite'));
  client.socket.resetAndDestroy();
  await noBackends();
  await noSessions();
});

test('a client that has closed its sending side still gets its answers', async () => {
  const client = await connect();
  client.forget();
  client.send(query('SELECT pg_sleep(0.3)'), query('SELECT 2'));
  client.socket.end();
  await client.ready(2);
  expect(client.types()).toBe('TDCZTDCZ');
  await until(() => client.closed);
  await noSessions();
});

test('so does one whose last statement is still being rewritten when it has closed that side', async () => {
  const client = await connect();
  client.forget();
  // So large that a thread of its own reads it.
  const values = Array.from({ length: 30_000 }, (_, n) => `'value ${n}'`).join(', ');
  client.send(query('SELECT 1'), query(`SELECT array_length(ARRAY[${values}], 1), 'a' ~> 'b'`));
  client.socket.end();
  await client.ready(2);
  expect(client.types()).toMatch(/^TDCZ(E|TDC)Z$/);
  await until(() => client.closed);
  await noSessions();
});

test('a server process that is terminated is one FATAL to the client, then a close', async () => {
  const client = await connect();
  client.forget();
  client.send(query('SELECT pg_sleep(30)'), parse('SELECT 1'), bind(), execute(), sync);
  const [backend] = await until(async () => {
    const found = await backends();
    return found[0]?.state === 'active' && found;
  });
  await asSuperuser(db.name, (admin) => admin.query('SELECT pg_terminate_backend($1)', [backend!.pid]));
  await until(() => client.closed);
  expect(client.types()).toBe('TE');
  expect(client.error().code).toBe('57P01');
  await noSessions();
});

test('a walsender connection works', async () => {
  const superuser = await db.createRole('walsender', { superuser: true });
  const client = await connect(wire, {
    user: superuser.name,
    password: superuser.password,
    parameters: { replication: 'database' },
  });
  client.forget();
  client.send(query('IDENTIFY_SYSTEM'));
  await client.ready();
  expect(client.types()).toBe('TDCZ');
  client.forget();
  client.send(query('SHOW server_version'));
  await client.ready();
  expect(client.types()).toBe('TDCZ');
  await client.end();
});

test('closing the proxy ends idle sessions at once and lets a transaction finish', async () => {
  const own = await startWireProxy(urlFor(db.name));
  const idle = await connect(own);
  const busy = await connect(own);
  const stuck = await connect(own);
  const early = await open(own.host, own.port);
  for (const client of [idle, busy, stuck]) client.forget();
  busy.send(query('BEGIN'));
  stuck.send(query('BEGIN'));
  await Promise.all([busy.ready(), stuck.ready()]);
  const closing = own.close(1_000);
  expect(report(await readToEnd(early))).toMatchObject({ code: '57P01' });
  await until(() => idle.ended, { what: 'the idle session to end' });
  expect(idle.error().code).toBe('57P01');
  expect(busy.ended).toBe(false);
  await expect(open(own.host, own.port)).rejects.toThrow();
  busy.forget();
  busy.send(query('SELECT 1'));
  busy.send(query('COMMIT'));
  await until(() => busy.ended, { what: 'the session to end after its COMMIT' });
  expect(busy.types()).toBe('TDCZCZE');
  await until(() => stuck.ended, { what: 'the end of the grace' });
  expect(stuck.error().code).toBe('57P01');
  for (const client of [idle, busy, stuck]) client.socket.destroy();
  early.destroy();
  await closing;
  expect(own.proxy.sessions()).toBe(0);
  await noBackends();
});

test('a second close with a shorter time shortens the wait', async () => {
  const own = await startWireProxy(urlFor(db.name));
  const client = await connect(own);
  client.send(query('BEGIN'));
  await client.ready(2);
  const patient = own.proxy.close(60_000);
  await own.close(0);
  await patient;
  await until(() => client.closed || client.ended);
  expect(client.error().code).toBe('57P01');
  client.socket.destroy();
  await noBackends();
});

test('a fault in our own code ends its session and no other', async () => {
  const { createRewriter } = await import('../../src/rewrite/rewriter.js');
  const rewriter = await createRewriter();
  const own = await startWireProxy(urlFor(db.name), {
    rewriter: {
      ...rewriter,
      scan: (buf, start, end) => {
        if (buf.includes('boom', start)) throw new Error('a fault');
        return rewriter.scan(buf, start, end);
      },
    },
  });
  const bystander = await connect(own);
  const victim = await connect(own);
  victim.send(query("SELECT 'boom'"));
  await until(() => victim.closed);
  bystander.forget();
  bystander.send(query('SELECT 1'));
  await bystander.ready();
  expect(own.logLines.some((line) => line.includes('a fault'))).toBe(true);
  await bystander.end();
  await own.close();
  await rewriter.close();
});

test('a password is not asked for over a connection that others can read', async () => {
  const outside = Object.values(networkInterfaces())
    .flat()
    .find((each) => each?.family === 'IPv4' && !each.internal);
  const own = await startWireProxy(urlFor(db.name), { listen: [{ host: '0.0.0.0', port: 0 }] });
  // A machine without a network has loopback alone, where the password is asked for.
  const socket = await open(outside?.address ?? '127.0.0.1', own.port);
  const raw = new RawClient(socket);
  raw.read();
  raw.send(startupPacket({ user: role.name, database: db.name }));
  await raw.waitFor(outside === undefined ? 'R' : 'E');
  if (outside !== undefined) {
    expect(raw.types()).toBe('E');
    expect(raw.error()).toMatchObject({ code: '28000' });
    expect(raw.error().message).toContain('TLS');
  }
  socket.destroy();
  await own.close();
});

test('replication=off is an ordinary session', async () => {
  const client = await connect(wire, { parameters: { replication: 'off' } });
  client.forget();
  const before = wire.commits();
  client.send(query('SELECT 1 /* df.start */'));
  await client.ready();
  expect(wire.commits()).toBe(before + 1);
  await client.end();
});

test('hundreds of sessions that come and go leave no session, socket or server process', async () => {
  for (let round = 0; round < 4; round++) {
    const clients = await Promise.all(Array.from({ length: 25 }, () => connect()));
    for (const client of clients) client.send(query('SELECT 1'));
    await Promise.all(clients.map((client) => client.ready(2)));
    await Promise.all(
      clients.map((client, i) => (i % 3 === 0 ? client.socket.resetAndDestroy() && undefined : client.end())),
    );
  }
  await noSessions();
  await noBackends();
});

test('the same over a Unix socket', async () => {
  const { mkdtemp, rm } = await import('node:fs/promises');
  const { connect: dialPath } = await import('node:net');
  const directory = await mkdtemp('/tmp/wire-');
  const own = await startWireProxy(urlFor(db.name), { listen: [{ host: directory, port: 5432 }] });
  const socket = dialPath(`${directory}/.s.PGSQL.5432`);
  const client = new RawClient(socket);
  client.read();
  client.send(startupPacket({ user: role.name, database: db.name }));
  await client.waitFor('R');
  client.send(
    Buffer.concat([
      Buffer.from([0x70, 0, 0, 0, 5 + role.password.length]),
      Buffer.from(`${role.password}\0`),
    ]),
  );
  await client.ready();
  await client.end();
  await own.close();
  await rm(directory, { recursive: true });
});

function upstreamAddress(): { host: string; port: number } {
  const { hostname, port } = new URL(db.superUrl);
  return { host: hostname, port: Number(port) };
}

function request(code: number): Buffer {
  const out = Buffer.alloc(8);
  out.writeInt32BE(8, 0);
  out.writeInt32BE(code, 4);
  return out;
}

/** A server that the test plays; `onStartup` gets the socket when the start-up packet has come. */
async function fakeServer(
  onStartup: (socket: Socket) => void,
): Promise<{ address: { host: string; port: number }; close: () => Promise<void> }> {
  const server: Server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => onStartup(socket));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no address');
  return {
    address: { host: '127.0.0.1', port: address.port },
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

async function unusedPort(): Promise<number> {
  const fake = await fakeServer(() => {});
  await fake.close();
  return fake.address.port;
}

test('an answer that is not read at once is not lost when the server closes', async () => {
  const rows = Buffer.concat(
    Array.from({ length: 200 }, () =>
      Buffer.concat([Buffer.from([0x64, 0, 0, 0x27, 0x14]), Buffer.alloc(10_000)]),
    ),
  );
  const fake = await fakeServer((socket) => {
    socket.end(Buffer.concat([authenticationOk, rows]));
  });
  const to = await startWireProxy(urlFor(db.name), { upstream: fake.address });
  const socket = await open(to.host, to.port);
  socket.write(startupPacket({ user: 'someone', database: db.name }));
  await until(() => to.proxy.sessions() === 1);
  // Much later than the server's close.
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect((await readToEnd(socket)).length).toBe(9 + rows.length);
  socket.destroy();
  await to.close();
  await fake.close();
});
