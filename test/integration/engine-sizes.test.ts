import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';

/** What one role may put into its own instances, so that others' go on. */
let d: Durable;
beforeAll(async () => {
  d = await Durable.open();
});
afterAll(async () => {
  await d?.close();
});

const MIB = 1024 * 1024;

describe('a start is refused', () => {
  test('of a text larger than 16 MiB', async () => {
    const start = d.app.query(`SELECT df.start('SELECT 1 --' || repeat('x', $1))`, [16 * MIB]);
    await expect(start).rejects.toMatchObject({
      code: '54000',
      message: 'the durable function is larger than 16 MiB',
    });
    await d.app.query(`BEGIN; SELECT df.start('SELECT 1 --' || repeat('x', ${16 * MIB - 11})); ROLLBACK`);
  });

  test('with variables of more than that together, in whatever characters', async () => {
    await d.app.query(`SELECT df.setvar('large', repeat(E'\\x01', 3 * 1024 * 1024))`);
    const message = 'the variables of the role are larger than 16 MiB together';
    await expect(d.start(`'SELECT 1'`)).rejects.toMatchObject({ code: '54000', message });
    await d.app.query(`SELECT df.clearvars()`);
    await d.complete(`'SELECT 1'`);
  });
});

test('a graph written by hand that is larger is not loaded, and fails', async () => {
  const large = async (id: string, nodes: number, bytes: number) => {
    await d.app.query('BEGIN');
    await d.app.query(`SELECT set_config('df.starting', $1, true)`, [id]);
    await d.app.query(
      `INSERT INTO df.instances (id, root_node, submitted_by)
       VALUES ($1, '00000001', quote_ident(current_user)::regrole)`,
      [id],
    );
    await d.app.query(
      `INSERT INTO df.nodes (id, instance_id, node_type, query, submitted_by)
       SELECT lpad(to_hex(n), 8, '0'), $1, 'SQL', repeat(E'\\x01', $2), quote_ident(current_user)::regrole
       FROM generate_series(1, $3::int) AS n`,
      [id, bytes, nodes],
    );
    await d.app.query('COMMIT');
    expect(await d.ended(id)).toBe('failed');
    expect(await d.output(id)).toBe(
      `Instance ${id}: there are more than 10000 nodes, or they are larger than 16 MiB`,
    );
  };
  await large('0000a001', 1, 200 * MIB);
  await large('0000a002', 10_001, 1);
  expect(d.proxy.logLines.filter((line) => line.includes('claiming failed'))).toEqual([]);
});

describe('a signal is refused', () => {
  test('with a name longer than 1 kB, which nothing can wait for either', async () => {
    const id = await d.start(`df.wait_for_signal(repeat('n', 1024))`);
    const message = 'Signal name is longer than 1024 bytes';
    for (const call of [`df.signal('${id}', repeat('n', 1025))`, `df.wait_for_signal(repeat('n', 1025))`])
      await expect(d.app.query(`SELECT ${call}`)).rejects.toMatchObject({ code: '54000', message });
    const byHand = `INSERT INTO _df.inbox (instance_id, name, data) VALUES ($1, repeat('n', 1025), '{}')`;
    await expect(d.app.query(byHand, [id])).rejects.toMatchObject({ code: '23514' });
    await d.app.query(`SELECT df.signal($1, repeat('n', 1024))`, [id]);
    expect(await d.ended(id)).toBe('completed');
  });

  test('with data larger than 16 MiB', async () => {
    const id = await d.start(`df.wait_for_signal('go')`);
    for (const data of [`repeat('x', 16 * 1024 * 1024)`, `repeat(E'\\x01', 3 * 1024 * 1024)`])
      await expect(d.app.query(`SELECT df.signal($1, 'go', ${data})`, [id])).rejects.toMatchObject({
        code: '54000',
        message: 'Signal data is larger than 16 MiB',
      });
    await d.app.query(`SELECT df.cancel($1)`, [id]);
  });
});

test('variables that are put in until the text is larger than 64 MiB fail the step', async () => {
  await d.app.query(`SELECT df.setvar('big', repeat('y', 1000000))`);
  const id = await d.start('$1', d.app, [`SELECT length('${'{big}'.repeat(600)}')`]);
  await d.app.query(`SELECT df.clearvars()`);
  expect(await d.ended(id)).toBe('failed');
  expect(await d.output(id)).toBe(
    'the text of the node is larger than 64 MiB with variables and results put in',
  );
});

test('results that an instance keeps are at most 128 MiB together; a step that would exceed it is undone', async () => {
  await d.root.query('CREATE TABLE public.kept (n int)');
  await d.root.query('GRANT ALL ON public.kept TO PUBLIC');
  const step = (n: number) =>
    `'WITH w AS (INSERT INTO public.kept VALUES (${n})) SELECT repeat(''x'', 45000000) AS t' |=> 'r${n}'`;
  const id = await d.start(`${step(1)} ~> ${step(2)} ~> ${step(3)} ~> 'SELECT 1'`);
  expect(await d.ended(id, 30_000)).toBe('failed');
  expect(await d.output(id)).toBe(
    'SQL execution failed: error returned from database: the results of the instance are larger than 128 MiB together',
  );
  expect(await d.value('SELECT array_agg(n ORDER BY n) FROM public.kept')).toEqual([1, 2]);
  expect(await d.node(id, 'WITH w AS (INSERT INTO public.kept VALUES (3)')).toMatchObject({
    status: 'failed',
    details: { sqlstate: '54000' },
  });
}, 60_000);
