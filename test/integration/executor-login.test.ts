import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OwnServer } from '../support/own-server.js';
import { program } from '../support/program.js';
import { startProxyAt } from '../support/proxy.js';
import { type Radius, startRadius } from '../support/radius.js';
import { until } from '../support/wait.js';

/** Logins of the executor at a server that is set up for that. */

let server: OwnServer;
let directory: string;
let app: pg.Client;
let radius: Radius;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'executor-login-'));
  radius = await startRadius('dialin-password');
  const { port, secret } = radius;
  const methods = {
    trusted: 'trust',
    hashed: 'md5',
    clear: 'password',
    dialin: `radius radiusservers="127.0.0.1" radiusports="${port}" radiussecrets="${secret}"`,
  };
  server = await OwnServer.start({
    hba: Object.entries(methods).map(([role, method]) => `host all ${role} 127.0.0.1/32 ${method}`),
  });
  await server.query(`CREATE ROLE app LOGIN PASSWORD 'app-password'`);
  await server.query('CREATE ROLE trusted LOGIN; CREATE ROLE dialin LOGIN');
  await server.query(`SET password_encryption = 'md5'; CREATE ROLE hashed LOGIN PASSWORD 'hashed-password'`);
  await server.query(`CREATE ROLE clear LOGIN PASSWORD 'clear-password'`);
  const proxy = await startProxyAt(server.url());
  await proxy.stop();
  for (const role of ['app', 'trusted', 'hashed', 'clear', 'dialin'])
    await server.query(`SELECT df.grant_usage('${role}')`);
  app = new pg.Client({ connectionString: server.url().replace(/\/\/[^@]*@/, '//app:app-password@') });
  app.on('error', () => {});
  await app.connect();
});
afterAll(async () => {
  await app?.end();
  await server?.remove();
  radius?.stop();
  await rm(directory, { recursive: true, force: true });
});

async function file(name: string, content: string): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, content);
  await chmod(path, 0o600);
  return path;
}

async function start(database?: string, first = 'df.sleep(0)'): Promise<string> {
  const { rows } = await app.query(
    `SELECT df.start(df.seq(${first}, 'SELECT session_user::text AS who'), database => $1) AS id`,
    [database ?? null],
  );
  return rows[0].id;
}

/** As the role, past any proxy: whoever may become it by being a superuser. */
async function startAs(role: string): Promise<string> {
  const { rows } = await server
    .query(`SET SESSION AUTHORIZATION ${role}; SELECT df.start('SELECT session_user::text AS who') AS id`)
    .then((results) => (results as unknown as pg.QueryResult[])[1]!);
  return rows[0].id;
}

/** Until the instance waits for that. */
async function waits(id: string, why: RegExp): Promise<void> {
  await until(
    async () => {
      const { rows } = await server.query(`SELECT waiting FROM _df.instances WHERE id = '${id}'`);
      return why.test(rows[0].waiting);
    },
    { what: `${id} to wait: ${why}` },
  );
}

/** @returns the final status, and the output */
async function end(id: string): Promise<[string, string]> {
  const row = await until(
    async () => {
      const { rows } = await server.query(
        `SELECT u.status, i.output FROM df.instances AS u JOIN _df.instances AS i USING (id) WHERE id = '${id}'`,
      );
      return ['completed', 'failed'].includes(rows[0].status) && rows[0];
    },
    { what: `the end of ${id}` },
  );
  return [row.status, row.output];
}

test('a database that takes no connections is waited for, one that is dropped is not', async () => {
  await server.query('CREATE DATABASE closed');
  const passwords = await file('passwords', '*:*:*:app:app-password\n');
  const proxy = await startProxyAt(server.url(), { credentials_file: passwords });
  try {
    await server.query('ALTER DATABASE closed ALLOW_CONNECTIONS false');
    const id = await start('closed');
    await waits(id, /cannot log in now: database "closed" is not currently accepting connections/);
    await server.query('ALTER DATABASE closed ALLOW_CONNECTIONS true');
    expect(await end(id)).toEqual(['completed', expect.stringContaining('"app"')]);
    const dropped = await start('closed', 'df.sleep(1)');
    await server.query('DROP DATABASE closed WITH (FORCE)');
    expect(await end(dropped)).toEqual([
      'failed',
      expect.stringMatching(/^Failed to connect to database 'closed' as 'app'/),
    ]);
  } finally {
    await proxy.stop();
  }
});

describe.each(['1', '2'])('client_auth = trust with workers=%s', (workers) => {
  /** Somebody who is not asked who he is. */
  async function whoComes(port: string): Promise<string> {
    const client = new pg.Client({
      host: '127.0.0.1',
      port: Number(port),
      user: 'app',
      database: 'postgres',
    });
    client.on('error', () => {});
    try {
      await client.connect();
      return (await client.query('SELECT session_user AS who')).rows[0].who;
    } catch (error) {
      return (error as Error).message;
    } finally {
      await client.end().catch(() => {});
    }
  }

  async function trusting(
    upstream: string,
    setting: string,
    work: (port: string) => Promise<void>,
  ): Promise<void> {
    const settings = ['client_auth=trust', `workers=${workers}`, setting];
    const sets = settings.flatMap((each) => ['--set', each]);
    const proxy = program(['serve', '--listen', '127.0.0.1:0', '--upstream', upstream, ...sets]);
    try {
      const [, port] = await proxy.line(/listening on 127\.0\.0\.1:(\d+)/);
      await work(port!);
    } finally {
      proxy.child.kill('SIGTERM');
      await proxy.ended;
    }
  }

  test('takes the line of the credentials file that is for the server that was reached', async () => {
    const here = `127.0.0.1:${server.port}`;
    const passwords = await file(
      `hosts${workers}`,
      `127.0.0.1:1:*:app:of-another\n${here}:*:app:app-password\n`,
    );
    await trusting(
      server.url().replace(here, `127.0.0.1:1,${here}`),
      `credentials_file=${passwords}`,
      async (port) => expect(await whoComes(port)).toBe('app'),
    );
  });

  test('a token that the server does not take any more is asked for anew', async () => {
    const token = await file(`token${workers}`, 'app-password\n');
    await trusting(server.url(), `credential_command=/bin/cat ${token}`, async (port) => {
      expect(await whoComes(port)).toBe('app');
      await server.query("ALTER ROLE app PASSWORD 'next-password'");
      await writeFile(token, 'next-password\n');
      expect(await whoComes(port)).toBe('password authentication failed for user "app"');
      expect(await whoComes(port)).toBe('app');
      await server.query("ALTER ROLE app PASSWORD 'app-password'");
    });
  });
});

/** A login through a proxy. */
async function logIn(port: number, role: string, password = `${role}-password`): Promise<void> {
  const client = new pg.Client({ host: '127.0.0.1', port, user: role, password, database: 'postgres' });
  await client.connect();
  await client.end();
}

test('a command that is still running when the proxy ends is ended with it', async () => {
  const marker = join(directory, 'command.pid');
  const script = await file('hangs.sh', `echo $$ > ${marker}.new; mv ${marker}.new ${marker}; sleep 600\n`);
  const sets = [
    `credential_command=/bin/sh ${script}`,
    'credential_command_timeout=10min',
    'drain_timeout=1s',
  ];
  const proxy = program([
    ...['serve', '--listen', '127.0.0.1:0', '--upstream', server.url()],
    ...sets.flatMap((set) => ['--set', set]),
  ]);
  await proxy.line(/listening on/);
  const id = await start();
  const pid = Number(await until(() => readFile(marker, 'utf8').catch(() => false), { what: 'the command' }));
  expect(isRunning(pid)).toBe(true);
  proxy.child.kill('SIGTERM');
  await proxy.ended;
  await until(() => !isRunning(pid), { what: 'the command to be gone' });
  await server.query(`SELECT df.cancel('${id}')`);
});

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  // Where nobody has asked for its status it is still listed.
  return process.platform !== 'linux' || !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
}

test('a role that the server lets in unasked needs no credential', async () => {
  const proxy = await startProxyAt(server.url());
  try {
    expect(await end(await startAs('trusted'))).toEqual(['completed', expect.stringContaining('"trusted"')]);
  } finally {
    await proxy.stop();
  }
});

test('what a login by md5 leaves is sealed, and outlives the proxy; a password in clear text is not, and does not', async () => {
  const settings = {
    credential_key_file: await file('key', randomBytes(32).toString('hex')),
    session_idle_timeout: '0',
  };
  const first = await startProxyAt(server.url(), settings);
  try {
    for (const role of ['hashed', 'clear']) {
      await logIn(first.port, role);
      expect(await end(await startAs(role))).toEqual(['completed', expect.stringContaining(`"${role}"`)]);
    }
    await until(async () => (await server.query('SELECT role FROM _df.credentials')).rows.length > 0);
  } finally {
    await first.stop();
  }
  expect((await server.query('SELECT role FROM _df.credentials')).rows).toEqual([{ role: 'hashed' }]);
  const second = await startProxyAt(server.url(), settings);
  try {
    expect((await end(await startAs('hashed')))[0]).toBe('completed');
    const id = await startAs('clear');
    await waits(
      id,
      /"clear" has no usable credential: the server asks for a password \(cleartext\) and none is known/,
    );
    await logIn(second.port, 'clear');
    expect((await end(id))[0]).toBe('completed');
  } finally {
    await second.stop();
  }
});

test.each([
  ['loses LOGIN', 'ALTER ROLE leaver NOLOGIN', /^Failed to connect to database 'postgres' as 'leaver'/],
  ['is dropped', 'DROP OWNED BY leaver; DROP ROLE leaver', /submitted_by role no longer exists in pg_roles/],
])('an instance that waits for a login of its role fails when the role %s', async (_, sql, output) => {
  await server.query(`CREATE ROLE leaver LOGIN PASSWORD 'leaver-password'; SELECT df.grant_usage('leaver')`);
  const proxy = await startProxyAt(server.url());
  try {
    const id = await startAs('leaver');
    await waits(id, /has no usable credential/);
    await server.query(sql);
    expect(await end(id)).toEqual(['failed', expect.stringMatching(output)]);
  } finally {
    await proxy.stop();
    await server.query('DROP OWNED BY leaver; DROP ROLE leaver').catch(() => {});
  }
});

test('a password that another service has refused is not tried again: that would lock the account', async () => {
  const proxy = await startProxyAt(server.url(), { session_idle_timeout: '0' });
  try {
    await logIn(proxy.port, 'dialin');
    expect((await end(await startAs('dialin')))[0]).toBe('completed');
    radius.password = 'changed-password';
    const id = await startAs('dialin');
    await waits(id, /RADIUS authentication failed for user "dialin"; it goes on at the role's next login/);
    await waits(id, /the server asks for a password \(cleartext\) and none is known/);
    expect(radius).toMatchObject({ accepted: 2, rejected: 1 });
    await logIn(proxy.port, 'dialin', 'changed-password');
    expect((await end(id))[0]).toBe('completed');
    expect(radius.rejected).toBe(1);
  } finally {
    await proxy.stop();
  }
});
