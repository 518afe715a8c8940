import type pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { withClient } from '../support/postgres.js';
import { startProxy } from '../support/proxy.js';
import { until } from '../support/wait.js';

let d: Durable;
/** A second connection of the application: the one that cancels. */
let other: pg.Client;

beforeAll(async () => {
  d = await Durable.open({ lease_duration: '1s', poll_interval: '50ms' });
  await d.app.query('CREATE TABLE public.log (msg text)');
  other = await d.connect();
});
afterAll(async () => {
  await other?.end();
  await d?.close();
});

afterEach(() => other.query('ROLLBACK')); // so that one failure is not all of them

const logged = (msg: string) => d.value('SELECT count(*)::int FROM public.log WHERE msg = $1', [msg]);

/** Whether a step's session of this database waits for a lock. */
const stepWaits = () =>
  d.value(
    `SELECT count(*)::int FROM pg_stat_activity
     WHERE datname = current_database() AND application_name = 'pg_durable:worker:workflow-sql'
       AND wait_event_type = 'Lock' AND query LIKE '%_df.checkpoint%'`,
  );

describe('a transaction that has called df.cancel and stays open', () => {
  test.each([
    ['running', 'COMMIT', 'cancelled'],
    ['running', 'ROLLBACK', 'completed'],
    ['parked', 'COMMIT', 'cancelled'],
    ['parked', 'ROLLBACK', 'completed'],
  ])('of a %s instance holds up no other; at its %s the instance is %s', async (phase, ending, status) => {
    const mark = `${phase} ${ending}`;
    const first = phase === 'running' ? `'SELECT pg_sleep(1.5) /* held */'` : 'df.sleep(2)';
    const id = await d.start(`${first} ~> 'INSERT INTO log VALUES (''${mark}'')'`);
    if (phase === 'running') await until(() => d.running('/* held */'), { everyMs: 5 });
    else await d.parked(id);

    await other.query('BEGIN');
    await other.query('SELECT df.cancel($1)', [id]);
    const sleeping = await d.start(`df.sleep(1) ~> 'INSERT INTO log VALUES (''slept'')'`);
    const failing = await d.start(`'SELECT 1/0'`);
    const long = await d.start(`'SELECT pg_sleep(0.6) /* shown */'`);
    await until(async () => (await d.status(long)) === 'running', {
      timeoutMs: 2000,
      what: 'the other step to show as running',
    });
    expect(await d.ended(failing, 3000)).toBe('failed');
    expect(await d.ended(long, 3000)).toBe('completed');
    expect(await d.ended(sleeping, 4000)).toBe('completed');
    await other.query(ending);

    expect(await d.ended(id)).toBe(status);
    expect(await logged(mark)).toBe(status === 'completed' ? 1 : 0);
  });

  test('does not hold up the start of another proxy, nor its stop', async () => {
    const e = await Durable.open();
    try {
      const id = await e.start('df.sleep(1)');
      await e.parked(id);
      await e.app.end();
      await e.proxy.stop();
      await withClient(e.role.url, async (canceller) => {
        await giveToTheDead(e, [id]);
        await canceller.query('BEGIN');
        await canceller.query('SELECT df.cancel($1)', [id]);
        await expire(e);
        const begun = performance.now();
        const second = await startProxy({ database: e.database });
        await withClient(second.url(e.role), (client) => client.query('SELECT 1'));
        await second.stop();
        expect(performance.now() - begun).toBeLessThan(5000);
        await canceller.query('ROLLBACK');
      });
      const third = await startProxy({ database: e.database });
      await withClient(third.url(e.role), () => e.ended(id));
      await third.stop();
      expect(await e.status(id)).toBe('completed');
    } finally {
      await e.close();
    }
  });
});

const DEAD = '00000000-0000-4000-8000-00000000dead';

/** Parked instances become another executor's, as if it had just claimed them. */
async function giveToTheDead({ root }: Durable, ids: readonly string[]): Promise<void> {
  await root.query(
    `INSERT INTO _df.executors (id, started_at, lease_until) VALUES ($1, now(), now() + interval '1 h')`,
    [DEAD],
  );
  const taken = await root.query(
    `UPDATE _df.instances SET owner = $1, token = gen_random_uuid(), wake_at = NULL
     WHERE id = ANY ($2) AND owner IS NULL`,
    [DEAD, ids],
  );
  expect(taken.rowCount).toBe(ids.length);
}

const expire = ({ root }: Durable) =>
  root.query(`UPDATE _df.executors SET lease_until = now() - interval '1 h' WHERE id = $1`, [DEAD]);

test('what a dead proxy held comes free at once, but for what is locked', async () => {
  const [a, b] = [await d.start('df.sleep(2)'), await d.start('df.sleep(2)')];
  await d.parked(a);
  await d.parked(b);
  await giveToTheDead(d, [a, b]);
  await other.query('BEGIN');
  await other.query('SELECT df.cancel($1)', [a]);

  await expire(d);
  expect(await d.ended(b, 5000)).toBe('completed');
  await other.query('ROLLBACK');
  expect(await d.ended(a, 5000)).toBe('completed');
});

test('a due instance that somebody has locked does not make the executor spin', async () => {
  // every claim locks the executor's row, and so takes a transaction id
  const nextXid = () => d.value('SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint');
  const id = await d.start('df.sleep(1)');
  await d.parked(id);
  await withClient(d.database.superUrl, async (holder) => {
    await holder.query('BEGIN');
    await holder.query('SELECT FROM _df.instances WHERE id = $1 FOR UPDATE', [id]);
    await until(() => d.value('SELECT wake_at < _df.now() FROM _df.instances WHERE id = $1', [id]));
    const before = Number(await nextXid());
    await holder.query('SELECT pg_sleep(1)');
    expect(Number(await nextXid()) - before).toBeLessThan(100);
    await holder.query('ROLLBACK');
  });
  expect(await d.ended(id, 3000)).toBe('completed');
});

describe('df.cancel at the first checkpoint', () => {
  test('never deadlocks with it, whoever has which row first', async () => {
    await withClient(d.database.superUrl, async (gate) => {
      await gate.query('SELECT pg_advisory_lock(12)');
      const id = await d.start(
        `'SELECT pg_advisory_xact_lock(12) /* gate */' ~> 'INSERT INTO log VALUES (''after gate'')'`,
      );
      await until(() => d.running('/* gate */'), { everyMs: 2 });
      await withClient(d.database.superUrl, async (canceller) => {
        // of two that are deadlocked the one that looks first is the victim
        await canceller.query(`SET deadlock_timeout = '10ms'`);
        // the half of a cancel that comes first
        await canceller.query('BEGIN');
        await canceller.query('SELECT FROM df.instances WHERE id = $1 FOR NO KEY UPDATE', [id]);
        await gate.query('SELECT pg_advisory_unlock(12)');
        await until(stepWaits, { everyMs: 2, what: 'the checkpoint to wait for the canceller' });
        await canceller.query('SELECT df.cancel($1)', [id]);
        await canceller.query('COMMIT');
      });
      expect(await d.ended(id)).toBe('cancelled');
      await until(async () => (await stepWaits()) === 0);
      expect(await logged('after gate')).toBe(0);
    });
  });

  test('of 50 instances one after another: each is completed or cancelled, and no canceller sees an error', async () => {
    const ids: string[] = [];
    for (let n = 0; n < 50; n += 1) {
      const id = await d.start(`'SELECT ${n}' ~> 'SELECT 2'`);
      ids.push(id);
      // a little later each time, over the time that the first steps take
      await d.value(`SELECT pg_sleep($1)`, [(n % 10) / 1000]);
      await other.query('SELECT df.cancel($1)', [id]);
    }
    for (const id of ids) expect(['completed', 'cancelled']).toContain(await d.ended(id));
  });
});
