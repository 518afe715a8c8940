import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { until } from '../support/wait.js';

let d: Durable;
const PREFIX = 'SQL execution failed: error returned from database: ';

beforeAll(async () => {
  d = await Durable.open({ max_user_connections: '1' }); // one session at a time: each is used again by the next
});
afterAll(() => d?.close());

const explain = async (id: string, client: pg.Client = d.root) =>
  (await client.query('SELECT df.explain($1) AS e', [id])).rows[0].e as string;

describe('a step runs as who submitted it', () => {
  test('session_user and current_user, whichever other role ran before', async () => {
    const others = await Promise.all(['anna', 'berta'].map((prefix) => d.user(prefix)));
    for (const role of [...others, d.role, ...others]) {
      const client = await d.connect(role);
      const id = await d.start(
        `'SELECT session_user::text AS s, current_user::text AS c, current_setting(''is_superuser'') AS u'`,
        client,
      );
      expect(await d.ended(id)).toBe('completed');
      expect(JSON.parse((await d.output(id))!).rows).toEqual([{ s: role.name, c: role.name, u: 'off' }]);
      await client.end();
    }
  });

  test('another role’s table is refused', async () => {
    const owner = await d.user('owner');
    const client = await d.connect(owner);
    await client.query('CREATE TABLE public.owners (n int); INSERT INTO public.owners VALUES (7)');
    const id = await d.start(`'SELECT n FROM public.owners'`, client);
    expect(await d.ended(id)).toBe('completed');
    expect(await d.failure(`'SELECT n FROM public.owners'`)).toBe(
      `${PREFIX}permission denied for table owners`,
    );
    await client.end();
  });

  test('the private tables of the engine and the fencing token are out of reach', async () => {
    for (const table of ['instances', 'journal', 'settings', 'executors', 'clock']) {
      expect(await d.failure(`'SELECT * FROM _df.${table}'`)).toMatch(/permission denied for table/);
    }
    for (const call of [
      `_df.claim(gen_random_uuid(), '{}')`,
      `_df.apply('[]')`,
      `_df.heartbeat(gen_random_uuid(), 1, '{}', '{}')`,
    ]) {
      expect(await d.failure(`'SELECT ${call.replaceAll("'", "''")}'`)).toMatch(
        /permission denied for function/,
      );
    }
    // the text of the checkpoint never shows the token
    const id = await d.complete(
      `'SELECT 1' ~> 'SELECT string_agg(query, ''|'') AS q FROM pg_stat_activity WHERE usename = current_user' `,
    );
    expect(await d.output(id)).not.toMatch(/[0-9a-f]{8}-[0-9a-f]{4}-/);
  });

  test('SET ROLE: the chosen role is the submitter', async () => {
    const target = await d.user('target');
    await d.root.query(`GRANT ${target.name} TO ${d.role.name}`);
    await (await d.connect(target)).end(); // its credential
    const client = await d.connect();
    await client.query(`SET ROLE ${target.name}`);
    const id = await d.start(`'SELECT session_user::text AS s, current_user::text AS c'`, client);
    expect(await d.ended(id)).toBe('completed');
    expect(JSON.parse((await d.output(id))!).rows).toEqual([{ s: target.name, c: target.name }]);
    expect(await d.value('SELECT submitted_by::text FROM df.instances WHERE id = $1', [id])).toBe(
      target.name,
    );
    await client.end();
  });

  test('a SECURITY DEFINER function submits as its owner', async () => {
    const owner = await d.user('definer');
    const client = await d.connect(owner);
    await client.query(`CREATE FUNCTION public.as_owner() RETURNS text LANGUAGE sql SECURITY DEFINER
      AS $f$ SELECT df.start('SELECT current_user::text AS c') $f$`);
    await client.end();
    const id = (await d.app.query('SELECT public.as_owner() AS id')).rows[0].id as string;
    expect(await d.ended(id)).toBe('completed');
    expect(JSON.parse((await d.output(id))!).rows).toEqual([{ c: owner.name }]);
  });

  test('a role without LOGIN is refused at the start; with it, it works', async () => {
    const group = await d.user('grp', { login: false });
    await d.root.query(`GRANT ${group.name} TO ${d.role.name}`);
    const client = await d.connect();
    await client.query(`SET ROLE ${group.name}`);
    await expect(d.start(`'SELECT 1'`, client)).rejects.toThrow(
      `current_user "${group.name}" does not have LOGIN privilege. The background worker must connect as this role to execute SQL. Grant LOGIN to this role or call df.start() as a role with LOGIN.`,
    );
    await client.query('RESET ROLE');
    await d.root.query(`ALTER ROLE ${group.name} LOGIN`);
    await (await d.connect(group)).end();
    await client.query(`SET ROLE ${group.name}`);
    const id = await d.start(`'SELECT current_user::text AS c'`, client);
    expect(await d.ended(id)).toBe('completed');
    await client.end();
  });

  test('role names that need quotes', async () => {
    for (const prefix of ['Mixed Case', 'we"ird', "o'clock", 'ünï', 'sel%ect $1', '-- x']) {
      const role = await d.user(prefix);
      const client = await d.connect(role);
      const id = await d.start(
        `'SELECT current_user::text AS c' ~> 'SELECT session_user::text AS c'`,
        client,
      );
      expect(await d.ended(id)).toBe('completed');
      expect(JSON.parse((await d.output(id))!).rows).toEqual([{ c: role.name }]);
      expect((await client.query('SELECT df.status($1) AS s', [id])).rows).toEqual([{ s: 'completed' }]);
      await client.end();
    }
  });
});

describe('nothing of one step’s session is seen by another', () => {
  const leave = [
    `CREATE TEMP TABLE left_behind (n int)`,
    `SET work_mem = ''77MB''; SET search_path = pg_temp, public; SET df.mine = ''secret''`,
    `SELECT pg_advisory_lock(4711)`,
    `PREPARE left_prepared AS SELECT 1`,
    `DECLARE left_cursor CURSOR WITH HOLD FOR SELECT 1`,
    `LISTEN left_channel`,
    `CREATE TEMP SEQUENCE s; SELECT nextval(''s'')`,
    `SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE`,
    `SET default_transaction_read_only = on`,
    `SET statement_timeout = ''1s''`,
    `SET DateStyle = ''German''; SET TimeZone = ''Asia/Tokyo''; SET bytea_output = ''escape''; SET extra_float_digits = 0; SET standard_conforming_strings = off`,
    `SELECT set_config(''df.in_workflow'', ''false'', false)`,
  ];
  const look = `SELECT to_regclass(''left_behind'')::text AS temp, current_setting(''work_mem'') AS mem,
    coalesce(current_setting(''df.mine'', true), '''') AS mine, current_setting(''search_path'') AS path,
    (SELECT count(*)::int FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = ''advisory'') AS locks,
    (SELECT count(*)::int FROM pg_prepared_statements) AS prepared,
    (SELECT count(*)::int FROM pg_cursors WHERE name LIKE ''left%'') AS cursors,
    (SELECT count(*)::int FROM pg_listening_channels()) AS channels,
    current_setting(''transaction_isolation'') AS isolation, current_setting(''transaction_read_only'') AS ro,
    current_setting(''statement_timeout'') AS timeout, current_setting(''client_encoding'') AS encoding,
    current_setting(''DateStyle'') AS dates, current_setting(''TimeZone'') AS zone, current_setting(''df.in_workflow'') AS wf,
    ''\\xde''::bytea AS bytes, ''\\n'' AS backslash, ''é'' AS e`;
  const clean = {
    temp: null,
    mem: '4MB',
    mine: '',
    path: '"$user", public',
    locks: 0,
    prepared: 0,
    cursors: 0,
    channels: 0,
    isolation: 'read committed',
    ro: 'off',
    timeout: '0',
    encoding: 'UTF8',
    dates: 'ISO, MDY',
    zone: 'UTC',
    wf: 'true',
    bytes: '\\xde',
    backslash: '\\n',
    e: 'é',
  };

  test('not by the next step', async () => {
    for (const sql of leave) expect(await d.rows(`'${sql}' ~> '${look}'`)).toEqual([clean]);
  });

  test('not by another instance of the role', async () => {
    await d.complete(`'${leave[0]}' ~> '${leave[1]}' ~> '${leave.slice(2).join(';')}'`);
    expect(await d.rows(`'${look}'`)).toEqual([clean]);
  });

  test('not after a step that failed', async () => {
    await d.failure(`'${leave.join(';')}; SET client_encoding = latin1; SELECT 1/0'`);
    expect(await d.rows(`'${look}'`)).toEqual([clean]);
  });

  test('not after a step outside a transaction', async () => {
    await d.app.query(`CREATE PROCEDURE public.commits() LANGUAGE plpgsql AS
      $$ BEGIN SET work_mem = '88MB'; PERFORM pg_advisory_lock(4712); CREATE TEMP TABLE left_behind (n int); COMMIT; END $$`);
    expect(await d.rows(`'CALL public.commits()' ~> '${look}'`)).toEqual([clean]);
  });

  test('what the starter has set is not carried over', async () => {
    await d.app.query(
      `SET work_mem = '66MB'; SET search_path = pg_catalog; CREATE TEMP TABLE starters (n int)`,
    );
    expect(await d.rows(`'${look}'`)).toEqual([clean]);
    await d.app.query('RESET ALL');
  });

  test('what the role has by default is there', async () => {
    const role = await d.user('tuned');
    await d.root.query(`ALTER ROLE ${role.name} SET work_mem = '55MB'`);
    const client = await d.connect(role);
    const id = await d.start(
      `'SET work_mem = ''1MB''' ~> 'SELECT current_setting(''work_mem'') AS m'`,
      client,
    );
    await d.ended(id);
    expect(JSON.parse((await d.output(id))!).rows).toEqual([{ m: '55MB' }]);
    await client.end();
  });

  test('SET SESSION AUTHORIZATION and SET ROLE end with the step', async () => {
    const target = await d.user('through');
    await d.root.query(`GRANT ${target.name} TO ${d.role.name}`);
    expect(await d.rows(`'SET ROLE ${target.name}; SELECT current_user::text AS c'`)).toEqual([
      { c: target.name },
    ]);
    expect(await d.rows(`'SELECT current_user::text AS c'`)).toEqual([{ c: d.role.name }]);
  });
});

describe('superusers', () => {
  test('are refused at the start while the switch is off', async () => {
    const boss = await d.user('boss', { superuser: true });
    const client = await d.connect(boss);
    await expect(d.start(`'SELECT 1'`, client)).rejects.toThrow(
      `pg_durable: superuser instances are disabled. current_user "${boss.name}" is a superuser, but pg_durable.enable_superuser_instances is off.`,
    );
    await client.end();
  });

  test('and when the instance is loaded: a role that became one in between', async () => {
    const rising = await d.user('rising');
    const client = await d.connect(rising);
    await client.query('BEGIN');
    const id = await d.start(`'SELECT 1'`, client);
    await d.root.query(`ALTER ROLE ${rising.name} SUPERUSER`);
    await client.query('COMMIT');
    expect(await d.ended(id)).toBe('failed');
    expect(await d.output(id)).toBe(
      `pg_durable blocked instance ${id}: submitted_by role "${rising.name}" is a superuser, but pg_durable.enable_superuser_instances is off`,
    );
    expect((await d.nodes(id)).map((node) => node.status)).toEqual(['pending']);
    await client.end();
  });

  test('a role that becomes one later goes on: it was looked at when it was loaded', async () => {
    const late = await d.user('late');
    const client = await d.connect(late);
    const id = await d.start(`'SELECT 1' ~> df.sleep(1) ~> 'SELECT current_user::text AS c'`, client);
    await d.parked(id);
    await d.root.query(`ALTER ROLE ${late.name} SUPERUSER`);
    expect(await d.ended(id)).toBe('completed');
    await d.root.query(`ALTER ROLE ${late.name} NOSUPERUSER`);
    await client.end();
  });

  test('with the switch on they may', async () => {
    const open = await Durable.open({ enable_superuser_instances: 'on' });
    try {
      const boss = await open.user('boss', { superuser: true });
      const client = await open.connect(boss);
      const id = await open.start(`'SELECT current_setting(''is_superuser'') AS s'`, client);
      expect(await open.ended(id)).toBe('completed');
      expect(JSON.parse((await open.output(id))!).rows).toEqual([{ s: 'on' }]);
      await client.end();
    } finally {
      await open.close();
    }
  });
});

describe('roles that go', () => {
  const drop = async (name: string) => {
    await d.root.query(`DROP OWNED BY ${name}`);
    await d.root.query(`DROP ROLE ${name}`);
  };

  test('dropped before it is loaded: failed, no node touched', async () => {
    const role = await d.user('gone');
    const client = await d.connect(role);
    await client.query('BEGIN');
    const id = await d.start(`'SELECT 1'`, client);
    await d.root.query(`UPDATE _df.clock SET shift = shift - interval '1 hour'`);
    await client.query('COMMIT');
    await client.end();
    // the start was stamped with the clock as it was: it is not due before the clock comes back
    await drop(role.name);
    await d.root.query(`UPDATE _df.clock SET shift = '0'`);
    expect(await d.ended(id)).toBe('failed');
    expect(await d.output(id)).toBe(`Instance ${id}: submitted_by role no longer exists in pg_roles`);
    expect((await d.nodes(id)).map((node) => node.status)).toEqual(['pending']);
  });

  test('dropped while it sleeps: the next step fails, although a session was pooled', async () => {
    const role = await d.user('leaver');
    const client = await d.connect(role);
    const id = await d.start(`'SELECT 1' ~> df.sleep(2) ~> df.loop('SELECT 2')`, client);
    await client.end();
    await d.parked(id);
    await drop(role.name);
    expect(await d.ended(id)).toBe('failed');
    expect(await d.output(id)).toMatch(
      new RegExp(
        `Failed to connect to database '${d.database.name}' as '${role.name}'|no longer exists in pg_roles`,
      ),
    );
    expect((await d.typed(id, 'SLEEP'))[0]?.status).toBe('completed');
    expect((await d.typed(id, 'LOOP'))[0]?.status).toBe('failed');
  });

  test('LOGIN taken away: the next step fails', async () => {
    const role = await d.user('barred');
    const client = await d.connect(role);
    const id = await d.start(`'SELECT 1' ~> df.sleep(1) ~> 'SELECT 2'`, client);
    await d.parked(id);
    await d.root.query(`ALTER ROLE ${role.name} NOLOGIN`);
    expect(await d.ended(id)).toBe('failed');
    expect(await d.output(id)).toContain(
      `Failed to connect to database '${d.database.name}' as '${role.name}'`,
    );
    await client.end();
  });

  test('a role that has taken over the name of another never gets a session of that one', async () => {
    const before = await d.user('namesake');
    const client = await d.connect(before);
    expect(await d.ended(await d.start(`'SELECT 1'`, client))).toBe('completed'); // leaves a session in the pool
    await client.end();
    const named = async () => {
      const successor = { ...before, password: 'another' };
      await d.root.query(`CREATE ROLE ${before.name} LOGIN PASSWORD '${successor.password}'`);
      await d.root.query('SELECT df.grant_usage($1)', [before.name]);
      const next = await d.connect(successor);
      const id = await d.start(`'SELECT session_user::regrole::oid::text AS oid'`, next);
      expect(await d.ended(id)).toBe('completed');
      expect(JSON.parse((await d.output(id))!).rows).toEqual([
        { oid: String(await d.value('SELECT oid FROM pg_roles WHERE rolname = $1', [before.name])) },
      ]);
      await next.end();
    };
    await d.root.query(`ALTER ROLE ${before.name} RENAME TO ${before.name}_old`);
    await named();
    await drop(before.name);
    await named();
    await drop(`${before.name}_old`);
  });

  test('rights on df taken away: what runs goes on', async () => {
    const role = await d.user('revoked');
    const client = await d.connect(role);
    const id = await d.start(`'SELECT 1' ~> df.sleep(1) ~> 'SELECT 2 AS a'`, client);
    await d.root.query('SELECT df.revoke_usage($1)', [role.name]);
    expect(await d.ended(id)).toBe('completed');
    await client.end();
  });
});

describe('credentials', () => {
  /** Starts as a role that the proxy has never seen: past the proxy. */
  const startUnknown = async (prefix: string) => {
    const role = await d.user(prefix);
    const direct = new pg.Client({ connectionString: role.url });
    await direct.connect();
    const id = await direct
      .query(`SELECT df.start('SELECT current_user::text AS c') AS id`)
      .then((r) => r.rows[0].id as string);
    return { role, direct, id };
  };

  test('a role without a known credential waits visibly and goes on at its next login', async () => {
    const { role, direct, id } = await startUnknown('stranger');
    await until(async () => (await explain(id)).includes('has no usable credential'), {
      what: 'the reason to show',
    });
    expect(await d.status(id)).toMatch(/pending|running/);
    // the role itself sees the reason too
    expect(await explain(id, direct)).toContain('has no usable credential');
    const details = async () =>
      (await direct.query('SELECT status_details FROM df.instance_nodes($1)', [id])).rows[0].status_details;
    expect(JSON.parse(await details())).toEqual({
      waiting: expect.stringContaining('has no usable credential'),
    });
    await (await d.connect(role)).end();
    expect(await d.ended(id)).toBe('completed');
    expect(JSON.parse((await d.output(id))!).rows).toEqual([{ c: role.name }]);
    expect(await explain(id)).not.toContain('has no usable credential');
    expect(JSON.parse(await details())).toEqual({ execution_id: `${id}::1` });
    await direct.end();
  });

  test('a wrong password is no credential', async () => {
    const { role, direct, id } = await startUnknown('forgetful');
    const wrong = new pg.Client({ connectionString: d.proxy.url({ ...role, password: 'wrong' }) });
    await expect(wrong.connect()).rejects.toThrow(/password authentication failed/);
    await until(async () => (await explain(id)).includes('has no usable credential'));
    await (await d.connect(role)).end();
    expect(await d.ended(id)).toBe('completed');
    await direct.end();
  });

  test('a changed password: it waits for the next login with the new one', async () => {
    const { role, direct, id } = await startUnknown('changing');
    await (await d.connect(role)).end();
    await d.ended(id);
    await d.root.query(`ALTER ROLE ${role.name} PASSWORD 'new one'`);
    // sessions of the role that are still pooled are ended: a new login is needed
    await d.root.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE usename = $1 AND application_name = 'pg_durable:worker:workflow-sql'`,
      [role.name],
    );
    const again = (await direct.query(`SELECT df.start('SELECT 2 AS a') AS id`)).rows[0].id as string;
    await until(async () => (await explain(again)).includes('has no usable credential'));
    const client = new pg.Client({ connectionString: d.proxy.url({ ...role, password: 'new one' }) });
    await client.connect();
    await client.end();
    expect(await d.ended(again)).toBe('completed');
    await direct.end();
  });

  test('no password and no key is in the database, the log or the explanation', async () => {
    const secret = d.role.password;
    const dump = await d.value(`SELECT string_agg(t::text, ' ') FROM (
      SELECT to_jsonb(i)::text AS t FROM _df.instances i UNION ALL SELECT to_jsonb(s)::text FROM _df.settings s
      UNION ALL SELECT to_jsonb(n)::text FROM df.nodes n) q`);
    expect(dump).not.toContain(secret);
    expect(d.proxy.logLines.join('\n')).not.toContain(secret);
  });
});

describe('databases', () => {
  test('steps run in the database that was named', async () => {
    const other = `${d.database.name}_b`;
    await d.root.query(`CREATE DATABASE ${other}`);
    try {
      const id = await d.start(
        `'SELECT current_database()::text AS d' ~> 'SELECT current_database()::text AS d', 'l', '${other}'`,
      );
      expect(await d.ended(id)).toBe('completed');
      expect(JSON.parse((await d.output(id))!).rows).toEqual([{ d: other }]);
      await expect(d.start(`'SELECT 1', database => 'no_such_db'`)).rejects.toThrow(
        'database "no_such_db" does not exist',
      );
      await d.root.query(`REVOKE CONNECT ON DATABASE ${other} FROM PUBLIC`);
      await d.root.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1`, [
        other,
      ]);
      const refused = await d.start(`'SELECT 1', database => '${other}'`);
      expect(await d.ended(refused)).toBe('failed');
      expect(await d.output(refused)).toMatch(
        new RegExp(`^Failed to connect to database '${other}' as '${d.role.name}'. Error: `),
      );
    } finally {
      await d.root.query(`DROP DATABASE ${other} WITH (FORCE)`);
    }
  });
});
