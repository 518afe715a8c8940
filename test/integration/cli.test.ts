import { createServer, type Server } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createTestDatabase, type TestDatabase, withClient } from '../support/postgres.js';
import { type Program, program, run } from '../support/program.js';
import { until } from '../support/wait.js';

let database: TestDatabase;
const running: Program[] = [];

beforeAll(async () => {
  database = await createTestDatabase();
});
afterEach(async () => {
  for (const { child, ended } of running.splice(0)) {
    child.kill('SIGKILL');
    await ended;
  }
});
afterAll(() => database.drop());

function serve(...args: string[]): Program {
  const started = program(['serve', '--listen', '127.0.0.1:0', '--upstream', database.adminUrl, ...args]);
  running.push(started);
  return started;
}

const ready = /^pg-durable-proxy listening on (127\.0\.0\.1):(\d+), upstream (\S+)\n/;

async function ask(args: string[], env: Record<string, string> = {}) {
  const outcome = await run(args, { env });
  return { ...outcome, lines: outcome.stderr.split('\n').filter((line) => line !== '') };
}

describe('a wrong call', () => {
  it.each([
    [[], /no command/],
    [['nonsense'], /too many arguments|unknown command/],
    [['serve', '--nonsense'], /unknown option '--nonsense'/],
    [['serve'], /"upstream" is missing/],
    [['serve', '--upstream', 'nonsense'], /"upstream" in --upstream/],
    [
      ['serve', '--upstream', 'postgresql://a@h/d', '--set', 'nonsense=1'],
      /unknown setting "nonsense" in --set: allowed/,
    ],
    [
      ['serve', '--upstream', 'postgresql://a@h/d', '--set', 'max_user_connections=0'],
      /integer from 1 to 1000/,
    ],
    [['serve', '--upstream', 'postgresql://a@h/d', '--listen', 'x'], /"listen" in --listen/],
    [
      [
        ...['serve', '--upstream', 'postgresql://a@h/d', '--set', 'client_tls_cert_file=/nowhere'],
        ...['--set', 'client_tls_key_file=/nowhere'],
      ],
      /"client_tls_cert_file": cannot read \/nowhere: ENOENT/,
    ],
    [['doctor', '--config', '/nowhere.yaml'], /cannot read configuration file \/nowhere\.yaml/],
    [['demo', '--port', 'x'], /--port/],
  ])('%j is one line on stderr and status 2', async (args, message) => {
    const { status, stdout, lines } = await ask(args);
    expect(lines).toEqual([expect.stringMatching(message)]);
    expect(lines[0]).toMatch(/^pg-durable-proxy: /);
    expect(stdout).toBe('');
    expect(status).toBe(2);
  });

  it('in the environment is named by its variable', async () => {
    const { status, lines } = await ask(['doctor'], { PG_DURABLE_LOG_LEVEL: 'loud' });
    expect(lines).toEqual([expect.stringMatching(/environment variable PG_DURABLE_LOG_LEVEL/)]);
    expect(status).toBe(2);
  });
});

describe('--help and --version', () => {
  it('answer on stdout with status 0', async () => {
    expect(await run(['--version'])).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    });
    const help = await run(['--help']);
    expect(help).toMatchObject({ status: 0, stderr: '' });
    for (const word of ['serve', 'demo', 'install', 'uninstall', 'doctor', 'lease_duration']) {
      expect(help.stdout).toContain(word);
    }
    expect((await run(['serve', '--help'])).stdout).toContain('--listen');
  });
});

describe('serve', () => {
  it('prints one line when ready, passes sessions on, and ends with status 0 on SIGTERM', async () => {
    const proxy = serve();
    const [, host, port, upstream] = await proxy.line(ready);
    const { host: upstreamHost } = new URL(database.adminUrl);
    expect(upstream).toBe(`${upstreamHost}/${database.name}`);
    const url = new URL(database.adminUrl);
    url.host = `${host}:${port}`;
    const answer = await withClient(url.href, (client) => client.query('SELECT current_user::text AS who'));
    expect(answer.rows).toEqual([{ who: database.adminRole }]);
    proxy.child.kill('SIGTERM');
    expect(await proxy.ended).toBe(0);
    expect(proxy.stdout().split('\n')).toHaveLength(2);
  });

  it('logs JSON lines on stderr, without the password', async () => {
    const proxy = serve('--set', 'log_level=trace', '--set', 'max_duroxide_connections=11');
    await proxy.line(ready);
    proxy.child.kill('SIGINT');
    expect(await proxy.ended).toBe(0);
    const lines = proxy.stderr().trim().split('\n');
    for (const line of lines) expect(() => JSON.parse(line)).not.toThrow();
    expect(lines.some((line) => line.includes('max_duroxide_connections'))).toBe(true);
    expect(proxy.stderr()).not.toContain(new URL(database.adminUrl).password);
  });

  it('takes settings from a file and the environment', async () => {
    const proxy = program(['serve', '--config', 'config/pg-durable-proxy.yaml'], {
      env: { PG_DURABLE_LISTEN: '127.0.0.1:0', PG_DURABLE_UPSTREAM: database.adminUrl },
    });
    running.push(proxy);
    const [, , port] = await proxy.line(ready);
    expect(Number(port)).not.toBe(6432);
  });

  it('ends a second time at once when told twice', async () => {
    const proxy = serve('--set', 'drain_timeout=1h');
    const [, host, port] = await proxy.line(ready);
    const url = new URL(database.adminUrl);
    url.host = `${host}:${port}`;
    await withClient(url.href, async (client) => {
      client.on('error', () => {});
      const busy = client.query('SELECT pg_sleep(3600)').catch(() => 'cut off');
      await until(
        () =>
          withClient(database.superUrl, async (observer) => {
            const { rows } = await observer.query(
              "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)'",
            );
            return rows.length > 0;
          }),
        { what: 'the long statement' },
      );
      proxy.child.kill('SIGTERM');
      // Signals within half a second count as one, so tell it again until it listens.
      const again = setInterval(() => proxy.child.kill('SIGTERM'), 300);
      const outcome = await proxy.ended.finally(() => clearInterval(again));
      expect(outcome).toBe(128 + 15);
      expect(await busy).toBe('cut off');
    }).catch((error) => {
      if (!/terminated|closed|ECONNRESET/.test(String(error))) throw error;
    });
  });

  it('says in one line that its port is taken, with status 1', async () => {
    const blocker: Server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => blocker.once('listening', resolve));
    const { port } = blocker.address() as { port: number };
    const { status, stdout, stderr } = await run([
      ...['serve', '--listen', `127.0.0.1:${port}`, '--upstream', database.adminUrl],
      ...['--set', 'log_level=silent'],
    ]);
    blocker.close();
    expect(stderr).toMatch(
      new RegExp(`^pg-durable-proxy: cannot listen on 127\\.0\\.0\\.1:${port}: .*taken.*\\n$`),
    );
    expect(stdout).toBe('');
    expect(status).toBe(1);
  });
});

describe('install and uninstall', () => {
  it('install says what it did, and that nothing was left to do', async () => {
    const fresh = await createTestDatabase();
    const first = await run(['install', '--upstream', fresh.adminUrl]);
    expect(first).toMatchObject({
      status: 0,
      stderr: '',
      stdout: expect.stringMatching(/^schema version \d+ in .*: applied /),
    });
    const second = await run(['install', '--upstream', fresh.adminUrl]);
    expect(second).toMatchObject({ status: 0, stdout: expect.stringMatching(/was up to date\n$/) });

    const refused = await run(['uninstall', '--upstream', fresh.adminUrl]);
    expect(refused).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/^pg-durable-proxy: .*--yes.*\n$/),
    });
    expect(await schemas(fresh)).toEqual(['_df', 'df']);

    expect(await run(['uninstall', '--yes', '--upstream', fresh.adminUrl])).toMatchObject({
      status: 0,
      stderr: '',
      stdout: expect.stringMatching(/^removed the schemas df and _df from /),
    });
    expect(await schemas(fresh)).toEqual([]);
    expect(await run(['uninstall', '--yes', '--upstream', fresh.adminUrl])).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^nothing is installed in /),
    });
    await fresh.drop();
  });

  it('without the server is one line with status 1 that does not hold the password', async () => {
    const url = new URL(database.adminUrl);
    url.port = '1';
    const { status, stderr } = await run(['install', '--upstream', url.href]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^pg-durable-proxy: could not connect to server at .*: connection refused\n$/);
    expect(stderr).not.toContain(url.password);
  });
});

async function schemas(of: TestDatabase): Promise<string[]> {
  return await withClient(of.superUrl, async (client) => {
    const { rows } = await client.query(
      "SELECT nspname FROM pg_namespace WHERE nspname IN ('df', '_df') ORDER BY 1",
    );
    return rows.map(({ nspname }) => nspname);
  });
}

describe('doctor', () => {
  it('finds a fresh database fit and says that the schema is still to come', async () => {
    const fresh = await createTestDatabase();
    const { status, stdout } = await run(['doctor', '--upstream', fresh.adminUrl]);
    expect(stdout).toMatch(/^ok +connection to /m);
    expect(stdout).toMatch(/^ok +server version \d+/m);
    expect(stdout).toMatch(/^ok +role .* is not a superuser/m);
    expect(stdout).toMatch(/^ok +right to create schemas/m);
    expect(stdout).toMatch(/^warn +the schema is not installed\n +-> .*install/m);
    expect(stdout).toMatch(/^ok +clock of the server/m);
    expect(status).toBe(0);
    await fresh.drop();
  });

  it('sees a proxy at work', async () => {
    const proxy = serve();
    await proxy.line(ready);
    await until(
      async () =>
        /^ok +a proxy is at work/m.test((await run(['doctor', '--upstream', database.adminUrl])).stdout),
      {
        what: 'the proxy in the report',
      },
    );
    const { status, stdout } = await run(['doctor', '--upstream', database.adminUrl]);
    expect(stdout).toMatch(/^ok +schema version \d+$/m);
    expect(stdout).not.toMatch(/^fail/m);
    expect(status).toBe(0);
  });

  it('names functions that wait for a credential, and whose', async () => {
    const fresh = await createTestDatabase();
    const role = await fresh.createRole('sleeper');
    await run(['install', '--upstream', fresh.adminUrl]);
    await withClient(fresh.adminUrl, (client) =>
      client.query(
        `INSERT INTO _df.instances (id, role, vars, waiting, started_at)
         VALUES ('0000000a', $1::regrole, '{}', 'no credential for role sleeper', now())`,
        [role.name],
      ),
    );
    const { stdout, status } = await run(['doctor', '--upstream', fresh.adminUrl]);
    expect(stdout).toMatch(
      new RegExp(`^warn +1 durable function of role ${role.name} waits: no credential.*\\n +-> log in`, 'm'),
    );
    expect(status).toBe(0);
    await fresh.drop();
  });

  it.each([
    [
      'a wrong password',
      (url: URL) => {
        url.password = 'wrong';
      },
      /password of .* is not the one/,
    ],
    [
      'no server',
      (url: URL) => {
        url.port = '1';
      },
      /nothing listens on/,
    ],
    [
      'no such database',
      (url: URL) => {
        url.pathname = '/nowhere';
      },
      /CREATE DATABASE nowhere/,
    ],
  ])('%s is a fail with advice and status 1', async (_what, spoil, advice) => {
    const url = new URL(database.adminUrl);
    spoil(url);
    const { stdout, status } = await run(['doctor', '--upstream', url.href]);
    expect(stdout).toMatch(/^fail +no connection to /m);
    expect(stdout).toMatch(advice);
    expect(stdout).not.toContain(new URL(database.adminUrl).password);
    expect(status).toBe(1);
  });

  it('a role without the right to create schemas is a fail with the GRANT that mends it', async () => {
    const fresh = await createTestDatabase();
    const plain = await fresh.createRole('plain');
    const { stdout, status } = await run(['doctor', '--upstream', plain.url]);
    expect(stdout).toContain(`GRANT CREATE ON DATABASE ${fresh.name} TO ${plain.name}`);
    expect(status).toBe(1);
    await withClient(fresh.adminUrl, (client) =>
      client.query(`GRANT CREATE ON DATABASE ${fresh.name} TO ${plain.name}`),
    );
    expect((await run(['doctor', '--upstream', plain.url])).status).toBe(0);
    await fresh.drop();
  });
});
