import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { startProxy } from '../support/proxy.js';
import { until } from '../support/wait.js';

let d: Durable;

beforeAll(async () => {
  d = await Durable.open({ reconcile_interval: '1s', poll_interval: '20ms' });
});
afterAll(() => d?.close());
afterEach(() => d.root.query(`UPDATE _df.clock SET shift = '0'`));

const DAY = '1 day';
const later = (interval: string) => d.root.query('UPDATE _df.clock SET shift = $1', [interval]);
const exists = async (id: string) => (await d.status(id)) !== undefined;
const gone = (id: string) =>
  until(async () => !(await exists(id)), { everyMs: 20, timeoutMs: 30_000, what: `${id} to be removed` });
/** Rows that the engine has of an instance. */
const traces = (id: string) =>
  d.value(
    `SELECT (SELECT count(*) FROM df.nodes WHERE instance_id = $1) + (SELECT count(*) FROM _df.instances WHERE id = $1)
          + (SELECT count(*) FROM _df.journal WHERE instance_id = $1)
          + (SELECT count(*) FROM _df.signals WHERE instance_id = $1)
          + (SELECT count(*) FROM _df.executions WHERE instance_id = $1)`,
    [id],
  );
/** A pass that has begun after this call, and ended. */
const pass = async () => {
  await d.root.query('DELETE FROM _df.retention');
  const mark = await d.start(`'SELECT 1'`);
  await d.ended(mark);
  // older than anything: the pass that takes it has looked at everything
  await d.root.query(`UPDATE df.instances SET completed_at = 'epoch' WHERE id = $1`, [mark]);
  await d.root.query('DELETE FROM _df.retention');
  await gone(mark);
};

describe('retention', () => {
  test('takes what is older than retention_days, with all that belongs to it, and nothing younger', async () => {
    const old = await d.complete(`'SELECT 1' & 'SELECT 2'`);
    const loop = await d.start(`df.loop('SELECT 1', 'SELECT false')`);
    const failed = await d.start(`'SELECT 1/0'`);
    const cancelled = await d.start('df.sleep(1000000)');
    await d.app.query('SELECT df.cancel($1)', [cancelled]);
    for (const id of [old, loop, failed, cancelled]) await d.ended(id);
    await later('29 days 23 hours');
    const young = await d.complete(`'SELECT 1'`);
    await pass();
    for (const id of [old, loop, failed, cancelled, young]) expect(await exists(id)).toBe(true);

    await later('30 days 1 hour');
    await d.root.query('DELETE FROM _df.retention');
    for (const id of [old, loop, failed, cancelled]) {
      await gone(id);
      expect(await traces(id)).toBe('0');
    }
    expect(await exists(young)).toBe(true);
    expect(
      await d.value('SELECT count(*)::int FROM df.list_instances() WHERE instance_id = $1', [young]),
    ).toBe(1);
  });

  test('counts from the end, and from the creation where there is no completed_at; updated_at means nothing', async () => {
    const one = await d.start(`'SELECT 1/0'`);
    const two = await d.complete(`'SELECT 1'`);
    await d.ended(one);
    await d.root.query(
      `UPDATE df.instances SET created_at = now() - interval '40 days' WHERE id IN ($1, $2)`,
      [one, two],
    );
    await d.app.query(`UPDATE df.instances SET updated_at = now() + interval '1 year' WHERE id = $1`, [one]);
    await d.app.query(`UPDATE df.instances SET updated_at = now() - interval '1 year' WHERE id = $1`, [two]);
    await gone(one);
    await pass();
    expect(await exists(two)).toBe(true);
  });

  test('never touches what still runs or waits, however old, even if its owner calls it completed', async () => {
    const sleeping = await d.start('df.sleep(100000000)');
    const forged = await d.start('df.sleep(100000000)');
    await d.parked(sleeping);
    await d.parked(forged);
    await d.root.query(
      `UPDATE df.instances SET created_at = now() - interval '400 days' WHERE id IN ($1, $2)`,
      [sleeping, forged],
    );
    await d.app.query(`UPDATE df.instances SET status = 'completed' WHERE id = $1`, [forged]);
    await pass();
    expect(await d.status(sleeping)).toBe('running');
    expect(await exists(forged)).toBe(true);
    await d.app.query(`UPDATE df.instances SET status = 'running' WHERE id = $1`, [forged]);
    for (const id of [sleeping, forged]) await d.app.query('SELECT df.cancel($1)', [id]);
  });

  test('keeps the newest 10 000 that have ended, however young the others', async () => {
    const [first, last] = [await d.complete(`'SELECT 1'`), await d.complete(`'SELECT 1'`)];
    await d.root.query(`UPDATE df.instances SET completed_at = now() - interval '2 hours' WHERE id = $1`, [
      first,
    ]);
    await d.root.query(
      `WITH made AS (
         INSERT INTO df.instances (id, root_node, status, submitted_by, created_at, completed_at)
         SELECT 'f' || lpad(to_hex(n), 7, '0'), 'f' || lpad(to_hex(n), 7, '0'), 'completed', $1::regrole, now() - interval '1 hour', now() - interval '1 hour'
         FROM generate_series(1, 10000) AS n RETURNING id)
       INSERT INTO df.nodes (id, instance_id, node_type, query, submitted_by)
       SELECT id, id, 'SQL', 'SELECT 1', $1::regrole FROM made`,
      [d.role.name],
    );
    await gone(first);
    await until(
      async () =>
        (await d.value(
          `SELECT count(*)::int FROM df.instances WHERE status IN ('completed', 'failed', 'cancelled')`,
        )) === 10_000,
      { timeoutMs: 30_000 },
    );
    expect(await exists(last)).toBe(true);
    expect(
      await d.value(
        `SELECT count(*)::int FROM df.nodes AS n WHERE NOT EXISTS (SELECT FROM df.instances AS i WHERE i.id = n.instance_id)`,
      ),
    ).toBe(0);
  });

  test('passes over what somebody has locked, and holds up nobody', async () => {
    const [locked, free] = [await d.complete(`'SELECT 1'`), await d.complete(`'SELECT 1'`)];
    await d.app.query('BEGIN');
    await d.app.query('SELECT FROM df.instances WHERE id = $1 FOR UPDATE', [locked]);
    await later('31 days');
    await gone(free);
    expect(await exists(locked)).toBe(true);
    await d.app.query('COMMIT');
    await gone(locked);
  });

  test('passes over an instance with a node that an open transaction refers to', async () => {
    const referred = await d.complete(`'SELECT 1'`);
    const free = await d.complete(`'SELECT 1'`);
    const node = (await d.nodes(referred))[0]!.id;
    await d.app.query('BEGIN');
    await d.app.query('SET CONSTRAINTS df.nodes_left_node_same_instance_fkey IMMEDIATE');
    await d.app.query(
      `INSERT INTO df.nodes (id, instance_id, node_type, left_node, submitted_by)
       VALUES ('ffffffff', $1, 'LOOP', $2, quote_ident(current_user)::regrole)`,
      [referred, node],
    );
    await d.root.query(
      `UPDATE df.instances SET completed_at = 'epoch'::timestamptz + '1 day' WHERE id = $1`,
      [free],
    );
    await d.root.query(`UPDATE df.instances SET completed_at = 'epoch' WHERE id = $1`, [referred]);
    await d.root.query('DELETE FROM _df.retention');
    await gone(free);
    expect(await exists(referred)).toBe(true);
    await d.app.query('ROLLBACK');
    await d.root.query('DELETE FROM _df.retention');
    await gone(referred);
  });

  test('is one pass in an interval, however many proxies there are', async () => {
    const begin = async () => (await d.root.query('SELECT _df.begin_pass(3600) AS b')).rows[0].b as boolean;
    await d.root.query('DELETE FROM _df.retention');
    await begin(); // true, unless the proxy has been quicker
    expect(await begin()).toBe(false);
    await later(DAY);
    await until(
      async () =>
        (await d.value(`SELECT begun_at > now() + interval '23 hours' FROM _df.retention`)) === true,
      { timeoutMs: 30_000 },
    );
  });
});

test('with retention_days 0 everything that has ended goes with the next pass; with reconcile_interval 0 nothing does', async () => {
  const other = await Durable.open({ retention_days: '0', reconcile_interval: '0' });
  try {
    const id = await other.complete(`'SELECT 1'`);
    expect(await other.value('SELECT count(*)::int FROM _df.retention')).toBe(0);
    const proxy = await startProxy({
      database: other.database,
      settings: { retention_days: '0', reconcile_interval: '200ms' },
    });
    await until(async () => (await other.status(id)) === undefined);
    await proxy.stop();
  } finally {
    await other.close();
  }
});
