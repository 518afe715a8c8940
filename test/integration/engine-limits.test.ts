import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { until } from '../support/wait.js';

let d: Durable;
const PREFIX = 'SQL execution failed: error returned from database: ';
const CONTROL = `${PREFIX}transaction control statements cannot be used in a durable step`;

beforeAll(async () => {
  // one session: what a step leaves behind, the next one would meet
  d = await Durable.open({ max_user_connections: '1' });
  await d.app.query('CREATE TABLE public.t (n int)');
});
afterAll(() => d?.close());

const count = (n: number) => d.value('SELECT count(*)::int FROM public.t WHERE n = $1', [n]);
const quote = (sql: string) => `'${sql.replaceAll("'", "''")}'`;

/** The proxy serves sessions and runs instances, and no step's session is left in a transaction. */
async function clean(): Promise<void> {
  expect((await d.app.query('SELECT 1 AS a')).rows).toEqual([{ a: 1 }]);
  await until(async () => (await leftOpen()) === 0, {
    timeoutMs: 1000,
    what: 'no transaction to be left open',
  });
  expect(await d.rows(`'SELECT current_setting(''transaction_isolation'') AS i, 3 AS a'`)).toEqual([
    { i: 'read committed', a: 3 },
  ]);
}

const leftOpen = () =>
  d.value(
    `SELECT count(*)::int FROM pg_stat_activity
     WHERE datname = current_database() AND application_name = 'pg_durable:worker:workflow-sql'
       AND state LIKE 'idle in transaction%'`,
  );

/** Starts a graph by writing its rows, as the granted role could: `nodes` are id, type, query, left and right. */
async function startByHand(
  root: string,
  nodes: ReadonlyArray<readonly [string, string, string | null, string | null, string | null]>,
): Promise<string> {
  const id = randomBytes(4).toString('hex');
  await d.app.query('BEGIN');
  await d.app.query(`SELECT set_config('df.starting', $1, true)`, [id]);
  await d.app.query(
    'INSERT INTO df.instances (id, root_node, submitted_by) VALUES ($1, $2, quote_ident(current_user)::regrole)',
    [id, root],
  );
  await d.app.query(
    `INSERT INTO df.nodes (instance_id, submitted_by, id, node_type, query, left_node, right_node)
     SELECT $1, quote_ident(current_user)::regrole, n.*
     FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) AS n`,
    [id, ...[0, 1, 2, 3, 4].map((column) => nodes.map((node) => node[column]))],
  );
  await d.app.query('COMMIT');
  return id;
}

const hex = (n: number) => n.toString(16).padStart(8, '0');

describe('rows written by hand', () => {
  test('a node used twice fails the instance, and names the node', async () => {
    // each level would double the work
    const levels = 22;
    const thens = Array.from(
      { length: levels },
      (_, n) => [hex(n), 'THEN', null, hex(n + 1), hex(n + 1)] as const,
    );
    const id = await startByHand(hex(0), [...thens, [hex(levels), 'SQL', 'SELECT 1', null, null]]);
    expect(await d.ended(id)).toBe('failed');
    expect(await d.output(id)).toBe(`Instance ${id}: node ${hex(levels)} is used twice`);
    await clean();
  });

  test('a chain deeper than 256 fails the instance', async () => {
    const levels = 300;
    const leaf = (n: number) => [hex(1000 + n), 'SQL', 'SELECT 1', null, null] as const;
    const nodes = Array.from({ length: levels }, (_, n) => [
      [hex(n), 'THEN', null, hex(1000 + n), hex(n + 1)] as const,
      leaf(n),
    ]).flat();
    const id = await startByHand(hex(0), [...nodes, [hex(levels), 'SQL', 'SELECT 1', null, null]]);
    expect(await d.ended(id)).toBe('failed');
    expect(await d.output(id)).toBe(`Instance ${id}: nesting is deeper than 256`);
    await clean();
  });
});

describe('a step whose result is larger than 64 MiB fails, and others run', () => {
  test.each([
    ['one value', `SELECT repeat('x', 70 * 1024 * 1024)`],
    ['many rows', `SELECT repeat('x', 1024 * 1024) FROM generate_series(1, 70)`],
  ])('%s', async (_, sql) => {
    const id = await d.start(`${quote('INSERT INTO t VALUES (4)')} ~> ${quote(sql)}`);
    expect(await d.ended(id)).toBe('failed');
    expect(await d.output(id)).toBe(`${PREFIX}the result of a durable step is larger than 64 MiB`);
    expect((await d.node(id, sql)).details).toMatchObject({ sqlstate: '54000', statement: sql });
    await clean();
  });

  test('what the step has written is rolled back, what came before it stands', async () => {
    expect(await count(4)).toBe(2);
    const sql = `WITH w AS (INSERT INTO t VALUES (40)) SELECT repeat('x', 70 * 1024 * 1024)`;
    expect(await d.failure(quote(sql))).toContain('larger than 64 MiB');
    expect(await count(40)).toBe(0);
  });
});

describe('statements that need no transaction, or begin or end one', () => {
  test('one that must come first in a transaction fails the whole step', async () => {
    expect(
      await d.failure(
        `'INSERT INTO t VALUES (131); SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; INSERT INTO t VALUES (132)'`,
      ),
    ).toBe(`${PREFIX}SET TRANSACTION ISOLATION LEVEL must be called before any query`);
    expect([await count(131), await count(132)]).toEqual([0, 0]);
    await clean();
  });

  test('one that refuses a transaction runs alone, and only alone', async () => {
    await d.complete(`'VACUUM t'`);
    expect(await d.failure(`'INSERT INTO t VALUES (133); VACUUM t'`)).toBe(
      `${PREFIX}VACUUM cannot run inside a transaction block`,
    );
    expect(await count(133)).toBe(0);
    await clean();
  });

  test.each([
    'BEGIN',
    'START TRANSACTION READ WRITE',
    'BEGIN ISOLATION LEVEL SERIALIZABLE',
    'START TRANSACTION ISOLATION LEVEL REPEATABLE READ',
  ])('%s in the midst of a step: all of the step or nothing', async (begin) => {
    for (const last of ['INSERT INTO t VALUES (135)', 'SELECT 1/0']) {
      await d.root.query('DELETE FROM t WHERE n IN (134, 135)');
      const id = await d.start(quote(`INSERT INTO t VALUES (134); ${begin}; ${last}`));
      const rows = (await d.ended(id)) === 'completed' ? 1 : 0;
      expect([last, await count(134), await count(135)]).toEqual([last, rows, rows]);
      await clean();
    }
  });

  test.each([
    '/* /* */ */ COMMIT AND CHAIN',
    '-- line\r\nCOMMIT AND CHAIN',
    '-- line\rCOMMIT AND CHAIN',
    '/**/-- /*\n ROLLBACK AND CHAIN',
  ])('%j is refused before anything runs', async (ending) => {
    await d.app.query('DELETE FROM t; DROP SEQUENCE IF EXISTS runs; CREATE SEQUENCE runs');
    expect(await d.failure(quote(`SELECT nextval('runs'); INSERT INTO t VALUES (18); ${ending}`))).toBe(
      CONTROL,
    );
    expect(await d.value('SELECT is_called FROM runs')).toBe(false);
    expect(await count(18)).toBe(0);
    await clean();
  });
});

test('a failing statement that is cut within a character is recorded at the first attempt', async () => {
  const head = 'SELECT 1/0 /* ';
  const kept = head + 'x'.repeat(8191 - head.length);
  const sql = `${kept}\u{1F600}${'y'.repeat(1000)} */`;
  const id = await d.start('$1', d.app, [sql]);
  expect(await d.ended(id)).toBe('failed');
  expect(await d.output(id)).toBe(`${PREFIX}division by zero`);
  expect((await d.node(id, head)).details).toMatchObject({ sqlstate: '22012', statement: kept });
  expect(await d.value('SELECT attempts FROM _df.instances WHERE id = $1', [id])).toBe(0);
});
