import fc from 'fast-check';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { parseCron } from '../../src/engine/cron.js';
import { nextTick } from '../../src/engine/next-tick.js';
import { Durable } from '../support/durable.js';
import { startProxy } from '../support/proxy.js';
import { until } from '../support/wait.js';
import { seed } from '../unit/rewrite/seed.js';

let d: Durable;

beforeAll(async () => {
  d = await Durable.open({ poll_interval: '20ms' });
});
afterAll(() => d?.close());
afterEach(() => d.root.query(`UPDATE _df.clock SET shift = '0'`));

/** The engine's clock, in ms. */
const now = async () => Number(await d.value('SELECT extract(epoch FROM _df.now()) * 1000'));
/** Moves the engine's clock, to a time or by an interval. */
const goTo = (ms: number) =>
  d.root.query(`UPDATE _df.clock SET shift = to_timestamp($1) - clock_timestamp()`, [ms / 1000]);
/** The time, in ms, that an instance waits for next, when it is later than one. */
const due = (id: string, after = 0) =>
  until(
    async () =>
      Number(
        await d.value(
          `SELECT extract(epoch FROM j.due) * 1000 FROM _df.journal AS j JOIN _df.instances AS i ON i.id = j.instance_id
           WHERE j.instance_id = $1 AND j.kind = 't' AND j.due > to_timestamp($2) AND i.wake_at IS NOT NULL`,
          [id, after / 1000],
        ),
      ),
    { everyMs: 5, what: `instance ${id} to wait for a time` },
  );
const MINUTE = 60_000;

describe('WAIT_SCHEDULE', () => {
  test('waits for the next time, which is fixed when the node begins, and says that it has', async () => {
    const before = await now();
    const id = await d.start(`df.wait_for_schedule('*/5 * * * *') ~> 'SELECT 1 AS after'`);
    await d.parked(id);
    const tick = await due(id);
    expect(tick % (5 * MINUTE)).toBe(0);
    expect(tick).toBeGreaterThan(before);
    expect(tick).toBeLessThanOrEqual((await now()) + 5 * MINUTE);
    expect(await d.typed(id, 'WAIT_SCHEDULE')).toMatchObject([{ status: 'running', stamp: `${id}::1` }]);

    await goTo(tick - 200);
    await goTo(tick + 20 * MINUTE); // however late: it has come
    expect(await d.ended(id)).toBe('completed');
    expect(await d.typed(id, 'WAIT_SCHEDULE')).toMatchObject([
      { status: 'completed', result: { scheduled: true }, stamp: `${id}::1` },
    ]);
  });

  test('consecutive waits hit consecutive times, also from one iteration of a loop to the next', async () => {
    const each = await d.start(
      `@> (df.wait_for_schedule('* * * * *') ~> df.wait_for_schedule('* * * * *') ~> 'SELECT 1')`,
    );
    let tick = await due(each);
    for (let n = 0; n < 4; n += 1) {
      await goTo(tick + 3);
      const next = await due(each, tick);
      expect(next - tick).toBe(MINUTE);
      tick = next;
    }
    await d.app.query('SELECT df.cancel($1)', [each]);
  });

  test('the time is found on the clock of the database, whatever the proxy takes for the time', async () => {
    const then = Date.parse('2031-03-08T12:00Z');
    await goTo(then);
    const id = await d.start(`df.wait_for_schedule('CRON_TZ=America/New_York 30 2 * * *')`);
    await d.parked(id);
    expect(await due(id)).toBe(Date.parse('2031-03-09T07:00Z')); // the clocks jump over half past two
    await d.app.query('SELECT df.cancel($1)', [id]);
  });

  test('a wait in memory ends when the clock of the database has come to it, not the proxy’s', async () => {
    const tick = Math.ceil((await now()) / MINUTE) * MINUTE + 10 * MINUTE;
    await goTo(tick - 1500);
    const id = await d.start(`df.wait_for_schedule('* * * * *') & 'SELECT pg_sleep(2.5)'`);
    await until(() => d.running('pg_sleep(2.5)'), { everyMs: 5 });
    await until(async () => (await d.typed(id, 'WAIT_SCHEDULE'))[0]?.status === 'running', { everyMs: 5 });
    await d.root.query(`UPDATE _df.clock SET shift = shift - interval '400 ms'`); // the proxy is ahead now
    expect(await d.ended(id)).toBe('completed');
    const ended = await d.value(
      `SELECT extract(epoch FROM updated_at) * 1000 FROM df.nodes
       WHERE instance_id = $1 AND node_type = 'WAIT_SCHEDULE'`,
      [id],
    );
    expect(Number(ended)).toBeGreaterThanOrEqual(tick);
  });

  test('loses a race like any other branch', async () => {
    const id = await d.complete(`df.wait_for_schedule('0 0 1 1 *') | 'SELECT 1 AS first'`);
    expect(await d.output(id)).toBe('{"rows":[{"first":1}],"row_count":1}');
  });

  test.each([
    ['0 0 31 2 *', "No upcoming schedule found for '0 0 31 2 *'"],
    ['0 0 * * * 2001', "No upcoming schedule found for '0 0 * * * 2001'"],
    ['a\0b', "Invalid cron expression 'a\ufffdb': Invalid expression: Invalid cron expression."],
    ['every day', "Invalid cron expression 'every day': Invalid expression: Invalid cron expression."],
    [
      'CRON_TZ=posix/UTC 0 0 * * *',
      "Invalid cron expression 'CRON_TZ=posix/UTC 0 0 * * *': the time zone posix/UTC is not known to the proxy",
    ],
  ])('an envelope written by hand with %j fails its node', async (expression, message) => {
    const envelope = JSON.stringify({
      node_type: 'WAIT_SCHEDULE',
      query: JSON.stringify({ cron_expr: expression }),
    });
    const id = await d.start('$1', d.app, [envelope]);
    expect(await d.ended(id)).toBe('failed');
    expect(await d.output(id)).toBe(message);
    expect(await d.typed(id, 'WAIT_SCHEDULE')).toMatchObject([
      { status: 'failed', error: message, result: message, stamp: `${id}::1` },
    ]);
  });
});

describe('what may be built', () => {
  const accepted = async (expressions: readonly string[]) => {
    const { rows } = await d.root.query<{ ok: boolean }>(
      'SELECT _df.cron_valid(e) AS ok FROM unnest($1::text[]) WITH ORDINALITY AS t (e, n) ORDER BY n',
      [expressions],
    );
    return rows.map(({ ok }) => ok);
  };
  const runs = (expression: string): boolean => {
    const schedule = parseCron(expression);
    if (schedule === null) return false;
    try {
      return nextTick(schedule, Date.now()) !== null;
    } catch {
      return false;
    }
  };

  test('is what can be run, and no more: random expressions through both readers', async () => {
    const number = fc.integer({ min: 0, max: 62 }).map(String);
    const name = fc.constantFrom(
      'sun',
      'Mon',
      'FRIDAY',
      'jan',
      'feb',
      'December',
      'may',
      'su',
      '*',
      '?',
      '07',
      '7',
      '2',
      '29',
    );
    const value = fc.oneof(
      { weight: 3, arbitrary: number },
      { weight: 2, arbitrary: name },
      { weight: 1, arbitrary: fc.string({ maxLength: 2 }) },
    );
    const item = fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom('*', '0', '1', '2', '1-2', '*/2') },
      { weight: 3, arbitrary: value },
      { weight: 2, arbitrary: fc.tuple(value, value).map(([a, b]) => `${a}-${b}`) },
      { weight: 1, arbitrary: fc.tuple(value, number).map(([a, n]) => `${a}/${n}`) },
      { weight: 1, arbitrary: fc.tuple(value, value, number).map(([a, b, n]) => `${a}-${b}/${n}`) },
    );
    const field = fc.oneof(
      { weight: 3, arbitrary: item },
      { weight: 1, arbitrary: fc.array(item, { maxLength: 3 }).map((items) => items.join(',')) },
    );
    const year = fc.constantFrom('*', '1969', '1999', '2024,2030', '2099-2100', '2101', '2026/7');
    const space = fc.constantFrom(' ', ' ', ' ', '  ', '\t', '\n', '\u00a0', '\v');
    const fields = fc
      .tuple(fc.array(field, { minLength: 4, maxLength: 6 }), fc.option(year), space)
      .map(([list, end, blank]) =>
        [...list.slice(0, end === null ? 6 : 5), ...(end === null ? [] : [end])].join(blank),
      );
    const calendar = fc
      .tuple(
        fc.constantFrom('28', '29', '30', '31', '*/31', '29-31', '*'),
        fc.constantFrom('2', '2,4', 'feb', '*', '4'),
        fc.constantFrom('*', '1', '*/3', '?'),
        fc.option(year),
      )
      .map(([day, month, week, end]) => `0 0 ${day} ${month} ${week}${end === null ? '' : ` ${end}`}`);
    const zone = fc.constantFrom(
      ...Array<string>(16).fill(''),
      'CRON_TZ=UTC ',
      'CRON_TZ=europe/rome ',
      'CRON_TZ=UTC+3 ',
      'CRON_TZ=Foo/Bar+3 ',
      'CRON_TZ=Etc/GMT+3 ',
      'CRON_TZ=CEST ',
      'CRON_TZ= ',
      'cron_tz=UTC ',
      'CRON_TZ=UTC\u00a0',
      ' CRON_TZ=UTC\t',
    );
    const expression = fc
      .tuple(
        zone,
        fc.oneof(
          { weight: 3, arbitrary: fields },
          { weight: 2, arbitrary: calendar },
          { weight: 1, arbitrary: fc.constantFrom('@daily', '@HOURLY', '@reboot', '@', '', '@yearly 1') },
        ),
      )
      .map(([a, b]) => (a + b).replaceAll('\0', ''));
    const expressions = fc.sample(expression, { seed, numRuns: 2000 });
    const built = await accepted(expressions);
    const different = expressions.filter((one, i) => built[i] !== runs(one));
    expect(different).toEqual([]);
    expect(built.filter(Boolean).length).toBeGreaterThan(200);
  }, 60_000);

  test.each([
    '0 0 31 2 *',
    '0 0 30,31 feb ?',
    '0 0 31 4,6,9,11 */2',
    '0 0 * * * 2020-2025',
    '0 0 29 2 * 2027',
    'CRON_TZ=XYZ+3 0 9 * * *',
  ])('%j is refused when it is written: it never comes', async (expression) => {
    await expect(d.app.query('SELECT df.wait_for_schedule($1)', [expression])).rejects.toMatchObject({
      code: 'XX000',
      message: `Invalid cron expression '${expression}': Invalid expression: Invalid cron expression.`,
    });
  });

  test('an expression of 2000 characters may be, one of 2001 is taken by neither', async () => {
    const padded = ['* * * * *'.padStart(2000), '* * * * *'.padStart(2001)];
    expect(await accepted(padded)).toEqual([true, false]);
    expect(padded.map(runs)).toEqual([true, false]);
  });

  test('a zone that the server knows and the proxy does not fails the node clearly', async () => {
    const known = await d.value(`SELECT count(*)::int FROM pg_timezone_names WHERE name = 'Factory'`);
    if (known === 0) return; // this server's time zones lack it
    expect(await d.failure(`df.wait_for_schedule('CRON_TZ=Factory 0 9 * * *')`)).toBe(
      "Invalid cron expression 'CRON_TZ=Factory 0 9 * * *': the time zone Factory is not known to the proxy",
    );
  });
});

test('a connection that is cut while the time is asked for costs no attempt, and is no error', async () => {
  const definition = String(await d.value(`SELECT pg_get_functiondef('_df.now()'::regprocedure)`));
  await d.root.query(definition.replace(/\bBEGIN\b/, 'BEGIN PERFORM pg_sleep(0.5);'));
  let id: string;
  try {
    id = await d.start(`df.wait_for_schedule('0 0 1 1 *') ~> 'SELECT 3 AS after'`);
    await until(() =>
      d.value(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
               AND state = 'active' AND query LIKE 'SELECT (pg_catalog.date_part%' AND pid <> pg_backend_pid()`),
    );
  } finally {
    await d.root.query(definition);
  }
  await goTo(await due(id));
  expect(await d.ended(id)).toBe('completed');
  expect(d.proxy.logLines.filter((line) => line.includes('could not be continued'))).toEqual([]);
  expect(d.proxy.logLines.filter((line) => line.includes(`"instance":"${id}"`)).join()).toMatch(
    /did not answer/,
  );
});

test('a wait survives the proxy that began it', async () => {
  const first = await startProxy({ database: d.database });
  const id = await d.start(`df.wait_for_schedule('0 0 1 1 *') ~> 'SELECT 2 AS after'`);
  await d.parked(id);
  const tick = await due(id);
  await d.app.end();
  await d.proxy.stop();
  await goTo(tick);
  const login = new pg.Client({ connectionString: first.url(d.role) });
  await login.connect();
  expect(await d.ended(id)).toBe('completed');
  await login.end();
  await first.stop();
});
