import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createTestDatabase, type TestDatabase, type TestRole } from '../support/postgres.js';
import { startProxy, type TestProxy } from '../support/proxy.js';
import { until } from '../support/wait.js';

/** A session through the proxy that remembers notices. */
interface Session {
  readonly client: pg.Client;
  /** `message` of each notice since the last call. */
  notices(): string[];
  /** The command tag of each statement since the last call. */
  tags(): string[];
}

let database: TestDatabase;
let proxy: TestProxy;
let superuser: TestRole;
let admin: TestRole;
let app: TestRole;
const open: pg.Client[] = [];

async function connect(role: TestRole, to = database.name): Promise<Session> {
  const url = new URL(proxy.url(role));
  url.pathname = `/${to}`;
  const client = new pg.Client({ connectionString: url.href });
  client.on('error', () => {});
  await client.connect();
  open.push(client);
  let heard: string[] = [];
  let tags: string[] = [];
  // pg itself gives the first word only
  const wire = (client as unknown as { connection: NodeJS.EventEmitter }).connection;
  wire.on('commandComplete', ({ text }: { text: string }) => tags.push(text.replace(/[ \d]+$/, '')));
  client.on('notice', (notice) => heard.push(notice.message ?? ''));
  return {
    client,
    notices: () => {
      const all = heard;
      heard = [];
      return all;
    },
    tags: () => {
      const all = tags;
      tags = [];
      return all;
    },
  };
}

/** What the server says of a statement: tags, or the error's fields. */
async function say(session: Session, sql: string | pg.QueryConfig): Promise<unknown> {
  try {
    session.tags();
    await session.client.query(sql);
    const tags = session.tags();
    return tags.length === 1 ? tags[0] : tags;
  } catch (error) {
    const { code, message, hint, detail, where, internalQuery } = error as pg.DatabaseError;
    return Object.fromEntries(
      Object.entries({ code, message, hint, detail, where, internalQuery }).filter(
        ([, v]) => v !== undefined,
      ),
    );
  }
}

const installed = async (session: Session): Promise<boolean> =>
  (await session.client.query("SELECT to_regclass('_df.migrations') IS NOT NULL AS there")).rows[0].there;

const ready = (session: Session) =>
  until(
    async () =>
      (await session.client.query("SELECT to_regclass('_df._worker_ready') IS NOT NULL AS there")).rows[0]
        .there && (await session.client.query('SELECT FROM _df._worker_ready')).rows.length === 1,
    { timeoutMs: 5000, everyMs: 10, what: 'a proxy that is at work again' },
  );

beforeAll(async () => {
  database = await createTestDatabase();
  proxy = await startProxy({ database });
  superuser = await database.createRole('super', { superuser: true });
  app = await database.createRole('app');
  const url = new URL(database.adminUrl);
  admin = { name: database.adminRole, password: decodeURIComponent(url.password), url: database.adminUrl };
});
// A test that fails in the midst of a transaction holds up no other.
afterEach(() => Promise.all(open.splice(0).map((client) => client.end().catch(() => {}))));
afterAll(async () => {
  await proxy.stop();
  await database.drop();
});

describe('CREATE, ALTER, DROP EXTENSION pg_durable', () => {
  it('answer as for an extension, from the first to the last', async () => {
    const root = await connect(superuser);
    expect(await say(root, 'CREATE EXTENSION pg_durable')).toBe('CREATE EXTENSION');
    expect(await say(root, 'CREATE EXTENSION pg_durable;')).toEqual({
      code: '42710',
      message: 'extension "pg_durable" already exists',
    });
    expect(await say(root, 'create extension if not exists "pg_durable" with schema public cascade')).toBe(
      'CREATE EXTENSION',
    );
    expect(root.notices()).toEqual(['extension "pg_durable" already exists, skipping']);
    expect(await say(root, "ALTER EXTENSION pg_durable UPDATE TO '0.2.6'")).toBe('ALTER EXTENSION');
    expect(root.notices()).toEqual(['version "0.1.0" of extension "pg_durable" is already installed']);
    expect(await say(root, 'DROP EXTENSION pg_durable')).toMatchObject({
      code: '2BP01',
      message: 'cannot drop extension pg_durable because other objects depend on it',
      hint: 'Use DROP ... CASCADE to drop the dependent objects too.',
    });
    expect(await say(root, 'DROP EXTENSION pg_durable CASCADE')).toBe('DROP EXTENSION');
    expect(root.notices()).toEqual([]);
    expect(await installed(root)).toBe(false);
    expect(await say(root, 'DROP EXTENSION pg_durable CASCADE')).toEqual({
      code: '42704',
      message: 'extension "pg_durable" does not exist',
    });
    expect(await say(root, 'ALTER EXTENSION pg_durable UPDATE')).toEqual({
      code: '42704',
      message: 'extension "pg_durable" does not exist',
    });
    expect(await say(root, 'DROP EXTENSION IF EXISTS pg_durable')).toBe('DROP EXTENSION');
    expect(root.notices()).toEqual(['extension "pg_durable" does not exist, skipping']);
    expect(await say(root, "CREATE EXTENSION pg_durable VERSION '0.2.6'")).toBe('CREATE EXTENSION');
    await ready(root);
  });

  it('leave everything to the admin role, and the session as it was', async () => {
    const root = await connect(superuser);
    await root.client.query("SET search_path = public; SET client_min_messages = 'info'");
    const settings = async () =>
      (
        await root.client.query(
          `SELECT current_user::text, current_setting('role') AS role, current_setting('search_path') AS path,
                  current_setting('client_min_messages') AS messages, current_setting('check_function_bodies') AS bodies`,
        )
      ).rows[0];
    const before = await settings();
    await root.client.query('DROP EXTENSION pg_durable CASCADE');
    await root.client.query('BEGIN');
    await root.client.query('CREATE EXTENSION pg_durable');
    expect(await settings()).toEqual(before);
    await root.client.query('COMMIT');
    expect(await settings()).toEqual(before);
    const { rows } = await root.client.query(
      `SELECT DISTINCT pg_get_userbyid(relowner) AS owner FROM pg_class
       WHERE relnamespace IN ('df'::regnamespace, '_df'::regnamespace)
       UNION SELECT DISTINCT pg_get_userbyid(proowner) FROM pg_proc
       WHERE pronamespace IN ('df'::regnamespace, '_df'::regnamespace)
       UNION SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname IN ('df', '_df')`,
    );
    expect(rows).toEqual([{ owner: admin.name }]);
    await ready(root);
  });

  it('are part of the transaction', async () => {
    const root = await connect(superuser);
    const other = await connect(superuser);
    expect(await say(root, 'BEGIN; DROP EXTENSION pg_durable CASCADE')).toEqual(['BEGIN', 'DROP EXTENSION']);
    expect(await installed(root)).toBe(false);
    await root.client.query('ROLLBACK');
    expect(await installed(root)).toBe(true);
    await root.client.query('BEGIN; DROP EXTENSION pg_durable CASCADE; CREATE EXTENSION pg_durable');
    expect(await installed(other)).toBe(true);
    await root.client.query('ROLLBACK');
    await root.client.query('DROP EXTENSION pg_durable CASCADE');
    await root.client.query('BEGIN; CREATE EXTENSION pg_durable');
    expect(await installed(root)).toBe(true);
    expect(await installed(other)).toBe(false);
    await root.client.query('ROLLBACK');
    expect(await installed(root)).toBe(false);
    await root.client.query('CREATE EXTENSION pg_durable');
    await ready(root);
  });

  it('are among others in a Query, with their tags in their places', async () => {
    const root = await connect(superuser);
    expect(
      await say(
        root,
        `SELECT 1; /* one */ CREATE EXTENSION IF NOT EXISTS pg_durable /* two */ ; -- three
         SET application_name = 'x';;DROP EXTENSION IF EXISTS pg_durable CASCADE; CREATE EXTENSION pg_durable; SHOW work_mem`,
      ),
    ).toEqual(['SELECT', 'CREATE EXTENSION', 'SET', 'DROP EXTENSION', 'CREATE EXTENSION', 'SHOW']);
    expect(await say(root, 'SELECT 1; CREATE EXTENSION pg_durable; SELECT 2')).toEqual({
      code: '42710',
      message: 'extension "pg_durable" already exists',
    });
    await ready(root);
  });

  it('can be prepared, and executed more than once', async () => {
    const root = await connect(superuser);
    const create = { name: 'create', text: 'CREATE EXTENSION IF NOT EXISTS pg_durable' };
    expect(await say(root, create)).toBe('CREATE EXTENSION');
    expect(await say(root, create)).toBe('CREATE EXTENSION');
    expect(await say(root, { name: 'x', text: 'CREATE EXTENSION pg_durable', values: [] })).toEqual({
      code: '42710',
      message: 'extension "pg_durable" already exists',
    });
  });

  it('work in bodies, where they are literal text', async () => {
    const root = await connect(superuser);
    await root.client.query(`DO $$
      BEGIN
        DROP EXTENSION IF EXISTS pg_durable CASCADE;
        IF true THEN
          CREATE EXTENSION
            pg_durable;
        END IF;
      END $$`);
    expect(await installed(root)).toBe(true);
    await root.client.query(
      `CREATE FUNCTION public.again() RETURNS void LANGUAGE plpgsql AS '
         BEGIN EXECUTE ''DROP EXTENSION pg_durable CASCADE''; EXECUTE $q$CREATE EXTENSION pg_durable$q$; END'`,
    );
    await root.client.query('SELECT public.again()');
    expect(await installed(root)).toBe(true);
    await root.client.query(
      `SET standard_conforming_strings = off;
       DO 'DECLARE x text := ''\\\\''; BEGIN CREATE EXTENSION IF NOT EXISTS pg_durable; END'`,
    );
    await root.client.query('RESET standard_conforming_strings; DROP FUNCTION public.again()');
    expect(
      await say(
        root,
        `DO $$ BEGIN
           CREATE EXTENSION
             pg_durable;
         END $$`,
      ),
    ).toEqual({
      code: '42710',
      message: 'extension "pg_durable" already exists',
      where: 'SQL statement "CREATE EXTENSION pg_durable"\nPL/pgSQL function inline_code_block line 2 at DO',
    });
    await ready(root);
  });

  it('are for superusers, the admin role and its members', async () => {
    const root = await connect(superuser);
    const nobody = await connect(app);
    const owner = await connect(admin);
    expect(await say(nobody, 'CREATE EXTENSION IF NOT EXISTS pg_durable')).toBe('CREATE EXTENSION');
    expect(await say(nobody, 'DROP EXTENSION pg_durable CASCADE')).toEqual({
      code: '42501',
      message: 'must be owner of extension pg_durable',
    });
    expect(await say(nobody, 'ALTER EXTENSION pg_durable UPDATE')).toEqual({
      code: '42501',
      message: 'must be owner of extension pg_durable',
    });
    expect(await say(owner, 'DROP EXTENSION pg_durable CASCADE')).toBe('DROP EXTENSION');
    for (const sql of ['CREATE EXTENSION pg_durable', 'CREATE EXTENSION IF NOT EXISTS pg_durable']) {
      expect(await say(nobody, sql)).toEqual({
        code: '42501',
        message: 'permission denied to create extension "pg_durable"',
        hint: `Must be superuser, or a member of role "${admin.name}", to create this extension.`,
      });
    }
    expect(await say(owner, 'CREATE EXTENSION pg_durable')).toBe('CREATE EXTENSION');
    expect(await say(owner, 'DROP EXTENSION pg_durable CASCADE')).toBe('DROP EXTENSION');
    await root.client.query(`GRANT ${admin.name} TO ${app.name}`);
    expect(await say(nobody, 'CREATE EXTENSION pg_durable')).toBe('CREATE EXTENSION');
    expect(await say(nobody, 'DROP EXTENSION pg_durable CASCADE')).toBe('DROP EXTENSION');
    expect(await say(nobody, 'CREATE EXTENSION pg_durable')).toBe('CREATE EXTENSION');
    await root.client.query(`REVOKE ${admin.name} FROM ${app.name}`);
    await ready(root);
  });

  it('say what goes besides, and take it along', async () => {
    const root = await connect(superuser);
    await root.client.query(
      `CREATE VIEW public.steps AS SELECT df.seq('a', 'b') AS step;
       CREATE TABLE public.kept (id int, step text DEFAULT df.sleep(1));
       CREATE VIEW public.above AS SELECT step FROM public.steps`,
    );
    const refused = (await say(root, 'DROP EXTENSION pg_durable RESTRICT')) as { detail: string };
    expect(refused.detail.split('\n')).toEqual([
      'schema _df depends on extension pg_durable',
      'default value for column step of table public.kept depends on function df.sleep(bigint)',
      'view public.above depends on column step of view public.steps',
      'view public.steps depends on function df.seq(text,text)',
    ]);
    root.notices();
    expect(await say(root, 'DROP EXTENSION pg_durable CASCADE')).toBe('DROP EXTENSION');
    expect(root.notices()).toEqual(['drop cascades to 3 other objects']);
    expect(await say(root, 'INSERT INTO public.kept VALUES (1)')).toBe('INSERT');
    await root.client.query('DROP TABLE public.kept; CREATE EXTENSION pg_durable');
    await root.client.query("CREATE VIEW public.steps AS SELECT df.seq('a', 'b') AS step");
    await ready(root);
    root.notices();
    expect(await say(root, 'DROP EXTENSION pg_durable CASCADE')).toBe('DROP EXTENSION');
    expect(root.notices()).toEqual(['drop cascades to view public.steps']);
    await root.client.query('CREATE EXTENSION pg_durable');
    await ready(root);
  });

  it('of several extensions drop the others as well', async () => {
    const root = await connect(superuser);
    await root.client.query('CREATE EXTENSION pg_durable').catch(() => {});
    expect(await say(root, 'DROP EXTENSION no_such, pg_durable CASCADE')).toMatchObject({
      code: '42704',
      message: 'extension "no_such" does not exist',
    });
    expect(await installed(root)).toBe(true);
    expect(await say(root, 'DROP EXTENSION IF EXISTS no_such, pg_durable CASCADE')).toBe('DROP EXTENSION');
    expect(root.notices()).toContain('extension "no_such" does not exist, skipping');
    expect(await installed(root)).toBe(false);
    await root.client.query('CREATE EXTENSION pg_durable');
    await ready(root);
  });

  it('run nothing that somebody has put in the place of the schemas', async () => {
    const root = await connect(superuser);
    await root.client.query('DROP EXTENSION IF EXISTS pg_durable CASCADE');
    await root.client.query(`GRANT CREATE ON DATABASE ${database.name} TO ${app.name}`);
    const trojan = await connect(app);
    await trojan.client.query(
      `CREATE SCHEMA _df;
       CREATE TABLE _df.migrations (number int, name text, checksum text);
       CREATE TABLE _df.settings (name text PRIMARY KEY, value text);
       CREATE FUNCTION _df.setting(text, text) RETURNS text LANGUAGE plpgsql AS
         $$ BEGIN ALTER ROLE ${app.name} SUPERUSER; RETURN 'off'; END $$;
       GRANT USAGE ON SCHEMA _df TO PUBLIC`,
    );
    expect(await say(root, 'CREATE EXTENSION pg_durable')).toEqual({
      code: '42P06',
      message: `the schemas df and _df belong to role "${app.name}", not to that of pg-durable-proxy`,
    });
    expect(await say(root, 'ALTER EXTENSION pg_durable UPDATE')).toMatchObject({ code: '42P06' });
    expect(await say(root, 'DROP EXTENSION pg_durable CASCADE')).toMatchObject({ code: '42704' });
    const { rows } = await root.client.query('SELECT rolsuper FROM pg_roles WHERE rolname = $1', [app.name]);
    expect(rows).toEqual([{ rolsuper: false }]);
    await trojan.client.query('DROP SCHEMA _df CASCADE');
    await root.client.query(`REVOKE CREATE ON DATABASE ${database.name} FROM ${app.name}`);
    await root.client.query('CREATE EXTENSION pg_durable');
    await ready(root);
  });

  it('are refused in another database, with where to go', async () => {
    const elsewhere = await connect(superuser, 'postgres');
    const expected = {
      code: 'XX000',
      message:
        `pg_durable extension must be created in database "${database.name}" (currently in "postgres"). ` +
        'The background worker only processes functions in the database specified by the pg_durable.database GUC (defaults to "postgres").',
      hint: 'Connect to the correct database and run: CREATE EXTENSION pg_durable;',
    };
    expect(await say(elsewhere, 'CREATE EXTENSION pg_durable')).toEqual(expected);
    expect(await say(elsewhere, { name: 'p', text: 'CREATE EXTENSION IF NOT EXISTS pg_durable' })).toEqual(
      expected,
    );
    expect(await say(elsewhere, 'DROP EXTENSION pg_durable')).toMatchObject({
      code: '42704',
      message: 'extension "pg_durable" does not exist',
    });
    expect(await say(elsewhere, "SELECT 'a' || 'pg_durable'")).toBe('SELECT');
  });

  it('COMMENT, as in a dump, is for the owner and changes nothing', async () => {
    const root = await connect(superuser);
    expect(await say(root, "COMMENT ON EXTENSION pg_durable IS 'durable functions'")).toBe('COMMENT');
    expect(await say(root, 'COMMENT ON EXTENSION pg_durable IS NULL')).toBe('COMMENT');
    expect(root.notices()).toEqual([]);
    expect(await say(await connect(app), "COMMENT ON EXTENSION pg_durable IS 'mine'")).toMatchObject({
      code: '42501',
      message: 'must be owner of extension pg_durable',
    });
  });

  it('leave other statements about it to the server', async () => {
    const root = await connect(superuser);
    for (const sql of [
      'ALTER EXTENSION pg_durable SET SCHEMA public',
      'ALTER EXTENSION pg_durable ADD TABLE pg_class',
    ]) {
      expect(await say(root, sql)).toMatchObject({
        code: '42704',
        message: 'extension "pg_durable" does not exist',
      });
    }
  });
});

describe('settings pg_durable.*', () => {
  it('are shown as PostgreSQL shows its own', async () => {
    const nobody = await connect(app);
    const show = async (name: string) => {
      const { rows, fields, command } = await nobody.client.query(`SHOW ${name}`);
      expect(command).toBe('SHOW');
      expect(fields.map((field) => field.name)).toEqual([name.toLowerCase()]);
      return (rows[0] as Record<string, string>)[name.toLowerCase()];
    };
    expect(await show('pg_durable.execution_acquire_timeout')).toBe('30s');
    expect(await show('pg_durable.Max_User_Connections')).toBe('10');
    expect(await show('pg_durable.enable_superuser_instances')).toBe('off');
    expect(await show('pg_durable.reconcile_interval')).toBe('1h');
    expect(await show('pg_durable.http.mode')).toBe('off');
    expect((await nobody.client.query('SHOW "pg_durable.http.mode"')).rows).toEqual([
      { 'pg_durable.http.mode': 'off' },
    ]);
    expect(await show('pg_durable.database')).toBe(database.name);
    expect(await show('pg_durable.worker_role')).toBe(admin.name);
    expect(await say(nobody, { name: 's', text: 'SHOW pg_durable.retention_days' })).toBe('SHOW');
    expect(await say(nobody, 'SHOW pg_durable.no_such')).toEqual({
      code: '42704',
      message: 'unrecognized configuration parameter "pg_durable.no_such"',
      where: expect.any(String),
    });
    expect(await say(nobody, 'SHOW pg_durable.upstream')).toMatchObject({ code: '42501' });
    const { rows } = await nobody.client.query(
      `SELECT current_setting('pg_durable.retention_days') AS days, pg_catalog.current_setting('pg_durable.none', true) AS none`,
    );
    expect(rows).toEqual([{ days: '30', none: null }]);
  });

  it('are changed in the configuration, whoever asks', async () => {
    const nobody = await connect(app);
    const owner = await connect(admin);
    const changes = [
      'SET pg_durable.list_instances_max_limit = 5',
      "SET LOCAL pg_durable.list_instances_max_limit TO '5'",
      'RESET pg_durable.retention_days',
      'ALTER SYSTEM SET pg_durable.max_user_connections = 5',
      'ALTER SYSTEM RESET pg_durable.max_user_connections',
      `ALTER ROLE ${app.name} SET pg_durable.list_instances_max_limit = 5`,
      `ALTER DATABASE ${database.name} SET pg_durable.retention_days = 5`,
      "SELECT set_config('pg_durable.list_instances_max_limit', '5', false)",
    ];
    for (const sql of changes) {
      expect(await say(nobody, sql), sql).toMatchObject({
        code: '42501',
        message: expect.stringMatching(/^permission denied to set parameter "pg_durable\.\w+"$/),
        hint: expect.stringContaining('live in the configuration of pg-durable-proxy'),
      });
    }
    for (const sql of changes.slice(2, 7)) {
      expect(await say(owner, sql), sql).toMatchObject({ code: '55P02' });
    }
    expect(await say(owner, 'SET pg_durable.no_such = 1')).toMatchObject({ code: '42704' });
  });

  it('that only SQL reads, the admin role changes until a proxy writes them again', async () => {
    const owner = await connect(admin);
    expect(await say(owner, 'SET pg_durable.list_instances_max_limit = 7')).toBe('SET');
    expect(owner.notices()).toEqual([
      '"pg_durable.list_instances_max_limit" is 7 for everybody until a proxy next reads its configuration',
    ]);
    const show = async () =>
      (await owner.client.query('SHOW pg_durable.list_instances_max_limit')).rows[0][
        'pg_durable.list_instances_max_limit'
      ];
    expect(await show()).toBe('7');
    expect(await say(owner, 'SET pg_durable.list_instances_max_limit = 0')).toMatchObject({
      code: '22023',
      message:
        '0 is outside the valid range for parameter "pg_durable.list_instances_max_limit" (1 .. 1000000)',
    });
    expect(await say(owner, "SET pg_durable.list_instances_max_limit = 'many'")).toMatchObject({
      code: '22023',
      message: 'invalid value for parameter "pg_durable.list_instances_max_limit": "many"',
    });
    expect(await say(owner, 'BEGIN; SET LOCAL pg_durable.signal_transaction_mode = new')).toEqual([
      'BEGIN',
      'SET',
    ]);
    expect((await owner.client.query('SHOW pg_durable.signal_transaction_mode')).rows[0]).toEqual({
      'pg_durable.signal_transaction_mode': 'new',
    });
    await owner.client.query('ROLLBACK');
    expect(await say(owner, 'RESET pg_durable.list_instances_max_limit')).toBe('RESET');
    expect(await show()).toBe('1000');
  });

  it('of others stay as they are', async () => {
    const nobody = await connect(app);
    expect(await say(nobody, "SET my.pg_durable = 'x'; SHOW my.pg_durable; RESET work_mem")).toEqual([
      'SET',
      'SHOW',
      'RESET',
    ]);
  });
});
