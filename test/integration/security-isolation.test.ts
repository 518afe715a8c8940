import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TestRole } from '../support/postgres.js';
import { failure, installSchema, type Schema, value } from './schema.js';

/**
 * A role with grants sees and touches only its own. What there is to try comes from the catalogue: each function that
 * takes an instance must answer for another's instance what it answers for one that does not exist.
 */
interface User {
  role: TestRole;
  client: pg.Client;
}
let schema: Schema;
let root: pg.Client;
let alice: User;
let bob: User;
let hers: string;
/** Stands in everything that is alice's. */
const MARK = 'alices5ecret';
const NOBODYS = 'deadbeef';

beforeAll(async () => {
  schema = await installSchema();
  root = await schema.connect(schema.database.superUrl);
  alice = await schema.createUser('alice');
  bob = await schema.createUser('bob');
  await value(alice.client, 'SELECT df.setvar($1, $1)', [MARK]);
  hers = await value(
    alice.client,
    `SELECT df.start(df.loop(df.join(df.as('SELECT ''${MARK}''', '${MARK}'), df.wait_for_signal('${MARK}'))), '${MARK}')`,
  );
  await value(alice.client, 'SELECT df.signal($1, $2, $2)', [hers, MARK]);
  // as if it had run for a while
  await root.query(
    `UPDATE df.nodes SET status = 'completed', result = to_jsonb('${MARK}'::text), error = '${MARK}',
                         status_details = jsonb_build_object('execution_id', '${hers}::1', 'statement', '${MARK}')`,
  );
  await root.query(
    `UPDATE _df.instances SET output = '${MARK}', waiting = '${MARK}', token = gen_random_uuid()`,
  );
  await root.query(`INSERT INTO _df.executions SELECT id, 1, now(), now(), 1, '${MARK}' FROM _df.instances`);
  await value(bob.client, "SELECT df.start('SELECT 1', 'his')");
});
afterAll(() => schema?.drop());

const answer = async (client: pg.Client, sql: string) => {
  try {
    const { rows } = await client.query(sql);
    return JSON.stringify(rows);
  } catch (error) {
    const { code, message, detail, hint, where } = error as pg.DatabaseError;
    return JSON.stringify({ code, message, detail, hint, where });
  }
};

interface Routine {
  name: string;
  types: string[];
  names: string[];
}

it('every function that takes an instance says of another’s what it says of none', async () => {
  const { rows } = await schema.admin.query<Routine>(
    `SELECT p.oid::regproc::text AS name, ARRAY(SELECT t::regtype::text FROM unnest(p.proargtypes) AS t) AS types,
            p.proargnames[1:p.pronargs] AS names
     FROM pg_proc AS p
     WHERE p.pronamespace IN ('df'::regnamespace, '_df'::regnamespace) AND p.pronargs > 0
     ORDER BY 1`,
  );
  const takers = rows.filter(({ names }) =>
    names.some((name) => /^(instance_id|instance_id_param|p_instance|input|p_input)$/.test(name)),
  );
  expect(takers.map((one) => one.name)).toEqual(
    expect.arrayContaining([
      'df.status',
      'df.result',
      'df.cancel',
      'df.explain',
      'df.signal',
      'df.await_instance',
      'df.instance_info',
      'df.instance_nodes',
      'df.instance_executions',
      '_df.checkpoint',
      '_df.infer',
      '_df.failure',
    ]),
  );
  for (const { name, types, names } of takers) {
    const call = (id: string) =>
      `SELECT * FROM ${name}(${types
        .map((type, i) => {
          if (/^(instance_id|instance_id_param|p_instance|input|p_input)$/.test(names[i]!)) return `'${id}'`;
          if (type.endsWith('[]')) return `ARRAY[]::${type}`;
          if (type === 'uuid') return 'gen_random_uuid()';
          if (type.startsWith('json')) return `'{}'`;
          return type === 'text' ? `'x'` : `1::text::${type}`;
        })
        .join(', ')})`;
    const [foreign, none] = [await answer(bob.client, call(hers)), await answer(bob.client, call(NOBODYS))];
    expect([name, foreign]).toEqual([name, none.replaceAll(NOBODYS, hers)]);
    expect([name, foreign]).not.toEqual([name, expect.stringContaining(MARK)]);
    // in capitals, padded, as another type
    for (const id of [hers.toUpperCase(), ` ${hers} `])
      expect([name, await answer(bob.client, call(id))]).not.toEqual([name, expect.stringContaining(MARK)]);
  }
  expect(await value(alice.client, 'SELECT df.status($1)', [hers])).toBe('pending');
});

describe('tables and views', () => {
  it('show a role its own rows, in whatever way it asks', async () => {
    await schema.admin.query('GRANT CREATE ON SCHEMA public TO PUBLIC');
    await bob.client.query(
      `CREATE FUNCTION public.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
       $$BEGIN RAISE WARNING 'seen %', $1; RETURN true; END$$;
       CREATE OPERATOR public.<<< (RIGHTARG = text, FUNCTION = public.leak);
       CREATE VIEW public.looking AS SELECT * FROM df.instances;
       CREATE FUNCTION public.looked() RETURNS SETOF df.instances LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM df.instances'`,
    );
    const { rows } = await schema.admin.query<{ name: string }>(
      `SELECT c.oid::regclass::text AS name FROM pg_class AS c
       WHERE c.relnamespace IN ('df'::regnamespace, '_df'::regnamespace) AND c.relkind IN ('r', 'v')
         AND has_any_column_privilege($1, c.oid, 'SELECT')`,
      [bob.role.name],
    );
    expect(rows.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['df.instances', 'df.nodes', 'df.vars']),
    );
    const seen: string[] = [];
    bob.client.on('notice', ({ message }) => seen.push(message ?? ''));
    for (const name of [...rows.map((row) => row.name), 'public.looking', 'public.looked()']) {
      for (const sql of [
        `SELECT * FROM ${name} AS x WHERE public.leak(x::text)`,
        `SELECT * FROM ${name} AS x WHERE public.<<< x::text`.replace('public.<<<', 'OPERATOR(public.<<<)'),
        `SELECT * FROM ${name} AS x ORDER BY public.leak(x::text)`,
        `SELECT * FROM ${name} AS x, LATERAL (SELECT public.leak(x::text)) AS y`,
        `SELECT count(*), max(x::text) FROM ${name} AS x`,
        `SELECT * FROM ${name} AS x WHERE 1 / (strpos(x::text, '${MARK}') - strpos(x::text, '${MARK}')) = 1`,
        `EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM ${name} AS x WHERE public.leak(x::text)`,
        ...(name.endsWith('()')
          ? []
          : [
              `COPY (SELECT * FROM ${name}) TO STDOUT`,
              `SELECT * FROM ONLY ${name}`,
              `DECLARE c CURSOR FOR SELECT * FROM ${name}`,
            ]),
      ]) {
        expect([
          sql,
          (await answer(bob.client, sql)).replaceAll(sql, '').replaceAll(`'${MARK}'`, ''),
        ]).not.toEqual([sql, expect.stringContaining(MARK)]);
      }
      await bob.client.query('SET row_security = off');
      expect([name, await answer(bob.client, `SELECT * FROM ${name}`)]).not.toEqual([
        name,
        expect.stringContaining(MARK),
      ]);
      await bob.client.query('RESET row_security');
    }
    expect(seen.filter((text) => text.includes(MARK))).toEqual([]);
    expect(seen.length).toBeGreaterThan(0);
    // and alice, through bob's view, her own
    await bob.client.query('GRANT SELECT ON public.looking TO PUBLIC');
    expect((await alice.client.query('SELECT id FROM public.looking')).rows).toEqual([{ id: hers }]);
  });

  it('refuse variables in another’s name, and hide whether there is one', async () => {
    for (const sql of [
      `INSERT INTO df.vars (owner, name, value) VALUES ('${alice.role.name}'::regrole, '${MARK}', 'x')`,
      `INSERT INTO df.vars (owner, name, value) VALUES ('${alice.role.name}'::regrole, 'none', 'x')`,
    ])
      expect(await failure(bob.client, sql)).toBe(
        '42501: new row violates row-level security policy for table "vars"',
      );
    await value(bob.client, "SELECT df.setvar('mine', 'x')");
    expect(await failure(bob.client, `UPDATE df.vars SET owner = '${alice.role.name}'::regrole`)).toBe(
      '42501: new row violates row-level security policy for table "vars"',
    );
    expect((await bob.client.query('DELETE FROM df.vars')).rowCount).toBe(1);
    expect(await value(bob.client, 'SELECT df.getvar($1)', [MARK])).toBeNull();
    expect(await value(bob.client, 'SELECT df.clearvars()')).toBe('OK');
    expect(await value(alice.client, 'SELECT df.getvar($1)', [MARK])).toBe(MARK);
  });

  it('capture the starter’s variables and nobody else’s, also for a superuser', async () => {
    const ids = [
      await value(bob.client, "SELECT df.start('SELECT ''{alices5ecret}''')"),
      await value(alice.client, "SELECT df.start('SELECT 1')"),
    ];
    const captured = await Promise.all(
      ids.map((id) =>
        value<Record<string, string>>(root, 'SELECT vars FROM _df.instances WHERE id = $1', [id]),
      ),
    );
    expect(captured).toEqual([{}, { [MARK]: MARK }]);
  });
});

describe('lists', () => {
  it('a cursor made from another’s row leads to one’s own rows only', async () => {
    const cursor = await value(
      root,
      `SELECT encode(convert_to('v1|' || to_char(created_at + interval '1 hour', 'YYYY-MM-DD"T"HH24:MI:SS.USOF') || '|' || id, 'UTF8'), 'hex')
       FROM df.instances WHERE id = $1`,
      [hers],
    );
    const { rows } = await bob.client.query('SELECT * FROM df.list_instances(NULL, 100, NULL, $1)', [cursor]);
    expect(rows.map((row) => row.label)).toContain('his');
    expect(JSON.stringify(rows)).not.toContain(MARK);
    expect((await bob.client.query('SELECT * FROM df.list_instances(NULL, 100, $1)', [MARK])).rows).toEqual(
      [],
    );
    expect(
      (await bob.client.query("SELECT * FROM df.list_instances('pending', 100)")).rows.map(
        (row) => row.label,
      ),
    ).not.toContain(MARK); // prettier-ignore
  });

  it('pages count one’s own rows: the cursor of the next page tells nothing of others', async () => {
    const { rows } = await bob.client.query('SELECT * FROM df.list_instances(NULL, 1, NULL)');
    expect(rows).toHaveLength(1);
    const own = await value<number>(bob.client, 'SELECT count(*)::int FROM df.instances');
    expect(rows[0].next_cursor === null).toBe(own === 1);
    const decoded = Buffer.from(rows[0].next_cursor ?? '', 'hex').toString();
    expect(decoded).not.toContain(hers);
  });
});

describe('who else', () => {
  it('a member of a role sees that role’s rows when he is it, and not before', async () => {
    const member = await schema.createUser('member');
    await root.query(`GRANT ${alice.role.name} TO ${member.role.name}`);
    expect(await answer(member.client, 'SELECT * FROM df.list_instances()')).toBe('[]');
    expect(await value(member.client, 'SELECT df.status($1)', [hers])).toBeNull();
    await member.client.query(`SET ROLE ${alice.role.name}`);
    expect(await answer(member.client, 'SELECT * FROM df.list_instances()')).toContain(MARK);
    await member.client.query('RESET ROLE');
    expect(await answer(member.client, 'SELECT * FROM _df.visible_instances')).toBe('[]');
  });

  it('members of the predefined roles that watch and read see no row, token or text of another’s', async () => {
    const watcher = await schema.createUser('watcher');
    await root.query(`GRANT pg_monitor, pg_read_all_data TO ${watcher.role.name}`);
    for (const sql of [
      'SELECT * FROM df.instances',
      'SELECT * FROM df.nodes',
      'SELECT * FROM df.vars',
      'SELECT * FROM _df.instances',
      'SELECT * FROM _df.signals',
      'SELECT * FROM _df.visible_instances',
      'SELECT * FROM df.list_instances()',
    ])
      expect([sql, await answer(watcher.client, sql)]).toEqual([sql, '[]']);
  });

  it('one who writes all data writes no row either', async () => {
    const writer = await schema.createUser('writer');
    await root.query(`GRANT pg_write_all_data, pg_read_all_data TO ${writer.role.name}`);
    for (const sql of [
      `UPDATE df.instances SET submitted_by = ${'quote_ident(current_user)::regrole'}`,
      `UPDATE df.nodes SET query = 'SELECT 2'`,
      `DELETE FROM df.instances`,
      `UPDATE _df.instances SET wake_at = now()`,
      `DELETE FROM _df.journal`,
      `UPDATE _df.settings SET value = 'on'`,
      `UPDATE _df.clock SET shift = '1 day'`,
    ])
      expect([sql, (await writer.client.query(sql)).rowCount]).toEqual([sql, 0]);
    for (const sql of [
      `INSERT INTO _df.settings VALUES ('enable_superuser_instances', 'on')`,
      `INSERT INTO _df.executors VALUES (gen_random_uuid(), now(), now())`,
    ])
      expect(await failure(writer.client, sql)).toMatch(/^42501: new row violates row-level security policy/);
  });
});
