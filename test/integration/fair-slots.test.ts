import pg from 'pg';
import { afterEach, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import type { TestRole } from '../support/postgres.js';
import { startProxy, type TestProxy } from '../support/proxy.js';
import { until } from '../support/wait.js';

let d: Durable | undefined;
let second: TestProxy | undefined;

afterEach(async () => {
  await second?.stop();
  await d?.close();
  second = undefined;
  d = undefined;
});

/** Many instances of the application's role, in one transaction. */
async function flood(expression: string, count: number): Promise<void> {
  await d!.app.query(`SELECT count(df.start(${expression})) FROM generate_series(1, $1::int)`, [count]);
}

/** Another role, connected through the proxy. */
async function another(): Promise<pg.Client> {
  return await d!.connect(await d!.user('other'));
}

const begun = () =>
  until(() => d!.value(`SELECT count(*) >= 5 FROM df.instances WHERE status = 'completed'`), {
    what: 'the flood to have begun',
  });

/**
 * Starts one step and waits for its end.
 * @returns how many instances of the application's role have been completed meanwhile
 */
async function overtakenBy(client: pg.Client, sql = 'SELECT 1'): Promise<number> {
  const id = await d!.start('$1', client, [sql]);
  expect(await d!.ended(id)).toBe('completed');
  return (await d!.value(
    `SELECT count(*)::int
     FROM df.instances AS a, df.instances AS b
     WHERE b.id = $1 AND a.submitted_by = $2::regrole AND a.completed_at BETWEEN b.created_at AND b.completed_at`,
    [id, pg.escapeIdentifier(d!.role.name)],
  )) as number;
}

/**
 * Once steps of the application have written to public.done: starts five steps, one after another.
 * @returns how many steps of the application have been done during each of them
 */
async function stepsMeanwhile(client: pg.Client): Promise<number[]> {
  const done = async () => (await d!.value('SELECT count(*)::int FROM public.done')) as number;
  await until(async () => (await done()) > 2);
  const counts: number[] = [];
  for (let n = 0; n < 5; n += 1) {
    const before = await done();
    const one = await d!.start(`'SELECT 1'`, client);
    expect(await d!.ended(one)).toBe('completed');
    counts.push((await done()) - before);
  }
  return counts;
}

const median = (numbers: number[]) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]!;

describe('a role that floods the executor delays another role by about one step', () => {
  test('1000 instances of it are due', async () => {
    d = await Durable.open({ max_user_connections: '4' });
    const other = await another();
    await flood(`'SELECT pg_sleep(0.002)'`, 1000);
    await begun();
    const counts: number[] = [];
    for (let n = 0; n < 9; n += 1) counts.push(await overtakenBy(other));
    // 8 are held ahead; what else is completed in the time of a login and three round trips
    expect(median(counts)).toBeLessThan(60);
    expect(Math.max(...counts)).toBeLessThan(600);
    const open = await d.value(
      `SELECT count(*)::int FROM df.instances WHERE status IN ('pending', 'running')`,
    );
    expect(open).toBeGreaterThan(0);
    await other.end();
  });

  test('what it has claimed are slow steps: the next slot that becomes free is the other’s', async () => {
    d = await Durable.open({ max_user_connections: '2' });
    const other = await another();
    await flood(`'SELECT pg_sleep(0.2)'`, 30);
    await begun();
    for (let n = 0; n < 2; n += 1) expect(await overtakenBy(other)).toBeLessThanOrEqual(3);
    await other.end();
  });

  test('200 branches of a join wait for slots', async () => {
    d = await Durable.open({ max_user_connections: '2', execution_acquire_timeout: '1min' });
    const other = await another();
    await d.app.query('CREATE TABLE done (n int)');
    const branch = {
      node_type: 'SQL',
      query: 'INSERT INTO public.done SELECT 1 FROM pg_sleep(0.02)',
    };
    const join = {
      node_type: 'JOIN',
      left_node: branch,
      right_node: branch,
      extra_nodes: Array.from({ length: 198 }, () => branch),
    };
    const id = await d.start('$1', d.app, [JSON.stringify(join)]);
    const counts = await stepsMeanwhile(other);
    expect(median(counts)).toBeLessThan(25);
    expect(await d.status(id)).toBe('running');
    await other.end();
  });

  test('its instances are long chains that would keep their slots', async () => {
    d = await Durable.open({ max_user_connections: '2' });
    const other = await another();
    await d.app.query('CREATE TABLE done (n int)');
    const chain = Array.from({ length: 200 }, () => `'INSERT INTO public.done SELECT 1 FROM pg_sleep(0.01)'`);
    await flood(chain.join(' ~> '), 6);
    const counts = await stepsMeanwhile(other);
    expect(median(counts)).toBeLessThan(30);
    await other.end();
  });

  test('two proxies share its work', async () => {
    d = await Durable.open({ max_user_connections: '3' });
    second = await startProxy({ database: d.database, settings: { max_user_connections: '3' } });
    const role: TestRole = await d.user('other');
    const here = await d.connect(role);
    const there = new pg.Client({ connectionString: second.url(role) });
    await there.connect();
    const app = new pg.Client({ connectionString: second.url(d.role) });
    await app.connect(); // so that the second proxy has the credential, too
    await flood(`'SELECT pg_sleep(0.003)'`, 1000);
    await begun();
    const counts: number[] = [];
    for (let n = 0; n < 8; n += 1) counts.push(await overtakenBy(here), await overtakenBy(there));
    expect(median(counts)).toBeLessThan(90);
    for (const client of [here, there, app]) await client.end();
  });

  test('2000 other roles have instances that sleep', async () => {
    d = await Durable.open({ max_user_connections: '2' });
    // rows of roles that nobody has: their instances sleep
    await d.root.query(
      `INSERT INTO _df.instances (id, role, vars, wake_at, started_at)
       SELECT lpad(to_hex(r * 1000 + n), 8, '0'), r, '{}', now() + interval '1 hour', now()
       FROM generate_series(1, 2000) AS r, generate_series(1, 2) AS n`,
    );
    const other = await another();
    await flood(`'SELECT pg_sleep(0.002)'`, 800);
    await begun();
    const counts: number[] = [];
    for (let n = 0; n < 7; n += 1) counts.push(await overtakenBy(other));
    expect(median(counts)).toBeLessThan(100);
    await other.end();
  });
});
