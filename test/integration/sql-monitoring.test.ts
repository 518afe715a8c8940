import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { dsl, failure, installSchema, type Schema, value } from './schema.js';

let schema: Schema;
beforeAll(async () => {
  schema = await installSchema();
});
afterAll(() => schema?.drop());
beforeEach(async () => {
  await schema.admin.query('DELETE FROM df.nodes; DELETE FROM df.instances; DELETE FROM _df.settings');
});

const functionName = 'pg_durable::orchestration::execute-function-graph';
const start = (expression: string, label: string | null = null) =>
  value(schema.app, `SELECT df.start(${dsl(expression)}, $1)`, [label]);

describe('df.list_instances', () => {
  it('shows the newest first, with the columns of the contract', async () => {
    const first = await start("'SELECT 1'", 'one');
    const second = await start("'SELECT 2'", 'two');
    await schema.app.query("SELECT df.cancel($1, 'r')", [second]);
    await schema.admin.query('UPDATE _df.instances SET generation = 7 WHERE id = $1', [first]);
    const { rows, fields } = await schema.app.query('SELECT * FROM df.list_instances()');
    expect(fields.map((field) => field.name)).toEqual([
      'instance_id',
      'label',
      'function_name',
      'status',
      'execution_count',
      'output',
    ]);
    expect(rows).toEqual([
      {
        instance_id: second,
        label: 'two',
        function_name: functionName,
        status: 'cancelled',
        execution_count: '1',
        output: 'canceled: r',
      },
      {
        instance_id: first,
        label: 'one',
        function_name: functionName,
        status: 'pending',
        execution_count: '7',
        output: null,
      },
    ]);
    expect((await schema.app.query("SELECT * FROM df.list_instances('pending')")).rows).toHaveLength(1);
    expect((await schema.app.query("SELECT * FROM df.list_instances('Pending')")).rows).toEqual([]);
    expect((await schema.app.query('SELECT * FROM df.list_instances(NULL, 1)')).rows).toHaveLength(1);
    const info = await schema.app.query('SELECT * FROM df.instance_info($1)', [first]);
    expect(info.rows).toEqual([
      {
        instance_id: first,
        label: 'one',
        function_name: functionName,
        function_version: '1.0.0',
        current_execution_id: '7',
        status: 'pending',
        output: null,
      },
    ]);
  });

  it('in pages gives every instance once, in order, also where the times tie', async () => {
    await schema.app.query(
      "SELECT df.start('SELECT 1', CASE WHEN n % 3 = 0 THEN 'third' END) FROM generate_series(1, 25) AS n",
    );
    await schema.app.query(
      "SELECT df.start('SELECT 1', CASE WHEN n % 3 = 0 THEN 'third' END) FROM generate_series(1, 25) AS n",
    );
    const { rows } = await schema.app.query<{ id: string; label: string | null }>(
      'SELECT id, label FROM df.instances ORDER BY created_at DESC, id',
    );
    for (const [label, size] of [
      [null, 7],
      [null, 50],
      [null, 49],
      ['third', 3],
      ['third', 16],
    ] as const) {
      const expected = rows.filter((row) => label === null || row.label === label).map((row) => row.id);
      const seen: string[] = [];
      let cursor: string | null = null;
      do {
        const page: { rows: { instance_id: string; next_cursor: string | null }[] } = await schema.app.query(
          'SELECT * FROM df.list_instances(NULL, $1, $2, $3)',
          [size, label, cursor],
        );
        seen.push(...page.rows.map((row) => row.instance_id));
        expect(new Set(page.rows.map((row) => row.next_cursor)).size).toBe(1);
        cursor = page.rows[0]?.next_cursor ?? null;
      } while (cursor !== null);
      expect(seen).toEqual(expected);
    }
  });

  it('writes the cursor of the contract and takes it in another time zone', async () => {
    await start("'SELECT 1'");
    const older = await value(schema.app, 'SELECT id FROM df.instances');
    const newer = await start("'SELECT 2'");
    await schema.app.query("SET TimeZone = 'Asia/Kolkata'");
    const cursor = await value(schema.app, 'SELECT next_cursor FROM df.list_instances(NULL, 1, NULL)');
    expect(Buffer.from(cursor, 'hex').toString()).toMatch(
      new RegExp(String.raw`^v1\|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+05:30\|${newer}$`),
    );
    await schema.app.query("SET TimeZone = 'UTC'");
    expect(
      await value(schema.app, 'SELECT instance_id FROM df.list_instances(NULL, 1, NULL, $1)', [cursor]),
    ).toBe(older);
    const { fields } = await schema.app.query('SELECT * FROM df.list_instances(NULL, 1, NULL)');
    expect(fields.map((field) => field.name)).toEqual([
      'instance_id',
      'label',
      'function_name',
      'status',
      'execution_count',
      'output',
      'created_at',
      'completed_at',
      'next_cursor',
    ]);
  });

  const hex = (text: string) => Buffer.from(text, 'latin1').toString('hex');
  it.each([
    '',
    'xyz',
    'abc',
    hex('v2|2026-01-01T00:00:00.000000+00|a'),
    hex('v1|2026-01-01T00:00:00.000000+00|'),
    hex('v1|2026-13-01T00:00:00.000000+00|a'),
    hex('v1|2026-01-01|a'),
    hex('\xff\xfe'),
    'ab'.repeat(300),
  ])('refuses the cursor %j', async (cursor) => {
    expect(await failure(schema.app, 'SELECT * FROM df.list_instances(NULL, 1, NULL, $1)', [cursor])).toBe(
      'XX000: df.list_instances: invalid after_cursor',
    );
  });

  it('keeps to the largest page', async () => {
    const tooMany = (n: number, max: number) =>
      `XX000: df.list_instances: limit_count (${n}) exceeds pg_durable.list_instances_max_limit (${max}); request fewer rows, ` +
      'or use the paginated df.list_instances overload (after_cursor/next_cursor) for large result sets';
    expect(await failure(schema.app, 'SELECT * FROM df.list_instances(NULL, 0)')).toBe(
      'XX000: limit_count must be at least 1',
    );
    expect(await failure(schema.app, 'SELECT * FROM df.list_instances(NULL, 1001)')).toBe(
      tooMany(1001, 1000),
    );
    await schema.app.query('SELECT * FROM df.list_instances(NULL, 1000)');
    await schema.admin.query("INSERT INTO _df.settings VALUES ('list_instances_max_limit', '5')");
    expect(await failure(schema.app, 'SELECT * FROM df.list_instances(NULL, 6, NULL)')).toBe(tooMany(6, 5));
    await schema.app.query('SELECT * FROM df.list_instances(NULL, 5, NULL)');
  });
});

describe('df.instance_executions', () => {
  it('has one row per generation, newest first', async () => {
    const id = await start("@> 'SELECT 1'");
    await schema.admin.query('UPDATE _df.instances SET generation = 3, events = 4 WHERE id = $1', [id]);
    await schema.admin.query("UPDATE df.instances SET status = 'running' WHERE id = $1", [id]);
    await schema.admin.query(
      `INSERT INTO _df.executions (instance_id, execution_id, started_at, ended_at, events, output)
       SELECT $1, n, t, t + n * interval '1.5 s', 9, '{"execution":' || n + 1 || '}' FROM generate_series(1, 2) AS n, now() AS t`,
      [id],
    );
    const executions = (limit: number) =>
      schema.app.query('SELECT * FROM df.instance_executions($1, $2)', [id, limit]);
    const older = { status: 'ContinuedAsNew', event_count: '9' };
    expect((await executions(5)).rows).toEqual([
      { execution_id: '3', status: 'Running', event_count: '4', duration_ms: '0', output: null },
      { execution_id: '2', ...older, duration_ms: '3000', output: '{"execution":3}' },
      { execution_id: '1', ...older, duration_ms: '1500', output: '{"execution":2}' },
    ]);
    expect((await executions(1)).rows).toHaveLength(1);
    expect((await executions(2_000_000_000)).rows).toHaveLength(3);
    await schema.app.query("SELECT df.cancel($1, 'enough')", [id]);
    expect((await executions(1)).rows).toMatchObject([{ status: 'Failed', output: 'canceled: enough' }]);
  });

  it('checks the limit before the instance', async () => {
    expect(await failure(schema.app, "SELECT * FROM df.instance_executions('00000000', 0)")).toBe(
      'XX000: limit_count must be at least 1',
    );
    expect((await schema.app.query("SELECT * FROM df.instance_executions('00000000')")).rows).toEqual([]);
  });
});

describe('df.instance_nodes', () => {
  /** Sets status and stamp of the node with that query or type. */
  const set = (id: string, node: string, status: string, scope: string) =>
    schema.admin.query(
      `UPDATE df.nodes SET status = $3, status_details = jsonb_build_object('execution_id', $4::text)
       WHERE instance_id = $1 AND $2 IN (query, node_type)`,
      [id, node, status, scope],
    );
  /** "node: inferred (ancestor)" for every node, by query or type. */
  async function inferred(id: string): Promise<string[]> {
    const { rows } = await schema.app.query<{ text: string }>(
      `SELECT concat(CASE WHEN n.node_type = 'SQL' THEN n.query ELSE n.node_type END, ': ', n.inferred_status,
                     ' (' || CASE WHEN a.node_type = 'SQL' THEN a.query ELSE a.node_type END || ')') AS text
       FROM df.instance_nodes($1) AS n
       LEFT JOIN df.instance_nodes($1) AS a ON a.node_id = n.inferred_status_from_ancestor_id
       ORDER BY 1`,
      [id],
    );
    return rows.map((row) => row.text).sort();
  }

  it('has the columns of the contract', async () => {
    const id = await start("'SELECT 1' |=> 'x'");
    const columns = async (sql: string) =>
      (await schema.app.query(sql, [id])).fields.map((field) => field.name);
    const shared = [
      'node_id',
      'node_type',
      'query',
      'result_name',
      'left_node',
      'right_node',
      'status',
      'result',
    ];
    expect(await columns('SELECT * FROM df.instance_nodes($1)')).toEqual([
      ...shared,
      'status_details',
      'inferred_status',
      'inferred_status_from_ancestor_id',
      'updated_at',
    ]);
    expect(await columns('SELECT * FROM df.instance_nodes($1, 5)')).toEqual([
      'execution_id',
      ...shared,
      'updated_at',
    ]);
  });

  it('infers skipped below what has ended, and running only where it runs', async () => {
    const id = await start("('c' ?> 'a' !> 'b') ~> ('d' & 'e')");
    await set(id, 'IF', 'completed', `${id}::1`);
    await set(id, 'c', 'completed', `${id}::1`);
    await set(id, 'a', 'completed', `${id}::1`);
    await set(id, 'THEN', 'running', `${id}::1`);
    await set(id, 'JOIN', 'running', `${id}::1`);
    await set(id, 'd', 'running', `${id}::1::dddddddd::1`);
    expect(await inferred(id)).toEqual([
      'IF: completed',
      'JOIN: running',
      'THEN: running',
      'a: completed',
      'b: skipped (IF)',
      'c: completed',
      'd: running',
      'e: pending',
    ]);
  });

  it('infers pending for what ended in an earlier iteration of a root loop', async () => {
    const id = await start("@> ('a' ~> ('b' & 'c'))");
    await set(id, 'LOOP', 'running', `${id}::2`);
    await set(id, 'a', 'running', `${id}::2`);
    await set(id, 'THEN', 'completed', `${id}::1`);
    await set(id, 'JOIN', 'completed', `${id}::1`);
    await set(id, 'b', 'completed', `${id}::1::bbbbbbbb::1`);
    await set(id, 'c', 'failed', `${id}::1::cccccccc::1`);
    expect(await inferred(id)).toEqual([
      'JOIN: pending (LOOP)',
      'LOOP: running',
      'THEN: pending (LOOP)',
      'a: running',
      'b: pending (LOOP)',
      'c: pending (LOOP)',
    ]);
    await set(id, 'LOOP', 'completed', `${id}::2`);
    expect(await inferred(id)).toEqual([
      'JOIN: skipped (LOOP)',
      'LOOP: completed',
      'THEN: skipped (LOOP)',
      'a: skipped (LOOP)',
      'b: skipped (LOOP)',
      'c: skipped (LOOP)',
    ]);
  });

  it('counts generations per scope: an inner loop moves on without its surroundings', async () => {
    const id = await start("'before' ~> df.loop('body', 'while')");
    await set(id, 'before', 'completed', `${id}::1`);
    await set(id, 'LOOP', 'running', `${id}::1::0000000a::3`);
    await set(id, 'body', 'completed', `${id}::1::0000000a::3`);
    await set(id, 'while', 'completed', `${id}::1::0000000a::2`);
    await set(id, 'THEN', 'running', `${id}::1`);
    expect(await inferred(id)).toEqual([
      'LOOP: running',
      'THEN: running',
      'before: completed',
      'body: completed',
      'while: pending (LOOP)',
    ]);
  });

  it('takes a node with a stamp that is none, and one that nothing leads to, as it is', async () => {
    const id = await start("'a' ~> 'b'");
    await set(id, 'a', 'completed', 'nonsense::x');
    await schema.admin.query(
      `INSERT INTO df.nodes (id, instance_id, node_type, query, submitted_by, status)
       SELECT '00000000', id, 'SQL', 'island', submitted_by, 'running' FROM df.instances WHERE id = $1`,
      [id],
    );
    expect(await inferred(id)).toEqual(['THEN: pending', 'a: completed', 'b: pending', 'island: running']);
  });

  it('answers for 10 000 nodes within seconds', async () => {
    const leaf = '{"node_type":"SQL","query":"a"}';
    const id = await value(schema.app, 'SELECT df.start($1)', [
      `{"node_type":"JOIN","left_node":${leaf},"right_node":${leaf},"extra_nodes":[${Array(9_997).fill(leaf)}]}`,
    ]);
    const begun = performance.now();
    expect((await schema.app.query('SELECT * FROM df.instance_nodes($1)', [id])).rows).toHaveLength(10_000);
    await value(schema.app, 'SELECT df.explain($1)', [id]);
    expect(performance.now() - begun).toBeLessThan(10_000);
  });
});
