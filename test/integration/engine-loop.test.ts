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
const generation = (id: string) => d.value('SELECT generation FROM _df.instances WHERE id = $1', [id]);
const log = (msg: string) => `'INSERT INTO log VALUES (''${msg}'')'`;

describe('LOOP', () => {
  test('body first, then the condition; the result is the last body’s', async () => {
    expect(
      await d.rows(
        `df.loop('INSERT INTO log VALUES (''while'') RETURNING (SELECT count(*)::int + 1 FROM log WHERE msg = ''while'') AS n',
                 'SELECT count(*) < 4 FROM log WHERE msg = ''while''')`,
      ),
    ).toEqual([{ n: 4 }]);
    expect(await logged('while')).toBe(4);
  });

  test('the body runs once even when the condition is false from the start', async () => {
    await d.complete(`df.loop(${log('once')}, 'SELECT false')`);
    expect(await logged('once')).toBe(1);
  });

  test('a while condition that is one reference', async () => {
    await d.complete(
      `df.loop('INSERT INTO log VALUES (''ref'') RETURNING (SELECT count(*) < 2 FROM log WHERE msg = ''ref'') AS more' |=> 'r', '$r.more')`,
    );
    expect(await logged('ref')).toBe(3);
  });

  test.each([
    ['without a pause', 'SELECT 1'],
    ['that is parked', 'df.sleep(1)'],
  ])('each execution of a root loop has its own events, %s', async (_what, step) => {
    const body = step.startsWith('df.') ? `${step} ~> ${log(step)}` : `'${step}' ~> ${log(step)}`;
    const id = await d.complete(`df.loop(${body}, 'SELECT count(*) < 3 FROM log WHERE msg = ''${step}''')`);
    const executions = await d.app.query(
      'SELECT status, event_count::int AS n FROM df.instance_executions($1)',
      [id],
    );
    expect(executions.rows.map((row) => row.status)).toEqual([
      'Completed',
      'ContinuedAsNew',
      'ContinuedAsNew',
    ]);
    const counts = executions.rows.slice(1).map((row) => row.n);
    expect(counts[0]).toBeGreaterThanOrEqual(3);
    expect(counts).toEqual([counts[0], counts[0]]);
    expect(executions.rows[0].n - counts[0]).toBeLessThanOrEqual(1);
  });

  test('a root loop counts its iterations as executions', async () => {
    const id = await d.complete(`df.loop(${log('gen')}, 'SELECT count(*) < 3 FROM log WHERE msg = ''gen''')`);
    expect(await generation(id)).toBe(3);
    const body = await d.node(id, 'INSERT INTO log');
    expect(body).toMatchObject({ status: 'completed', stamp: `${id}::3` });
    expect((await d.typed(id, 'LOOP'))[0]).toMatchObject({ status: 'completed', stamp: `${id}::3` });
    const executions = await d.app.query('SELECT execution_id::int, status FROM df.instance_executions($1)', [
      id,
    ]);
    expect(executions.rows).toEqual([
      { execution_id: 3, status: 'Completed' },
      { execution_id: 2, status: 'ContinuedAsNew' },
      { execution_id: 1, status: 'ContinuedAsNew' },
    ]);
    const listed = await d.app.query(
      'SELECT execution_count::int AS n FROM df.list_instances() WHERE instance_id = $1',
      [id],
    );
    expect(listed.rows).toEqual([{ n: 3 }]);
  });

  test('a root loop forgets its names at every iteration', async () => {
    const id = await d.complete(
      `df.loop('INSERT INTO log VALUES (''fresh $x'')' ~> 'SELECT 1' |=> 'x' ~> 'SELECT 2',
               'SELECT count(*) < 2 FROM log WHERE msg LIKE ''fresh %''')`,
    );
    expect(await logged('fresh $x')).toBe(2);
    expect(await generation(id)).toBe(2);
  });

  test('a loop within a sequence keeps its names, and hands them on', async () => {
    expect(
      await d.rows(
        `'SELECT 0' |=> 'x' ~> df.loop('SELECT $x + 1' |=> 'x', 'SELECT $x < 5') ~> 'SELECT $x AS x'`,
      ),
    ).toEqual([{ x: 5 }]);
  });

  test('steps before an inner loop run once, steps after it once', async () => {
    const id = await d.complete(
      `${log('before')} ~> df.loop(${log('inner')}, 'SELECT count(*) < 3 FROM log WHERE msg = ''inner''') ~> ${log('after')}`,
    );
    expect([await logged('before'), await logged('inner'), await logged('after')]).toEqual([1, 3, 1]);
    expect(await generation(id)).toBe(1);
    const loop = (await d.typed(id, 'LOOP'))[0]!;
    expect(await d.node(id, "INSERT INTO log VALUES ('inner')")).toMatchObject({
      stamp: `${id}::1::${loop.id}::3`,
    });
  });

  test('nested loops: the inner one starts anew in each outer iteration', async () => {
    await d.app.query('CREATE TABLE public.nest (o int, i int)');
    await d.complete(
      `'SELECT 0' |=> 'o' ~> df.loop(
         'SELECT $o + 1' |=> 'o' ~> 'SELECT 0' |=> 'i'
         ~> df.loop('INSERT INTO nest VALUES ($o, $i + 1) RETURNING i' |=> 'i', 'SELECT $i < 3'),
         'SELECT $o < 3')`,
    );
    expect(await d.value(`SELECT string_agg(o || '.' || i, ' ' ORDER BY o, i) FROM public.nest`)).toBe(
      '1.1 1.2 1.3 2.1 2.2 2.3 3.1 3.2 3.3',
    );
  });

  test('a join within a loop body runs all its branches in every iteration', async () => {
    const id = await d.complete(
      `df.loop(df.join(${log('left')}, ${log('right')}), 'SELECT count(*) < 3 FROM log WHERE msg = ''left''')`,
    );
    expect([await logged('left'), await logged('right')]).toEqual([3, 3]);
    const right = await d.node(id, "INSERT INTO log VALUES ('right')");
    expect(right.stamp).toBe(`${id}::3::${right.id}::1`);
  });

  test('a loop that is a branch counts in the scope of the branch', async () => {
    const id = await d.complete(
      `df.loop(${log('branch')}, 'SELECT count(*) < 2 FROM log WHERE msg = ''branch''') & 'SELECT 1'`,
    );
    const loop = (await d.typed(id, 'LOOP'))[0]!;
    expect(loop).toMatchObject({ status: 'completed', stamp: `${id}::1::${loop.id}::2` });
  });

  test('a failure in a loop within a sequence is reported as such', async () => {
    expect(await d.failure(`'SELECT 1' ~> df.loop('SELECT 1/0')`)).toBe(
      'Loop sub-orchestration failed: SQL execution failed: error returned from database: division by zero',
    );
    expect(await d.failure(`df.loop('SELECT 1/0')`)).toBe(
      'SQL execution failed: error returned from database: division by zero',
    );
    expect(await d.failure(`df.loop('SELECT 1/0') & 'SELECT 1'`)).toBe(
      'JOIN branch 1 failed: SQL execution failed: error returned from database: division by zero',
    );
    expect(await d.failure(`df.loop('SELECT 1', 'SELECT 1/0')`)).toBe(
      'SQL execution failed: error returned from database: division by zero',
    );
  });

  test('an iteration that does nothing lasts a second, one that works does not', async () => {
    const id = await d.start(`df.loop(df.sleep(0))`);
    const quick = await d.start(`df.loop(${log('quick')})`);
    await until(async () => ((await generation(quick)) as number) > 50, { what: 'fifty quick iterations' });
    await until(async () => ((await generation(id)) as number) >= 2, {
      what: 'a second idle iteration',
      timeoutMs: 5000,
    });
    expect(await generation(id)).toBeLessThanOrEqual(10);
    await d.app.query('SELECT df.cancel($1), df.cancel($2)', [id, quick]);
    expect([await d.status(id), await d.status(quick)]).toEqual(['cancelled', 'cancelled']);
  });

  test('a hundred iterations with a sleep of nothing between them stop where they should', async () => {
    await d.complete(
      `df.loop(${log('hundred')} ~> df.sleep(0), 'SELECT count(*) < 100 FROM log WHERE msg = ''hundred''')`,
    );
    expect(await logged('hundred')).toBe(100);
  });
});

describe('BREAK', () => {
  test.each([
    ['df.break()', null],
    [`df.break('done')`, 'done'],
    [`df.break('{"a": [1, 2.50]}')`, { a: [1, 2.5] }],
    [`df.break('42')`, 42],
    [`df.break('true')`, true],
    [`df.break('null')`, null],
    [`df.break('')`, ''],
  ])('%s', async (expression, value) => {
    expect(await d.result(`df.loop(${expression})`)).toEqual(value);
  });

  test('the value is text as it stands for df.result and the output', async () => {
    const id = await d.complete(`df.loop(df.break('nested-done'))`);
    expect((await d.app.query('SELECT df.result($1) AS r', [id])).rows[0].r).toBe('"nested-done"');
    expect((await d.typed(id, 'BREAK'))[0]).toMatchObject({ status: 'completed', result: 'nested-done' });
  });

  test('references in the value are substituted as they are, then read as JSON', async () => {
    expect(
      await d.result(
        `df.loop('SELECT 7 AS count, ''x'' AS word' |=> 'b' ~> df.break('{"total": $b.count, "word": "$b.word"}'))`,
      ),
    ).toEqual({ total: 7, word: 'x' });
    expect(await d.result(`df.loop('SELECT ''so it is'' AS s' |=> 'r' ~> df.break('$r.s'))`)).toBe(
      'so it is',
    );
    expect(await d.failure(`df.loop('SELECT 1 AS a' |=> 'r' ~> df.break('$r.b'))`)).toBe(
      "$r.b: result has no field 'b' (available: a)",
    );
  });

  test('a variable in the value', async () => {
    await d.app.query(`SELECT df.setvar('where', 'here')`);
    expect(await d.result(`df.loop(df.break('{"at": "{where}"}'))`)).toEqual({ at: 'here' });
    await d.app.query('SELECT df.clearvars()');
  });

  test('leaves the nearest loop only', async () => {
    expect(
      await d.rows(`'SELECT 0' |=> 'n' ~> df.loop(
          'SELECT $n + 1' |=> 'n' ~> df.loop(df.break('inner')) |=> 'i', 'SELECT $n < 3')
        ~> 'SELECT $n AS n, $i AS i'`),
    ).toEqual([{ n: 3, i: '"inner"' }]);
  });

  test('in a condition it breaks too', async () => {
    expect(await d.result(`df.loop('SELECT 1', df.break('by the condition'))`)).toBe('by the condition');
    expect(await d.result(`df.loop(df.if(df.break('within if'), 'SELECT 1', 'SELECT 2'))`)).toBe('within if');
  });

  test('the steps behind it in the body are not run', async () => {
    const id = await d.complete(`df.loop(df.break('early') ~> ${log('behind')}) |=> 'l' ~> 'SELECT $l AS r'`);
    expect(JSON.parse((await d.output(id))!).rows).toEqual([{ r: '"early"' }]);
    expect(await logged('behind')).toBe(0);
  });

  test('outside any loop the instance fails', async () => {
    const id = await d.start(`'SELECT 1' ~> df.break('x') ~> 'SELECT 2'`);
    expect(await d.ended(id)).toBe('failed');
    expect(await d.output(id)).toBe(
      'df.break() was called outside of a loop. df.break() may only be used inside df.loop().',
    );
    expect((await d.typed(id, 'BREAK'))[0]).toMatchObject({ status: 'completed', result: 'x' });
  });
});

describe('SLEEP', () => {
  test('its result, and a row that shows as running meanwhile', async () => {
    const id = await d.start('df.sleep(1)');
    await until(async () => (await d.typed(id, 'SLEEP'))[0]?.status === 'running', {
      what: 'the sleep to show',
    });
    expect(await d.status(id)).toBe('running');
    // parked: no lease, a time to wake
    await d.parked(id);
    expect(await d.ended(id)).toBe('completed');
    expect(JSON.parse((await d.output(id))!)).toEqual({ slept: true, seconds: 1 });
  });

  test('a sleep of a week takes a test no time', async () => {
    const id = await d.start(`${log('before the week')} ~> df.sleep(604800) ~> ${log('after the week')}`);
    await until(() =>
      d.value(
        "SELECT wake_at > now() + interval '6 days' AND owner IS NULL FROM _df.instances WHERE id = $1",
        [id],
      ),
    );
    expect(await logged('after the week')).toBe(0);
    await d.root.query(`UPDATE _df.clock SET shift = shift + interval '7 days'`);
    expect(await d.ended(id)).toBe('completed');
    expect([await logged('before the week'), await logged('after the week')]).toEqual([1, 1]);
  });

  test('a sleep of nothing does not park', async () => {
    expect(await d.result('df.sleep(0)')).toEqual({ slept: true, seconds: 0 });
  });
});

describe('max_loop_iterations', () => {
  test('ends a loop that goes on', async () => {
    const limited = await Durable.open({ max_loop_iterations: '5' });
    try {
      await limited.app.query('CREATE TABLE public.log (msg text)');
      expect(await limited.failure(`df.loop(${log('limited')})`)).toBe(
        'Loop exceeded maximum iteration count of 5. Use df.break() to exit the loop or restructure the workflow.',
      );
      expect(await limited.value('SELECT count(*)::int FROM public.log')).toBe(5);
      await limited.complete(
        `df.loop(${log('enough')}, 'SELECT count(*) < 5 FROM log WHERE msg = ''enough''')`,
      );
    } finally {
      await limited.close();
    }
  });
});

test('a loop within a sequence shows as running where it will end, so that a late note of it changes nothing', async () => {
  const id = await d.start(`'SELECT 1' ~> df.loop(df.sleep(60))`);
  await d.parked(id);
  const loop = (await d.typed(id, 'LOOP'))[0]!;
  expect([loop.status, loop.stamp]).toEqual(['running', `${id}::1::${loop.id}::1`]);
  await d.app.query('SELECT df.cancel($1)', [id]);
});
