/** df.explain of instances that really run: every type of node in every status that it can have. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { until } from '../support/wait.js';

let d: Durable;

beforeAll(async () => {
  d = await Durable.open({ poll_interval: '20ms' });
  await d.root.query('SELECT df.grant_usage($1, true)', [d.role.name]);
});
afterAll(() => d?.close());

const explain = async (input: string) =>
  (await d.app.query<{ e: string }>('SELECT df.explain($1) AS e', [input])).rows[0]!.e;
/** The drawing without the lines above it. */
const drawn = (text: string) => text.slice(text.indexOf('\n\n') + 2);
const lines = (...list: string[]) => list.join('\n');

const http = {
  node_type: 'HTTP',
  query: JSON.stringify({
    url: 'https://api.example.com/v1/things/and/more/of/them',
    method: 'GET',
    body: null,
    headers: null,
    timeout_seconds: 30,
  }),
};
const multipart = {
  node_type: 'HTTP_MULTIPART',
  query: JSON.stringify({
    url: 'https://example.com/up',
    method: 'PUT',
    parts: [{ name: 'a', data_b64: 'YQ==' }],
    headers: null,
    timeout_seconds: 30,
  }),
  result_name: 'sent',
};
const HTTP = 'HTTP GET https://api.example.com/v1/things/and...';
const MULTIPART = "HTTP_MULTIPART PUT https://example.com/up |=> 'sent'";
const literal = (node: object) => `'${JSON.stringify(node).replaceAll("'", "''")}'`;

/** Every type, with waits at the same time. */
const everything = `
  ('SELECT 1 AS one' |=> 'one')
  ~> df.join3(df.wait_for_schedule('0 0 1 1 *'),
              df.wait_for_signal('go', 100000) |=> 'word',
              df.race(df.sleep(100000), df.wait_for_signal('never')))
  ~> ('SELECT true' ?> ${literal(http)} !> (${literal(multipart)} ~> df.sleep(1)))
  ~> df.loop('SELECT 2' ~> df.break('done'), 'SELECT true')`;

/** Its drawing with these markers, from top to bottom; none: a dry run. */
const picture = (marks?: string) => {
  const words: Record<string, string> = {
    c: '✓ Completed',
    f: '✗ Failed',
    r: '⏳ Running',
    p: '○ Pending',
    s: '⊘ Skipped',
  };
  let n = 0;
  const m = () => (marks === undefined ? '' : ` ${words[marks[n++]!]}`);
  return lines(
    `SQL |=> 'one': SELECT 1 AS one${m()}`,
    `→ JOIN (3)${m()}`,
    '    ║ branch 1:',
    `      ├─WAIT_SCHEDULE '0 0 1 1 *'${m()}`,
    '    ║ branch 2:',
    `      ├─SIGNAL 'go' (100000s) |=> 'word'${m()}`,
    '    ║ branch 3:',
    `      └─RACE${m()}`,
    '          ║ branch 1:',
    `            ├─SLEEP 100000s${m()}`,
    '          ║ branch 2:',
    `            └─SIGNAL 'never'${m()}`,
    `→ IF${m()}`,
    '    ? condition:',
    `      └─SQL: SELECT true${m()}`,
    '    ✓ then:',
    `      └─${HTTP}${m()}`,
    '    ✗ else:',
    `      └─${MULTIPART}${m()}`,
    `      → SLEEP 1s${m()}`,
    `→ LOOP (while)${m()}`,
    '    ↻ body:',
    `      └─SQL: SELECT 2${m()}`,
    `      → BREAK 'done'${m()}`,
    '    ? while:',
    `      └─SQL: SELECT true${m()}`,
  );
};

const waiting = async () => {
  const id = await d.start(everything);
  await d.parked(id);
  await until(async () => !(await explain(id)).includes('SLEEP 100000s ○'));
  return id;
};

describe('every type of node', () => {
  test('in a dry run', async () => {
    expect(await explain(everything)).toBe(picture());
    const { rows } = await d.app.query<{ e: string }>(`SELECT df.explain(${everything}) AS e`);
    expect(rows[0]!.e).toBe(picture());
  });

  test('while it waits, and when it was cancelled then', async () => {
    const id = await waiting();
    const text = await explain(id);
    expect(text.split('\n').slice(0, 3)).toEqual([`Instance: ${id}`, 'Status:   ⏳ Running', '']);
    const marks = 'crrrrrrppppppppp';
    expect(drawn(text)).toBe(picture(marks));

    await d.app.query(`SELECT df.cancel($1, 'enough')`, [id]);
    const after = await explain(id);
    expect(after.split('\n').slice(0, 3)).toEqual([
      `Instance: ${id}`,
      'Status:   ⊘ Cancelled',
      'Output:   canceled: enough',
    ]);
    expect(drawn(after)).toBe(picture(marks)); // nothing has ended: what was under way stays so
  });

  test('when a request has failed: what comes after it is skipped', async () => {
    const id = await waiting();
    await d.app.query(`SELECT df.signal($1, 'go'), df.signal($1, 'never')`, [id]);
    await until(
      async () => (await explain(id)).includes("'word' ✓") && (await explain(id)).includes("'never' ✓"),
    );
    await d.parked(id);
    await d.root.query(`UPDATE _df.clock SET shift = '366 days'`);
    expect(await d.ended(id)).toBe('failed');
    await d.root.query(`UPDATE _df.clock SET shift = '0'`);
    const text = await explain(id);
    expect(text.split('\n')[1]).toBe('Status:   ✗ Failed');
    expect(text.split('\n')[2]).toMatch(/^Output: {3}Blocked: .{48}\.\.\.$/);
    expect(drawn(text)).toBe(picture('cccccscfcfssssss'));
  });

  test.each([
    [literal(http), `${HTTP} ✗ Failed`],
    [literal(multipart), `${MULTIPART} ✗ Failed`],
    [`'SELECT 1/0'`, 'SQL: SELECT 1/0 ✗ Failed'],
    [`df.break('x')`, "BREAK 'x' ✓ Completed"],
    [`'{"node_type":"WAIT_SCHEDULE","query":"{\\"cron_expr\\":\\"x\\"}"}'`, "WAIT_SCHEDULE 'x' ✗ Failed"],
  ])('that is all of an instance and fails it: %s', async (expression, expected) => {
    const id = await d.start(expression);
    expect(await d.ended(id)).toBe('failed');
    expect(drawn(await explain(id))).toBe(expected);
  });

  test.each([
    [`df.sleep(0)`, 'SLEEP 0s ✓ Completed', '{"slept":true,"seconds":0}'],
    [
      `df.loop(df.break('{"a":1}'))`,
      lines('LOOP (infinite) ✓ Completed', '    ↻ body:', `      └─BREAK '{"a":1}' ✓ Completed`),
      '{"a":1}',
    ],
    [
      `'SELECT false AS f' ?> df.wait_for_signal('x') !> df.wait_for_signal('y', 1)`,
      lines(
        'IF ✓ Completed',
        '    ? condition:',
        '      └─SQL: SELECT false AS f ✓ Completed',
        '    ✓ then:',
        `      └─SIGNAL 'x' ⊘ Skipped`,
        '    ✗ else:',
        `      └─SIGNAL 'y' (1s) ✓ Completed`,
      ),
      '{"signal_name":"y","timed_out":true,"data":null}',
    ],
  ])('that completes: %s', async (expression, expected, output) => {
    const id = await d.complete(expression);
    const text = await explain(id);
    expect(text.split('\n').slice(1, 4)).toEqual(['Status:   ✓ Completed', `Output:   ${output}`, '']);
    expect(drawn(text)).toBe(expected);
  });

  test('before it begins', async () => {
    await d.app.query('BEGIN');
    const id = await d.start(everything);
    const text = await explain(id);
    await d.app.query('ROLLBACK');
    expect(text.split('\n').slice(0, 3)).toEqual([`Instance: ${id}`, 'Status:   ○ Pending', '']);
    expect(drawn(text)).toBe(picture('p'.repeat(16)));
    expect(await explain(id)).toBe(`Instance '${id}' not found`);
  });
});
