import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createTestDatabase, type TestDatabase, type TestRole } from '../support/postgres.js';
import { program } from '../support/program.js';
import { startProxy, type TestProxy } from '../support/proxy.js';
import { until } from '../support/wait.js';

/** Dropped and installed again while proxies run; noticed within this time. */
const NOTICED = { timeoutMs: 5000, everyMs: 10 };

let database: TestDatabase;
let app: TestRole;
let proxies: TestProxy[];
let clients: pg.Client[];
/** The server's superuser, past the proxies. */
let root: pg.Client;
/** The test is over, whatever its outcome. */
let stop: boolean;

beforeEach(async () => {
  database = await createTestDatabase();
  app = await database.createRole('app');
  proxies = [];
  stop = false;
  clients = [];
  root = await connect(database.superUrl);
});
afterEach(async () => {
  stop = true;
  await Promise.all(clients.map((client) => client.end().catch(() => {})));
  await Promise.all(proxies.map((proxy) => proxy.stop()));
  await database.drop();
});

async function connect(connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString });
  client.on('error', () => {});
  await client.connect();
  clients.push(client);
  return client;
}

async function proxy(
  settings: Parameters<typeof startProxy>[0]['settings'] = {},
  env = {},
): Promise<TestProxy> {
  const started = await startProxy({ database, settings, env });
  proxies.push(started);
  return started;
}

/** As the admin role, through the proxy. */
const admin = (through: TestProxy) => {
  const password = decodeURIComponent(new URL(database.adminUrl).password);
  return connect(through.url({ name: database.adminRole, password, url: '' }));
};

const value = async (sql: string, client = root): Promise<unknown> =>
  (await client.query({ text: sql, rowMode: 'array' })).rows[0]?.[0];

const ready = () =>
  until(
    async () =>
      (await value("SELECT to_regclass('_df._worker_ready') IS NOT NULL")) &&
      (await value('SELECT count(*) = 1 FROM _df._worker_ready')),
    { ...NOTICED, what: 'a proxy at work' },
  );

const idle = (one: TestProxy) =>
  until(() => one.logLines.some((line) => line.includes('idle until')), {
    ...NOTICED,
    what: 'an idle proxy',
  });

/** Lines of the log that say that something is wrong. */
const complaints = (one: TestProxy) =>
  one.logLines
    .map((line) => JSON.parse(line) as { level: number; msg: string })
    .filter(({ level }) => level >= 40);

async function completes(client: pg.Client): Promise<void> {
  const id = (await client.query("SELECT df.start('SELECT 1' ~> 'SELECT 2') AS id")).rows[0].id as string;
  await until(
    async () => (await value(`SELECT status = 'completed' FROM df.instances WHERE id = '${id}'`)) === true,
    {
      what: 'an instance to complete',
      everyMs: 10,
    },
  );
}

describe('DROP EXTENSION', () => {
  it('takes what runs and what waits with it, and a proxy goes on after CREATE EXTENSION', async () => {
    const one = await proxy({}, { PG_DURABLE_CREDENTIAL_KEY: randomBytes(32).toString('hex') });
    const owner = await admin(one);
    await owner.query(`CREATE EXTENSION pg_durable; SELECT df.grant_usage('${app.name}')`);
    const client = await connect(one.url(app));
    await client.query("SELECT df.start('SELECT pg_sleep(60)')");
    await client.query('SELECT df.start(df.sleep(3600))');
    const sleeping = () =>
      value(
        "SELECT count(*)::int FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND state = 'active' AND datname = current_database() AND pid <> pg_backend_pid()",
      );
    await until(async () => (await sleeping()) === 1, { what: 'a step that runs' });
    const before = complaints(one).length;

    await owner.query('DROP EXTENSION pg_durable CASCADE');
    await until(async () => (await sleeping()) === 0, { ...NOTICED, what: 'the step to be gone' });
    await idle(one);
    await expect(client.query("SELECT df.start('SELECT 1')")).rejects.toMatchObject({ code: '3F000' });
    // A login meanwhile is kept, too.
    const late = await database.createRole('late');
    await connect(one.url(late));

    await owner.query(
      `CREATE EXTENSION pg_durable; SELECT df.grant_usage('${app.name}'), df.grant_usage('${late.name}')`,
    );
    await ready();
    await completes(client);
    await client.query("SELECT df.start('SELECT 1', transaction_mode => 'new')");
    await until(async () => (await value('SELECT count(*)::int FROM _df.credentials')) === 3, {
      what: 'credentials to be sealed again',
      everyMs: 10,
    });
    expect(
      complaints(one)
        .slice(before)
        .map(({ msg }) => msg),
    ).toEqual(['the schemas df and _df are gone: idle until they are installed again']);
  });

  it('is noticed by every proxy, also when it comes past them, and so is an installation', async () => {
    const [one, two] = [await proxy(), await proxy()];
    await root.query('DROP SCHEMA df, _df CASCADE');
    await Promise.all([idle(one), idle(two)]);
    const install = program(['install', '--upstream', database.adminUrl]);
    expect(await install.ended).toBe(0);
    await until(async () => (await value('SELECT count(*)::int FROM _df.executors')) === 2, {
      ...NOTICED,
      what: 'both proxies at work',
    });
    await ready();
    await root.query(`SELECT df.grant_usage('${app.name}')`);
    await completes(await connect(two.url(app)));
    for (const each of [one, two])
      expect(complaints(each).filter(({ msg }) => !/credential/.test(msg))).toHaveLength(1);
  });

  it('and CREATE EXTENSION in one transaction begin anew', async () => {
    const [one, two] = [await proxy(), await proxy()];
    const owner = await admin(one);
    await owner.query('BEGIN');
    await owner.query('DROP EXTENSION pg_durable CASCADE');
    await owner.query('CREATE EXTENSION pg_durable');
    await expect(owner.query("SELECT df.start('SELECT 1')")).rejects.toMatchObject({
      message:
        'failed to start durable function: pg_durable background worker not yet initialized — try again in a moment',
    });
    await owner.query('ROLLBACK');
    await owner.query('BEGIN; DROP EXTENSION pg_durable CASCADE; CREATE EXTENSION pg_durable; COMMIT');
    await ready();
    await until(async () => (await value('SELECT count(*)::int FROM _df.executors')) === 2, {
      ...NOTICED,
      what: 'both proxies at work',
    });
    await root.query(`SELECT df.grant_usage('${app.name}')`);
    await completes(await connect(two.url(app)));
  });

  it('that is not committed holds work up only until it is rolled back', async () => {
    const one = await proxy();
    const owner = await admin(one);
    await root.query(`SELECT df.grant_usage('${app.name}')`);
    const client = await connect(one.url(app));
    await owner.query('BEGIN; DROP EXTENSION pg_durable CASCADE');
    const started = completes(client);
    await until(async () => (await value('SELECT count(*) > 0 FROM pg_locks WHERE NOT granted')) === true, {
      what: 'somebody who waits',
    });
    await owner.query('ROLLBACK');
    await started;
  });

  it('of work under load ends in no deadlock', async () => {
    const one = await proxy();
    const owner = await admin(one);
    await root.query(`SELECT df.grant_usage('${app.name}')`);
    const users = await Promise.all(Array.from({ length: 4 }, () => connect(one.url(app))));
    const codes = new Set<unknown>();
    const load = users.map(async (user) => {
      while (!stop) {
        const failed = await user
          .query("SELECT df.start('SELECT 1' ~> 'SELECT 2')")
          .then(() => false)
          .catch((error: pg.DatabaseError) => {
            codes.add(error.code);
            return true;
          });
        if (failed) await new Promise(setImmediate);
      }
    });
    for (let round = 0; round < 3 && !stop; round++) {
      await until(async () => (await value('SELECT count(*) > 20 FROM df.instances')) === true, {
        what: 'work',
        everyMs: 10,
      });
      await owner.query('DROP EXTENSION pg_durable CASCADE');
      await owner.query(`CREATE EXTENSION pg_durable; SELECT df.grant_usage('${app.name}')`);
      await ready();
    }
    stop = true;
    await Promise.all(load);
    expect(codes).not.toContain('40P01');
    await completes(users[0]!);
  });
});

describe('install_on_start = off', () => {
  it('leaves an empty database alone until CREATE EXTENSION', async () => {
    const one = await proxy({ install_on_start: 'off' });
    expect(await value("SELECT to_regnamespace('df') IS NULL AND to_regnamespace('_df') IS NULL")).toBe(true);
    const owner = await admin(one);
    await owner.query(`CREATE EXTENSION pg_durable; SELECT df.grant_usage('${app.name}')`);
    await ready();
    await completes(await connect(one.url(app)));
  });
});
