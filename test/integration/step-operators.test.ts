import { afterAll, beforeAll, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';

let d: Durable;

beforeAll(async () => {
  d = await Durable.open();
});
afterAll(() => d?.close());

/** The result of the instance that the only step of this expression has started. */
async function ofChild(expression: string): Promise<unknown> {
  const [row] = await d.rows(expression);
  const child = row!.child as string;
  expect(await d.ended(child)).toBe('completed');
  return JSON.parse((await d.output(child))!);
}

test('a step starts another function with operators', async () => {
  expect(
    await ofChild(
      `$$SELECT df.start('SELECT 40 AS n' |=> 'first' ~> 'SELECT $first + 2 AS answer', 'child') AS child$$`,
    ),
  ).toEqual({ rows: [{ answer: 42 }], row_count: 1 });
  expect(await ofChild(`$$SELECT df.start('SELECT 1 AS a' & 'SELECT 2 AS b') AS child$$`)).toEqual([
    { rows: [{ a: 1 }], row_count: 1 },
    { rows: [{ b: 2 }], row_count: 1 },
  ]);
  expect(
    await ofChild(`$$SELECT df.start(@> ('SELECT true' ?> df.break('left') !> df.sleep(1))) AS child$$`),
  ).toBe('left');
});

test('among other statements, with results filled in, in DO blocks and in functions that a step creates', async () => {
  expect(
    await ofChild(`'SELECT 7 AS n' |=> 'seven'
      ~> $$CREATE TABLE public.child (id text);
           DO $do$ BEGIN INSERT INTO public.child VALUES (df.start('SELECT 1' ~> df.sql('SELECT ' || $seven || ' AS n'))); END $do$;
           SELECT id AS child FROM public.child$$`),
  ).toEqual({ rows: [{ n: 7 }], row_count: 1 });
  await d.complete(
    `$$CREATE FUNCTION public.launch() RETURNS text LANGUAGE sql AS $f$ SELECT df.start('SELECT 1' ~> 'SELECT 2 AS n') $f$ $$`,
  );
  expect(await ofChild(`'SELECT public.launch() AS child'`)).toEqual({ rows: [{ n: 2 }], row_count: 1 });
});

test("the server's own operators stay its own", async () => {
  expect(
    await d.rows(
      `$$SELECT 6 & 3 AS a, 6 | 1 AS o, ARRAY[1] @> ARRAY[1] AS c, 'x' || '|=>' AS s, df.seq('a', 'b') IS NOT NULL AS f$$`,
    ),
  ).toEqual([{ a: 2, o: 7, c: true, s: 'x|=>', f: true }]);
});

test('errors point into what the user wrote', async () => {
  const step = `SELECT 1; SELECT df.start('a' ~> 'b' ~> df.sql('c')) FROM nowhere`;
  const id = await d.start('df.sql($1)', d.app, [step]);
  expect(await d.ended(id)).toBe('failed');
  const { details } = await d.node(id, 'SELECT 1;');
  expect(details).toMatchObject({
    sqlstate: '42P01',
    statement: step,
    position: String(step.indexOf('nowhere') + 1),
  });
  const inner = await d.start('df.sql($1)', d.app, [
    `DO $$ BEGIN PERFORM df.start('a' ~> 'b') FROM nowhere; END $$`,
  ]);
  expect(await d.ended(inner)).toBe('failed');
  expect(JSON.stringify(await d.node(inner, 'DO'))).not.toContain('OPERATOR(');
});
