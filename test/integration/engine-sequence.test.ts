import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';

let d: Durable;

beforeAll(async () => {
  d = await Durable.open();
});
afterAll(() => d?.close());

const one = (column: string, value: unknown) => ({ rows: [{ [column]: value }], row_count: 1 });

describe('THEN and names', () => {
  test('the result of a sequence is that of its last step', async () => {
    expect(await d.result(`'SELECT 1 AS a' ~> 'SELECT 2 AS b' ~> 'SELECT 3 AS c'`)).toEqual(one('c', 3));
  });

  test("'a' |=> 'x' ~> 'b' |=> 'y': y is the result of b", async () => {
    expect(
      await d.result(`'SELECT 1' |=> 'x' ~> 'SELECT $x + 1' |=> 'y' ~> 'SELECT $x * 10 + $y AS r'`),
    ).toEqual(one('r', 12));
  });

  test('the name stands on the THEN node, which has the result of its right step', async () => {
    const id = await d.complete(`'SELECT 1 AS a' |=> 'x' ~> 'SELECT 2 AS b' |=> 'y'`);
    const nodes = await d.nodes(id);
    const then = nodes.find((node) => node.node_type === 'THEN')!;
    expect(then).toMatchObject({
      result_name: 'y',
      status: 'completed',
      result: one('b', 2),
      stamp: `${id}::1`,
    });
    expect(nodes.find((node) => node.query === 'SELECT 1 AS a')).toMatchObject({
      result_name: 'x',
      status: 'completed',
    });
    expect(nodes.every((node) => node.error === null)).toBe(true);
  });

  test('a name used again is overwritten', async () => {
    expect(await d.result(`'SELECT 1' |=> 'x' ~> 'SELECT $x + 1' |=> 'x' ~> 'SELECT $x AS r'`)).toEqual(
      one('r', 2),
    );
  });

  test('a step after a failed one never starts', async () => {
    await d.app.query('CREATE TABLE public.seq_log (n int)');
    const id = await d.start(
      `'INSERT INTO seq_log VALUES (1)' ~> 'SELECT 1/0' ~> 'INSERT INTO seq_log VALUES (2)'`,
    );
    expect(await d.ended(id)).toBe('failed');
    expect(await d.value('SELECT array_agg(n) FROM public.seq_log')).toEqual([1]);
    const text = 'SQL execution failed: error returned from database: division by zero';
    expect(await d.output(id)).toBe(text);
    const last = await d.node(id, 'INSERT INTO seq_log VALUES (2)');
    expect(last).toMatchObject({ status: 'pending', stamp: null, result: null });
    for (const then of await d.typed(id, 'THEN'))
      expect(then).toMatchObject({ status: 'failed', result: text });
    expect(await d.value('SELECT completed_at FROM df.instances WHERE id = $1', [id])).toBeNull();
  });

  test('names on SLEEP and BREAK are saved and mean nothing', async () => {
    const id = await d.start(`df.sleep(0) |=> 's' ~> 'SELECT $s'`);
    expect(await d.ended(id)).toBe('failed');
    expect((await d.typed(id, 'SLEEP'))[0]).toMatchObject({ result_name: 's', status: 'completed' });
  });

  test('a chain of 200 steps completes', async () => {
    await d.app.query('CREATE TABLE public.chain (n int)');
    const steps = Array.from({ length: 199 }, (_, n) => `'INSERT INTO chain VALUES (${n})'`);
    const id = await d.complete(`${steps.join(' ~> ')} ~> 'SELECT 200'`);
    expect(await d.value('SELECT count(*)::int FROM public.chain')).toBe(199);
    expect(await d.value('SELECT count(DISTINCT n)::int FROM public.chain')).toBe(199);
    expect(
      await d.value(`SELECT count(*)::int FROM df.nodes WHERE instance_id = $1 AND status = 'completed'`, [
        id,
      ]),
    ).toBe(399);
  }, 30_000);
});

describe('composition (df-api §2)', () => {
  test("'c' ?> 'a' !> 'b' ~> 'd' runs d after either branch", async () => {
    expect(await d.result(`'SELECT true' ?> 'SELECT 1' !> 'SELECT 2' ~> 'SELECT 3 AS d'`)).toEqual(
      one('d', 3),
    );
  });

  test("'z' ~> 'c' ?> 'a' !> 'b': all on the left is the condition", async () => {
    const id = await d.complete(`'SELECT 1' ~> 'SELECT false' ?> 'SELECT ''a''' !> 'SELECT ''b'' AS r'`);
    expect(JSON.parse((await d.output(id))!)).toEqual(one('r', 'b'));
    expect((await d.typed(id, 'THEN'))[0]).toMatchObject({ status: 'completed' });
  });

  test('the first complete IF is the condition of the second', async () => {
    expect(
      await d.result(
        `'SELECT true' ?> 'SELECT false' !> 'SELECT true' ?> 'SELECT 1 AS r' !> 'SELECT 2 AS r'`,
      ),
    ).toEqual(one('r', 2));
  });

  test("'a' & 'b' ~> 'c' is THEN(JOIN, c); 'a' ~> 'b' & 'c' is JOIN(THEN, c)", async () => {
    expect(await d.result(`'SELECT 1' & 'SELECT 2' ~> 'SELECT 3 AS c'`)).toEqual(one('c', 3));
    expect(await d.result(`'SELECT 1' ~> 'SELECT 2 AS b' & 'SELECT 3 AS c'`)).toEqual([
      one('b', 2),
      one('c', 3),
    ]);
  });

  test("'a' & 'b' & 'c' nests", async () => {
    expect(await d.result(`'SELECT 1 AS a' & 'SELECT 2 AS b' & 'SELECT 3 AS c'`)).toEqual([
      [one('a', 1), one('b', 2)],
      one('c', 3),
    ]);
  });

  test("'a' | 'b' & 'c' is JOIN(RACE, c)", async () => {
    expect(await d.result(`'SELECT 1 AS a' | df.sleep(30) & 'SELECT 3 AS c'`)).toEqual([
      one('a', 1),
      one('c', 3),
    ]);
  });

  test('a bare partial is a SQL step and fails with a syntax error', async () => {
    expect(await d.failure(`'SELECT true' ?> 'SELECT 1'`)).toMatch(
      /^SQL execution failed: .*syntax error at or near/,
    );
  });
});

describe('IF', () => {
  test('runs one branch; the other stays pending', async () => {
    const id = await d.complete(`'SELECT 1 > 2' ?> 'SELECT ''yes'' AS r' !> 'SELECT ''no'' AS r'`);
    expect(JSON.parse((await d.output(id))!)).toEqual(one('r', 'no'));
    expect(await d.node(id, "SELECT 'yes'")).toMatchObject({ status: 'pending', stamp: null });
    expect(await d.node(id, "SELECT 'no'")).toMatchObject({ status: 'completed' });
    expect(
      await d.app.query('SELECT inferred_status FROM df.instance_nodes($1) WHERE query LIKE $2', [
        id,
        '%yes%',
      ]),
    ).toMatchObject({ rows: [{ inferred_status: 'skipped' }] });
  });

  test('names set in condition and branch are visible afterwards', async () => {
    expect(
      await d.result(
        `(('SELECT 5 AS v' |=> 'c') ?> ('SELECT 7' |=> 'b') !> 'SELECT 0') ~> 'SELECT $c + $b AS r'`,
      ),
    ).toEqual(one('r', 12));
  });

  test.each([
    [`'SELECT count(*) FROM pg_class WHERE false'`, 'no'],
    [`'SELECT NULL'`, 'no'],
    [`'SELECT 1 WHERE false'`, 'no'],
    [`'CREATE TEMP TABLE x (n int)'`, 'no'],
    [`'SELECT 0.00'`, 'no'],
    [`'SELECT ''F'''`, 'no'],
    [`'SELECT ''n'''`, 'yes'],
    [`'SELECT ''{}''::jsonb'`, 'no'],
    [`'SELECT ARRAY[]::int[]'`, 'no'],
    [`'SELECT ARRAY[0]'`, 'yes'],
    [`'SELECT ''NaN''::numeric'`, 'yes'],
    [`df.sleep(0)`, 'yes'],
    [`df.join('SELECT 1', 'SELECT 1')`, 'yes'],
  ])('%s is %s', async (condition, answer) => {
    expect(await d.rows(`df.if(${condition}, 'SELECT ''yes'' AS r', 'SELECT ''no'' AS r')`)).toEqual([
      { r: answer },
    ]);
  });

  test('a failing condition fails the IF with its text', async () => {
    const id = await d.start(`df.if('SELECT 1/0', 'SELECT 1', 'SELECT 2')`);
    expect(await d.ended(id)).toBe('failed');
    expect((await d.typed(id, 'IF'))[0]).toMatchObject({
      status: 'failed',
      result: 'SQL execution failed: error returned from database: division by zero',
    });
  });

  test('a condition that is one reference is judged without a statement', async () => {
    const check = (value: string, reference: string) =>
      d.rows(
        `'SELECT ${value} AS v' |=> 'x' ~> ('${reference}' ?> 'SELECT true AS r' !> 'SELECT false AS r')`,
      );
    expect(await check('true', '$x.v')).toEqual([{ r: true }]);
    expect(await check('false', '$x')).toEqual([{ r: false }]);
    expect(await check('NULL::int', '$x.v?')).toEqual([{ r: false }]);
    expect(await check("''no''", ' $x ')).toEqual([{ r: false }]);
    expect(await d.failure(`'SELECT NULL AS v' |=> 'x' ~> ('$x.v' ?> 'SELECT 1' !> 'SELECT 2')`)).toBe(
      '$x.v is NULL',
    );
  });
});

describe('df.if_rows', () => {
  test('looks at the rows of a named result', async () => {
    const by = (sql: string) =>
      d.rows(`'${sql}' |=> 'r' ~> df.if_rows('r', 'SELECT ''some'' AS r', 'SELECT ''none'' AS r')`);
    expect(await by('SELECT 1')).toEqual([{ r: 'some' }]);
    expect(await by('SELECT false')).toEqual([{ r: 'some' }]);
    expect(await by('SELECT 1 WHERE false')).toEqual([{ r: 'none' }]);
    expect(await by('CREATE TABLE IF NOT EXISTS public.rows_t (n int)')).toEqual([{ r: 'none' }]);
    expect(await by('INSERT INTO rows_t VALUES (1)')).toEqual([{ r: 'none' }]);
    expect(await by('INSERT INTO rows_t VALUES (1) RETURNING n')).toEqual([{ r: 'some' }]);
  });

  test('of an unknown name it fails', async () => {
    expect(await d.failure(`df.if_rows('nope', 'SELECT 1', 'SELECT 2')`)).toBe(
      "df.if_rows: result 'nope' not found",
    );
  });

  test('of a result that is no SQL result it fails', async () => {
    expect(
      await d.failure(`df.join('SELECT 1', 'SELECT 2') |=> 'j' ~> df.if_rows('j', 'SELECT 1', 'SELECT 2')`),
    ).toBe("df.if_rows: result 'j' is not a SQL result (missing row_count)");
  });
});
