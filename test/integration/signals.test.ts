import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { withClient } from '../support/postgres.js';
import { until } from '../support/wait.js';

let d: Durable;

beforeAll(async () => {
  d = await Durable.open();
  await d.app.query('CREATE TABLE public.log (msg text, at timestamptz DEFAULT clock_timestamp())');
});
afterAll(() => d?.close());

const signal = async (id: string, name: string, data?: string, client: pg.Client = d.app) =>
  (
    await client.query(
      data === undefined ? 'SELECT df.signal($1, $2) AS r' : 'SELECT df.signal($1, $2, $3) AS r',
      data === undefined ? [id, name] : [id, name, data],
    )
  ).rows[0].r as string;

/** Waits until the instance is parked with nothing to wake it but a signal, and has seen all that was sent. */
const waits = (id: string) =>
  until(
    () =>
      d.value(
        `SELECT graph IS NOT NULL AND owner IS NULL AND wake_at IS NULL AND finished_at IS NULL
                AND NOT EXISTS (SELECT FROM _df.signals s WHERE s.instance_id = i.id AND s.pos IS NULL)
         FROM _df.instances AS i WHERE id = $1`,
        [id],
      ),
    { everyMs: 5, what: `instance ${id} to wait for a signal` },
  );
const inbox = (id: string) => d.value('SELECT count(*)::int FROM _df.signals WHERE instance_id = $1', [id]);
const logged = async (like: string) =>
  (await d.root.query('SELECT msg FROM public.log WHERE msg LIKE $1 ORDER BY at', [like])).rows.map(
    (row) => row.msg,
  );
const result = async (id: string) => JSON.parse((await d.output(id))!);
/** The result as the engine has it, once the instance has completed. */
const completed = async (id: string) => {
  expect(await d.ended(id)).toBe('completed');
  return result(id);
};
const got = (name: string, data: unknown) => ({ signal_name: name, timed_out: false, data });

describe('df.signal', () => {
  test('says OK, and the wait completes with the signal', async () => {
    const id = await d.start(`df.wait_for_signal('go')`);
    await waits(id);
    expect(await signal(id, 'go', '{"approved": true}')).toBe('OK');
    expect(await completed(id)).toEqual(got('go', { approved: true }));
    expect(await d.output(id)).toBe('{"signal_name":"go","timed_out":false,"data":{"approved":true}}');
    expect((await d.typed(id, 'SIGNAL'))[0]).toMatchObject({
      status: 'completed',
      result: got('go', { approved: true }),
      stamp: `${id}::1`,
    });
  });

  test.each([
    ['no data: an empty object', undefined, '{}'],
    [
      'white space goes, digits and the order of keys stay',
      ' { "b" : 1.50, "a" : [ 12345678901234567890123 , 1e2 ] } ',
      '{"b":1.50,"a":[12345678901234567890123,1e2]}',
    ],
    ['white space within strings stays', '"a  b"', '"a  b"'],
    ['null', ' null ', 'null'],
    ['a number', '42', '42'],
    ['text that is no JSON becomes a string', 'he said "hi"\n', JSON.stringify('he said "hi"\n')],
    ['empty text likewise', '', '""'],
    ['broken JSON likewise', '{"a":', '"{\\"a\\":"'],
    ['a dollar and braces are only text', '"$x {y}"', '"$x {y}"'],
    ['long payloads', JSON.stringify('x'.repeat(100_000)), JSON.stringify('x'.repeat(100_000))],
  ])('payload: %s', async (_, sent, expected) => {
    const id = await d.start(`df.wait_for_signal('p')`);
    await signal(id, 'p', sent);
    await d.ended(id);
    expect(await d.output(id)).toBe(`{"signal_name":"p","timed_out":false,"data":${expected}}`);
  });

  test('JSON that the server cannot hold is refused where it is sent', async () => {
    const id = await d.start(`df.wait_for_signal('p')`);
    await expect(signal(id, 'p', '"\\u0000"')).rejects.toThrow(/^Failed to send signal: unsupported Unicode/);
    await expect(signal(id, 'p', '['.repeat(100_000))).rejects.toThrow(/^Failed to send signal: stack depth/);
    await signal(id, 'p');
    await completed(id);
  });

  test('names are matched exactly, whatever they are', async () => {
    const name = `Go "now" $x {y} 'é\n`;
    const id = await d.start('df.wait_for_signal($1)', d.app, [name]);
    await waits(id);
    await signal(id, name.toLowerCase());
    await signal(id, 'Go');
    await waits(id);
    await signal(id, name);
    expect(await completed(id)).toEqual(got(name, {}));
  });

  test('what it refuses, and with which words', async () => {
    const id = await d.start(`df.wait_for_signal('x')`);
    await expect(signal('', 'x')).rejects.toMatchObject({
      message: 'Instance ID cannot be empty',
      code: 'XX000',
    });
    await expect(signal(id, '')).rejects.toMatchObject({
      message: 'Signal name cannot be empty',
      code: 'XX000',
    });
    await expect(signal('ffffffff', 'x')).rejects.toMatchObject({
      message: 'Instance not found or access denied: ffffffff',
      code: 'XX000',
    });
    expect((await d.app.query('SELECT df.signal(NULL, $1) AS r', ['x'])).rows[0].r).toBeNull();
    await signal(id, 'x');
    await completed(id);
  });

  test('of an instance that has ended nothing is kept', async () => {
    const id = await d.complete(`'SELECT 1'`);
    expect(await signal(id, 'late')).toBe('OK');
    const cancelled = await d.start(`df.wait_for_signal('x')`);
    await signal(cancelled, 'y');
    await d.app.query('SELECT df.cancel($1)', [cancelled]);
    expect(await signal(cancelled, 'x')).toBe('OK');
    expect([await inbox(id), await inbox(cancelled)]).toEqual([0, 0]);
  });

  test('of others: access denied, and their rows cannot be written past it', async () => {
    const id = await d.start(`df.wait_for_signal('x', 60)`);
    const other = await d.connect(await d.user('other'));
    await expect(signal(id, 'x', '{}', other)).rejects.toThrow(`Instance not found or access denied: ${id}`);
    const insert = `INSERT INTO _df.inbox (instance_id, name, data) VALUES ('${id}', 'x', '1')`;
    await expect(other.query(insert)).rejects.toMatchObject({ code: '44000' });
    await expect(other.query('SELECT * FROM _df.inbox')).rejects.toMatchObject({ code: '42501' });
    await expect(other.query('SELECT * FROM _df.signals')).rejects.toMatchObject({ code: '42501' });
    await expect(
      other.query(`INSERT INTO _df.signals (instance_id, name, data) VALUES ('${id}', 'x', '1')`),
    ).rejects.toMatchObject({ code: '42501' });
    for (const call of [
      `_df.hear(gen_random_uuid())`,
      `_df.rouse(now())`,
      `_df.number(gen_random_uuid(), '{}')`,
      `_df.read_signal('${id}', 'x', 0)`,
      `_df.keep_inbox('${id}', '{"all": true}')`,
      `nextval('_df.positions')`,
    ])
      await expect(other.query(`SELECT ${call}`)).rejects.toMatchObject({ code: '42501' });
    await other.end();

    // one's own: as df.signal does, and only what a signal can be
    await expect(d.app.query(insert.replace("'1'", "'no json'"))).rejects.toMatchObject({ code: '22P02' });
    await d.root.query('SELECT df.revoke_usage($1)', [d.role.name]);
    await expect(d.app.query(insert)).rejects.toMatchObject({ code: '44000' });
    await d.root.query('SELECT df.grant_usage($1)', [d.role.name]);
    // a superuser may
    await withClient(d.database.superUrl, (root) => signal(id, 'x', '"by root"', root));
    expect(await completed(id)).toEqual(got('x', 'by root'));
  });

  test('rolled back, it never was', async () => {
    const id = await d.start(`df.wait_for_signal('x')`);
    await waits(id);
    await d.app.query('BEGIN');
    await signal(id, 'x', '"undone"');
    await d.app.query('ROLLBACK');
    await d.app.query('BEGIN');
    await d.app.query('SAVEPOINT s');
    await signal(id, 'x', '"undone too"');
    await d.app.query('ROLLBACK TO s');
    await signal(id, 'x', '"done"');
    await d.app.query('COMMIT');
    expect(await completed(id)).toEqual(got('x', 'done'));
  });

  test('in the transaction that starts the instance', async () => {
    await d.app.query('BEGIN');
    const id = await d.start(`df.wait_for_signal('x')`);
    await signal(id, 'x', '1');
    await d.app.query('COMMIT');
    expect(await completed(id)).toEqual(got('x', 1));
  });

  test('past the proxy: found by the poll', async () => {
    const id = await d.start(`df.wait_for_signal('x')`);
    await waits(id);
    await withClient(d.role.url, (direct) => signal(id, 'x', '"direct"', direct));
    expect(await completed(id)).toEqual(got('x', 'direct'));
  });

  test('in a step: exactly with it, to another instance and to its own', async () => {
    const waiter = await d.start(`df.wait_for_signal('x')`);
    await waits(waiter);
    expect(await d.failure(`'SELECT df.signal(''${waiter}'', ''x''), 1/0'`)).toContain('division by zero');
    expect(await inbox(waiter)).toBe(0);
    const sender = await d.start(
      `'SELECT df.signal(''${waiter}'', ''x'', ''"once"''), df.signal(''{sys_instance_id}'', ''self'')'
       ~> df.wait_for_signal('self')`,
    );
    expect(await completed(sender)).toEqual(got('self', {}));
    expect(await completed(waiter)).toEqual(got('x', 'once'));
  });
});

describe('the inbox', () => {
  test('a signal that comes before its wait is kept', async () => {
    const id = await d.start(`'SELECT pg_sleep(0.3)' ~> df.sleep(1) ~> df.wait_for_signal('early')`);
    await signal(id, 'early', '"kept"');
    expect(await completed(id)).toEqual(got('early', 'kept'));
    expect(await inbox(id)).toBe(0);
  });

  test('two waits in a row need two signals, and take them in the order in which they came', async () => {
    const id = await d.start(
      `df.wait_for_signal('s') |=> 'a' ~> df.wait_for_signal('s') |=> 'b' ~> 'SELECT $a.data AS a, $b.data AS b'`,
    );
    await waits(id);
    await signal(id, 's', '1');
    await waits(id);
    expect(await d.status(id)).toBe('running');
    await signal(id, 's', '2');
    expect((await completed(id)).rows).toEqual([{ a: 1, b: 2 }]);
  });

  test('many at once, of one transaction and in its order', async () => {
    const id = await d.start(
      `'SELECT ''''' |=> 'all' ~> df.loop(df.wait_for_signal('s') |=> 'x' ~> 'INSERT INTO log VALUES (''many '' || $x.data)',
                                           'SELECT $x.data < 150')`,
    );
    await d.app.query(`SELECT count(df.signal($1, 's', n::text)) FROM generate_series(1, 150) AS n`, [id]);
    await completed(id);
    expect(await logged('many %')).toEqual(Array.from({ length: 150 }, (_, n) => `many ${n + 1}`));
    expect(await inbox(id)).toBe(0);
  });

  test('a lower number that commits later comes later, and is not lost', async () => {
    const id = await d.start(
      `df.wait_for_signal('s') |=> 'a' ~> df.wait_for_signal('s') |=> 'b' ~> 'SELECT $a.data AS a, $b.data AS b'`,
    );
    await waits(id);
    const slow = await d.connect();
    await slow.query('BEGIN');
    await signal(id, 's', '"first, commits last"', slow);
    await signal(id, 's', '"second"');
    await until(() => d.value(`SELECT pos FROM _df.journal WHERE instance_id = $1 AND kind = 'c'`, [id]));
    await slow.query('COMMIT');
    expect((await completed(id)).rows).toEqual([{ a: 'second', b: 'first, commits last' }]);
    await slow.end();
  });

  test('more than is kept in memory, most of them of names that nobody waits for', async () => {
    const id = await d.start(
      `df.sleep(1) ~> df.wait_for_signal('wanted') |=> 'a' ~> df.wait_for_signal('wanted') ~> 'SELECT $a.data AS a'`,
    );
    await d.app.query(`SELECT count(df.signal($1, 'n' || n, $2)) FROM generate_series(1, 150) AS n`, [
      id,
      JSON.stringify('x'.repeat(3000)),
    ]);
    await d.app.query(`SELECT count(df.signal($1, 'wanted', n::text)) FROM generate_series(1, 150) AS n`, [
      id,
    ]);
    expect((await completed(id)).rows).toEqual([{ a: 1 }]);
    expect(await inbox(id)).toBe(0);
  });

  test('goes with the instance when that is deleted', async () => {
    const id = await d.start(`df.wait_for_signal('x') ~> df.wait_for_signal('y')`);
    await signal(id, 'y');
    await waits(id);
    expect(await inbox(id)).toBe(1);
    await d.root.query('BEGIN');
    await d.root.query('DELETE FROM df.nodes WHERE instance_id = $1', [id]);
    await d.root.query('DELETE FROM df.instances WHERE id = $1', [id]);
    await d.root.query('COMMIT');
    expect(await inbox(id)).toBe(0);
  });
});

describe('time-outs', () => {
  test('a time-out is a normal end', async () => {
    const id = await d.start(`df.wait_for_signal('x', 1) |=> 's' ~> 'SELECT $s.timed_out AS t'`);
    const node = await until(async () => (await d.typed(id, 'SIGNAL'))[0]);
    await until(async () => (await d.typed(id, 'SIGNAL'))[0]!.status === 'running');
    expect((await completed(id)).rows).toEqual([{ t: true }]);
    expect((await d.typed(id, 'SIGNAL'))[0]).toMatchObject({ id: node.id, status: 'completed', error: null });
    expect((await d.typed(id, 'SIGNAL'))[0]!.result).toEqual({
      signal_name: 'x',
      timed_out: true,
      data: null,
    });
  });

  test('a signal that is there when the time is over wins', async () => {
    const id = await d.start(`df.wait_for_signal('x', 1)`);
    await d.parked(id);
    // nobody hears of it before the time is over
    await withClient(d.database.superUrl, async (holder) => {
      await holder.query('BEGIN');
      await holder.query('SELECT FROM _df.instances WHERE id = $1 FOR UPDATE', [id]);
      await signal(id, 'x', '"in time"');
      await until(() => d.value('SELECT wake_at < _df.now() FROM _df.instances WHERE id = $1', [id]));
      await holder.query('COMMIT');
    });
    expect(await completed(id)).toEqual(got('x', 'in time'));
  });

  test('also while the instance is held, and the signal came past the proxy', async () => {
    const e = await Durable.open({ poll_interval: '30s' });
    try {
      const id = await e.start(`df.wait_for_signal('x', 1) & 'SELECT pg_sleep(1.5) /* beside */'`);
      await until(async () => (await e.typed(id, 'SIGNAL'))[0]?.status === 'running');
      await withClient(e.role.url, (direct) => signal(id, 'x', '"in time"', direct));
      expect(await e.ended(id)).toBe('completed');
      expect(JSON.parse((await e.output(id))!)[0]).toEqual(got('x', 'in time'));
    } finally {
      await e.close();
    }
  });
});

describe('monitoring', () => {
  test('a wait shows as running, in explain too, with its stamp', async () => {
    const id = await d.start(`'SELECT 1' ~> df.wait_for_signal('shown', 600)`);
    await d.parked(id);
    expect((await d.typed(id, 'SIGNAL'))[0]).toMatchObject({
      status: 'running',
      stamp: `${id}::1`,
      result: null,
    });
    expect(await d.status(id)).toBe('running');
    const { rows } = await d.app.query('SELECT df.explain($1) AS e', [id]);
    expect(rows[0].e).toMatch(/SIGNAL 'shown' \(600s\) ⏳ Running/);
    const nodes = await d.app.query(
      `SELECT inferred_status FROM df.instance_nodes($1) WHERE node_type = 'SIGNAL'`,
      [id],
    );
    expect(nodes.rows).toEqual([{ inferred_status: 'running' }]);
    await signal(id, 'shown');
    await completed(id);
  });
});

describe('the last look before a wait is given up', () => {
  test('is made again when the database did not answer', async () => {
    const definition = String(
      await d.value(
        `SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = 'claim' AND pronamespace = '_df'::regnamespace`,
      ),
    );
    // the other branch keeps the instance in memory
    const id = await d.start(`df.wait_for_signal('late', 3) & 'SELECT pg_sleep(5)'`);
    await until(() => d.value(`SELECT true FROM _df.journal WHERE instance_id = $1 AND kind = 't'`, [id]));
    await d.root.query(definition.replace(/\bBEGIN\b/, `BEGIN RAISE EXCEPTION 'not now';`));
    try {
      await d.root.query(`SELECT df.signal($1, 'late', '7')`, [id]);
      const over = `SELECT true FROM _df.journal WHERE instance_id = $1 AND kind = 't' AND due < _df.now() - interval '0.3 s'`;
      await until(() => d.value(over, [id]), { what: 'the end of its time' });
      expect((await d.typed(id, 'SIGNAL'))[0]?.status).toBe('running');
    } finally {
      await d.root.query(definition);
    }
    expect((await completed(id))[0]).toEqual(got('late', 7));
  });

  test('is made while the proxy stops', async () => {
    const own = await Durable.open({ poll_interval: '60s', drain_timeout: '20s' });
    try {
      const id = await own.start(`df.wait_for_signal('late', 3) & 'SELECT pg_sleep(5)'`);
      await until(() =>
        own.value(`SELECT true FROM _df.journal WHERE instance_id = $1 AND kind = 't'`, [id]),
      );
      await own.app.end();
      const stopped = own.proxy.stop();
      await until(
        () =>
          own.connect().then(
            (client) => client.end().then(() => false),
            () => true,
          ),
        {
          what: 'the proxy to stop',
        },
      );
      await own.root.query(`SELECT df.signal($1, 'late', '7')`, [id]);
      await stopped;
      expect((await own.typed(id, 'SIGNAL'))[0]).toMatchObject({
        status: 'completed',
        result: got('late', 7),
      });
    } finally {
      await own.close();
    }
  });
});
