import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { until } from '../support/wait.js';

const PREFIX = 'SQL execution failed: error returned from database: ';
const TIMED_OUT = `${PREFIX}canceling statement due to statement timeout`;

describe('max_user_connections and execution_acquire_timeout', () => {
  let d: Durable;
  const FULL =
    'pg_durable: connection limit reached (max_user_connections=2). Timed out after 1s waiting for an available execution slot.';

  beforeAll(async () => {
    d = await Durable.open({ max_user_connections: '2', execution_acquire_timeout: '1s' });
    await d.app.query('CREATE TABLE public.done (n int)');
  });
  afterAll(() => d?.close());

  const done = (n: number) => d.value('SELECT count(*)::int FROM public.done WHERE n = $1', [n]);

  test('a step that gets no slot in time fails; those that have one go on', async () => {
    const slow = (n: number) => `'INSERT INTO public.done SELECT ${n} FROM pg_sleep(1.6)'`;
    const id = await d.start(`df.join3(${slow(1)}, ${slow(2)}, 'INSERT INTO public.done VALUES (3)')`);
    expect(await d.ended(id)).toBe('failed');
    expect(await d.output(id)).toBe(`JOIN branch 3 failed: ${FULL}`);
    expect((await d.node(id, 'INSERT INTO public.done VALUES (3)')).error).toBe(FULL);
    expect([await done(1), await done(2), await done(3)]).toEqual([1, 1, 0]);
  });

  test('steps wait for a slot rather than fail, and never more run than there are slots', async () => {
    await d.app.query(
      `SELECT count(df.start('INSERT INTO public.done SELECT 4 FROM pg_sleep(0.15)')) FROM generate_series(1, 12)`,
    );
    let most = 0;
    await until(
      async () => {
        most = Math.max(most, await d.running('pg_sleep'));
        return (await done(4)) === 12;
      },
      { everyMs: 5, what: 'all of them' },
    );
    expect(most).toBe(2);
    const sessions = await d.value(
      `SELECT count(*)::int FROM pg_stat_activity
       WHERE datname = current_database() AND application_name = 'pg_durable:worker:workflow-sql'`,
    );
    expect(sessions).toBeLessThanOrEqual(2);
  });

  test('an instance that waits for its first slot for longer is given back, not failed', async () => {
    const slow = await d.start(`'SELECT pg_sleep(2.2)' & 'SELECT pg_sleep(2.2)'`);
    await until(async () => (await d.running('pg_sleep(2.2)')) === 2);
    const id = await d.start(`'INSERT INTO public.done VALUES (5)'`);
    expect(await d.ended(id)).toBe('completed');
    expect(await d.ended(slow)).toBe('completed');
    expect(await done(5)).toBe(1);
  });
});

describe('statement_timeout of steps', () => {
  let d: Durable;
  let free: Durable;

  beforeAll(async () => {
    d = await Durable.open({ step_statement_timeout: '300ms' });
    free = await Durable.open();
    for (const one of [d, free]) {
      await one.app.query(
        `CREATE TABLE public.done (n int);
         CREATE SEQUENCE public.runs;
         CREATE FUNCTION public.hide(t text) RETURNS text LANGUAGE sql AS $$ SELECT set_config('statement' || '_timeout', t, false) $$;`,
      );
    }
  });
  afterAll(async () => {
    await d?.close();
    await free?.close();
  });
  afterEach(async () => {
    await free.app.query(`ALTER ROLE ${free.role.name} RESET ALL`);
  });

  const runs = (one: Durable) =>
    one.value('SELECT CASE WHEN is_called THEN last_value ELSE 0 END::int FROM public.runs');

  /** While the step runs, somebody locks its instance, and lets go only when the checkpoint has waited for long. */
  async function heldUp(one: Durable, step: string): Promise<string> {
    const id = await one.start('$1', one.app, [step]);
    await until(async () => (await one.running('pg_sleep')) > 0, { everyMs: 2 });
    await one.root.query('BEGIN');
    await one.root.query('SELECT FROM df.instances WHERE id = $1 FOR UPDATE', [id]);
    await delay(900);
    await one.root.query('COMMIT');
    return await one.ended(id);
  }

  test('a statement that takes longer fails its node with the server’s text', async () => {
    const id = await d.start(`'INSERT INTO public.done VALUES (1)' ~> 'SELECT pg_sleep(5)'`);
    expect(await d.ended(id)).toBe('failed');
    expect(await d.output(id)).toBe(TIMED_OUT);
    expect((await d.node(id, 'SELECT pg_sleep')).details).toMatchObject({ sqlstate: '57014' });
    expect(await d.value('SELECT count(*)::int FROM public.done WHERE n = 1')).toBe(1);
  });

  test('it is the limit of a statement, not of the step', async () => {
    await d.complete(`'SELECT pg_sleep(0.2); SELECT pg_sleep(0.2)' ~> 'SELECT pg_sleep(0.2)'`);
  });

  test('a step may set another for itself; the next one has the first again', async () => {
    const id = await d.start(`'SET statement_timeout = 0; SELECT pg_sleep(0.5)' ~> 'SELECT pg_sleep(5)'`);
    expect(await d.ended(id)).toBe('failed');
    expect((await d.node(id, 'SET')).status).toBe('completed');
    expect(await d.output(id)).toBe(TIMED_OUT);
  });

  test('it is for steps in other databases, too', async () => {
    const id = await d.start(`'SELECT pg_sleep(5)', database => 'template1'`);
    expect(await d.ended(id)).toBe('failed');
    expect(await d.output(id)).toBe(TIMED_OUT);
  });

  test('it does not cut the checkpoint', async () => {
    expect(await heldUp(d, `INSERT INTO public.done SELECT nextval('public.runs') FROM pg_sleep(0.2)`)).toBe(
      'completed',
    );
    expect(await runs(d)).toBe(1);
  });

  test('without the setting, the role’s own counts, and does not cut the checkpoint either', async () => {
    await free.complete(`'SELECT pg_sleep(0.4)'`);
    await free.app.query(`ALTER ROLE ${free.role.name} SET statement_timeout = '300ms'`);
    await free.root.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE datname = current_database() AND application_name = 'pg_durable:worker:workflow-sql'`,
    );
    expect(await free.failure(`'SELECT pg_sleep(5)'`)).toBe(TIMED_OUT);
    expect(
      await heldUp(free, `INSERT INTO public.done SELECT nextval('public.runs') FROM pg_sleep(0.2)`),
    ).toBe('completed');
    expect(await runs(free)).toBe(1);
  });

  test('one that a function sets unseen: the step is run again rather than lost', async () => {
    const before = (await free.value('SELECT count(*)::int FROM public.done')) as number;
    expect(
      await heldUp(free, `INSERT INTO public.done SELECT 7 FROM pg_sleep(0.2); SELECT public.hide('300ms')`),
    ).toBe('completed');
    expect(await free.value('SELECT count(*)::int FROM public.done')).toBe(before + 1);
  });
});
