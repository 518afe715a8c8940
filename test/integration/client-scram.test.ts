import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { pino } from 'pino';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { verifierFile } from '../../src/upstream/verifier-file.js';
import { verifierQuery } from '../../src/upstream/verifier-query.js';
import { VerifierError, type VerifierSource } from '../../src/upstream/verifiers.js';
import { FieldCode, fieldText, readFields } from '../../src/wire/fields.js';
import { cstring, int32, message } from '../../src/wire/message.js';
import { ScramClient } from '../../src/wire/scram.js';
import { startupPacket } from '../../src/wire/startup.js';
import {
  asSuperuser,
  createTestDatabase,
  serverUrl,
  type TestDatabase,
  type TestRole,
  urlFor,
  withClient,
} from '../support/postgres.js';
import { run } from '../support/program.js';
import { spawnProxy, startProxy } from '../support/proxy.js';
import { open, RawClient } from '../support/raw-client.js';
import { until } from '../support/wait.js';
import { startWireProxy, type WireProxy } from '../support/wire-proxy.js';

let db: TestDatabase;
/** In the file. */
let known: TestRole;
/** On the server only. */
let other: TestRole;
let wire: WireProxy;
let directory: string;
let file: string;
const mockSecret = randomBytes(32);
const logLines: string[] = [];
const log = pino({ level: 'debug' }, { write: (line: string) => void logLines.push(line) });

async function verifierOf(role: string): Promise<string> {
  return asSuperuser(db.name, async (client) => {
    const { rows } = await client.query('SELECT rolpassword FROM pg_authid WHERE rolname = $1', [role]);
    return rows[0].rolpassword;
  });
}

function writeFile(lines: string[]): void {
  writeFileSync(file, `; verifiers\n\n${lines.join('\n')}\n`, { mode: 0o600 });
}

beforeAll(async () => {
  db = await createTestDatabase();
  await asSuperuser(db.name, (client) => client.query("SET password_encryption = 'scram-sha-256'"));
  known = await db.createRole('scram_known');
  other = await db.createRole('scram_other');
  directory = mkdtempSync(join(tmpdir(), 'verifiers-'));
  file = join(directory, 'userlist.txt');
  writeFile([`"${known.name}" "${await verifierOf(known.name)}"`, '"someone" "in clear text"']);
  wire = await startWireProxy(urlFor(db.name), {
    clientAuth: { mode: 'scram', verifiers: await verifierFile(file, log), mockSecret },
  });
});

afterAll(async () => {
  await wire?.close();
  await db?.drop();
  if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
});

interface Target {
  host: string;
  port: number;
}

async function connectAs(role: { name: string; password: string }, to: Target = wire): Promise<string> {
  const client = new pg.Client({
    host: to.host,
    port: to.port,
    database: db.name,
    user: role.name,
    password: role.password,
  });
  client.on('error', () => {});
  try {
    await client.connect();
    return (await client.query('SELECT session_user AS who')).rows[0].who;
  } finally {
    await client.end().catch(() => {});
  }
}

const server = (): Target => ({
  host: new URL(serverUrl()).hostname,
  port: Number(new URL(serverUrl()).port),
});

/** One message of a client at a time, given the server's first SCRAM message. */
type Step = (serverFirst: string) => Buffer;

interface Seen {
  types: string;
  code?: string | undefined;
  message?: string | undefined;
  detail?: string | undefined;
}

/** What an exchange brings: types of all messages, and the error. */
async function converse(to: Target, user: string, steps: Step[]): Promise<Seen> {
  const client = new RawClient(await open(to.host, to.port));
  client.read();
  client.send(startupPacket({ user, database: db.name }));
  await client.waitFor('R');
  for (const step of steps) {
    const before = client.count('R');
    const last = client.messages.findLast((each) => each.type === 'R')!;
    client.send(step(last.body.toString('latin1', 4)));
    await until(() => client.count('R') > before || client.closed || client.count('E') > 0, { everyMs: 2 });
  }
  await until(() => client.ended || client.closed, { everyMs: 2, what: 'the server to close' });
  client.socket.destroy();
  const error = client.messages.findLast((each) => each.type === 'E');
  const fields = error === undefined ? [] : readFields(error.body);
  return {
    types: client.types(),
    code: fieldText(fields, FieldCode.Code),
    message: fieldText(fields, FieldCode.Message)?.replaceAll(user, 'ROLE'),
    detail: fieldText(fields, FieldCode.Detail),
  };
}

const p = (body: Buffer | string): Buffer => message(0x70, Buffer.from(body as string));
const initial = (first: string, mechanism = 'SCRAM-SHA-256', length = first.length): Buffer =>
  p(Buffer.concat([cstring(mechanism), int32(length), Buffer.from(first, 'latin1')]));
const noProof = Buffer.alloc(32, 1).toString('base64');
const nonceIn = (serverFirst: string) => /r=([^,]*)/.exec(serverFirst)?.[1] ?? '';

describe('login', () => {
  test('with pg and postgres, and the recovered key logs the executor in', async () => {
    expect(await connectAs(known)).toBe(known.name);
    const credential = (await wire.credentials.get(known.name))!;
    expect(credential.kind).toBe('scram');
    const sql = postgres({
      host: wire.host,
      port: wire.port,
      database: db.name,
      user: known.name,
      password: known.password,
      max: 1,
    });
    expect((await sql`SELECT session_user AS who`)[0]!.who).toBe(known.name);
    await sql.end();
    if (credential.kind !== 'scram') throw new Error('not scram');
    const client = new ScramClient({ keys: credential.keys });
    expect(client.first()).toMatch(/^n,,n=,r=/);
  });

  test('a client that sends its first message only when it is asked for it', async () => {
    const client = new ScramClient({ password: known.password });
    const raw = new RawClient(await open(wire.host, wire.port));
    raw.read();
    raw.send(startupPacket({ user: known.name, database: db.name }));
    await raw.waitFor('R');
    raw.send(initial('', 'SCRAM-SHA-256', -1));
    await raw.waitFor('R', 2);
    raw.send(p(client.first()));
    await raw.waitFor('R', 3);
    raw.send(p(await client.final(raw.messages[2]!.body.toString('latin1', 4))));
    await raw.ready();
    client.finish(raw.messages[3]!.body.toString('latin1', 4));
    await raw.end();
  });

  test('nothing secret is in the log', async () => {
    const credential = (await wire.credentials.get(known.name))!;
    if (credential.kind !== 'scram') throw new Error('not scram');
    const all = wire.logLines.join('') + logLines.join('');
    for (const secret of [
      known.password,
      credential.keys.clientKey.toString('base64'),
      credential.keys.clientKey.toString('hex'),
      credential.keys.serverKey.toString('base64'),
      'in clear text',
    ]) {
      expect(all).not.toContain(secret);
    }
    expect(all).toContain('lines without a SCRAM-SHA-256 verifier are left out');
  });
});

describe('who probes names learns nothing', () => {
  async function probe(user: string): Promise<Seen & { salt: string; iterations: string }> {
    let serverFirst = '';
    const seen = await converse(wire, user, [
      () => initial('n,,n=,r=probe'),
      (text) => {
        serverFirst = text;
        return p(`c=biws,r=${nonceIn(text)},p=${noProof}`);
      },
    ]);
    const [, salt, iterations] = /,s=([^,]*),i=(\d+)$/.exec(serverFirst)!;
    return { ...seen, salt: salt!, iterations: iterations! };
  }

  test('a wrong password, a role without verifier, a role that nobody knows: the same messages', async () => {
    const wrongPassword = await probe(known.name);
    const withoutVerifier = await probe(other.name);
    const nobody = await probe('nobody_at_all');
    expect(wrongPassword).toMatchObject({
      types: 'RRE',
      code: '28P01',
      message: 'password authentication failed for user "ROLE"',
    });
    for (const each of [withoutVerifier, nobody]) {
      expect({ ...each, salt: '' }).toEqual({ ...wrongPassword, salt: '' });
      expect(Buffer.from(each.salt, 'base64')).toHaveLength(16);
    }
  });

  test('each role has one salt, at every attempt, and it is the one that the server names', async () => {
    for (const user of [known.name, other.name, 'nobody_at_all']) {
      const [first, second] = [await probe(user), await probe(user)];
      expect(second.salt).toBe(first.salt);
      let direct = '';
      await converse(server(), user, [
        () => initial('n,,n=,r=probe'),
        (text) => {
          direct = text;
          return p(`c=biws,r=${nonceIn(text)},p=${noProof}`);
        },
      ]);
      expect(direct).toContain(`,s=${first.salt},i=${first.iterations}`);
    }
  });

  test('the right password of a role without verifier is no way in, and nothing is kept of it', async () => {
    await expect(connectAs(other)).rejects.toMatchObject({ code: '28P01' });
    await expect(connectAs({ ...known, password: 'wrong' })).rejects.toMatchObject({ code: '28P01' });
    expect(await wire.credentials.get(other.name)).toBeUndefined();
  });
});

describe('a malformed exchange ends as on the server', () => {
  const good = () => initial('n,,n=,r=abcdef');
  const cases: [string, Step[]][] = [
    ['an unknown mechanism', [() => initial('n,,n=,r=x', 'SCRAM-SHA-1')]],
    ['-PLUS without TLS', [() => initial('p=tls-server-end-point,,n=,r=x', 'SCRAM-SHA-256-PLUS')]],
    ['no name of a mechanism', [() => p(Buffer.alloc(0))]],
    ['a mechanism without end', [() => p('SCRAM-SHA-256')]],
    ['no length', [() => p(cstring('SCRAM-SHA-256'))]],
    ['half a length', [() => p(Buffer.concat([cstring('SCRAM-SHA-256'), Buffer.alloc(2)]))]],
    ['a length that overflows', [() => initial('n,,n=,r=x', 'SCRAM-SHA-256', 0x7fffffff)]],
    ['a negative length', [() => initial('n,,n=,r=x', 'SCRAM-SHA-256', -2)]],
    ['a length that is too short', [() => initial('n,,n=,r=x', 'SCRAM-SHA-256', 3)]],
    ['data although there should be none', [() => initial('n,,n=,r=x', 'SCRAM-SHA-256', -1)]],
    ['an empty first message', [() => initial('')]],
    ['an empty message after the empty challenge', [() => initial('', 'SCRAM-SHA-256', -1), () => p('')]],
    ['a NUL in the first message', [() => initial('n,,n=,r=a\0b')]],
    ['an unknown flag', [() => initial('x,,n=,r=abc')]],
    ['binding data that was not chosen', [() => initial('p=tls-server-end-point,,n=,r=abc')]],
    ['a flag without comma', [() => initial('nn=,r=abc')]],
    ['a flag and nothing more', [() => initial('n')]],
    ['an authorization identity', [() => initial('n,a=admin,n=,r=abc')]],
    ['another attribute in its place', [() => initial('n,b=x,n=,r=abc')]],
    ['a mandatory extension', [() => initial('n,,m=x,n=,r=abc')]],
    ['no name', [() => initial('n,,r=abc')]],
    ['no nonce', [() => initial('n,,n=')]],
    ['a name without "="', [() => initial('n,,nx,r=abc')]],
    ['a nonce that is not printable', [() => initial('n,,n=,r=a\x01b')]],
    ['a nonce beyond ASCII', [() => initial('n,,n=,r=\xe4')]],
    ['an extension that is none', [() => initial('n,,n=,r=abc,1=x')]],
    ['an extension without value', [() => initial('n,,n=,r=abc,x')]],
    ['a nonce of 2000 characters', [() => initial(`n,,n=,r=${'x'.repeat(2000)}`)]],
    ['a message of 100 kB', [() => initial(`n,,n=,r=${'x'.repeat(100_000)}`)]],
    ['a message that is longer than it can be', [() => Buffer.from([0x70, 0x7f, 0xff, 0xff, 0xff, 0, 0])]],
    ['a message that is shorter than its length', [() => Buffer.from([0x70, 0, 0, 0, 3])]],
    ['a query instead', [() => message(0x51, cstring('SELECT 1'))]],
    ['a query instead of the last message', [good, () => message(0x51, cstring('SELECT 1'))]],
    ['an empty last message', [good, () => p('')]],
    ['a NUL in the last message', [good, (s) => p(`c=biws,r=${nonceIn(s)}\0,p=${noProof}`)]],
    ['another binding', [good, (s) => p(`c=eSws,r=${nonceIn(s)},p=${noProof}`)]],
    ['no binding', [good, (s) => p(`r=${nonceIn(s)},p=${noProof}`)]],
    ['another nonce', [good, () => p(`c=biws,r=abcdefg,p=${noProof}`)]],
    ['no proof', [good, (s) => p(`c=biws,r=${nonceIn(s)}`)]],
    ['a proof that is too short', [good, (s) => p(`c=biws,r=${nonceIn(s)},p=AAAA`)]],
    ['a proof that is not base64', [good, (s) => p(`c=biws,r=${nonceIn(s)},p=${'!'.repeat(44)}`)]],
    ['something behind the proof', [good, (s) => p(`c=biws,r=${nonceIn(s)},p=${noProof},x=1`)]],
    ['a wrong proof', [good, (s) => p(`c=biws,r=${nonceIn(s)},p=${noProof}`)]],
    ['a wrong proof behind an extension', [good, (s) => p(`c=biws,r=${nonceIn(s)},x=1,p=${noProof}`)]],
  ];

  test.each(cases)('%s', async (_, steps) => {
    const direct = await converse(server(), known.name, steps);
    expect(direct.types).toMatch(/E$/);
    expect(await converse(wire, known.name, steps)).toEqual(direct);
  });
});

describe('the file', () => {
  test('is read again when it has changed; a broken one changes nothing', async () => {
    const source = await verifierFile(file, log);
    expect(await source.find(other.name)).toBeUndefined();
    const lines = [known, other].map(async ({ name }) => `"${name}" "${await verifierOf(name)}"`);
    const good = await Promise.all(lines);
    writeFile([...good, '"with ""quotes""" "SCRAM-SHA-256$broken"']);
    expect(await source.find(other.name)).toBeDefined();
    expect(await connectAs(other)).toBe(other.name);
    writeFile(['not a line of it']);
    expect(await source.find(other.name)).toBeDefined();
    rmSync(file);
    expect(await source.find(other.name)).toBeDefined();
    writeFile(good.slice(0, 1));
    expect(await source.find(other.name)).toBeUndefined();
  });

  test('that others can read, or that is not there, is refused at start', async () => {
    const open = join(directory, 'open.txt');
    writeFileSync(open, '');
    chmodSync(open, 0o644);
    await expect(verifierFile(open, log)).rejects.toThrow(/group or world access/);
    await expect(verifierFile(join(directory, 'absent'), log)).rejects.toThrow(
      /could not open file .*no such file/,
    );
    await expect(
      startProxy({ database: db, settings: { client_auth: 'scram', auth_file: open } }),
    ).rejects.toThrow(/^setting "auth_file": .* has group or world access/);
  });

  test("a verifier that is not the server's any more: nobody gets in, and the log says why", async () => {
    const role = await db.createRole('scram_stale');
    writeFile([
      `"${known.name}" "${await verifierOf(known.name)}"`,
      `"${role.name}" "${await verifierOf(role.name)}"`,
    ]);
    expect(await connectAs(role)).toBe(role.name);
    await asSuperuser(db.name, (client) => client.query(`ALTER ROLE ${role.name} PASSWORD 'another'`));
    for (const password of [role.password, 'another']) {
      await expect(connectAs({ ...role, password })).rejects.toMatchObject({
        code: '28P01',
        severity: 'FATAL',
      });
    }
    expect(wire.logLines.join('')).toContain("is not the server's");
  });
});

describe('the query', () => {
  const definer = `
    CREATE SCHEMA auth;
    CREATE FUNCTION auth.verifier(role name) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
      SELECT rolpassword
      FROM pg_catalog.pg_authid
      WHERE rolname = role
        AND rolcanlogin
        AND (rolvaliduntil IS NULL OR rolvaliduntil > pg_catalog.now())
    $$;
    REVOKE ALL ON FUNCTION auth.verifier FROM PUBLIC;
  `;

  test('by a function of the superuser, through the whole proxy; a search_path of the client changes nothing', async () => {
    await asSuperuser(db.name, async (client) => {
      await client.query(definer);
      await client.query(`GRANT USAGE ON SCHEMA auth TO ${db.adminRole}`);
      await client.query(`GRANT EXECUTE ON FUNCTION auth.verifier TO ${db.adminRole}`);
      // What a hostile client would want to be found first (CVE-2025-12819).
      await client.query('CREATE SCHEMA trap');
      await client.query(
        "CREATE FUNCTION trap.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT 1/0; SELECT null::timestamptz'",
      );
      await client.query('GRANT USAGE ON SCHEMA trap TO PUBLIC');
    });
    const proxy = await startProxy({
      database: db,
      settings: { client_auth: 'scram', auth_query: 'SELECT auth.verifier($1)' },
    });
    try {
      const to = { host: '127.0.0.1', port: proxy.port };
      expect(await connectAs(known, to)).toBe(known.name);
      const raw = await RawClient.login({
        ...to,
        user: other.name,
        password: other.password,
        database: db.name,
        parameters: { search_path: 'trap', options: '-c search_path=trap' },
      });
      await raw.end();
      await expect(connectAs({ ...other, password: 'wrong' }, to)).rejects.toMatchObject({ code: '28P01' });
      await expect(connectAs({ name: "x' OR true --", password: 'x' }, to)).rejects.toMatchObject({
        code: '28P01',
        message: `password authentication failed for user "x' OR true --"`,
      });
      // The executor's step is a login with the key that the client's proof has brought.
      await withClient(db.adminUrl, (client) => client.query(`SELECT df.grant_usage('${known.name}')`));
      await withClient(proxy.url(known), async (client) => {
        const { rows } = await client.query("SELECT df.start('SELECT session_user AS who') AS id");
        const result = await until(async () => {
          const { rows: found } = await client.query('SELECT df.result($1)::text AS result', [rows[0].id]);
          return found[0].result;
        });
        expect(result).toContain(known.name);
      });
      // An expired password has no verifier.
      await asSuperuser(db.name, (client) =>
        client.query(`ALTER ROLE ${other.name} VALID UNTIL '2001-01-01'`),
      );
      await expect(connectAs(other, to)).rejects.toMatchObject({ code: '28P01' });
      await asSuperuser(db.name, (client) => client.query(`ALTER ROLE ${other.name} VALID UNTIL 'infinity'`));
      expect(await connectAs(other, to)).toBe(other.name);
    } finally {
      await proxy.stop();
    }
  });

  test('in a proxy of several processes, the first one looks verifiers up', async () => {
    const proxy = await spawnProxy({
      database: db,
      settings: { client_auth: 'scram', auth_query: 'SELECT auth.verifier($1)', workers: '2' },
    });
    try {
      const to = { host: '127.0.0.1', port: proxy.port };
      expect(await Promise.all([known, other, known].map((role) => connectAs(role, to)))).toEqual([
        known.name,
        other.name,
        known.name,
      ]);
      await expect(connectAs({ ...known, password: 'wrong' }, to)).rejects.toMatchObject({ code: '28P01' });
    } finally {
      await proxy.stop();
    }
  });

  test('doctor says whether file and query work', async () => {
    const ask = (...sets: string[]) =>
      run([
        'doctor',
        '--upstream',
        db.adminUrl,
        ...['client_auth=scram', ...sets].flatMap((set) => ['--set', set]),
      ]);
    const good = await ask(`auth_file=${file}`, 'auth_query=SELECT auth.verifier($1)');
    expect(good.stdout).toMatch(/^ok +auth_file .* can be read/m);
    expect(good.stdout).toMatch(/^ok +auth_query works/m);
    const bad = await ask('auth_query=SELECT rolpassword FROM pg_authid WHERE rolname = $1');
    expect(bad.stdout).toMatch(/auth_query failed: permission denied for table pg_authid/);
    expect(bad.status).not.toBe(0);
  });

  async function withQuery<T>(sql: string, work: (source: VerifierSource) => Promise<T>): Promise<T> {
    const source = verifierQuery(new pg.Pool({ connectionString: db.superUrl, max: 1 }), sql);
    try {
      return await work(source);
    } finally {
      await source.close();
    }
  }

  test("PgBouncer's form, with the name first", async () => {
    const sql = 'SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname = $1';
    await withQuery(sql, async (source) => {
      expect(await source.find(known.name)).toBeDefined();
      expect(await source.find('nobody_at_all')).toBeUndefined();
    });
    await withQuery(sql.replace('= $1', `= '${known.name}' AND $1::text IS NOT NULL`), async (source) => {
      expect(await source.find(known.name)).toBeDefined();
      // Somebody else's verifier is none.
      expect(await source.find(other.name)).toBeUndefined();
    });
  });

  test('one that fails, or gives too much, is an error in the log and no reason for the client', async () => {
    for (const sql of [
      "SELECT 'a-verifier'::int, $1::text",
      'SELECT $1::text FROM generate_series(1, 2)',
      'SELECT $1::text, $1::text, $1::text',
    ]) {
      await withQuery(sql, async (source) => {
        await expect(source.find('x')).rejects.toBeInstanceOf(VerifierError);
        const broken = await startWireProxy(urlFor(db.name), {
          clientAuth: { mode: 'scram', verifiers: source, mockSecret },
        });
        await expect(connectAs(known, broken)).rejects.toMatchObject({
          code: '58000',
          message: 'the proxy could not look up how to authenticate the client; its log says why',
        });
        expect(broken.logLines.join('')).toContain('auth_query');
        // It may be a verifier that the server quotes.
        expect(broken.logLines.join('')).not.toContain('a-verifier');
        await broken.close();
      });
    }
  });
});
