import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { until } from '../support/wait.js';

let d: Durable;

beforeAll(async () => {
  d = await Durable.open();
  await d.app.query('CREATE TABLE public.log (msg text)');
});
afterAll(() => d?.close());

const one = (column: string, value: unknown) => ({ rows: [{ [column]: value }], row_count: 1 });
const logged = (msg: string) => d.value('SELECT count(*)::int FROM public.log WHERE msg = $1', [msg]);
const DIVISION = 'SQL execution failed: error returned from database: division by zero';

describe('JOIN', () => {
  test('results come in the order of the branches, whichever ends first', async () => {
    expect(
      await d.result(`df.join3('SELECT 1 AS a, pg_sleep(0.2)::text AS s', 'SELECT 2 AS b', df.sleep(0))`),
    ).toEqual([{ rows: [{ a: 1, s: '' }], row_count: 1 }, one('b', 2), { slept: true, seconds: 0 }]);
  });

  test('branches run at the same time', async () => {
    // each waits for the other's advisory lock to appear: in turn they would never end
    const branch = (mine: number, other: number) =>
      `'DO $do$ BEGIN PERFORM pg_advisory_xact_lock(71, ${mine});
        FOR i IN 1 .. 500 LOOP
          EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE locktype = ''advisory'' AND classid = 71 AND objid = ${other}
                            AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database()));
          PERFORM pg_sleep(0.01);
          IF i = 500 THEN RAISE ''alone''; END IF;
        END LOOP; PERFORM pg_sleep(0.05); END $do$'`;
    await d.complete(`${branch(1, 2)} & ${branch(2, 1)}`);
  });

  test('waits for every branch, also when one has failed', async () => {
    const id = await d.start(
      `'SELECT 1/0' & ('SELECT pg_sleep(0.3)' ~> 'INSERT INTO log VALUES (''after the failure'')')`,
    );
    expect(await d.ended(id)).toBe('failed');
    expect(await logged('after the failure')).toBe(1);
    expect(await d.output(id)).toBe(`JOIN branch 1 failed: ${DIVISION}`);
    expect((await d.typed(id, 'JOIN'))[0]).toMatchObject({
      status: 'failed',
      result: `JOIN branch 1 failed: ${DIVISION}`,
    });
  });

  test('the lowest failing branch is named, nested texts concatenate', async () => {
    expect(await d.failure(`df.join3('SELECT 1', 'SELECT 1/0', 'SELECT pg_no_such()')`)).toBe(
      `JOIN branch 2 failed: ${DIVISION}`,
    );
    expect(await d.failure(`df.join(df.join('SELECT 1', 'SELECT 1/0'), 'SELECT 1')`)).toBe(
      `JOIN branch 1 failed: JOIN branch 2 failed: ${DIVISION}`,
    );
  });

  test('names set in branches are visible afterwards, on conflict the later branch wins', async () => {
    expect(await d.rows(`('SELECT 1' |=> 'a') & ('SELECT 2' |=> 'b') ~> 'SELECT $a AS a, $b AS b'`)).toEqual([
      { a: 1, b: 2 },
    ]);
    expect(
      await d.rows(`('SELECT 1, pg_sleep(0.2)' |=> 'x') & ('SELECT 2' |=> 'x') ~> 'SELECT $x AS x'`),
    ).toEqual([{ x: 2 }]);
  });

  test('a later branch that left an inherited name alone brings the old value back', async () => {
    expect(
      await d.rows(`('SELECT 1' |=> 'x') ~> (('SELECT 2' |=> 'x') & 'SELECT 0') ~> 'SELECT $x AS x'`),
    ).toEqual([{ x: 1 }]);
    expect(
      await d.rows(`('SELECT 1' |=> 'x') ~> ('SELECT 0' & ('SELECT 2' |=> 'x')) ~> 'SELECT $x AS x'`),
    ).toEqual([{ x: 2 }]);
  });

  test('branches see the names before them and never each other’s', async () => {
    expect(
      await d.result(
        `('SELECT 5' |=> 'x') ~> (('SELECT 1' |=> 'l') & ('SELECT pg_sleep(0.1)' ~> 'SELECT $x AS x, ''$l'' AS l'))`,
      ),
    ).toEqual([one('?column?', 1), { rows: [{ x: 5, l: '$l' }], row_count: 1 }]);
  });

  test('a named JOIN is one JSON value', async () => {
    expect(
      await d.rows(
        `'SELECT 1 AS a' & 'SELECT 2 AS b' |=> 'j' ~> 'SELECT $j::jsonb #>> ''{1,rows,0,b}'' AS r'`,
      ),
    ).toEqual([{ r: '2' }]);
  });

  test('break in a branch leaves the loop once the other branches have ended', async () => {
    const id = await d.complete(
      `df.loop(df.break('out') & ('SELECT pg_sleep(0.2)' ~> 'INSERT INTO log VALUES (''sibling of break'')'))`,
    );
    expect(await d.output(id)).toBe('"out"');
    expect(await logged('sibling of break')).toBe(1);
    expect((await d.typed(id, 'JOIN'))[0]).toMatchObject({ status: 'completed', result: 'out' });
  });

  test('a break in an earlier branch wins over a failure in a later one', async () => {
    expect(await d.result(`df.loop(df.break('out') & 'SELECT 1/0')`)).toBe('out');
    expect(await d.failure(`df.loop('SELECT 1/0' & df.break('out'))`)).toBe(
      `JOIN branch 1 failed: ${DIVISION}`,
    );
  });

  test('stamps: branch roots in their own scope, the JOIN in its own', async () => {
    const id = await d.complete(`('SELECT 1' ~> 'SELECT 2') & 'SELECT 3'`);
    const join = (await d.typed(id, 'JOIN'))[0]!;
    expect(join.stamp).toBe(`${id}::1`);
    const left = (await d.typed(id, 'THEN'))[0]!;
    expect(left.stamp).toBe(`${id}::1::${left.id}::1`);
    expect((await d.node(id, 'SELECT 1')).stamp).toBe(`${id}::1::${left.id}::1`);
    const right = await d.node(id, 'SELECT 3');
    expect(right.stamp).toBe(`${id}::1::${right.id}::1`);
  });

  test('hand-written extra branches of any number', async () => {
    const step = (n: number) => `{"node_type":"SQL","query":"SELECT ${n} AS n"}`;
    const extras = [3, 4, 5, 6].map(step).join(',');
    const join = `{"node_type":"JOIN","left_node":${step(1)},"right_node":${step(2)},"extra_nodes":[${extras}]}`;
    expect(await d.result(`'${join}'`)).toEqual([1, 2, 3, 4, 5, 6].map((n) => one('n', n)));
  });

  test('more branches than sessions', async () => {
    const step = (n: number) =>
      `{"node_type":"SQL","query":"INSERT INTO log VALUES ('wide') RETURNING ${n} AS n"}`;
    const extras = Array.from({ length: 38 }, (_, i) => step(i + 2)).join(',');
    const join = `{"node_type":"JOIN","left_node":${step(0)},"right_node":${step(1)},"extra_nodes":[${extras}]}`;
    const id = await d.start('$1', d.app, [join]);
    expect(await d.ended(id)).toBe('completed');
    expect(await logged('wide')).toBe(40);
  });
});

describe('RACE', () => {
  test('the first to end decides; its names survive, the loser’s do not', async () => {
    expect(
      await d.rows(
        `(('SELECT 1' |=> 'w') | (('SELECT 2' |=> 'l') ~> df.sleep(30))) ~> 'SELECT $w AS w, ''$l'' AS l'`,
      ),
    ).toEqual([{ w: 1, l: '$l' }]);
  });

  test('a failing winner fails the race', async () => {
    expect(await d.failure(`'SELECT 1/0' | df.sleep(30)`)).toBe(`RACE left branch failed: ${DIVISION}`);
    expect(await d.failure(`df.sleep(30) | 'SELECT 1/0'`)).toBe(`RACE right branch failed: ${DIVISION}`);
  });

  test('the statement of the loser is cancelled on the server and rolled back', async () => {
    const id = await d.start(
      `('INSERT INTO log VALUES (''loser''); SELECT pg_sleep(60) /* loser */') | 'SELECT ''winner'' AS r, pg_sleep(0.3)::text'`,
    );
    await until(() => d.running('/* loser */'), { what: 'the loser to run' });
    expect(await d.ended(id)).toBe('completed');
    await until(async () => (await d.running('/* loser */')) === 0, {
      what: 'the loser to be cancelled',
      timeoutMs: 3000,
    });
    expect(await logged('loser')).toBe(0);
    const loser = await d.node(id, "INSERT INTO log VALUES ('loser')");
    expect(loser.status).not.toBe('completed');
    const inferred = await d.app.query(
      'SELECT inferred_status FROM df.instance_nodes($1) WHERE node_id = $2',
      [id, loser.id],
    );
    expect(inferred.rows).toEqual([{ inferred_status: 'skipped' }]);
  });

  test('no further step of the loser starts', async () => {
    const id = await d.complete(
      `('SELECT pg_sleep(0.05)' ~> df.sleep(1) ~> 'INSERT INTO log VALUES (''late'')') | 'SELECT pg_sleep(0.2)'`,
    );
    await d.complete(`df.sleep(1)`);
    expect(await logged('late')).toBe(0);
    expect(await d.status(id)).toBe('completed');
  });

  test('a loop that loses says so, in the stamp of its first generation', async () => {
    const id = await d.complete(`df.loop(df.sleep(30)) | 'SELECT 1'`);
    const loop = (await d.typed(id, 'LOOP'))[0]!;
    expect(loop).toMatchObject({ status: 'failed', result: 'Loop branch cancelled after losing RACE' });
    expect(loop.stamp).toBe(`${id}::1::${loop.id}::1`);
    const scopes = new Set((await d.nodes(id)).map((node) => node.stamp).filter((stamp) => stamp !== null));
    expect([...scopes].every((stamp) => stamp!.startsWith(`${id}::1`))).toBe(true);
  });

  test('also one that loses in a later iteration', async () => {
    const id = await d.complete(`df.loop(df.sleep(1)) | df.sleep(4)`);
    const loop = (await d.typed(id, 'LOOP'))[0]!;
    expect(loop).toMatchObject({ status: 'failed', result: 'Loop branch cancelled after losing RACE' });
    expect(loop.stamp).toBe(`${id}::1::${loop.id}::1`);
    expect((await d.typed(id, 'SLEEP')).map(({ stamp }) => stamp)).toContainEqual(
      expect.stringMatching(/::[34]$/),
    );
  });

  test.each(['df.sleep(60)', `df.wait_for_signal('never')`, `'SELECT 1' ~> df.sleep(60)`])(
    'what a loser has still written is gone with the end: %s',
    async (loser) => {
      for (let n = 0; n < 5; n += 1) {
        const id = await d.complete(`(${loser}) | (df.sleep(0) ~> df.sleep(0))`);
        expect(await d.value('SELECT count(*)::int FROM _df.journal WHERE instance_id = $1', [id])).toBe(0);
      }
    },
  );

  test('break in the winner leaves the loop around the race', async () => {
    expect(await d.result(`df.loop(df.break('won') | df.sleep(30))`)).toBe('won');
  });

  test('a time-out: the sleep wins over the statement', async () => {
    const started = Date.now();
    expect(await d.result(`'SELECT pg_sleep(60)' | df.sleep(1)`)).toEqual({ slept: true, seconds: 1 });
    expect(Date.now() - started).toBeLessThan(10_000);
  });

  test('races within joins within races', async () => {
    expect(
      await d.result(`(('SELECT 1 AS a' | df.sleep(30)) & (df.sleep(30) | 'SELECT 2 AS b')) | df.sleep(30)`),
    ).toEqual([one('a', 1), one('b', 2)]);
  });
});
