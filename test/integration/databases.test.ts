import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { until } from '../support/wait.js';

let d: Durable;
const made: string[] = [];
const quote = (text: string) => `'${text.replaceAll("'", "''")}'`;

beforeAll(async () => {
  d = await Durable.open({ max_user_connections: '4' });
});
afterAll(async () => {
  for (const name of made) {
    await d.root.query(`DROP DATABASE IF EXISTS ${pg.escapeIdentifier(name)} WITH (FORCE)`);
  }
  await d?.close();
});

/** A database of the application's role with a table. */
async function database(name: string, definition = 'CREATE TABLE public.done (n int)'): Promise<string> {
  const full = `${name}_${d.database.name}`.slice(0, 60);
  made.push(full);
  await d.root.query(
    `CREATE DATABASE ${pg.escapeIdentifier(full)} OWNER ${pg.escapeIdentifier(d.role.name)}`,
  );
  await inside(full, `SET ROLE ${pg.escapeIdentifier(d.role.name)}; ${definition}`);
  return full;
}

/** As the superuser in that database. @returns the first column of the first row of the last statement */
async function inside(name: string, sql: string): Promise<unknown> {
  const { hostname: host, port, username, password } = new URL(d.database.superUrl);
  const user = decodeURIComponent(username);
  const client = new pg.Client({
    host,
    port: Number(port),
    user,
    password: decodeURIComponent(password),
    database: name,
  });
  await client.connect();
  try {
    const answer = (await client.query(sql)) as unknown as pg.QueryResult | pg.QueryResult[];
    const last = Array.isArray(answer) ? answer.at(-1) : answer;
    return Object.values((last?.rows[0] as object | undefined) ?? {})[0];
  } finally {
    await client.end();
  }
}

const sessions = (name: string) =>
  d.value(
    `SELECT count(*)::int FROM pg_stat_activity WHERE datname = $1 AND application_name = 'pg_durable:worker:workflow-sql'`,
    [name],
  ) as Promise<number>;
const start = (expression: string, name: string, label = 'l') =>
  d.start(`${expression}, ${quote(label)}, ${quote(name)}`);
const failed = async (id: string) => {
  expect(await d.ended(id)).toBe('failed');
  return await d.output(id);
};

describe('steps in another database', () => {
  test('run there, as the role, with results, variables and names as anywhere', async () => {
    const name = await database('plain');
    await d.app.query(`SELECT df.setvar('seven', '7')`);
    const id = await start(
      `'INSERT INTO done VALUES ({seven}) RETURNING n' |=> 'r' ~> ('SELECT $r.n > 3' ?> 'INSERT INTO done VALUES ($r.n + 1)' !> 'SELECT 1/0')
       ~> 'SELECT current_database() AS db, current_user AS who, sum(n)::int AS s, current_setting(''df.in_workflow'') AS w FROM done'`,
      name,
    );
    await d.app.query('SELECT df.clearvars()');
    expect(await d.ended(id)).toBe('completed');
    expect(JSON.parse((await d.output(id))!).rows).toEqual([
      { db: name, who: d.role.name, s: 15, w: 'true' },
    ]);
    expect(
      await d.value('SELECT count(*)::int FROM df.nodes WHERE instance_id = $1 AND database = $2', [
        id,
        name,
      ]),
    ).toBe((await d.nodes(id)).length);
    expect(await d.value('SELECT database FROM df.instances WHERE id = $1', [id])).toBe(name);
  });

  test('a step and each of its statements is one transaction there', async () => {
    const name = await database('atomic');
    expect(await failed(await start(`'INSERT INTO done VALUES (1); SELECT 1/0'`, name))).toMatch(
      /division by zero$/,
    );
    expect(await inside(name, 'SELECT count(*)::int FROM done')).toBe(0);
    const both = await start(
      `'INSERT INTO done VALUES (2)' & 'VACUUM done' & 'INSERT INTO done VALUES (3)'`,
      name,
    );
    expect(await d.ended(both)).toBe('completed');
    expect(await inside(name, 'SELECT sum(n)::int FROM done')).toBe(5);
  });

  test('has a name that needs quoting everywhere', async () => {
    const name = await database(`Odd "name" 'x' \\ é %20 $r {v}`);
    const id = await start(`'INSERT INTO done VALUES (1)' ~> 'SELECT current_database() AS db'`, name);
    expect(await d.ended(id)).toBe('completed');
    expect(JSON.parse((await d.output(id))!).rows).toEqual([{ db: name }]);
  });

  test('named explicitly, the control database is exactly-once as without a name', async () => {
    await d.app.query('CREATE TABLE public.once (n int)');
    const id = await start(`'INSERT INTO public.once VALUES (1)' ~> 'SELECT 1'`, d.database.name);
    expect(await d.ended(id)).toBe('completed');
    // in one transaction with its checkpoint: the same xmin
    expect(
      await d.value(
        `SELECT (SELECT o.xmin::text FROM public.once AS o) =
                (SELECT n.xmin::text FROM df.nodes AS n WHERE n.instance_id = $1 AND n.query LIKE 'INSERT%')`,
        [id],
      ),
    ).toBe(true);
    expect(await d.value('SELECT df.target_database()')).toBe(d.database.name);
  });
});

describe('a database that is not to be had', () => {
  test('unknown: refused at the start', async () => {
    await expect(start(`'SELECT 1'`, 'no such "db"')).rejects.toThrow(
      'database "no such "db"" does not exist',
    );
  });

  test('no right to connect: the step fails with the server’s text', async () => {
    const name = await database('closed');
    await d.root.query(`REVOKE CONNECT ON DATABASE ${pg.escapeIdentifier(name)} FROM PUBLIC;
      ALTER DATABASE ${pg.escapeIdentifier(name)} OWNER TO CURRENT_USER`);
    expect(await failed(await start(`'SELECT 1'`, name))).toBe(
      `Failed to connect to database '${name}' as '${d.role.name}'. Error: permission denied for database "${name}"`,
    );
  });

  test('dropped before the instance is picked up', async () => {
    const name = await database('early');
    await d.app.query('BEGIN');
    const id = await start(`'SELECT 1'`, name);
    await d.root.query(`DROP DATABASE ${pg.escapeIdentifier(name)}`);
    await d.app.query('COMMIT');
    expect(await failed(id)).toBe(
      `Failed to connect to database '${name}' as '${d.role.name}'. Error: database "${name}" does not exist`,
    );
  });

  test('dropped between two steps', async () => {
    const name = await database('between');
    const id = await start(
      `'INSERT INTO done VALUES (1)' ~> df.sleep(3600) ~> 'INSERT INTO done VALUES (2)'`,
      name,
    );
    await d.parked(id);
    await until(async () => (await sessions(name)) === 0, {
      timeoutMs: 1500,
      what: 'the session to be closed',
    });
    await d.root.query(`DROP DATABASE ${pg.escapeIdentifier(name)}`);
    await d.root.query(`UPDATE _df.clock SET shift = shift + interval '1 hour'`);
    expect(await failed(id)).toContain(`database "${name}" does not exist`);
  });

  test('dropped under a loop, after its sessions were ended: the loop fails', async () => {
    const name = await database('loop');
    const id = await start(`df.loop('INSERT INTO done SELECT 1 FROM pg_sleep(0.02)')`, name);
    await until(async () => ((await inside(name, 'SELECT count(*)::int FROM done')) as number) > 2);
    await until(
      () =>
        d.root
          .query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ${quote(name)}`)
          .then(() => d.root.query(`DROP DATABASE ${pg.escapeIdentifier(name)} WITH (FORCE)`))
          .then(() => true),
      { what: 'the database to be dropped' },
    );
    expect(await failed(id)).toContain('does not exist');
    const loop = (await d.typed(id, 'LOOP'))[0]!;
    expect(loop.status).toBe('failed');
  });
});

describe('no session is left that is in the way', () => {
  test('of an instance that has ended: DROP DATABASE and CREATE DATABASE … TEMPLATE work', async () => {
    const name = await database('template');
    for (const copy of ['copy_a', 'copy_b']) {
      const id = await start(`'INSERT INTO done VALUES (1)' & 'INSERT INTO done VALUES (1)'`, name);
      expect(await d.ended(id)).toBe('completed');
      const full = `${copy}_${d.database.name}`;
      made.push(full);
      await d.root.query(
        `CREATE DATABASE ${pg.escapeIdentifier(full)} TEMPLATE ${pg.escapeIdentifier(name)}`,
      );
    }
    await until(async () => (await sessions(name)) === 0, {
      timeoutMs: 1500,
      what: 'the sessions to be closed',
    });
    await d.root.query(`DROP DATABASE ${pg.escapeIdentifier(name)}`);
  });

  test('of one that has failed, was cancelled, or sleeps in a loop', async () => {
    const name = await database('ends');
    const broken = await start(`'SELECT 1/0'`, name);
    const slow = await start(`'SELECT pg_sleep(60)'`, name);
    const loop = await start(`df.loop('INSERT INTO done VALUES (1)' ~> df.sleep(60))`, name);
    await failed(broken);
    await until(async () => (await sessions(name)) > 0);
    await d.app.query('SELECT df.cancel($1)', [slow]);
    await d.parked(loop);
    await until(async () => (await sessions(name)) === 0, {
      timeoutMs: 2000,
      what: 'the sessions to be closed',
    });
    await d.root.query(`DROP DATABASE ${pg.escapeIdentifier(name)}`);
    await d.app.query('SELECT df.cancel($1)', [loop]);
  });

  test('steps that follow one another share a session', async () => {
    const name = await database('shared');
    const chain = Array.from({ length: 20 }, () => `'INSERT INTO done VALUES (pg_backend_pid())'`).join(
      ' ~> ',
    );
    const id = await start(chain, name);
    expect(await d.ended(id)).toBe('completed');
    expect(await inside(name, 'SELECT count(DISTINCT n)::int FROM done')).toBe(1);
  });
});
