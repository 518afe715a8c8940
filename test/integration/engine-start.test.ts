import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { startProxy } from '../support/proxy.js';
import { until } from '../support/wait.js';

let d: Durable;

beforeAll(async () => {
  d = await Durable.open();
  await d.app.query('CREATE TABLE public.log (msg text, at timestamptz DEFAULT clock_timestamp())');
});
afterAll(() => d?.close());

const logged = (msg: string) => d.value('SELECT count(*)::int FROM public.log WHERE msg = $1', [msg]);
const log = (msg: string) => `'INSERT INTO log (msg) VALUES (''${msg}'')'`;
const traces = async () => [
  await d.value('SELECT count(*)::int FROM df.instances'),
  await d.value('SELECT count(*)::int FROM df.nodes'),
  await d.value('SELECT count(*)::int FROM _df.instances'),
];

describe('a start is part of the caller’s transaction', () => {
  test('rolled back, it leaves nothing and never runs', async () => {
    const before = await traces();
    await d.app.query('BEGIN');
    await d.start(`${log('rolled back')} ~> ${log('rolled back')}`);
    await d.app.query('ROLLBACK');
    expect(await traces()).toEqual(before);
    await d.complete(`'SELECT pg_sleep(0.3)'`);
    expect(await logged('rolled back')).toBe(0);
  });

  test('a statement that fails after df.start leaves nothing either', async () => {
    const before = await traces();
    await expect(d.app.query(`SELECT df.start(${log('failed')}), 1 / 0`)).rejects.toThrow('division by zero');
    expect(await traces()).toEqual(before);
  });

  test('savepoints decide for themselves', async () => {
    await d.app.query('BEGIN');
    const kept = await d.start(log('kept'));
    await d.app.query('SAVEPOINT s');
    const dropped = await d.start(log('dropped'));
    await d.app.query('ROLLBACK TO s');
    const third = await d.start(log('third'));
    await d.app.query('RELEASE s');
    await d.app.query('COMMIT');
    expect([await d.ended(kept), await d.ended(third)]).toEqual(['completed', 'completed']);
    expect(await d.status(dropped)).toBeUndefined();
    expect([await logged('kept'), await logged('dropped'), await logged('third')]).toEqual([1, 0, 1]);
  });

  test('a transaction that stays open for long: it runs after COMMIT, and not before', async () => {
    await d.app.query('BEGIN');
    const id = await d.start(log('late'));
    await d.app.query('SELECT pg_sleep(3)');
    expect(await d.status(id)).toBeUndefined();
    expect(await logged('late')).toBe(0);
    await d.app.query('COMMIT');
    expect(await d.ended(id)).toBe('completed');
    expect(await logged('late')).toBe(1);
  });

  test('the step sees what the transaction wrote before it', async () => {
    await d.app.query('BEGIN');
    await d.app.query(`INSERT INTO log (msg) VALUES ('written first')`);
    const id = await d.start(`'SELECT count(*)::int AS n FROM log WHERE msg = ''written first'''`);
    await d.app.query('COMMIT');
    await d.ended(id);
    expect(JSON.parse((await d.output(id))!).rows).toEqual([{ n: 1 }]);
  });

  test('500 starts in one INSERT … SELECT', async () => {
    await d.app.query('CREATE TABLE public.started (id text, n int)');
    await d.app.query(`INSERT INTO started SELECT df.start('INSERT INTO log (msg) VALUES (''many ' || g || ''')'), g
                       FROM generate_series(1, 500) g`);
    await until(
      async () =>
        (await d.value(
          `SELECT count(*)::int FROM df.instances i JOIN public.started s USING (id) WHERE i.status = 'completed'`,
        )) === 500,
      { timeoutMs: 30_000, what: '500 instances' },
    );
    expect(
      await d.value(
        `SELECT count(*)::int FROM (SELECT msg FROM public.log WHERE msg LIKE 'many %' GROUP BY msg HAVING count(*) = 1) q`,
      ),
    ).toBe(500);
  }, 60_000);
});

describe('a start from anywhere', () => {
  test('a DO block, a function, a trigger', async () => {
    await d.app.query(
      `DO $$ BEGIN PERFORM df.start('INSERT INTO log (msg) VALUES (''from do'')' ~> 'SELECT 1'); END $$`,
    );
    await until(() => logged('from do'));
    await d.app.query(`CREATE FUNCTION public.begin_it(what text) RETURNS text LANGUAGE plpgsql AS
      $f$ BEGIN RETURN df.start('INSERT INTO log (msg) VALUES (''from ' || what || ''')' ~> 'SELECT 1'); END $f$`);
    const id = (await d.app.query(`SELECT public.begin_it('function') AS id`)).rows[0].id as string;
    expect(await d.ended(id)).toBe('completed');
    expect(await logged('from function')).toBe(1);
    await d.app.query(`CREATE TABLE public.orders (n int);
      CREATE FUNCTION public.on_order() RETURNS trigger LANGUAGE plpgsql AS
        $f$ BEGIN PERFORM df.start(format('INSERT INTO log (msg) VALUES (%L)', 'from trigger ' || NEW.n)); RETURN NEW; END $f$;
      CREATE TRIGGER t AFTER INSERT ON public.orders FOR EACH ROW EXECUTE FUNCTION public.on_order()`);
    await d.app.query('INSERT INTO orders VALUES (1), (2)');
    await until(() => logged('from trigger 1'));
    await until(() => logged('from trigger 2'));
  });

  test('a connection past the proxy is found within a second', async () => {
    const direct = new pg.Client({ connectionString: d.role.url });
    await direct.connect();
    try {
      for (let round = 0; round < 3; round += 1) {
        const began = Date.now();
        const id = (await direct.query(`SELECT df.start('SELECT 1') AS id`)).rows[0].id as string;
        expect(await d.ended(id)).toBe('completed');
        expect(Date.now() - began).toBeLessThan(1500);
      }
    } finally {
      await direct.end();
    }
  });

  test('through the proxy the first step does not wait for a poll', async () => {
    const slow = await Durable.open({ poll_interval: '30s' });
    try {
      for (let round = 0; round < 3; round += 1) await slow.complete(`'SELECT 1' ~> 'SELECT 2'`);
      await slow.app.query('BEGIN');
      const id = await slow.start(`'SELECT 1'`);
      await slow.app.query('COMMIT');
      expect(await slow.ended(id)).toBe('completed');
      // neither do timers
      const began = Date.now();
      await slow.complete('df.sleep(1)');
      expect(Date.now() - began).toBeLessThan(2000);
    } finally {
      await slow.close();
    }
  });

  test('bind parameters, prepared statements, a cursor', async () => {
    const id = await d.start('$1::text ~> $2 |=> $3', d.app, [
      "SELECT 'bound' AS b",
      'SELECT 2 AS c',
      'name',
    ]);
    expect(await d.ended(id)).toBe('completed');
    for (let i = 0; i < 6; i += 1) {
      const again = await d.app.query({
        name: 'starter',
        text: `SELECT df.start($1::text ~> 'SELECT 2 AS c') AS id`,
        values: [`SELECT ${i}`],
      });
      expect(await d.ended(again.rows[0].id)).toBe('completed');
    }
    await d.app.query('BEGIN');
    await d.app.query(
      `DECLARE c CURSOR FOR SELECT df.start('SELECT 1' ~> 'SELECT 2') AS id FROM generate_series(1, 3) g`,
    );
    const fetched = await d.app.query<{ id: string }>('FETCH 2 FROM c');
    await d.app.query('COMMIT');
    expect(fetched.rows).toHaveLength(2);
    for (const { id: one } of fetched.rows) expect(await d.ended(one)).toBe('completed');
  });

  test('a step may start another instance; if it fails, that never was', async () => {
    await d.complete(`'SELECT df.start(''INSERT INTO log (msg) VALUES (''''grandchild'''')'')'`);
    await until(() => logged('grandchild'));
    await d.failure(`'SELECT df.start(''INSERT INTO log (msg) VALUES (''''never'''')''); SELECT 1/0'`);
    await d.complete(`'SELECT pg_sleep(0.3)'`);
    expect(await logged('never')).toBe(0);
  });

  test('what is not allowed in a step', async () => {
    expect(await d.failure(`'SELECT df.setvar(''a'', ''b'')'`)).toContain(
      'df.setvar() cannot be called inside a workflow - set variables before starting the workflow',
    );
  });

  test('later changes to the rows of the graph have no influence', async () => {
    const id = await d.start(`df.sleep(1) ~> ${log('as started')}`);
    await until(() => d.value('SELECT graph IS NOT NULL FROM _df.instances WHERE id = $1', [id]));
    await d.root.query(
      `UPDATE df.nodes SET query = 'INSERT INTO log (msg) VALUES (''forged'')' WHERE instance_id = $1 AND node_type = 'SQL'`,
      [id],
    );
    expect(await d.ended(id)).toBe('completed');
    expect([await logged('as started'), await logged('forged')]).toEqual([1, 0]);
  });

  test('rows written by hand start nothing', async () => {
    await d.app.query('BEGIN');
    await d.app.query(
      `INSERT INTO df.instances (id, root_node, submitted_by) VALUES ('0badcafe', 'deadbeef', current_user::regrole)`,
    );
    await d.app.query(`INSERT INTO df.nodes (id, instance_id, node_type, query, submitted_by)
      VALUES ('deadbeef', '0badcafe', 'SQL', 'INSERT INTO log (msg) VALUES (''by hand'')', current_user::regrole)`);
    await d.app.query('COMMIT');
    await d.complete(`'SELECT pg_sleep(0.7)'`);
    expect([await d.status('0badcafe'), await logged('by hand')]).toEqual(['pending', 0]);
  });

  test('an instance of a proxy that stopped is carried on by the next', async () => {
    const one = await Durable.open();
    try {
      await one.app.query('CREATE TABLE public.log (msg text)');
      const id = await one.start(
        `'INSERT INTO log VALUES (''a'')' ~> df.sleep(1) ~> 'INSERT INTO log VALUES (''b'')'`,
      );
      const long = await one.start(`'SELECT pg_sleep(0.5)' ~> 'INSERT INTO log VALUES (''c'')'`);
      await one.app.end();
      await one.proxy.stop();
      const next = await startProxy({ database: one.database });
      try {
        const client = new pg.Client({ connectionString: next.url(one.role) });
        await client.connect(); // the credential
        await client.end();
        expect([await one.ended(id), await one.ended(long)]).toEqual(['completed', 'completed']);
        expect(await one.value("SELECT string_agg(msg, '' ORDER BY msg) FROM public.log")).toBe('abc');
      } finally {
        await next.stop();
      }
    } finally {
      await one.close();
    }
  });
});
