import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { until } from '../support/wait.js';

let d: Durable;

beforeAll(async () => {
  d = await Durable.open();
});
afterAll(() => d?.close());

const wait = async (id: string, seconds: number | null = 30, client: pg.Client = d.app) =>
  (await client.query<{ s: string }>('SELECT df.await_instance($1, $2) AS s', [id, seconds])).rows[0]?.s;

describe('df.await_instance', () => {
  test('answers with the end of the instance, in lower case', async () => {
    expect(await wait(await d.start(`'SELECT 1'`))).toBe('completed');
    expect(await wait(await d.start(`'SELECT 1/0'`))).toBe('failed');
    const sleeping = await d.start('df.sleep(1000)');
    await d.app.query('SELECT df.cancel($1)', [sleeping]);
    expect(await wait(sleeping)).toBe('cancelled');
  });

  test('waits while the instance runs, and no longer', async () => {
    const id = await d.start(`'SELECT pg_sleep(0.3)'`);
    const waiting = wait(id);
    await until(() => d.running('pg_sleep(0.3)'), { everyMs: 5 });
    expect(await waiting).toBe('completed');
  });

  test('sees the engine’s commits while the transaction of the caller is open', async () => {
    const id = await d.start(`'SELECT pg_sleep(0.1)' ~> 'SELECT 2 AS b'`);
    await d.app.query('BEGIN');
    await d.app.query('SELECT 1');
    expect(await wait(id)).toBe('completed');
    expect((await d.app.query('SELECT df.result($1) AS r', [id])).rows[0].r).toContain('"b": 2');
    await d.app.query('COMMIT');
  });

  test('works in a block that commits between start and wait', async () => {
    await d.app.query(`
      DO $$
      DECLARE id text;
      BEGIN
        id := df.start('SELECT 1');
        COMMIT;
        IF df.await_instance(id) <> 'completed' THEN RAISE EXCEPTION 'not completed'; END IF;
      END $$`);
  });

  test('times out after so many seconds, with the status', async () => {
    const id = await d.start('df.sleep(1000)');
    await d.parked(id);
    const since = performance.now();
    await expect(wait(id, 1)).rejects.toMatchObject({
      code: '22000',
      message: `Timeout after 1s waiting for instance ${id} (status: running). Check if background worker is running.`,
    });
    expect(performance.now() - since).toBeGreaterThanOrEqual(1000);
    await d.app.query('SELECT df.cancel($1)', [id]);
  });

  test('an instance of this very transaction times out at once: it cannot begin before the commit', async () => {
    const timesOut = async (id: string) =>
      expect(await wait(id).catch((error: unknown) => error)).toMatchObject({
        code: '22000',
        message: `Timeout after 30s waiting for instance ${id} (status: pending). Check if background worker is running.`,
        detail: expect.stringContaining('by this transaction'),
        hint: 'Commit first, then wait.',
      });
    const since = performance.now();
    await d.app.query('BEGIN');
    await timesOut(await d.start(`'SELECT 1'`));
    await d.app.query('ROLLBACK; BEGIN; SAVEPOINT a');
    const inside = await d.start(`'SELECT 1'`);
    await d.app.query('RELEASE a; SAVEPOINT b');
    await timesOut(inside);
    await d.app.query('ROLLBACK TO b');
    await d.app.query('COMMIT');
    expect(await wait(inside)).toBe('completed');
    expect(performance.now() - since).toBeLessThan(20_000);
  });

  test.each(['REPEATABLE READ', 'SERIALIZABLE'])(
    'under %s says at once that it would never see it',
    async (level) => {
      const done = await d.complete(`'SELECT 1'`);
      const id = await d.start('df.sleep(1000)');
      await d.parked(id);
      await d.app.query(`BEGIN ISOLATION LEVEL ${level}`);
      expect(await wait(done)).toBe('completed');
      await expect(wait(id)).rejects.toMatchObject({
        code: '0A000',
        message: `df.await_instance() cannot see the end of an instance in a ${level} transaction`,
      });
      await d.app.query('ROLLBACK');
      await d.app.query('SELECT df.cancel($1)', [id]);
    },
  );

  test('an unknown instance, or one of somebody else, is not found at once', async () => {
    const other = await d.connect(await d.user('other'));
    const id = await d.start(`'SELECT 1'`);
    await expect(wait('00000000')).rejects.toMatchObject({
      code: '22000',
      message: 'Instance not found: 00000000',
    });
    await expect(wait(id, 30, other)).rejects.toMatchObject({
      code: '22000',
      message: `Instance not found: ${id}`,
    });
    await other.end();
  });

  test('checks in this order: workflow, time-out, existence', async () => {
    await expect(wait('00000000', 0)).rejects.toMatchObject({
      code: 'XX000',
      message: 'Timeout must be positive',
    });
    await expect(wait('00000000', -1)).rejects.toMatchObject({
      code: 'XX000',
      message: 'Timeout must be positive',
    });
    expect(await wait('00000000', null)).toBeNull();
    expect(await d.failure(`'SELECT df.await_instance(''00000000'', 0)'`)).toBe(
      'SQL execution failed: error returned from database: df.await_instance() cannot be called inside a workflow - it would block a worker thread (and self-deadlock if waiting on the current instance). Use df.signal() and df.wait_for_signal() for cross-workflow coordination.',
    );
    expect(await d.failure(`'SELECT df.wait_for_completion(''00000000'')'`)).toContain(
      'df.await_instance() cannot be called inside a workflow',
    );
  });

  test('its answer is refused as a step', async () => {
    const id = await d.complete(`'SELECT 1'`);
    await expect(d.start(`df.await_instance('${id}') ~> 'SELECT 1'`)).rejects.toMatchObject({
      code: 'XX000',
      message:
        'df.await_instance cannot be used as a workflow step. Call df.await_instance before df.start().',
    });
    await expect(d.start(`df.wait_for_completion('${id}')`)).rejects.toMatchObject({
      message:
        'Invalid durable function: df.await_instance cannot be used as a workflow step. Call df.await_instance before df.start().',
    });
  });

  test('stops when it is cancelled, and holds up nothing meanwhile', async () => {
    const id = await d.start('df.sleep(1000)');
    await d.parked(id);
    const client = await d.connect();
    const pid = (await client.query('SELECT pg_backend_pid() AS pid')).rows[0].pid as number;
    const waiting = wait(id, 30, client).catch((error: unknown) => error);
    await until(() => d.value(`SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $1`, [pid]));
    expect(
      await d.value('SELECT count(*)::int FROM pg_locks WHERE pid = $1 AND transactionid IS NOT NULL', [pid]),
    ).toBe(0);
    await d.root.query('SELECT pg_cancel_backend($1)', [pid]);
    expect(await waiting).toMatchObject({ code: '57014' });
    await client.end();
    await d.app.query('SELECT df.cancel($1)', [id]);
  });
});

test('df.wait_for_completion is the same under its old name, with a warning', async () => {
  const id = await d.start(`'SELECT 1'`);
  const notices: string[] = [];
  const listen = ({ severity, message }: { severity?: string | undefined; message?: string | undefined }) =>
    notices.push(`${severity}: ${message}`);
  d.app.on('notice', listen);
  expect((await d.app.query('SELECT df.wait_for_completion($1) AS s', [id])).rows[0].s).toBe('completed');
  d.app.off('notice', listen);
  expect(notices).toEqual([
    'WARNING: df.wait_for_completion() is deprecated; use df.await_instance() instead',
  ]);
});
