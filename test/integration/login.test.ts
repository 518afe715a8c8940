import { inspect } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Credential } from '../../src/upstream/credentials.js';
import { dial } from '../../src/upstream/dial.js';
import { LoginError, login } from '../../src/upstream/login.js';
import { startupPacket } from '../../src/wire/startup.js';
import {
  asSuperuser,
  createTestDatabase,
  type TestDatabase,
  type TestRole,
  urlFor,
} from '../support/postgres.js';
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

async function connectAs(role: TestRole, password: string): Promise<string> {
  const client = new pg.Client({
    host: wire.host,
    port: wire.port,
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

/** A login without the proxy, with what the proxy has captured. */
async function loginWith(role: TestRole, credential: Credential) {
  const socket = await dial(wire.credentials.address, 5_000);
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
    const credential = wire.credentials.get(role.name)!;
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
    expect(wire.credentials.get(role.name)).toBeUndefined();
  });
}

test("a refusal by pg_hba.conf is the server's own", async () => {
  const role = roles.get('reject')!;
  await expect(connectAs(role, role.password)).rejects.toMatchObject({ code: '28000', file: 'auth.c' });
});

test('stored SCRAM keys of an earlier password are stale, with a code of their own', async () => {
  const role = roles.get('scram-sha-256')!;
  await connectAs(role, role.password);
  const credential = wire.credentials.get(role.name)!;
  await asSuperuser(db.name, (client) => client.query(`ALTER ROLE ${role.name} PASSWORD 'another'`));
  await expect(loginWith(role, credential)).rejects.toMatchObject({ code: 'stale-credential' });
  await connectAs(role, 'another');
  await expect(loginWith(role, wire.credentials.get(role.name)!)).resolves.toBeDefined();
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

test('a trust login does not replace a captured key', async () => {
  const role = roles.get('scram-sha-256')!;
  const before = wire.credentials.get(role.name)!;
  wire.credentials.capture(role.name, { kind: 'trust' });
  expect(wire.credentials.get(role.name)).toBe(before);
});
