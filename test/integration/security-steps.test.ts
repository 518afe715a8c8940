import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { until } from '../support/wait.js';

/**
 * A step is SQL of somebody else's making in a session that the executor goes on using: its checkpoint follows in the
 * same transaction. What such a step can try, and what comes of it.
 */
let d: Durable;
let other: { client: pg.Client; name: string };
const PREFIX = 'SQL execution failed: error returned from database: ';
const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/;

beforeAll(async () => {
  d = await Durable.open({ max_user_connections: '2' });
  const role = await d.user('other');
  other = { client: await d.connect(role), name: role.name };
  await d.app.query(`CREATE TABLE public.seen (what text, value text); CREATE TABLE public.work (n int)`);
});
afterAll(async () => {
  await other?.client.end();
  await d?.close();
});

const quote = (sql: string) => `'${sql.replaceAll("'", "''")}'`;
const seen = async (what: string) =>
  (await d.root.query('SELECT value FROM public.seen WHERE what = $1', [what])).rows.map((row) => row.value);

/** A deferred trigger: runs at COMMIT, when the checkpoint is written. Fires on an insert of `n` into public.work. */
async function atCommit(name: string, n: number, body: string): Promise<void> {
  await d.app.query(
    `CREATE FUNCTION public.${name}() RETURNS trigger LANGUAGE plpgsql AS $fn$${body}$fn$;
     CREATE CONSTRAINT TRIGGER ${name} AFTER INSERT ON public.work DEFERRABLE INITIALLY DEFERRED
       FOR EACH ROW WHEN (NEW.n = ${n}) EXECUTE FUNCTION public.${name}()`,
  );
}

describe('the token of the lease', () => {
  test('is not in the details of a failed checkpoint, although the step asks for parameters in errors', async () => {
    // a checkpoint that fails for a reason of the step's making: it has written, and then forbidden itself to
    const id = await d.start(
      quote(
        `SET log_parameter_max_length_on_error = -1; INSERT INTO public.seen VALUES ('half', '1'); SET TRANSACTION READ ONLY`,
      ),
    );
    expect(await d.ended(id)).toBe('failed');
    expect(await seen('half')).toEqual([]);
    const shown = await d.app.query('SELECT * FROM df.instance_nodes($1)', [id]);
    expect(JSON.stringify(shown.rows)).toContain('made its transaction read-only');
    expect(JSON.stringify(shown.rows)).not.toMatch(UUID);
    expect(JSON.stringify(await d.nodes(id))).not.toMatch(UUID);
  });

  test('is nowhere to be seen at COMMIT, when the server has just had it', async () => {
    await atCommit(
      'look',
      1,
      `BEGIN
         INSERT INTO public.seen SELECT 'look', current_query();
         INSERT INTO public.seen SELECT 'look', string_agg(c::text, ' ') FROM pg_cursors AS c;
         INSERT INTO public.seen SELECT 'look', string_agg(p::text, ' ') FROM pg_prepared_statements AS p;
         INSERT INTO public.seen SELECT 'look', string_agg(a.query || ' ' || a.application_name, ' ')
                                 FROM pg_stat_activity AS a WHERE a.usename = current_user;
         INSERT INTO public.seen SELECT 'look', string_agg(l.locktype || coalesce(l.relation::regclass::text, ''), ' ')
                                 FROM pg_locks AS l WHERE l.pid = pg_backend_pid();
         INSERT INTO public.seen SELECT 'look', string_agg(s.name || s.setting, ' ') FROM pg_settings AS s;
         INSERT INTO public.seen SELECT 'look', string_agg(n::text, ' ') FROM df.nodes AS n;
         INSERT INTO public.seen SELECT 'look', string_agg(v::text, ' ') FROM _df.visible_instances AS v;
         BEGIN
           INSERT INTO public.seen SELECT 'look', string_agg(i.token::text, ' ') FROM _df.instances AS i;
         EXCEPTION WHEN insufficient_privilege THEN
           INSERT INTO public.seen VALUES ('look', SQLERRM);
         END;
         BEGIN
           INSERT INTO public.seen SELECT 'look', string_agg(m::text, ' ') FROM pg_backend_memory_contexts AS m;
         EXCEPTION WHEN insufficient_privilege THEN
           INSERT INTO public.seen VALUES ('look', SQLERRM);
         END;
         RETURN NULL;
       END`,
    );
    await d.complete(`${quote('INSERT INTO public.work VALUES (1)')} ~> 'SELECT 1'`);
    const found = await seen('look');
    expect(found).toHaveLength(10);
    expect(found.join('\n')).toContain('permission denied for table instances');
    expect(found.join('\n')).toContain('permission denied for view pg_backend_memory_contexts');
    expect(found.join('\n')).toContain('COMMIT');
    expect(found.join('\n')).not.toMatch(UUID);
  });

  test('cannot be logged, traced or trapped by a step: these settings and objects are the superuser’s', async () => {
    for (const sql of [
      `SET log_statement = 'all'`,
      `SET log_parameter_max_length = -1`,
      `SET log_min_duration_statement = 0`,
      `SET log_min_error_statement = debug5`,
      `SET session_replication_role = replica`,
      `SET session_preload_libraries = 'auto_explain'`,
      `LOAD 'auto_explain'`,
      `CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION public.look()`,
      `ALTER SYSTEM SET log_statement = 'all'`,
      `SELECT pg_log_backend_memory_contexts(pg_backend_pid())`,
      `SELECT pg_read_file('postgresql.conf')`,
    ]) {
      expect([sql, await d.failure(quote(sql))]).toEqual([
        sql,
        expect.stringMatching(/permission denied|must be (?:a )?superuser|must be owner|access to library/),
      ]);
    }
  });

  test('without it a checkpoint changes nothing, and neither waits for a row nor locks it', async () => {
    const id = await d.start('df.sleep(3600)', other.client);
    await d.parked(id);
    const before = await d.value(
      'SELECT i::text || u::text FROM _df.instances AS i, df.instances AS u WHERE i.id = $1 AND u.id = $1',
      [id],
    ); // prettier-ignore
    await d.root.query('BEGIN');
    await d.root.query(
      'SELECT FROM df.instances AS u, _df.instances AS i WHERE u.id = $1 AND i.id = $1 FOR UPDATE',
      [id],
    );
    for (const token of ['NULL', 'gen_random_uuid()', `'00000000-0000-0000-0000-000000000000'`]) {
      for (const [kinds, end] of [
        ['c', "'completed'"],
        ['f', "'failed'"],
        ['t', "'parked'"],
        ['s', 'NULL'],
        ['r', 'NULL'],
        ['c', "'waiting'"],
      ]) {
        const began = performance.now();
        await expect(
          d.app.query(
            `SELECT _df.checkpoint($1, ${token}, ARRAY['00000000'], ARRAY[$1 || '::1'], $2, ARRAY['1'], ARRAY[0],
                                   NULL, ${end}, 'x', 0, NULL, NULL)`,
            [id, kinds],
          ),
        ).rejects.toMatchObject({ code: 'DF001' });
        expect(performance.now() - began).toBeLessThan(1000); // the function's own patience with locks is 5 s
      }
    }
    await d.root.query('COMMIT');
    expect(
      await d.value(
        'SELECT i::text || u::text FROM _df.instances AS i, df.instances AS u WHERE i.id = $1 AND u.id = $1',
        [id],
      ), // prettier-ignore
    ).toBe(before);
    await other.client.query('SELECT df.cancel($1)', [id]);
  });
});

describe('the checkpoint', () => {
  test('is written whatever the step has done to names, settings and temporary objects', async () => {
    await d.app.query(
      `CREATE SCHEMA evil;
       CREATE FUNCTION evil.boom(text, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'boom'; END$$;
       CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.boom);
       CREATE OPERATOR evil.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.boom);
       CREATE FUNCTION evil.checkpoint(text) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'boom'; END$$;
       CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'boom'; END$$;
       CREATE FUNCTION evil.unnest(text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'boom'; END$$`,
    );
    const hostile = [
      `SET search_path = pg_temp, evil, pg_catalog; CREATE FUNCTION pg_temp.length(text) RETURNS int LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''boom''; END'; CREATE TEMP TABLE instances (id text); CREATE TEMP TABLE clock (shift interval); CREATE TYPE pg_temp.jsonb AS (a int); CREATE DOMAIN pg_temp.uuid AS text CHECK (VALUE = 'never')`,
      `SET quote_all_identifiers = on; SET transform_null_equals = on; SET array_nulls = off; SET standard_conforming_strings = off; SET backslash_quote = off`,
      `SET row_security = off; SET lock_timeout = '1ms'; SET default_transaction_read_only = on`,
      `SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard'; SET TimeZone = 'Pacific/Apia'; SET extra_float_digits = -15`,
      `SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_nestloop = off; SET plan_cache_mode = force_custom_plan; SET jit_above_cost = 0; SET work_mem = '64kB'`,
      `SET client_min_messages = error; SET check_function_bodies = off; SET plpgsql.extra_errors = 'all'; SET plpgsql.check_asserts = off`,
      `SET df.in_workflow = 'false'; SET df.starting = '00000000'; SET df.cancel_reason = 'boom'; SET df.non_future_helper = 'boom'`,
      `SAVEPOINT a; SAVEPOINT b; SAVEPOINT c`,
      `SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED`,
      `DECLARE c CURSOR WITH HOLD FOR SELECT 1; LISTEN _df_cancel; PREPARE p AS SELECT 1; NOTIFY _df_cancel, 'boom'`,
      `DEALLOCATE ALL; DISCARD PLANS; CLOSE ALL; RESET ALL`,
    ];
    for (const sql of hostile) {
      const id = await d.complete(
        `${quote(sql)} |=> 'a' ~> 'SELECT 2 AS two' ~> ${quote(`${sql}; INSERT INTO public.seen VALUES ('hostile', '1') RETURNING value`)}`,
      );
      expect([sql, (await d.output(id))?.includes('"row_count":1')]).toEqual([sql, true]);
      expect((await d.nodes(id)).map((node) => node.status)).toEqual(Array(5).fill('completed'));
    }
    expect(await seen('hostile')).toHaveLength(hostile.length);
  });

  test('also where the functions are first read under the step’s own reading of backslashes', async () => {
    const role = await d.user('backslash');
    const client = await d.connect(role);
    const id = await d.start(quote(`SET standard_conforming_strings = off; SELECT 1 AS a`), client);
    expect(await d.ended(id)).toBe('completed');
    await client.query('SET standard_conforming_strings = off');
    const next = await client.query(
      `SELECT df.start(df.seq(df.wait_for_schedule('CRON_TZ=Europe/Rome 0 0 * nov *'), 'x')) AS id`,
    );
    await client.query('SELECT df.cancel($1)', [next.rows[0].id]);
    await client.end();
  });

  test('cannot be parted from the step: what would end the transaction before it is refused', async () => {
    for (const sql of [
      'COMMIT',
      'COMMIT AND CHAIN',
      'ROLLBACK; BEGIN',
      '/* /* nested */ */ -- x\r END WORK AND CHAIN',
      'ABORT AND CHAIN',
      `PREPARE TRANSACTION 'x'`,
      `INSERT INTO public.seen VALUES ('parted', '1'); COMMIT; BEGIN`,
    ]) {
      expect([sql, await d.failure(quote(sql))]).toEqual([
        sql,
        `${PREFIX}transaction control statements cannot be used in a durable step`,
      ]);
    }
    // what refuses a transaction block runs without one, and takes nothing along
    await d.complete(`${quote('DISCARD ALL')} ~> 'SELECT 1'`);
    expect(await seen('parted')).toEqual([]);
  });

  test('stands although the step’s deferred triggers write to df after it', async () => {
    await atCommit(
      'meddle',
      2,
      `BEGIN
         UPDATE df.instances SET status = 'pending' WHERE status = 'completed';
         UPDATE df.instances SET status = 'completed' WHERE status = 'running';
         INSERT INTO public.seen SELECT 'meddled', df.start('INSERT INTO public.seen VALUES (''started'', ''1'')');
         RETURN NULL;
       END`,
    );
    const id = await d.start(
      `${quote('INSERT INTO public.work VALUES (2)')} ~> ${quote(`INSERT INTO public.seen VALUES ('after', '1')`)}`,
    );
    await until(async () => (await seen('after')).length > 0);
    await until(async () => (await seen('started')).length > 0);
    await until(async () => (await d.output(id)) !== null);
    expect(await seen('after')).toEqual(['1']);
    expect((await d.nodes(id)).every((node) => node.status === 'completed')).toBe(true);
    expect(await d.status(id)).toBe('completed');
  });

  test('stands although they cancel the instance after it: nothing comes after', async () => {
    await atCommit(
      'give_up',
      3,
      `BEGIN
         PERFORM df.cancel(i.id) FROM df.instances AS i WHERE i.label = 'gives up';
         RETURN NULL;
       END`,
    );
    const id = await d.start(
      `${quote('INSERT INTO public.work VALUES (3)')} ~> ${quote(`INSERT INTO public.seen VALUES ('gave up', '1')`)}, 'gives up'`,
    );
    expect(await d.ended(id)).toBe('cancelled');
    expect(await d.value('SELECT count(*)::int FROM public.work WHERE n = 3')).toBe(1);
    const node = await d.node(id, 'INSERT INTO public.work');
    expect(node.status).toBe('completed');
    await d.complete(`'SELECT 1'`);
    expect(await seen('gave up')).toEqual([]);
  });

  test('that waits for a trigger without end holds up nobody else, and whoever may stop the session may end it', async () => {
    await atCommit('hang', 4, 'BEGIN PERFORM pg_sleep(1000); RETURN NULL; END');
    const id = await d.start(quote('INSERT INTO public.work VALUES (4)'));
    const stuck = `SELECT a.pid FROM pg_stat_activity AS a
      WHERE a.datname = current_database() AND a.usename = current_user AND a.query = 'COMMIT' AND a.wait_event = 'PgSleep'`;
    const pid = await until(async () => (await d.app.query(stuck)).rows[0]?.pid as number | undefined);
    await d.complete(`'SELECT 1'`);
    await d.complete(`'SELECT 1'`, other.client);
    const refused = await other.client.query('SELECT pg_cancel_backend($1)', [pid]).catch((e) => e.message);
    expect(refused).toMatch(/permission denied|must be a member/);
    await d.app.query('SELECT pg_cancel_backend($1)', [pid]);
    expect(await d.ended(id)).toBe('failed');
    expect(await d.output(id)).toBe(`${PREFIX}canceling statement due to user request`);
  });
});

describe('a step’s rights end with it', () => {
  test('locks, tables, cursors and channels that it leaves behind go soon, also when nothing comes after it', async () => {
    await d.complete(
      quote(
        `SELECT pg_advisory_lock(4712); CREATE TEMP TABLE kept (n int); DECLARE c CURSOR WITH HOLD FOR SELECT * FROM public.work; LISTEN kept`,
      ),
    );
    await until(
      async () =>
        (await d.value(
          `SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' AND objid = 4712 AND granted`,
        )) === 0,
      { timeoutMs: 5000 },
    );
    await until(
      async () => (await d.value(`SELECT count(*)::int FROM pg_class WHERE relname = 'kept'`)) === 0,
    );
    // and the session itself is kept, and used again
    expect(
      await d.value(
        `SELECT count(*)::int FROM pg_stat_activity WHERE usename = $1 AND application_name = 'pg_durable:worker:workflow-sql'`,
        [d.role.name],
      ),
    ).toBeGreaterThan(0);
    await d.complete(`'SELECT 1'`);
  });

  test('another’s rights, taken with SET ROLE, are not the next step’s', async () => {
    const group = await d.user('lent', { login: false });
    await d.root.query(`GRANT ${group.name} TO ${d.role.name}`);
    expect(
      await d.rows(
        `${quote(`SET ROLE ${group.name}`)} ~> ${quote('SELECT current_user::text AS c, session_user::text AS s')}`,
      ),
    ).toEqual([{ c: d.role.name, s: d.role.name }]);
    // the step that has taken them has them until its end, and its checkpoint is written
    expect(await d.rows(quote(`SET ROLE ${group.name}; SELECT current_user::text AS c`))).toEqual([
      { c: group.name },
    ]);
  });

  test('it cannot become somebody else', async () => {
    for (const sql of [
      `SET ROLE ${other.name}`,
      `SET SESSION AUTHORIZATION ${other.name}`,
      `SET SESSION AUTHORIZATION postgres`,
      `SELECT set_config('role', '${other.name}', false)`,
      `SELECT set_config('session_authorization', '${other.name}', false)`,
      `ALTER ROLE CURRENT_USER SUPERUSER`,
      `ALTER ROLE CURRENT_USER BYPASSRLS`,
      `ALTER ROLE ${other.name} PASSWORD 'x'`,
      `ALTER ROLE ${other.name} SET search_path = evil`,
    ]) {
      expect([sql, await d.failure(quote(sql))]).toEqual([
        sql,
        expect.stringMatching(/permission denied|must be|Only roles/),
      ]); // prettier-ignore
    }
    for (const sql of ['RESET SESSION AUTHORIZATION', 'RESET ROLE', 'SET SESSION AUTHORIZATION DEFAULT'])
      expect(await d.rows(quote(`${sql}; SELECT session_user::text AS s, current_user::text AS c`))).toEqual([
        { s: d.role.name, c: d.role.name },
      ]);
  });

  test('what it sets for its own role counts for its own later sessions only, and breaks no checkpoint', async () => {
    const role = await d.user('selfish');
    const client = await d.connect(role);
    const settings = [
      `search_path = evil, pg_temp`,
      `row_security = off`,
      `default_transaction_isolation = 'serializable'`,
      `quote_all_identifiers = on`,
      `standard_conforming_strings = off`,
      `log_parameter_max_length_on_error = -1`,
    ];
    for (const setting of settings) {
      const id = await d.start(quote(`ALTER ROLE CURRENT_USER SET ${setting}`), client);
      expect([setting, await d.ended(id)]).toEqual([setting, 'completed']);
    }
    for (const setting of [`df.in_workflow = 'false'`, `df.starting = 'ffffffff'`]) {
      const id = await d.start(quote(`ALTER ROLE CURRENT_USER SET ${setting}`), client);
      expect([setting, await d.ended(id)]).toEqual([setting, 'failed']);
    }
    // a new session, with all of them
    await d.root.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 AND application_name = 'pg_durable:worker:workflow-sql'`,
      [role.name],
    );
    const id = await d.start(
      `${quote(`SELECT current_setting('df.in_workflow') AS w, current_setting('standard_conforming_strings') AS s, current_setting('search_path') AS p`)} |=> 'a' ~> ${quote(`SELECT current_setting('df.in_workflow') AS w, current_setting('search_path') AS p`)}`,
      client,
    );
    expect(await d.ended(id)).toBe('completed');
    expect(JSON.parse((await d.output(id))!).rows).toEqual([{ w: 'true', p: 'evil, pg_temp' }]);
    await client.end();
  });
});

describe('a step and the engine', () => {
  test('it reads and writes nothing of _df', async () => {
    const { rows } = await d.root.query<{ name: string; kind: string }>(
      `SELECT oid::regclass::text AS name, relkind AS kind FROM pg_class
       WHERE relnamespace = '_df'::regnamespace AND relkind IN ('r', 'S') AND relname <> '_worker_ready'`,
    );
    expect(rows.length).toBeGreaterThan(5);
    for (const { name, kind } of rows) {
      for (const sql of [
        `SELECT * FROM ${name}`,
        ...(kind === 'r'
          ? [`DELETE FROM ${name}`, `DO 'BEGIN LOCK TABLE ${name} IN ACCESS SHARE MODE; END'`]
          : []),
      ])
        expect([sql, await d.app.query(sql).catch((error) => error.code)]).toEqual([sql, '42501']);
    }
    // one of each kind as a step: the rights are those of the role, there as here
    for (const sql of [
      'SELECT token FROM _df.instances',
      `UPDATE _df.instances SET wake_at = now()`,
      `SELECT _df.claim(gen_random_uuid(), ARRAY[gen_random_uuid()])`,
      `COPY _df.instances TO STDOUT`,
    ])
      expect(await d.failure(quote(sql))).toMatch(/permission denied/);
  });

  test('it neither cancels nor completes another’s instance', async () => {
    const id = await d.start('df.sleep(3600)', other.client);
    await d.parked(id);
    expect(await d.failure(quote(`SELECT df.cancel('${id}')`))).toContain(
      `Instance not found or access denied: ${id}`,
    );
    expect(
      await d.rows(
        quote(
          `WITH u AS (UPDATE df.instances SET status = 'completed' WHERE id = '${id}' RETURNING 1) SELECT count(*)::int AS n FROM u`,
        ),
      ),
    ).toEqual([{ n: 0 }]);
    expect(await d.status(id)).toBe('running');
    await other.client.query('SELECT df.cancel($1)', [id]);
  });

  test('it cannot make its own end other than it is', async () => {
    for (const status of ['completed', 'failed', 'pending']) {
      const id = await d.start(
        `${quote(`UPDATE df.instances SET status = '${status}' WHERE id = '{sys_instance_id}'`)} ~> ${quote(`INSERT INTO public.seen VALUES ('went on', '${status}')`)} ~> 'SELECT 7 AS seven'`,
      );
      await until(async () => (await d.output(id)) !== null);
      expect(await seen('went on')).toContain(status);
      expect(await d.output(id)).toBe('{"rows":[{"seven":7}],"row_count":1}');
      expect(
        await d.value('SELECT wake_at IS NULL AND owner IS NULL FROM _df.instances WHERE id = $1', [id]),
      ).toBe(true); // prettier-ignore
    }
  });

  test('names and payloads of others’ cancellations are not in the notifications that everybody can hear', async () => {
    const heard: string[] = [];
    d.app.on('notification', ({ payload }) => heard.push(payload ?? ''));
    await d.app.query('LISTEN _df_cancel');
    const id = await d.start(`'SELECT pg_sleep(1000) /* unheard */'`, other.client);
    await until(async () => (await d.running('/* unheard */')) > 0);
    await other.client.query('SELECT df.cancel($1)', [id]);
    await until(() => heard.length > 0);
    await d.app.query('UNLISTEN *');
    expect(heard.join()).not.toContain(id);
    await until(async () => (await d.running('/* unheard */')) === 0);
  });
});
