import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { withClient } from '../support/postgres.js';
import { spawnProxy, startProxy } from '../support/proxy.js';
import { until } from '../support/wait.js';

let d: Durable;

beforeAll(async () => {
  d = await Durable.open({ drain_timeout: '1s' });
  await d.app.query('CREATE TABLE public.log (n serial, msg text)');
});
afterAll(() => d?.close());

const signal = (id: string, name: string, data: unknown = {}, client: pg.ClientBase | pg.Pool = d.app) =>
  client.query('SELECT df.signal($1, $2, $3)', [id, name, JSON.stringify(data)]);
const log = (msg: string) => `'INSERT INTO log (msg) VALUES (''${msg}'')'`;
const logged = async (like: string) =>
  (await d.root.query('SELECT msg FROM public.log WHERE msg LIKE $1 ORDER BY n', [like])).rows.map(
    (row) => row.msg as string,
  );
const inbox = (id: string) => d.value('SELECT count(*)::int FROM _df.signals WHERE instance_id = $1', [id]);
const completed = async (id: string) => {
  expect(await d.ended(id)).toBe('completed');
  return JSON.parse((await d.output(id))!);
};
const got = (name: string, data: unknown) => ({ signal_name: name, timed_out: false, data });
const idle = (id: string) =>
  until(
    () =>
      d.value(
        `SELECT graph IS NOT NULL AND owner IS NULL AND finished_at IS NULL
                AND NOT EXISTS (SELECT FROM _df.signals s WHERE s.instance_id = i.id AND s.pos IS NULL)
         FROM _df.instances AS i WHERE id = $1`,
        [id],
      ),
    { everyMs: 3, what: `instance ${id} to be parked` },
  );
/** Of the one SIGNAL node with this name. */
const node = async (id: string, name: string) =>
  (await d.typed(id, 'SIGNAL')).find((one) => JSON.parse(one.query!).signal_name === name)!;

describe('JOIN', () => {
  test('one signal wakes every branch that waits for its name', async () => {
    const id = await d.start(
      `df.join3(df.wait_for_signal('go'), df.wait_for_signal('go'), 'SELECT 1' ~> df.wait_for_signal('go'))`,
    );
    await idle(id);
    await signal(id, 'go', 7);
    expect(await completed(id)).toEqual([got('go', 7), got('go', 7), got('go', 7)]);
    expect(await inbox(id)).toBe(0);
  });

  test('waits for different names are pending at the same time, whatever order the signals come in', async () => {
    const id = await d.start(
      `df.join3(df.wait_for_signal('legal'), df.wait_for_signal('tech'), df.wait_for_signal('mgmt'))`,
    );
    for (const name of ['mgmt', 'legal', 'tech']) {
      await idle(id);
      await signal(id, name, name);
    }
    expect(await completed(id)).toEqual(['legal', 'tech', 'mgmt'].map((name) => got(name, name)));
  });

  test('each branch has its own position; the parent goes on from the furthest', async () => {
    const wait = `df.wait_for_signal('s')`;
    const id = await d.start(`(${wait} & (${wait} ~> ${wait})) |=> 'j' ~> ${wait}`);
    for (const n of [1, 2, 3]) await signal(id, 's', n);
    expect(await completed(id)).toEqual(got('s', 3));
    expect((await d.typed(id, 'JOIN'))[0]!.result).toEqual([got('s', 1), got('s', 2)]);
  });

  test('a branch begins where its parent is', async () => {
    const wait = `df.wait_for_signal('s')`;
    const id = await d.start(`${wait} ~> (${wait} & ${wait})`);
    await signal(id, 's', 'first');
    await signal(id, 's', 'second');
    expect(await completed(id)).toEqual([got('s', 'second'), got('s', 'second')]);
  });

  test('another branch goes on, and a signal is taken while it runs', async () => {
    await withClient(d.database.superUrl, async (gate) => {
      await gate.query('SELECT pg_advisory_lock(41)');
      const id = await d.start(
        `(df.wait_for_signal('x') ~> df.wait_for_signal('y')) & 'SELECT 5 AS n, pg_advisory_xact_lock(41) /* beside */'`,
      );
      await until(() => d.running('/* beside */'));
      await signal(id, 'x', 1);
      await until(async () => (await node(id, 'x')).status === 'completed');
      expect((await node(id, 'y')).status).toBe('running');
      await signal(id, 'y', 2);
      expect(await d.running('/* beside */')).toBe(1);
      await gate.query('SELECT pg_advisory_unlock(41)');
      expect((await completed(id))[0]).toEqual(got('y', 2));
    });
  });

  test('also when the executor has no room for more', async () => {
    const e = await Durable.open({ max_user_connections: '1' });
    try {
      const held = await e.start(
        `(df.wait_for_signal('x') ~> df.wait_for_signal('y')) & 'SELECT pg_sleep(60) /* slot */'`,
      );
      await until(() => e.running('/* slot */'));
      const others = [await e.start(`'SELECT 1'`), await e.start(`'SELECT 2'`)];
      await until(() =>
        e.value(
          'SELECT count(*)::int = 2 FROM _df.instances WHERE owner IS NOT NULL AND finished_at IS NULL',
        ),
      );
      await signal(held, 'x', 1, e.app);
      await until(async () =>
        (await e.typed(held, 'SIGNAL')).some(
          (one) => one.status === 'completed' && one.query!.includes('"x"'),
        ),
      );
      expect(await e.running('/* slot */')).toBe(1);
      await e.app.query('SELECT df.cancel($1)', [held]);
      for (const id of others) expect(await e.ended(id)).toBe('completed');
    } finally {
      await e.close();
    }
  });
});

describe('RACE', () => {
  test('a signal against a timer: whichever comes first', async () => {
    const wins = await d.start(`df.wait_for_signal('go') | df.sleep(60)`);
    await idle(wins);
    await signal(wins, 'go', 'won');
    expect(await completed(wins)).toEqual(got('go', 'won'));
    const loses = await d.start(`df.wait_for_signal('go') | df.sleep(1)`);
    expect(await completed(loses)).toEqual({ slept: true, seconds: 1 });
  });

  test('what the loser took is still there', async () => {
    const id = await d.start(
      `((df.wait_for_signal('a') ~> df.sleep(60)) | df.wait_for_signal('b')) ~> df.wait_for_signal('a')`,
    );
    await signal(id, 'a', 'taken by the loser');
    await until(async () =>
      (await d.nodes(id)).some((one) => one.node_type === 'SLEEP' && one.status === 'running'),
    );
    await signal(id, 'b');
    expect(await completed(id)).toEqual(got('a', 'taken by the loser'));
  });

  test('what the winner took is not', async () => {
    const id = await d.start(`(df.wait_for_signal('a') | df.sleep(60)) ~> df.wait_for_signal('a')`);
    await signal(id, 'a', 1);
    await idle(id);
    await signal(id, 'a', 2);
    expect(await completed(id)).toEqual(got('a', 2));
  });
});

describe('LOOP', () => {
  test.each([
    ['the root', 'root', (body: string) => `df.loop(${body})`],
    ['within a sequence', 'inner', (body: string) => `'SELECT 1' ~> df.loop(${body}) ~> 'SELECT 2'`],
    ['a branch', 'branch', (body: string) => `df.loop(${body}) & df.sleep(60)`],
  ])('no signal is lost or taken twice, and the inbox does not grow: %s', async (_, mark, around) => {
    const id = await d.start(
      around(
        `df.wait_for_signal('tick') |=> 't' ~> ${log(`${mark} {sys_label}`).replace('{sys_label}', "'' || $t.data || ''")}`,
      ),
    );
    const expected: string[] = [];
    const send = async (count: number) => {
      for (let n = 0; n < count; n += 1) {
        expected.push(`${mark} ${expected.length}`);
        await signal(id, 'tick', expected.length - 1);
      }
    };
    const done = () =>
      until(async () => (await logged(`${mark} %`)).length >= expected.length, { everyMs: 5 });
    for (let round = 0; round < 5; round += 1) {
      await send(1);
      await done();
      await idle(id);
      expect(await inbox(id)).toBe(0);
    }
    await send(40); // while it runs, and between its iterations
    await done();
    await idle(id);
    expect(await logged(`${mark} %`)).toEqual(expected);
    expect(await inbox(id)).toBe(0);
    await d.app.query('SELECT df.cancel($1)', [id]);
  });

  test('a loop that is never parked drops what it has taken', async () => {
    const id = await d.start(`df.loop(df.wait_for_signal('tick', 1) |=> 't', 'SELECT $t.data < 200')`);
    await withClient(d.database.superUrl, async (root) => {
      for (let n = 1; n <= 200; n += 50) {
        await root.query(
          `SELECT count(df.signal($1, 'tick', n::text)) FROM generate_series($2::int, $2 + 49) AS n`,
          [id, n],
        );
      }
    });
    let most = 0;
    await until(
      async () => {
        most = Math.max(
          most,
          Number(
            await d.value(
              `SELECT count(*)::int FROM _df.signals WHERE instance_id = $1 AND pos <= (
        SELECT max(v.value::bigint) FROM _df.journal j, json_each_text(j.value::json -> 'positions') AS v WHERE j.instance_id = $1 AND j.kind = 'l')`,
              [id],
            ),
          ),
        );
        return (await d.status(id)) === 'completed';
      },
      { everyMs: 2, timeoutMs: 20_000 },
    );
    expect(most).toBeLessThan(150);
    expect(await inbox(id)).toBe(0);
  });

  test('a loop that only waits: each of its executions is recorded, what it has taken is committed', async () => {
    const wait = `df.wait_for_signal('s') |=> 's'`;
    const root = await d.start(`df.loop(${wait}, '$s.data')`);
    const inner = await d.start(`'SELECT 1' ~> df.loop(${wait}, '$s.data')`);
    for (const id of [root, inner]) {
      await d.app.query(
        `SELECT count(df.signal($1, 's', (n < 300)::text)) FROM generate_series(1, 300) AS n`,
        [id],
      );
      expect(await completed(id)).toEqual(got('s', false));
      expect(await inbox(id)).toBe(0);
    }
    const executions = await d.app.query('SELECT count(*)::int AS n FROM df.instance_executions($1, 1000)', [
      root,
    ]);
    expect(executions.rows).toEqual([{ n: 300 }]);
    const loop = (await d.typed(inner, 'LOOP'))[0]!;
    expect(loop.stamp).toBe(`${inner}::1::${loop.id}::300`);
  });

  test('one signal for each level of nested loops', async () => {
    const id = await d.start(
      `df.loop(
         df.loop(df.wait_for_signal('inner') |=> 'i' ~> ${log('nested i').replace('nested i', "nested '' || $i.data || ''")}, 'SELECT $i.data % 3 <> 0')
         ~> df.wait_for_signal('outer') |=> 'o', 'SELECT $o.data < 2')`,
    );
    for (const n of [1, 2, 3, 4, 5, 6]) await signal(id, 'inner', n);
    await signal(id, 'outer', 1);
    await signal(id, 'outer', 2);
    expect(await completed(id)).toEqual(got('outer', 2));
    expect(await logged('nested %')).toEqual([1, 2, 3, 4, 5, 6].map((n) => `nested ${n}`));
  });

  test('an iteration that waited is not made to last a second', async () => {
    const id = await d.start(`'SELECT 0' |=> 'x' ~> df.loop(df.wait_for_signal('s') |=> 's', '$s.data')`);
    const begun = performance.now();
    for (let n = 0; n < 5; n += 1) await signal(id, 's', n < 4);
    await completed(id);
    expect(performance.now() - begun).toBeLessThan(3000);
  });
});

describe('an open transaction that has called df.signal', () => {
  test.each(['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'])(
    'holds up neither steps nor timers, and its signal comes with its commit: %s',
    async (level) => {
      const mark = `open ${level}`;
      const steady = await d.user('steady');
      await d.root.query(
        `ALTER ROLE ${steady.name} SET default_transaction_isolation = '${level.toLowerCase()}'`,
      );
      await d.root.query(`GRANT ALL ON public.log, public.log_n_seq TO ${steady.name}`);
      const app = await d.connect(steady);
      const sender = await d.connect(steady);
      const id = await d.start(
        `df.wait_for_signal('x') & (df.sleep(1) ~> ${log(mark)} ~> df.wait_for_signal('y') ~> ${log(`${mark} y`)})`,
        app,
      );
      await sender.query(`BEGIN ISOLATION LEVEL ${level}`);
      await signal(id, 'x', 1, sender);
      await until(async () => (await logged(mark)).length === 1, { what: 'timer and step' });
      await signal(id, 'y', 2, app);
      await until(async () => (await logged(`${mark} y`)).length === 1, { what: 'another signal' });
      expect((await node(id, 'x')).status).toBe('running');
      await sender.query('COMMIT');
      expect((await completed(id))[0]).toEqual(got('x', 1));
      expect(await logged(`${mark}%`)).toHaveLength(2);
      await app.end();
      await sender.end();
    },
  );
});

describe('parking', () => {
  test('no signal falls between a look and a park: 6 instances, signals past the proxy and through it', async () => {
    const SIGNALS = 15;
    const ids: string[] = [];
    for (let n = 0; n < 6; n += 1)
      ids.push(
        await d.start(
          n % 2 === 0
            ? `'SELECT 1' ~> df.loop(df.wait_for_signal('s', 600) |=> 's', 'SELECT $s.data < ${SIGNALS}')`
            : `df.loop((df.wait_for_signal('s') |=> 's') & df.sleep(0), 'SELECT $s.data < ${SIGNALS}')`,
        ),
      );
    const pools = [d.role.url, d.proxy.url(d.role), d.database.superUrl].map(
      (connectionString) => new pg.Pool({ connectionString, max: ids.length }),
    );
    const [direct, through, root] = pools as [pg.Pool, pg.Pool, pg.Pool];
    const senders = ids.map(async (id, n) => {
      for (let i = 1; i <= SIGNALS; i += 1) {
        await signal(id, 's', i, n % 3 === 0 ? direct : through);
        // sometimes it has been parked by then, sometimes it is about to be
        const left = () => root.query('SELECT FROM _df.signals WHERE instance_id = $1', [id]);
        if ((i * 7 + n) % 5 !== 0) await until(async () => (await left()).rowCount === 0, { everyMs: 1 });
      }
    });
    await Promise.all(senders);
    for (const pool of pools) await pool.end();
    for (const id of ids) await completed(id);
    for (const id of ids) expect(await inbox(id)).toBe(0);
  });
});

test('killed while an instance waits, and between its signal and its end: another proxy goes on', async () => {
  const settings = { lease_duration: '1s' };
  const e = await Durable.open(settings);
  await e.app.query('CREATE TABLE public.log (msg text)');
  const first = await spawnProxy({ database: e.database, settings });
  const client = new pg.Client({ connectionString: first.url(e.role) });
  client.on('error', () => {});
  await client.connect();
  await e.app.end();
  await e.proxy.stop();
  try {
    await withClient(e.database.superUrl, async (gate) => {
      await gate.query('SELECT pg_advisory_lock(42)');
      const waiting = await e.start(`df.wait_for_signal('s') ~> df.wait_for_signal('s')`, client);
      const between = await e.start(
        `df.wait_for_signal('s') |=> 's'
         ~> 'INSERT INTO log SELECT $s.data FROM pg_advisory_xact_lock(42) /* held back */'
         ~> df.wait_for_signal('s')`,
        client,
      );
      await signal(between, 's', 1, client);
      await signal(waiting, 's', 1, client);
      await until(() => e.running('/* held back */'));
      await until(() =>
        e.value(`SELECT count(*)::int FROM _df.journal WHERE instance_id = $1 AND pos IS NOT NULL`, [
          waiting,
        ]),
      );
      first.child.kill('SIGKILL');
      await until(() => first.child.signalCode !== null);
      await withClient(e.role.url, async (direct) => {
        await signal(between, 's', 2, direct);
        await signal(waiting, 's', 2, direct);
      });
      const second = await startProxy({ database: e.database, settings });
      try {
        await withClient(second.url(e.role), () => gate.query('SELECT pg_advisory_unlock(42)'));
        for (const id of [between, waiting]) {
          expect(await e.ended(id)).toBe('completed');
          expect(JSON.parse((await e.output(id))!)).toEqual(got('s', 2));
        }
        expect(await e.value('SELECT string_agg(msg, $1) FROM public.log', [','])).toBe('1');
      } finally {
        await second.stop();
      }
    });
  } finally {
    await e.close();
  }
});
