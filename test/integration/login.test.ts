import { createHash, randomBytes } from 'node:crypto';
import { networkInterfaces } from 'node:os';
import { inspect } from 'node:util';
import pg from 'pg';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ClientAuth } from '../../src/proxy/authentication/authenticate.js';
import { SourceFailure } from '../../src/upstream/credentials/source.js';
import { type Credential, CredentialStore } from '../../src/upstream/credentials.js';
import { dial } from '../../src/upstream/dial.js';
import { LoginError, login } from '../../src/upstream/login.js';
import { cstring, int32, message } from '../../src/wire/message.js';
import { deriveScramKeys } from '../../src/wire/scram.js';
import type { ScramVerifier } from '../../src/wire/scram-verifier.js';
import { startupPacket } from '../../src/wire/startup.js';
import { query } from '../support/frontend.js';
import {
  asSuperuser,
  createTestDatabase,
  type TestDatabase,
  type TestRole,
  urlFor,
} from '../support/postgres.js';
import { open, RawClient } from '../support/raw-client.js';
import { until } from '../support/wait.js';
import { startWireProxy, type WireProxy } from '../support/wire-proxy.js';

/** How each kind of role is let in: a line of pg_hba.conf before the server's own. */
const METHODS = ['trust', 'password', 'md5', 'scram-sha-256', 'reject'] as const;
type Method = (typeof METHODS)[number];

let db: TestDatabase;
let wire: WireProxy;
let hbaFile = '';
let hbaBefore = '';
const roles = new Map<Method, TestRole>();

async function writeHba(text: string): Promise<void> {
  await asSuperuser(db.name, async (client) => {
    await client.query('CREATE TEMP TABLE hba (n serial, line text)');
    await client.query('INSERT INTO hba (line) SELECT unnest($1::text[])', [text.split('\n')]);
    await client.query(`COPY (SELECT line FROM hba ORDER BY n) TO ${pg.escapeLiteral(hbaFile)}`);
    await client.query('SELECT pg_reload_conf()');
  });
}

beforeAll(async () => {
  db = await createTestDatabase();
  for (const method of METHODS) {
    roles.set(method, await db.createRole(`login_${method.slice(0, 5).replace(/\W/g, '')}`));
  }
  const md5 = roles.get('md5')!;
  await asSuperuser(db.name, async (client) => {
    await client.query("SET password_encryption = 'md5'");
    await client.query(`ALTER ROLE ${md5.name} PASSWORD '${md5.password}'`);
    hbaFile = (await client.query('SHOW hba_file')).rows[0].hba_file;
    hbaBefore = (await client.query('SELECT pg_read_file($1) AS text', [hbaFile])).rows[0].text;
  });
  const lines = METHODS.map((method) => `host ${db.name} ${roles.get(method)!.name} all ${method}`);
  await writeHba(`${lines.join('\n')}\n${hbaBefore}`);
  await until(
    async () => {
      const client = new pg.Client({
        connectionString: urlFor(db.name, { ...roles.get('trust')!, password: '' }),
      });
      await client.connect();
      await client.end();
      return true;
    },
    { what: 'the new pg_hba.conf' },
  );
  wire = await startWireProxy(urlFor(db.name));
});

afterAll(async () => {
  await wire?.close();
  if (hbaBefore !== '') await writeHba(hbaBefore.replace(/\n$/, ''));
  await db?.drop();
});

async function currentHba(): Promise<string> {
  return asSuperuser(db.name, async (client) => {
    return (await client.query('SELECT pg_read_file($1) AS text', [hbaFile])).rows[0].text.replace(/\n$/, '');
  });
}

async function connectAs(
  role: TestRole,
  password: string,
  to: { host: string; port: number } = wire,
): Promise<string> {
  const client = new pg.Client({
    host: to.host,
    port: to.port,
    database: db.name,
    user: role.name,
    password,
  });
  // The server's FATAL after a refused login.
  client.on('error', () => {});
  try {
    await client.connect();
    return (await client.query('SELECT session_user AS who')).rows[0].who;
  } finally {
    await client.end().catch(() => {});
  }
}

function target({ host, port }: { host: string; port: number }) {
  return { host, port, database: db.name };
}

/** A login without the proxy, with what the proxy has captured. */
async function loginWith(role: TestRole, credential: Credential) {
  const { socket } = await dial(wire.credentials.addresses[0]!, 5_000);
  try {
    return await login({
      socket,
      startup: startupPacket({ user: role.name, database: db.name }),
      user: role.name,
      answer: async () => credential,
    });
  } finally {
    socket.destroy();
  }
}

const kinds: [Method, Credential['kind']][] = [
  ['trust', 'trust'],
  ['password', 'password'],
  ['md5', 'md5'],
  ['scram-sha-256', 'scram'],
];

for (const [method, kind] of kinds) {
  test(`a role that the server asks by ${method} logs in, and what is captured logs in again`, async () => {
    const role = roles.get(method)!;
    expect(await connectAs(role, role.password)).toBe(role.name);
    const credential = (await wire.credentials.get(role.name))!;
    expect(credential.kind).toBe(kind);
    const again = await loginWith(role, credential);
    expect(again.credential?.kind).toBe(kind);
    const printed =
      JSON.stringify(credential) + inspect(credential, { depth: 9 }) + inspect(wire.credentials);
    expect(printed).not.toContain(role.password);
    if (credential.kind === 'md5') expect(printed).not.toContain(credential.hash);
    expect(wire.logLines.join('')).not.toContain(role.password);
  });
}

for (const method of ['password', 'md5', 'scram-sha-256'] as const) {
  test(`a wrong password gets the server's own error (${method})`, async () => {
    const role = roles.get(method)!;
    wire.credentials.forget(role.name);
    await expect(connectAs(role, 'wrong')).rejects.toMatchObject({
      code: '28P01',
      severity: 'FATAL',
      file: 'auth.c',
      message: `password authentication failed for user "${role.name}"`,
    });
    expect(await wire.credentials.get(role.name)).toBeUndefined();
  });
}

test("a refusal by pg_hba.conf is the server's own", async () => {
  const role = roles.get('reject')!;
  await expect(connectAs(role, role.password)).rejects.toMatchObject({ code: '28000', file: 'auth.c' });
});

test('stored SCRAM keys of an earlier password are stale, with a code of their own', async () => {
  const role = roles.get('scram-sha-256')!;
  await connectAs(role, role.password);
  const credential = (await wire.credentials.get(role.name))!;
  await asSuperuser(db.name, (client) => client.query(`ALTER ROLE ${role.name} PASSWORD 'another'`));
  await expect(loginWith(role, credential)).rejects.toMatchObject({ code: 'stale-credential' });
  await connectAs(role, 'another');
  await expect(loginWith(role, (await wire.credentials.get(role.name))!)).resolves.toBeDefined();
});

test('a credential of another kind than the server asks for is stale', async () => {
  const role = roles.get('md5')!;
  await expect(loginWith(role, { kind: 'trust' })).rejects.toBeInstanceOf(LoginError);
  await expect(loginWith(role, { kind: 'trust' })).rejects.toMatchObject({ code: 'stale-credential' });
});

test('a password that SASLprep changes and one that is not ASCII', async () => {
  const role = await db.createRole('prep');
  // NO-BREAK SPACE, SOFT HYPHEN and a ligature: 'I X fi' to both sides.
  for (const password of ['I\u00a0X\u00ad\ufb01', 'e\u0301t\u00e9', '\u{1f512}e\u0301', 'пароль']) {
    await asSuperuser(db.name, (client) =>
      client.query(`ALTER ROLE ${role.name} PASSWORD ${pg.escapeLiteral(password)}`),
    );
    expect(await connectAs(role, password)).toBe(role.name);
  }
});

test('a login by a name that the server cuts is kept under no name', async () => {
  const role = await db.createRole(`cut_${'x'.repeat(48)}`);
  expect(role.name).toHaveLength(63);
  expect(await connectAs(role, role.password)).toBe(role.name);
  const before = wire.credentials.captures(role.name);
  const longer = { ...role, name: `${role.name}_and_more` };
  // Some versions cut it, others say that there is no such role.
  await connectAs(longer, role.password).catch((error) => expect(error.code).toMatch(/^28/));
  expect(wire.credentials.captures(longer.name)).toBe(0);
  expect(wire.credentials.captures(role.name)).toBe(before);
});

test('a verifier of many iterations: the login takes its time, and what is captured needs none', async () => {
  const role = await db.createRole('slow');
  const known = await asSuperuser(db.name, async (client) => {
    const { rows } = await client.query("SELECT current_setting('server_version_num')::int AS version");
    if (rows[0].version < 160_000) return false;
    await client.query('SET scram_iterations = 250000');
    await client.query(`ALTER ROLE ${role.name} PASSWORD '${role.password}'`);
    return true;
  });
  if (!known) return console.log('skipped: scram_iterations is of PostgreSQL 16 and later');
  expect(await connectAs(role, role.password)).toBe(role.name);
  const credential = (await wire.credentials.get(role.name))!;
  expect(credential).toMatchObject({ kind: 'scram', keys: { iterations: 250_000 } });
  await loginWith(role, credential);
});

test('a trust login does not replace a captured key', async () => {
  const role = roles.get('scram-sha-256')!;
  const before = (await wire.credentials.get(role.name))!;
  wire.credentials.capture(role.name, { kind: 'trust' });
  expect(await wire.credentials.get(role.name)).toEqual(before);
});

describe('client_auth = relay', () => {
  let relay: WireProxy;
  beforeAll(async () => {
    relay = await startWireProxy(urlFor(db.name), { clientAuth: { mode: 'relay' } });
  });
  afterAll(() => relay?.close());

  test.each(METHODS.slice(0, 4))('passes a login by %s on, and keeps nothing of it', async (method) => {
    const role = { ...roles.get(method)! };
    const password = method === 'scram-sha-256' ? 'another' : role.password;
    expect(await connectAs(role, password, relay)).toBe(role.name);
    const sql = postgres({ ...target(relay), user: role.name, password, max: 1 });
    expect((await sql`SELECT session_user AS who`)[0]!.who).toBe(role.name);
    await sql.end();
    expect(await relay.credentials.get(role.name)).toBeUndefined();
    expect(relay.logLines.join('')).not.toContain(password);
  });

  test.each(['password', 'md5', 'scram-sha-256', 'reject'] as const)(
    "passes the server's own refusal on (%s)",
    async (method) => {
      const role = roles.get(method)!;
      const code = method === 'reject' ? '28000' : '28P01';
      await expect(connectAs(role, 'wrong', relay)).rejects.toMatchObject({ code, file: 'auth.c' });
    },
  );

  test('what a client sends ahead of the answers is not taken for one of them', async () => {
    const role = roles.get('trust')!;
    const raw = new RawClient(await open(relay.host, relay.port));
    raw.read();
    raw.send(startupPacket({ user: role.name, database: db.name }), query('SELECT 41 + 1'));
    await raw.ready(2);
    expect(raw.value()).toBe('42');
    await raw.end();
  });

  test.each([
    ['a query instead of a password', query('SELECT 1')],
    ['a message of 60 kB', message(0x70, Buffer.alloc(60_000, 0x61))],
    ['a SASL message full of NULs', message(0x70, Buffer.alloc(100))],
    [
      'a length that overflows',
      message(0x70, Buffer.concat([Buffer.from('SCRAM-SHA-256\0'), Buffer.from([127, 255, 255, 255])])),
    ],
  ])('%s is answered as by the server', async (_, bytes) => {
    const role = roles.get('scram-sha-256')!;
    const ends = [];
    for (const to of [target(wire.credentials.addresses[0]!), target(relay)]) {
      const raw = new RawClient(await open(to.host, to.port));
      raw.read();
      raw.send(startupPacket({ user: role.name, database: db.name }));
      await raw.waitFor('R');
      raw.send(bytes);
      await until(() => raw.ended || raw.closed, { everyMs: 2 });
      raw.socket.destroy();
      ends.push([raw.types(), raw.error()]);
    }
    expect(ends[1]).toEqual(ends[0]);
  });
});

describe('client_auth = trust', () => {
  let trusting: WireProxy;
  beforeAll(async () => {
    trusting = await startWireProxy(urlFor(db.name), {
      clientAuth: { mode: 'trust' },
      credentials: wire.credentials,
      listen: [{ host: '0.0.0.0', port: 0 }],
    });
  });
  afterAll(() => trusting?.close());
  const loopback = () => ({ host: '127.0.0.1', port: trusting.port });

  test.each(['md5', 'password', 'scram-sha-256'] as const)(
    'logs in with what the executor has for the role (%s)',
    async (method) => {
      const role = roles.get(method)!;
      await connectAs(role, method === 'scram-sha-256' ? 'another' : role.password);
      expect(await connectAs(role, 'not looked at', loopback())).toBe(role.name);
    },
  );

  test('a role without a credential is refused with the reason, unless the server asks for nothing', async () => {
    const role = await db.createRole('stranger');
    await expect(connectAs(role, role.password, loopback())).rejects.toMatchObject({
      code: '28000',
      message: `the server asks for a password, and the proxy has no credential for role "${role.name}"`,
    });
    expect(await connectAs(roles.get('trust')!, '', loopback())).toBe(roles.get('trust')!.name);
  });

  test('a credential that the server no longer takes is no way in', async () => {
    const role = await db.createRole('changing');
    await connectAs(role, role.password);
    await asSuperuser(db.name, (client) => client.query(`ALTER ROLE ${role.name} PASSWORD 'changed'`));
    await expect(connectAs(role, role.password, loopback())).rejects.toMatchObject({
      code: '28000',
      message: 'stored SCRAM keys belong to an earlier password',
    });
  });

  test("with an operator's password for role and database; a source that does not work is said to the log", async () => {
    const role = await db.createRole('operated');
    const asked: string[] = [];
    const find = async ({ role: name, database }: { role: string; database: string }) => {
      asked.push(`${name}@${database}`);
      if (name !== role.name) throw new SourceFailure('no answer from the vault');
      return role.password;
    };
    const source = { name: 'test', mayHave: () => true, refused: () => false, stamp: async () => '', find };
    const credentials = new CredentialStore(wire.credentials.addresses, { sources: [source] });
    const operated = await startWireProxy(urlFor(db.name), { clientAuth: { mode: 'trust' }, credentials });
    try {
      expect(await connectAs(role, 'not looked at', operated)).toBe(role.name);
      expect(asked).toEqual([`${role.name}@${db.name}`]);
      await expect(connectAs(roles.get('md5')!, 'x', operated)).rejects.toMatchObject({
        code: '58000',
        message: expect.not.stringContaining('vault'),
      });
      expect(operated.logLines.join('')).toContain('no answer from the vault');
    } finally {
      await operated.close();
    }
  });

  const outside = Object.values(networkInterfaces())
    .flat()
    .find((each) => each !== undefined && each.family === 'IPv4' && !each.internal)?.address;
  if (outside === undefined) console.log('skipped: this machine has no address but loopback');

  test.skipIf(outside === undefined)(
    'clients from elsewhere are refused, and never asked in clear text',
    async () => {
      const role = roles.get('md5')!;
      await expect(
        connectAs(role, role.password, { host: outside!, port: trusting.port }),
      ).rejects.toMatchObject({
        code: '28000',
        message: 'client_auth = trust admits clients over loopback or a Unix socket only',
      });
      const asking = await startWireProxy(urlFor(db.name), { listen: [{ host: '0.0.0.0', port: 0 }] });
      try {
        await expect(
          connectAs(role, role.password, { host: outside!, port: asking.port }),
        ).rejects.toMatchObject({
          code: '28000',
          message: expect.stringContaining('which this unencrypted connection would reveal'),
        });
      } finally {
        await asking.close();
      }
    },
  );
});

describe('client_auth = scram before a server that asks for something else', () => {
  const verifier = async (password: string): Promise<ScramVerifier> => {
    const { clientKey, serverKey, salt, iterations } = await deriveScramKeys(
      password,
      Buffer.alloc(16, 7),
      4096,
    );
    return { storedKey: createHash('sha256').update(clientKey).digest(), serverKey, salt, iterations };
  };
  let scram: WireProxy;
  beforeAll(async () => {
    const known = new Map<string, ScramVerifier>();
    for (const method of ['trust', 'md5'] as const) {
      known.set(roles.get(method)!.name, await verifier(roles.get(method)!.password));
    }
    scram = await startWireProxy(urlFor(db.name), {
      clientAuth: {
        mode: 'scram',
        verifiers: { find: async (role) => known.get(role), refresh: async () => {}, close: async () => {} },
        mockSecret: randomBytes(32),
      },
    });
  });
  afterAll(() => scram?.close());

  test('a server that asks for nothing does not spare the client its proof', async () => {
    const role = roles.get('trust')!;
    expect(await connectAs(role, role.password, scram)).toBe(role.name);
    await expect(connectAs(role, 'wrong', scram)).rejects.toMatchObject({ code: '28P01' });
    const raw = new RawClient(await open(scram.host, scram.port));
    raw.read();
    raw.send(startupPacket({ user: role.name, database: db.name }), query('SELECT 1'));
    await raw.waitFor('E');
    expect(raw.types()).toBe('RE');
    expect(raw.error().message).toBe('expected SASL response, got message type 81');
    raw.socket.destroy();
  });

  test('a role that the proxy does not know gets no further there, with one salt of its own', async () => {
    const stranger = await db.createRole('let_in');
    await writeHba(`host ${db.name} ${stranger.name} all trust\n${await currentHba()}`);
    await until(() => connectAs(stranger, '').then((who) => who === stranger.name));
    const salts = new Set<string>();
    for (let i = 0; i < 2; i++) {
      await expect(connectAs(stranger, stranger.password, scram)).rejects.toMatchObject({
        code: '28P01',
        message: `password authentication failed for user "${stranger.name}"`,
      });
      const raw = new RawClient(await open(scram.host, scram.port));
      raw.read();
      raw.send(startupPacket({ user: stranger.name, database: db.name }));
      await raw.waitFor('R');
      const first = Buffer.from('n,,n=,r=x');
      raw.send(message(0x70, Buffer.concat([cstring('SCRAM-SHA-256'), int32(first.length), first])));
      await raw.waitFor('R', 2);
      salts.add(raw.messages[1]!.body.toString('latin1').split(',s=')[1]!);
      raw.socket.destroy();
    }
    expect(salts.size).toBe(1);
  });

  test('a server that asks for md5 is an error that says so', async () => {
    const role = roles.get('md5')!;
    await expect(connectAs(role, role.password, scram)).rejects.toMatchObject({
      code: '28000',
      message: 'the server asks for a password (md5), which client_auth = scram cannot give',
    });
  });
});

describe('a client that goes in the middle of its login', () => {
  const ways: [string, (raw: RawClient) => void][] = [
    ['half-closes', (raw) => void raw.socket.end()],
    ['is cut off', (raw) => raw.socket.resetAndDestroy()],
  ];
  const modes: [string, () => ClientAuth][] = [
    ['password', () => ({ mode: 'password' })],
    ['relay', () => ({ mode: 'relay' })],
    [
      'scram',
      () => ({
        mode: 'scram',
        verifiers: { find: async () => undefined, refresh: async () => {}, close: async () => {} },
        mockSecret: randomBytes(32),
      }),
    ],
  ];

  test.each(modes)('leaves nothing behind (%s)', async (_, clientAuth) => {
    const role = roles.get('scram-sha-256')!;
    // Longer than the test may take: it is not the time-out that ends these sessions.
    const proxy = await startWireProxy(urlFor(db.name), { clientAuth: clientAuth(), loginTimeoutMs: 60_000 });
    const backends = () =>
      asSuperuser(db.name, async (client) => {
        const { rows } = await client.query(
          "SELECT count(*)::int AS n FROM pg_stat_activity WHERE usename = $1 OR state IS NULL AND backend_type = 'client backend'",
          [role.name],
        );
        return rows[0].n;
      });
    try {
      for (const [, leave] of ways) {
        for (const untilAsked of [true, false]) {
          const raw = new RawClient(await open(proxy.host, proxy.port));
          raw.read();
          raw.send(startupPacket({ user: role.name, database: db.name }));
          if (untilAsked) await raw.waitFor('R');
          leave(raw);
        }
      }
      await until(() => proxy.proxy.sessions() === 0, { timeoutMs: 5_000, what: 'the sessions to end' });
      await until(async () => (await backends()) === 0, { timeoutMs: 5_000, what: 'the server to be left' });
      expect(proxy.logLines.filter((line) => JSON.parse(line).level >= 40)).toEqual([]);
    } finally {
      await proxy.close();
    }
  });
});
