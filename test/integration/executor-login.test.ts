import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OwnServer } from '../support/own-server.js';
import { program } from '../support/program.js';
import { startProxyAt } from '../support/proxy.js';
import { until } from '../support/wait.js';

/** Logins of the executor at a server that is set up for that. */

let server: OwnServer;
let directory: string;
let app: pg.Client;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'executor-login-'));
  server = await OwnServer.start();
  await server.query(`CREATE ROLE app LOGIN PASSWORD 'app-password'`);
  const proxy = await startProxyAt(server.url());
  await proxy.stop();
  await server.query(`SELECT df.grant_usage('app')`);
  app = new pg.Client({ connectionString: server.url().replace(/\/\/[^@]*@/, '//app:app-password@') });
  app.on('error', () => {});
  await app.connect();
});
afterAll(async () => {
  await app?.end();
  await server?.remove();
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
    await until(async () => {
      const { rows } = await server.query(`SELECT waiting FROM _df.instances WHERE id = '${id}'`);
      return /cannot log in now: database "closed" is not currently accepting connections/.test(
        rows[0].waiting,
      );
    });
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
