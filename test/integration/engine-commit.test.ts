import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';

let d: Durable;
const PREFIX = 'SQL execution failed: error returned from database: ';

beforeAll(async () => {
  d = await Durable.open();
  await d.app.query(
    'CREATE TABLE public.t (n int); CREATE TABLE once (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)',
  );
  await d.app.query('INSERT INTO once VALUES (1)');
});
afterAll(() => d?.close());

const count = (n: number) => d.value('SELECT count(*)::int FROM public.t WHERE n = $1', [n]);

describe('a commit that fails', () => {
  test.each([
    ['a sleep of no time', 'df.sleep(0)'],
    ['a sleep', 'df.sleep(1)'],
    ['a step', `'SELECT 2'`],
    ['a join', `('SELECT 3' & 'SELECT 4')`],
  ])('is the failure of the step that made it, not of %s behind it', async (_, next) => {
    const id = await d.start(`'INSERT INTO once VALUES (1)' ~> ${next} ~> 'SELECT 1'`);
    expect(await d.ended(id)).toBe('failed');
    const text = `${PREFIX}duplicate key value violates unique constraint "once_n_key"`;
    expect(await d.output(id)).toBe(text);
    const insert = await d.node(id, 'INSERT INTO once');
    expect(insert).toMatchObject({ status: 'failed', error: text, details: { sqlstate: '23505' } });
    const others = (await d.nodes(id)).filter((node) => node.node_type !== 'THEN' && node.id !== insert.id);
    expect(others.map((node) => node.status)).not.toContain('failed');
    expect(others.map((node) => node.status)).not.toContain('completed');
  });
});

describe('a step under a snapshot that lasts until it shows as running', () => {
  const long = (level: string, n: number) =>
    `'SET TRANSACTION ISOLATION LEVEL ${level}; INSERT INTO t VALUES (${n}); SELECT pg_sleep(0.5)'`;

  // all at once: each takes its time
  test.each(['REPEATABLE READ', 'SERIALIZABLE'])('completes, and once: %s', async (level) => {
    const base = level === 'SERIALIZABLE' ? 610 : 600;
    const graphs = [
      long(level, base),
      `${long(level, base + 1)} ~> 'SELECT 1'`,
      `'SELECT 1' ~> ${long(level, base + 2)} ~> df.sleep(0)`,
      `${long(level, base + 3)} ~> ${long(level, base + 4)}`,
      `'SELECT 1' ~> (${long(level, base + 5)} & ${long(level, base + 6)})`,
      `(${long(level, base + 7)} & df.sleep(1)) ~> 'SELECT 1'`,
    ];
    const ids = await Promise.all(graphs.map((graph) => d.start(graph)));
    for (const id of ids)
      expect([await d.ended(id), await d.output(id)]).toEqual(['completed', expect.anything()]);
    for (let n = 0; n < 8; n += 1) expect([n, await count(base + n)]).toEqual([n, 1]);
  });
});

describe('a read-only transaction', () => {
  test.each([
    ['alone', ''],
    ['before others', ` ~> 'SELECT 1'`],
  ])('that has written first fails and says so, and nothing of it stands: %s', async (_, rest) => {
    const id = await d.start(`'INSERT INTO t VALUES (7); SET TRANSACTION READ ONLY'${rest}`);
    expect(await d.ended(id)).toBe('failed');
    expect(await d.output(id)).toBe(`${PREFIX}the step has written and then made its transaction read-only`);
    expect((await d.node(id, 'INSERT')).details).toMatchObject({ sqlstate: '25006' });
    expect(await count(7)).toBe(0);
  });

  test('of a role for which it is the default completes as long as it only reads', async () => {
    const reader = await d.user('reader');
    const client = await d.connect(reader);
    await client.query('SET default_transaction_read_only = off');
    await d.root.query(`ALTER ROLE ${reader.name} SET default_transaction_read_only = on`);
    const show = `'SELECT current_setting(''transaction_read_only'') AS r'`;
    for (const graph of [show, `${show} ~> ${show}`, `${show} & ${show}`, `df.sleep(0) ~> ${show}`]) {
      const id = await d.start(graph, client);
      expect([graph, await d.ended(id)]).toEqual([graph, 'completed']);
      const steps = await d.typed(id, 'SQL');
      expect(steps.map((node) => (node.result as { rows: unknown }).rows)).toEqual(
        steps.map(() => [{ r: 'on' }]),
      );
    }
    const writes = await d.start(`${show} ~> 'CREATE TABLE no (n int)'`, client);
    expect(await d.ended(writes)).toBe('failed');
    expect(await d.output(writes)).toBe(`${PREFIX}cannot execute CREATE TABLE in a read-only transaction`);
    await client.end();
  });
});

test('a failure does not show the columns of an empty result before it as its own details', async () => {
  const id = await d.start(`'SELECT 1 AS a WHERE false' |=> 'b' ~> 'SELECT $b.a' ~> 'SELECT * FROM $b.*'`);
  expect(await d.ended(id)).toBe('failed');
  const failing = await d.node(id, 'SELECT $b.a');
  expect(failing.status).toBe('failed');
  expect(failing.details).toEqual({ execution_id: failing.stamp });
});
