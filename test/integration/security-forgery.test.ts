import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { until } from '../support/wait.js';

/** Rows, envelopes, stamps and settings that somebody writes by hand, through the rights that df.grant_usage gives. */
let d: Durable;
let other: { client: pg.Client; name: string };

beforeAll(async () => {
  d = await Durable.open();
  const role = await d.user('other');
  other = { client: await d.connect(role), name: role.name };
  await d.app.query('CREATE TABLE public.ran (what text); GRANT ALL ON public.ran TO PUBLIC');
});
afterAll(async () => {
  await other?.client.end();
  await d?.close();
});

const quote = (sql: string) => `'${sql.replaceAll("'", "''")}'`;
const ran = (what: string) => d.value('SELECT count(*)::int FROM public.ran WHERE what = $1', [what]);
const refusal = (client: pg.Client, sql: string, values: unknown[] = []) =>
  client.query(sql, values).then(
    ({ rowCount }) => `no error, ${rowCount} rows`,
    (error: pg.DatabaseError) => `${error.code}: ${error.message}`,
  );
const ofEngine = (id: string) =>
  d.value(
    `SELECT concat_ws(' ', wake_at IS NOT NULL, owner IS NOT NULL, finished_at IS NOT NULL) FROM _df.instances WHERE id = $1`,
    [id],
  );
const set = (id: string, status: string, client = d.app) =>
  client.query('UPDATE df.instances SET status = $2 WHERE id = $1', [id, status]);

/** Rows as df.start would write them, by hand: one SQL node. */
async function byHand(
  client: pg.Client,
  id: string,
  role: string,
  sql: string,
  starting = id,
): Promise<string> {
  return await client
    .query(
      `BEGIN;
       SELECT set_config('df.starting', '${starting}', true);
       INSERT INTO df.instances (id, root_node, submitted_by) VALUES ('${id}', '0000000a', ${role});
       INSERT INTO df.nodes (id, instance_id, node_type, query, submitted_by)
       VALUES ('0000000a', '${id}', 'SQL', ${quote(sql)}, ${role});
       COMMIT`,
    )
    .then(
      () => 'inserted',
      async (error: pg.DatabaseError) => {
        await client.query('ROLLBACK');
        return `${error.code}: ${error.message}`;
      },
    );
}
const ME = 'quote_ident(current_user)::regrole';

describe('a status written by hand', () => {
  test('of an instance that has ended: nothing runs again', async () => {
    const completed = await d.complete(quote(`INSERT INTO public.ran VALUES ('once')`));
    const failed = await d.start(`${quote(`INSERT INTO public.ran VALUES ('tried')`)} ~> 'SELECT 1/0'`);
    const cancelled = await d.start(`df.sleep(3600) ~> ${quote(`INSERT INTO public.ran VALUES ('never')`)}`);
    await d.ended(failed);
    await d.parked(cancelled);
    await d.app.query('SELECT df.cancel($1)', [cancelled]);
    for (const id of [completed, failed, cancelled]) {
      for (const status of ['pending', 'running', 'cancelled', 'failed', 'completed', 'pending', 'running']) {
        await set(id, status);
        expect(await ofEngine(id)).toBe('f f t');
      }
    }
    const before = await d.output(completed);
    await d.app.query('SELECT df.cancel($1)', [completed]); // it says running now, and has ended all the same
    expect(await d.output(completed)).toBe(before);
    await d.complete(`'SELECT 1'`);
    expect([await ran('once'), await ran('tried'), await ran('never')]).toEqual([1, 1, 0]);
  });

  test('of one that waits: it goes on as if nothing had been written, but for a cancellation', async () => {
    for (const status of ['completed', 'failed', 'pending']) {
      const id = await d.start(
        `df.sleep(1) ~> ${quote(`INSERT INTO public.ran VALUES ('after ${status}')`)}`,
      );
      await d.parked(id);
      await set(id, status);
      await until(() => ran(`after ${status}`));
      await until(async () => (await d.output(id)) !== null);
      expect(await ofEngine(id)).toBe('f f t');
    }
    const id = await d.start(`df.sleep(1) ~> ${quote(`INSERT INTO public.ran VALUES ('after cancelled')`)}`);
    await d.parked(id);
    await set(id, 'cancelled'); // all that df.cancel does, too
    expect(await ofEngine(id)).toBe('f f t');
    await set(id, 'running');
    expect(await ofEngine(id)).toBe('f f t');
    expect(await d.output(id)).toBe('canceled: Cancelled by user');
  });

  test('of another’s: no row', async () => {
    const id = await d.start('df.sleep(3600)', other.client);
    await d.parked(id);
    for (const status of ['cancelled', 'completed', 'pending'])
      expect(await refusal(d.app, `UPDATE df.instances SET status = '${status}' WHERE id = '${id}'`)).toBe(
        'no error, 0 rows',
      );
    expect(await refusal(d.app, `UPDATE df.instances SET updated_at = now()`)).toMatch(/^no error/);
    expect(await d.status(id)).toBe('running');
    await other.client.query('SELECT df.cancel($1)', [id]);
  });
});

describe('what only the engine writes', () => {
  test.each([
    `UPDATE df.nodes SET status_details = '{"execution_id":"00000000::9"}'`,
    `UPDATE df.nodes SET result = '1'`,
    `UPDATE df.nodes SET error = 'x'`,
    `UPDATE df.nodes SET query = 'SELECT 2'`,
    `UPDATE df.nodes SET submitted_by = ${ME}`,
    `UPDATE df.instances SET completed_at = now()`,
    `UPDATE df.instances SET created_at = now()`,
    `UPDATE df.instances SET database = 'postgres'`,
    `UPDATE df.instances SET root_node = '00000000'`,
    `UPDATE df.instances SET id = '00000000'`,
    `INSERT INTO df.nodes (id, instance_id, node_type, query, submitted_by, status) VALUES ('0000000a', '0000000b', 'SQL', '', ${ME}, 'completed')`,
    `INSERT INTO df.nodes (id, instance_id, node_type, query, submitted_by, status_details) VALUES ('0000000a', '0000000b', 'SQL', '', ${ME}, '{}')`,
    `INSERT INTO df.nodes (id, instance_id, node_type, query, submitted_by, result) VALUES ('0000000a', '0000000b', 'SQL', '', ${ME}, '1')`,
    `INSERT INTO df.instances (id, root_node, submitted_by, completed_at) VALUES ('0000000b', '0000000a', ${ME}, now())`,
    `INSERT INTO df.instances (id, root_node, submitted_by, created_at) VALUES ('0000000b', '0000000a', ${ME}, now())`,
    `DELETE FROM df.instances`,
    `DELETE FROM df.nodes`,
    `TRUNCATE df.vars`,
    `CREATE TRIGGER t AFTER INSERT ON df.instances FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()`,
    `CREATE TABLE public.refers (id varchar(8) REFERENCES df.instances)`,
    `CREATE RULE r AS ON INSERT TO df.instances DO NOTHING`,
    `CREATE POLICY p ON df.instances USING (true)`,
    `ALTER TABLE df.instances DISABLE ROW LEVEL SECURITY`,
    `DROP TRIGGER instances_start ON df.instances`,
    `COMMENT ON TABLE df.instances IS 'x'`,
    `LOCK TABLE df.instances IN ROW EXCLUSIVE MODE`,
    `LOCK TABLE df.nodes IN SHARE MODE`,
  ])('%s: refused', async (sql) => {
    await d.app.query('BEGIN');
    const said = await refusal(d.app, sql);
    await d.app.query('ROLLBACK');
    expect(said).toMatch(/^42501: (permission denied|must be owner)/);
  });
});

describe('a start written by hand', () => {
  test('runs as who wrote it, and with no more than that', async () => {
    expect(await byHand(d.app, '0a000001', ME, `INSERT INTO public.ran VALUES (current_user)`)).toBe(
      'inserted',
    );
    expect(await d.ended('0a000001')).toBe('completed');
    expect(await ran(d.role.name)).toBe(1);
  });

  test('in another’s name is refused, also by way of a view, a rule or a function of his own', async () => {
    const victim = `'${other.name}'::regrole`;
    const policy = '42501: new row violates row-level security policy for table "instances"';
    expect(await byHand(d.app, '0a000002', victim, 'SELECT 1')).toBe(policy);
    await d.app.query(
      `CREATE VIEW public.through AS SELECT id, root_node, submitted_by FROM df.instances;
       CREATE TABLE public.lever (id text);
       CREATE RULE pull AS ON INSERT TO public.lever DO ALSO
         INSERT INTO df.instances (id, root_node, submitted_by)
         SELECT NEW.id, '0000000a', r.oid::regrole FROM pg_roles AS r WHERE r.rolname = '${other.name}';
       GRANT ALL ON public.through, public.lever TO PUBLIC`,
    );
    expect(
      await refusal(d.app, `INSERT INTO public.through VALUES ('0a000003', '0000000a', ${victim})`),
    ).toBe(policy);
    expect(await refusal(d.app, `INSERT INTO public.lever VALUES ('0a000004')`)).toBe(policy);
    // and what another does through them he does as himself: the view's owner has no other rows than his own to show
    expect((await other.client.query('SELECT * FROM public.through')).rows).toEqual(
      (await other.client.query('SELECT id, root_node, submitted_by FROM df.instances')).rows,
    );
  });

  test('nodes cannot be hung into another’s instance', async () => {
    const id = await d.start('df.sleep(3600)', other.client);
    const insert = (role: string) =>
      refusal(
        d.app,
        `INSERT INTO df.nodes (id, instance_id, node_type, query, submitted_by) VALUES ('0000000c', '${id}', 'SQL', '', ${role})`,
      );
    expect(await insert(`'${other.name}'::regrole`)).toBe(
      '42501: new row violates row-level security policy for table "nodes"',
    );
    expect(await insert(ME)).toContain('nodes_instance_identity_fkey');
    await other.client.query('SELECT df.cancel($1)', [id]);
  });

  test('an id that is taken says so, and nothing more', async () => {
    const id = await d.start('df.sleep(3600)', other.client);
    const error: pg.DatabaseError = await d.app
      .query(`INSERT INTO df.instances (id, root_node, submitted_by) VALUES ('${id}', '0000000a', ${ME})`)
      .then(
        () => expect.fail('inserted'),
        (e) => e,
      );
    expect([error.code, error.detail]).toEqual(['23505', undefined]);
    expect(
      await refusal(
        d.app,
        `INSERT INTO df.instances (id, root_node, submitted_by) VALUES ('${id}', '0000000a', ${ME})
         ON CONFLICT (id) DO UPDATE SET status = 'cancelled' RETURNING label`,
      ),
    ).toMatch(/^42501: new row violates row-level security policy/);
    expect(await d.status(id)).not.toBe('cancelled');
    await other.client.query('SELECT df.cancel($1)', [id]);
  });

  test('BYPASSRLS gives sight, not identity: rows in another’s name start nothing', async () => {
    const auditor = await d.user('auditor');
    await d.root.query(`ALTER ROLE ${auditor.name} BYPASSRLS`);
    const client = await d.connect(auditor);
    for (const [id, role] of [
      ['0a000005', `'${other.name}'::regrole`],
      ['0a000006', `'postgres'::regrole`],
      ['0a000007', '10::oid::regrole'],
      ['0a000008', '0::oid::regrole'],
    ] as const) {
      expect(await byHand(client, id, role, `INSERT INTO public.ran VALUES ('as another')`)).toBe('inserted');
      expect(await d.value('SELECT count(*)::int FROM _df.instances WHERE id = $1', [id])).toBe(0);
    }
    // also not by way of naming his own row and writing another, or two rows at once
    const two = await refusal(
      client,
      `SELECT set_config('df.starting', '0a000009', false);
       BEGIN; INSERT INTO df.instances (id, root_node, submitted_by)
       VALUES ('0a000009', '0000000a', '${other.name}'::regrole), ('0a00000b', '0000000a', ${ME});
       INSERT INTO df.nodes (id, instance_id, node_type, query, submitted_by)
       VALUES ('0000000a', '0a000009', 'SQL', 'SELECT 1', '${other.name}'::regrole), ('0000000a', '0a00000b', 'SQL', 'SELECT 1', ${ME});
       COMMIT`,
    );
    expect(two).toMatch(/^no error/);
    expect(
      await d.value(`SELECT count(*)::int FROM _df.instances WHERE id IN ('0a000009', '0a00000b')`),
    ).toBe(0);
    await d.complete(`'SELECT 1'`);
    expect(await ran('as another')).toBe(0);
    await client.end();
  });

  test('a superuser’s forged submitter is looked at when it is loaded, and has no effect later', async () => {
    const gate = await d.connect();
    await gate.query('BEGIN');
    const early = await d.start(`'SELECT 1'`, gate);
    await d.root.query(`UPDATE _df.clock SET shift = shift - interval '1 hour'`); // not due before it is forged
    await gate.query('COMMIT');
    await d.root.query(`ALTER TABLE df.instances DISABLE TRIGGER USER`);
    await d.root.query(`SET CONSTRAINTS ALL DEFERRED`);
    await d.root.query(
      `WITH n AS (UPDATE df.nodes SET submitted_by = 10::oid::regrole WHERE instance_id = '${early}')
       UPDATE df.instances SET submitted_by = 10::oid::regrole WHERE id = '${early}'`,
    );
    await d.root.query(`ALTER TABLE df.instances ENABLE TRIGGER USER`);
    await d.root.query(`UPDATE _df.clock SET shift = '0'`);
    expect(await d.ended(early)).toBe('failed');
    expect(await d.output(early)).toContain(`pg_durable blocked instance ${early}: submitted_by role`);
    expect((await d.nodes(early)).map((node) => node.status)).toEqual(['pending']);

    const late = await d.start(`'SELECT 1' ~> df.sleep(1) ~> 'SELECT current_user::text AS c'`, gate);
    await d.parked(late);
    await d.root.query(
      `WITH n AS (UPDATE df.nodes SET submitted_by = 10::oid::regrole WHERE instance_id = '${late}')
       UPDATE df.instances SET submitted_by = 10::oid::regrole WHERE id = '${late}'`,
    );
    expect(await d.ended(late)).toBe('completed');
    expect(JSON.parse((await d.output(late))!).rows).toEqual([{ c: d.role.name }]);
    await gate.end();
  });
});

describe('settings that the functions use among themselves, set by a user', () => {
  test('change nothing but his own texts', async () => {
    const client = await d.connect();
    await client.query(
      `SET df.starting = 'ffffffff'; SET df.cancel_reason = 'because'; SET df.in_workflow = 'false';
       SET df.non_future_helper = E'anything\\nat all'; SET df.statement_timeout = '1'`,
    );
    const id = await d.start('df.sleep(3600)', client);
    await d.parked(id);
    await client.query('SELECT df.cancel($1, $2)', [id, 'in the call']);
    expect(await d.output(id)).toBe('canceled: in the call');
    await client.query(`SET df.cancel_reason = 'by hand'`);
    const next = await d.start('df.sleep(3600)', client);
    await d.parked(next);
    await set(next, 'cancelled', client);
    expect(await d.output(next)).toBe('canceled: by hand');
    expect((await client.query(`SELECT df.seq('OK', 'completed') AS s`)).rows[0].s).toContain('THEN');
    await client.end();
  });

  test('df.in_workflow is no boundary: what it forbids in a step is forbidden for the step’s good', async () => {
    const client = await d.connect();
    await client.query(`SET df.in_workflow = 'true'`);
    await expect(client.query(`SELECT df.setvar('a', 'b')`)).rejects.toThrow('inside a workflow');
    await client.query('RESET df.in_workflow');
    await client.query(`SELECT df.setvar('a', 'b')`);
    await client.end();
  });
});

describe('hostile arguments', () => {
  test('types, domains, casts and collations of the caller’s are the caller’s only', async () => {
    await d.app.query(
      `CREATE SCHEMA bait;
       CREATE COLLATION bait.loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`,
    );
    await d.app.query(
      `CREATE DOMAIN bait.instance AS text CHECK (VALUE IS NOT NULL);
       CREATE TYPE bait.cheat AS (a text);
       CREATE FUNCTION bait.as_text(bait.cheat) RETURNS text LANGUAGE plpgsql AS $$
         BEGIN INSERT INTO public.ran VALUES ('cast as ' || current_user); RETURN 'SELECT 1'; END$$;
       CREATE CAST (bait.cheat AS text) WITH FUNCTION bait.as_text AS IMPLICIT;
       GRANT USAGE ON SCHEMA bait TO PUBLIC`,
    );
    const id = (await d.app.query(`SELECT df.start(ROW('x')::bait.cheat) AS id`)).rows[0].id as string;
    expect(await d.ended(id)).toBe('completed');
    expect(await ran(`cast as ${d.role.name}`)).toBe(1);
    const foreign = await d.start('df.sleep(3600)', other.client, []);
    for (const sql of [
      `SELECT df.status('${foreign.toUpperCase()}'::bait.instance COLLATE bait.loose)`,
      `SELECT df.result('${foreign}' COLLATE bait.loose)`,
      `SELECT df.explain('${foreign}' COLLATE bait.loose)`,
    ]) {
      const said = await d.app.query({ text: sql, rowMode: 'array' }).then(
        ({ rows }) => String(rows[0]?.[0]),
        (error: Error) => error.message,
      );
      expect(said).toMatch(/null|not found|collation/);
    }
    await other.client.query('SELECT df.cancel($1)', [foreign]);
  });
});
