import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { until } from '../support/wait.js';

let d: Durable;

beforeAll(async () => {
  d = await Durable.open();
  await d.app.query('CREATE TABLE public.log (msg text)');
});
afterAll(() => d?.close());

const logged = (msg: string) => d.value('SELECT count(*)::int FROM public.log WHERE msg = $1', [msg]);
const cancel = (id: string) => d.app.query('SELECT df.cancel($1, $2) AS c', [id, 'enough']);

describe('df.cancel', () => {
  test('a running statement is cancelled on the server and rolled back', async () => {
    const id = await d.start(
      `'INSERT INTO log VALUES (''cancelled''); SELECT pg_sleep(60) /* to cancel */' ~> 'INSERT INTO log VALUES (''after'')'`,
    );
    await until(() => d.running('/* to cancel */'), { what: 'the step to run' });
    expect((await cancel(id)).rows).toEqual([{ c: `Instance ${id} cancelled: enough` }]);
    expect(await d.status(id)).toBe('cancelled');
    await until(async () => (await d.running('/* to cancel */')) === 0, {
      what: 'the statement to be cancelled',
      timeoutMs: 3000,
    });
    expect([await logged('cancelled'), await logged('after')]).toEqual([0, 0]);
    expect(await d.output(id)).toBe('canceled: enough');
    expect((await d.app.query('SELECT df.result($1) AS r', [id])).rows[0].r).toBeNull();
    expect(await d.value('SELECT completed_at FROM df.instances WHERE id = $1', [id])).toBeNull();
    const explained = (await d.app.query('SELECT df.explain($1) AS e', [id])).rows[0].e as string;
    expect(explained).toContain('⊘ Cancelled');
  });

  test('all branches of a join end', async () => {
    const id = await d.start(`'SELECT pg_sleep(60) /* left */' & 'SELECT pg_sleep(60) /* right */'`);
    await until(async () => (await d.running('/* left */')) > 0 && (await d.running('/* right */')) > 0);
    await cancel(id);
    await until(async () => (await d.running('pg_sleep(60)')) === 0, {
      timeoutMs: 3000,
      what: 'both to end',
    });
  });

  test('a parked instance never wakes', async () => {
    const id = await d.start(`df.sleep(1) ~> 'INSERT INTO log VALUES (''woken'')'`);
    await d.parked(id);
    await cancel(id);
    await d.complete('df.sleep(2)');
    expect(await logged('woken')).toBe(0);
    expect(await d.status(id)).toBe('cancelled');
  });

  test('an endless loop ends', async () => {
    const id = await d.start(`df.loop('INSERT INTO log VALUES (''loop'')')`);
    await until(async () => ((await logged('loop')) as number) > 5);
    await cancel(id);
    // whatever was committed before the cancel stands, nothing comes after it
    await until(async () => {
      const before = await logged('loop');
      await d.complete(`'SELECT pg_sleep(0.2)'`);
      return before === (await logged('loop'));
    });
  });

  test('a rolled-back cancel never was', async () => {
    const id = await d.start(`df.sleep(1) ~> 'INSERT INTO log VALUES (''not cancelled'')'`);
    await d.app.query('BEGIN');
    await cancel(id);
    await d.app.query('ROLLBACK');
    expect(await d.ended(id)).toBe('completed');
    expect(await logged('not cancelled')).toBe(1);
  });

  test('a step may cancel its own instance: what it did is committed, nothing follows', async () => {
    const id = await d.start(
      `'INSERT INTO log VALUES (''own cancel''); SELECT df.cancel(''{sys_instance_id}'', ''by itself'')' ~> 'INSERT INTO log VALUES (''after own'')'`,
    );
    expect(await d.ended(id)).toBe('cancelled');
    await until(() => logged('own cancel'));
    await d.complete(`'SELECT pg_sleep(0.2)'`);
    expect([await logged('own cancel'), await logged('after own')]).toEqual([1, 0]);
    expect(await d.output(id)).toBe('canceled: by itself');
  });

  test('of an instance that has ended changes nothing and says the same', async () => {
    const id = await d.complete(`'SELECT 1 AS a'`);
    expect((await cancel(id)).rows).toEqual([{ c: `Instance ${id} cancelled: enough` }]);
    expect(await d.status(id)).toBe('completed');
    expect(await d.output(id)).toBe('{"rows":[{"a":1}],"row_count":1}');
  });

  test('of an instance that has not been claimed', async () => {
    await d.app.query('BEGIN');
    const id = await d.start(`'INSERT INTO log VALUES (''unborn'')'`);
    await cancel(id);
    await d.app.query('COMMIT');
    await d.complete(`'SELECT pg_sleep(0.2)'`);
    expect([await d.status(id), await logged('unborn')]).toEqual(['cancelled', 0]);
  });

  test('of somebody else’s instance is refused', async () => {
    const other = await d.user('other');
    const client = await d.connect(other);
    const id = await d.start('df.sleep(30)');
    for (const unknown of [id, '00000000', 'not an id']) {
      await expect(client.query('SELECT df.cancel($1)', [unknown])).rejects.toThrow(
        `Instance not found or access denied: ${unknown}`,
      );
    }
    await cancel(id);
    await client.end();
  });

  test('the superuser may cancel everything', async () => {
    const id = await d.start('df.sleep(30)');
    await d.root.query('SELECT df.cancel($1)', [id]);
    expect(await d.status(id)).toBe('cancelled');
  });
});
