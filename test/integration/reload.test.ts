import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { certificateDirectory, createAuthority, opensslMissing } from '../support/certificates.js';
import {
  asSuperuser,
  createTestDatabase,
  type TestDatabase,
  type TestRole,
  withClient,
} from '../support/postgres.js';
import { type Program, program } from '../support/program.js';
import { until } from '../support/wait.js';

let db: TestDatabase;
let role: TestRole;
let directory: string;
const programs: Program[] = [];

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'reload-'));
  db = await createTestDatabase();
  role = await db.createRole('reload');
});
afterEach(async () => {
  for (const { child, ended } of programs.splice(0)) {
    child.kill('SIGKILL');
    await ended;
  }
});
afterAll(async () => {
  await db?.drop();
  rmSync(directory, { recursive: true, force: true });
});

interface Served {
  proxy: Program;
  port: number;
  /** Writes the settings into the file, and nothing else. */
  write(settings: Record<string, string>): void;
  /** Sends SIGHUP and waits for what the log says of it. */
  hangUp(): Promise<Record<string, unknown>[]>;
}

async function serve(settings: Record<string, string>, ...more: string[]): Promise<Served> {
  const file = join(directory, `${programs.length}-${process.hrtime.bigint()}.yaml`);
  const write = (all: Record<string, string>) =>
    writeFileSync(
      file,
      Object.entries({ listen: '127.0.0.1:0', ...all })
        .map(([key, value]) => `${key}: ${value}\n`)
        .join(''),
    );
  write(settings);
  const proxy = program(['serve', '--config', file, '--upstream', db.adminUrl, ...more]);
  programs.push(proxy);
  const [, port] = await proxy.line(/listening on 127\.0\.0\.1:(\d+)/);
  let seen = 0;
  const lines = () =>
    proxy
      .stderr()
      .split('\n')
      .filter((line) => line.endsWith('}'))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  const outcomes = () => lines().filter(({ msg }) => /^configuration (not )?reloaded/.test(String(msg)));
  return {
    proxy,
    port: Number(port),
    write,
    hangUp: async () => {
      const from = lines().length;
      proxy.child.kill('SIGHUP');
      await until(() => outcomes().length > seen, { what: 'the reload' });
      seen = outcomes().length;
      // A line about what needs a restart follows in the same turn.
      await until(() => lines().length > from);
      return lines().slice(from);
    },
  };
}

function connection(port: number, ssl?: pg.ClientConfig['ssl']): pg.Client {
  const { name: user, password } = role;
  const client = new pg.Client({
    ...{ host: '127.0.0.1', port, user, password, database: db.name },
    ...(ssl === undefined ? {} : { ssl }),
  });
  client.on('error', () => {});
  return client;
}

describe('SIGHUP', () => {
  test.each(['1', '2'])(
    'takes over what can change, and names what cannot, with workers=%s',
    async (workers) => {
      const { port, write, hangUp } = await serve({ workers });
      const first = connection(port);
      await first.connect();
      write({ workers, max_client_connections: workers, poll_interval: '1s', log_level: 'debug' });
      const lines = await hangUp();
      expect(lines.find(({ msg }) => msg === 'configuration reloaded')).toMatchObject({
        changed: expect.arrayContaining(['max_client_connections', 'log_level']),
      });
      expect(lines.find(({ msg }) => /restart/.test(String(msg)))).toMatchObject({
        needRestart: ['poll_interval'],
      });
      // Who was there stays.
      expect((await first.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
      const further: pg.Client[] = [];
      await until(async () => {
        const client = connection(port);
        const outcome = await client.connect().then(
          () => 'in',
          (error) => error.code,
        );
        if (outcome === 'in') further.push(client);
        return outcome === '53300';
      });
      expect(further.length).toBeLessThan(Number(workers));
      write({ workers, max_client_connections: '0' });
      await hangUp();
      await until(async () => {
        const client = connection(port);
        await client.connect();
        await client.end();
        return true;
      });
      for (const client of [first, ...further]) await client.end();
    },
  );

  test('changes the limits of steps while they run', async () => {
    const { port, write, hangUp } = await serve({ max_user_connections: '1' });
    await withClient(db.superUrl, (root) => root.query('SELECT df.grant_usage($1)', [role.name]));
    const client = connection(port);
    await client.connect();
    const sleeping = () =>
      withClient(db.superUrl, async (root) => {
        const { rows } = await root.query(
          `SELECT count(*)::int AS n FROM pg_stat_activity
           WHERE datname = current_database() AND state = 'active' AND query = 'SELECT pg_sleep(60)'`,
        );
        return rows[0].n as number;
      });
    const start = async (steps: string) =>
      (await client.query<{ id: string }>(`SELECT df.start(${steps}) AS id`)).rows[0]!.id;
    await start(`'SELECT pg_sleep(60)'`);
    await start(`'SELECT pg_sleep(60)'`);
    await until(async () => (await sleeping()) === 1);
    write({ max_user_connections: '3' });
    expect((await hangUp())[0]).toMatchObject({ changed: ['max_user_connections'] });
    await until(async () => (await sleeping()) === 2);
    // no more slots than are in use, and limits for what begins now
    write({ max_user_connections: '2', execution_acquire_timeout: '1s', step_statement_timeout: '100ms' });
    await hangUp();
    const id = await start(`'SELECT 1' & 'SELECT 2'`);
    await until(async () => (await client.query('SELECT df.status($1) AS s', [id])).rows[0].s === 'failed');
    const { rows } = await client.query(
      'SELECT max(error) AS error FROM df.nodes WHERE instance_id = $1 AND node_type = $2',
      [id, 'SQL'],
    );
    expect(rows[0].error).toBe(
      'pg_durable: connection limit reached (max_user_connections=2). Timed out after 1s waiting for an available execution slot.',
    );
    await client.query('SELECT df.cancel(i.id) FROM df.instances AS i WHERE i.status IN ($1, $2)', [
      'pending',
      'running',
    ]);
    await until(async () => (await sleeping()) === 0);
    const limited = await start(`'SELECT pg_sleep(60)'`);
    await until(
      async () => (await client.query('SELECT df.status($1) AS s', [limited])).rows[0].s === 'failed',
    );
    await client.end();
  });

  test('with a file that is wrong changes nothing, says why, and the proxy goes on', async () => {
    const { port, write, hangUp, proxy } = await serve({});
    write({ max_client_connections: 'many', log_level: 'debug' });
    const [line] = await hangUp();
    expect(line).toMatchObject({
      level: 'error',
      msg: expect.stringMatching(/not reloaded/),
      err: { message: expect.stringMatching(/"max_client_connections"/) },
    });
    const client = connection(port);
    await client.connect();
    await client.end();
    expect(proxy.stderr()).not.toContain(new URL(db.adminUrl).password);
    write({ log_level: 'debug' });
    expect(await hangUp()).toContainEqual(expect.objectContaining({ changed: ['log_level'] }));
  });

  test('while the database does not take its part of it: the log says so, all else is in force, the next one mends it', async () => {
    const { port, write, hangUp } = await serve({});
    const root = (sql: string) => withClient(db.superUrl, (client) => client.query(sql));
    const setting = async () =>
      (await root("SELECT value FROM _df.settings WHERE name = 'list_instances_max_limit'")).rows[0].value;
    write({ max_client_connections: '1', list_instances_max_limit: '77' });
    await root('ALTER TABLE _df.settings RENAME TO away');
    const lines = await hangUp();
    expect(lines).toContainEqual(
      expect.objectContaining({ level: 'error', msg: expect.stringMatching(/server has not taken/) }),
    );
    expect(lines).toContainEqual(
      expect.objectContaining({ changed: ['max_client_connections', 'list_instances_max_limit'] }),
    );
    const only = connection(port);
    await only.connect();
    await expect(connection(port).connect()).rejects.toMatchObject({ code: '53300' });
    await only.end();
    await root('ALTER TABLE _df.away RENAME TO settings');
    expect(await setting()).not.toBe('77');
    await hangUp();
    expect(await setting()).toBe('77');
  });

  test.skipIf(process.platform !== 'linux')('reaches a worker that is just being started', async () => {
    const { port, write, hangUp, proxy } = await serve({ workers: '2' });
    const before = childrenOf(proxy.child.pid!);
    for (const worker of before) process.kill(worker, 'SIGKILL');
    await until(
      () => childrenOf(proxy.child.pid!).filter((worker) => !before.includes(worker)).length === 2,
      { what: 'new workers', everyMs: 1 },
    );
    write({ workers: '2', max_client_connections: '2' });
    await hangUp();
    // One for each of the workers; the first of them may be ready before the second.
    const clients: pg.Client[] = [];
    const refused = async (): Promise<boolean> => {
      const client = connection(port);
      return await client.connect().then(
        () => clients.push(client) > 2,
        (error: { code: string }) => error.code === '53300',
      );
    };
    await until(refused, { what: 'the limit' });
    expect(clients.length).toBeLessThanOrEqual(2);
    await Promise.all(clients.map((client) => client.end()));
  });
});

/** Processes that this one has started: the workers of a proxy. */
function childrenOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return children === '' ? [] : children.split(' ').map(Number);
}

describe('SIGHUP with client_auth = scram', () => {
  const verifier = async () =>
    await asSuperuser('postgres', async (client) => {
      const { rows } = await client.query('SELECT rolpassword FROM pg_authid WHERE rolname = $1', [
        role.name,
      ]);
      return `"${role.name}" "${rows[0].rolpassword}"\n`;
    });

  test.each(['1', '2'])(
    'reads auth_file again and says what is wrong with it; mode, path and query wait for a restart; workers=%s',
    async (workers) => {
      const file = join(directory, `users${workers}.txt`);
      writeFileSync(file, '', { mode: 0o600 });
      const settings = { workers, client_auth: 'scram', auth_file: file };
      const { port, write, hangUp } = await serve(settings);
      await expect(connection(port).connect()).rejects.toMatchObject({ code: '28P01' });

      writeFileSync(file, 'nothing that can be read');
      expect(await hangUp()).toContainEqual(
        expect.objectContaining({ level: 'error', msg: expect.stringMatching(/^auth_file has changed/) }),
      );
      writeFileSync(file, await verifier());
      expect(await hangUp()).toContainEqual(
        expect.objectContaining({ msg: 'auth_file read again', roles: 1 }),
      );
      const client = connection(port);
      await client.connect();
      await client.end();

      write({ ...settings, client_auth: 'trust', auth_file: '/elsewhere', auth_query: 'SELECT $1' });
      expect(await hangUp()).toContainEqual(
        expect.objectContaining({ needRestart: ['client_auth', 'auth_file', 'auth_query'] }),
      );
      await expect(
        new pg.Client({
          host: '127.0.0.1',
          port,
          user: role.name,
          database: db.name,
          password: 'wrong',
        }).connect(),
      ).rejects.toMatchObject({ code: '28P01' });
    },
  );
});

const missing = opensslMissing();
if (missing !== undefined) console.log(`skipped: test/integration/reload.test.ts, certificates: ${missing}`);

describe.skipIf(missing !== undefined)('certificates', () => {
  let files: ReturnType<typeof certificateDirectory>;
  beforeAll(() => {
    files = certificateDirectory();
  });
  afterAll(() => files?.remove());

  test('TLS can be turned on, and off, while sessions are open', async () => {
    const { certFile, keyFile } = createAuthority(files.path, 'later').issue('proxy', ['DNS:localhost']);
    const { port, write, hangUp } = await serve({});
    const first = connection(port);
    await first.connect();
    const over = async (ssl?: pg.ClientConfig['ssl']) => {
      const client = connection(port, ssl);
      const outcome = await client.connect().then(
        () => 'in',
        (error) => error.code ?? error.message,
      );
      await client.end().catch(() => {});
      return outcome;
    };
    const tls = { rejectUnauthorized: false };
    const none = 'The server does not support SSL connections';
    expect([await over(), await over(tls)]).toEqual(['in', none]);
    write({ client_tls: 'require', client_tls_cert_file: certFile, client_tls_key_file: keyFile });
    await hangUp();
    expect([await over(), await over(tls)]).toEqual(['28000', 'in']);
    write({ client_tls: 'off' });
    await hangUp();
    expect([await over(), await over(tls)]).toEqual(['in', none]);
    expect((await first.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await first.end();
  });

  test.each(['1', '2'])(
    'new ones are for new connections; broken ones leave the old ones in place; workers=%s',
    async (workers) => {
      const old = createAuthority(files.path, `old${workers}`);
      const next = createAuthority(files.path, `next${workers}`);
      const certFile = join(files.path, 'server.crt');
      const keyFile = join(files.path, 'server.key');
      const use = (pair: { certFile: string; keyFile: string }) => {
        copyFileSync(pair.certFile, certFile);
        copyFileSync(pair.keyFile, keyFile);
      };
      use(old.issue('proxy', ['DNS:localhost']));
      const { port, hangUp, proxy } = await serve({
        workers,
        client_tls_cert_file: certFile,
        client_tls_key_file: keyFile,
      });
      const trusting = (ca: Buffer) => connection(port, { ca, servername: 'localhost' });
      const first = trusting(old.cert);
      await first.connect();
      await expect(trusting(next.cert).connect()).rejects.toThrow();

      use(next.issue('proxy', ['DNS:localhost']));
      await hangUp();
      // Workers hear of it a moment later.
      await until(async () => {
        const clients = Array.from({ length: 4 }, () => trusting(next.cert));
        const outcomes = await Promise.allSettled(clients.map((client) => client.connect()));
        await Promise.allSettled(clients.map((client) => client.end()));
        return outcomes.every(({ status }) => status === 'fulfilled');
      });
      expect((await first.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);

      writeFileSync(certFile, 'broken');
      await hangUp();
      await until(() => /"level":"error".*client_tls_cert_file.*not reloaded/.test(proxy.stderr()), {
        what: 'the error in the log',
      });
      const last = trusting(next.cert);
      await last.connect();
      await last.end();
      await first.end();

      // Nor do they keep a worker that dies now from being replaced.
      const workersNow = process.platform === 'linux' ? childrenOf(proxy.child.pid!) : [];
      for (const worker of workersNow) process.kill(worker, 'SIGKILL');
      const later = trusting(next.cert);
      await later.connect();
      await later.end();
    },
  );
});
