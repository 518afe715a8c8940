import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dsl, failure, installSchema, type Schema, value } from './schema.js';

let schema: Schema;
beforeAll(async () => {
  schema = await installSchema();
});
afterAll(() => schema?.drop());

const explain = (input: string) => value(schema.app, 'SELECT df.explain($1)', [input]);

/** The lines of a picture without its common indentation. */
function picture(strings: TemplateStringsArray): string {
  const lines = strings.raw[0]!.split('\n').slice(1, -1);
  const indent = Math.min(...lines.filter((line) => line.trim()).map((line) => line.search(/\S/)));
  return lines.map((line) => line.slice(indent)).join('\n');
}

const pictures: [expression: string, drawn: string][] = [
  [
    "'SELECT 1' ~> df.sleep(60) ~> 'SELECT 2'",
    picture`
      SQL: SELECT 1
      → SLEEP 60s
      → SQL: SELECT 2
    `,
  ],
  [
    "('SELECT id FROM t' |=> 'r') ~> ('SELECT true' ?> 'UPDATE a' !> 'UPDATE b') ~> 'SELECT 9'",
    picture`
      SQL |=> 'r': SELECT id FROM t
      → IF
          ? condition:
            └─SQL: SELECT true
          ✓ then:
            └─SQL: UPDATE a
          ✗ else:
            └─SQL: UPDATE b
      → SQL: SELECT 9
    `,
  ],
  [
    "df.loop('SELECT 1' ~> df.sleep(5), 'SELECT count(*) > 0 FROM q')",
    picture`
      LOOP (while)
          ↻ body:
            └─SQL: SELECT 1
            → SLEEP 5s
          ? while:
            └─SQL: SELECT count(*) > 0 FROM q
    `,
  ],
  [
    `@> ('SELECT 1' ~> ('SELECT done FROM s' ?> df.break('{"reason":"finished ok"}') !> df.sleep(1)))`,
    picture`
      LOOP (infinite)
          ↻ body:
            └─SQL: SELECT 1
            → IF
                ? condition:
                  └─SQL: SELECT done FROM s
                ✓ then:
                  └─BREAK '{"reason":"finish...'
                ✗ else:
                  └─SLEEP 1s
    `,
  ],
  [
    "'SELECT 0' ~> (df.join3('SELECT 1' ~> 'SELECT 11', df.race('SELECT 2', df.sleep(30)), 'SELECT 3') |=> 'j') ~> 'SELECT 4'",
    picture`
      SQL: SELECT 0
      → JOIN (3) |=> 'j'
          ║ branch 1:
            ├─SQL: SELECT 1
            → SQL: SELECT 11
          ║ branch 2:
            ├─RACE
            │   ║ branch 1:
            │     ├─SQL: SELECT 2
            │   ║ branch 2:
            │     └─SLEEP 30s
          ║ branch 3:
            └─SQL: SELECT 3
      → SQL: SELECT 4
    `,
  ],
  [
    "df.join('SELECT 1', 'SELECT 2' & 'SELECT 3')",
    picture`
      JOIN (2)
          ║ branch 1:
            ├─SQL: SELECT 1
          ║ branch 2:
            └─JOIN (2)
                ║ branch 1:
                  ├─SQL: SELECT 2
                ║ branch 2:
                  └─SQL: SELECT 3
    `,
  ],
  [
    "df.if_rows('r', df.wait_for_schedule('0 9 * * *'), df.wait_for_signal('go', 5) |=> 's') ~> df.wait_for_signal('x') ~> df.break()",
    picture`
      IF
          ✓ then:
            └─WAIT_SCHEDULE '0 9 * * *'
          ✗ else:
            └─SIGNAL 'go' (5s) |=> 's'
      → SIGNAL 'x'
      → BREAK
    `,
  ],
];

describe('a dry run draws', () => {
  it.each(pictures)('an expression: %s', async (expression, drawn) => {
    expect(await explain(expression)).toBe(drawn);
  });

  it.each(pictures)('an envelope: %s', async (expression, drawn) => {
    expect(await value(schema.app, `SELECT df.explain(${dsl(expression)})`)).toBe(drawn);
  });

  it('white space collapsed and long texts cut between characters', async () => {
    expect(await explain('  SELECT 1,\n\t2\n ')).toBe('SQL: SELECT 1, 2');
    expect(await explain(`SELECT '${'é'.repeat(300)}'`)).toBe(`SQL: SELECT '${'é'.repeat(192)}…`);
    expect(await explain("df.break('ééééééééééééééééééééé')")).toBe("BREAK 'ééééééééééééééééé...'");
    await schema.admin.query('SELECT df.grant_usage($1, include_http => true)', [schema.appRole.name]);
    expect(await explain(`df.http('https://h/${'é'.repeat(40)}', 'get')`)).toBe(
      `HTTP GET https://h/${'é'.repeat(27)}...`,
    );
    expect(await explain(`df.http_multipart('https://h', parts => '[{}]') |=> 'n'`)).toBe(
      "HTTP_MULTIPART POST https://h |=> 'n'",
    );
  });

  it('a chain of 257 steps, 10 000 branches; and says what is wrong with larger ones', async () => {
    const chain = dsl(Array.from({ length: 257 }, (_, n) => `'SELECT ${n}'`).join(' ~> '));
    expect((await value(schema.app, `SELECT df.explain(${chain})`)).split('\n')).toHaveLength(257);
    const leaf = '{"node_type":"SQL","query":"a"}';
    const wide = (n: number) =>
      `{"node_type":"JOIN","left_node":${leaf},"right_node":${leaf},"extra_nodes":[${Array(n - 3).fill(leaf)}]}`;
    expect((await explain(wide(10_000))).split('\n')).toHaveLength(1 + 2 * 9_999);
    expect(await explain(wide(10_001))).toBe(
      'Invalid durable function graph: root.extra_nodes[9997]: Workflow exceeds maximum node count of 10000. ' +
        'Simplify the workflow or break it into multiple instances.',
    );
    expect(await explain('{"node_type":"LOOP","left_node":'.repeat(300) + leaf + '}'.repeat(300))).toContain(
      'nesting depth of 256',
    );
  });

  it('nothing and writes nothing', async () => {
    expect(await value(schema.admin, 'SELECT count(*)::int FROM df.instances')).toBe(0);
  });
});

describe('an input is', () => {
  it.each([
    ['select 1', 'SQL: select 1'],
    ['WITH\nx AS (SELECT 1) SELECT * FROM x', 'SQL: WITH x AS (SELECT 1) SELECT * FROM x'],
    ['00000000', "Instance '00000000' not found"],
    ['ABCDEF01', "Instance 'ABCDEF01' not found"],
    [
      '{"node_type":"NOT_A_NODE"}',
      "Invalid durable function graph: root: Unknown node_type 'NOT_A_NODE'. Valid types: SQL, THEN, IF, JOIN, LOOP, BREAK, RACE, SLEEP, WAIT_SCHEDULE, HTTP, HTTP_MULTIPART, SIGNAL",
    ],
    [
      "'a' & 'b'",
      'Cannot explain input: not a valid Durofut JSON, instance ID, SQL statement, or DSL expression.\nHint: DSL expressions use df.*() functions and operators like ~>, |=>, &, |.',
    ],
    ['df.sql(NULL)', 'Expression returned NULL'],
    ["'c' ?> 'a'", 'Failed to parse Durofut JSON: missing field `node_type` at line 1 column 59'],
    ["'df.'", 'Failed to parse Durofut JSON: expected a JSON object'],
  ])('%j', async (input, answer) => {
    expect(await explain(input)).toBe(answer);
  });

  it('evaluated as one statement with the rights and the search_path of the caller', async () => {
    expect(await failure(schema.app, 'SELECT df.explain($1)', ["'SELECT 1' ~> "])).toContain('42601: ');
    expect(await failure(schema.app, 'SELECT df.explain($1)', ['SELECT df.version()'])).toContain('42601: ');
    expect(await failure(schema.app, 'SELECT df.explain($1)', ['df.sleep(1); DROP TABLE x'])).toContain(
      '42P11: ',
    );
    expect(await failure(schema.app, 'SELECT df.explain($1)', ['df.sleep(-1)'])).toBe(
      'XX000: Sleep duration must be non-negative',
    );
    expect(
      await failure(schema.app, 'SELECT df.explain($1)', ['(SELECT df.sql(name) FROM _df.settings)']),
    ).toContain('42501: ');
    await schema.app.query("CREATE TEMP TABLE step AS SELECT 'SELECT 7'::text AS text");
    await schema.app.query("SET search_path = ''");
    expect(await explain("(SELECT text FROM pg_temp.step) ~> 'SELECT 8'")).toBe(
      'SQL: SELECT 7\n→ SQL: SELECT 8',
    );
    expect(await value(schema.app, "SELECT current_setting('search_path')")).toBe('""');
    await schema.app.query('RESET search_path');
  });
});

describe('a live instance', () => {
  const set = (id: string, query: string, status: string, stamp: string) =>
    schema.admin.query(
      `UPDATE df.nodes SET status = $3, status_details = jsonb_build_object('execution_id', $4::text)
       WHERE instance_id = $1 AND (query = $2 OR node_type = $2)`,
      [id, query, status, stamp],
    );
  const start = (expression: string, label: string | null = null) =>
    value(schema.app, `SELECT df.start(${dsl(expression)}, $1)`, [label]);

  it('that completed: the loser of a race is skipped', async () => {
    const id = await start("df.race('SELECT ''winner''', df.sleep(10))", 'test-race-explain');
    await set(id, 'RACE', 'completed', `${id}::1`);
    await set(id, "SELECT 'winner'", 'completed', `${id}::1::0::1`);
    await set(id, 'SLEEP', 'running', `${id}::1`);
    await schema.admin.query("UPDATE df.instances SET status = 'completed' WHERE id = $1", [id]);
    await schema.admin.query('UPDATE _df.instances SET output = $2 WHERE id = $1', [
      id,
      '{"rows":[{"?column?":"winner"}],"row_count":1}',
    ]);
    expect(await explain(id)).toBe(
      [
        `Instance: ${id} (test-race-explain)`,
        'Status:   ✓ Completed',
        'Output:   {"rows":[{"?column?":"winner"}],"row_count":1}',
        '',
        'RACE ✓ Completed',
        '    ║ branch 1:',
        "      ├─SQL: SELECT 'winner' ✓ Completed",
        '    ║ branch 2:',
        '      └─SLEEP 10s ⊘ Skipped',
      ].join('\n'),
    );
  });

  it('that failed: what comes after is skipped, a long output is cut', async () => {
    const id = await start("'SELECT 1/0' ~> ('SELECT true' ?> 'SELECT 1' !> 'SELECT 2')");
    await set(id, 'SELECT 1/0', 'failed', `${id}::1`);
    await set(id, 'THEN', 'failed', `${id}::1`);
    await schema.admin.query("UPDATE df.instances SET status = 'failed' WHERE id = $1", [id]);
    await schema.admin.query('UPDATE _df.instances SET output = $2 WHERE id = $1', [
      id,
      'SQL execution failed: error returned from database: division by zero',
    ]);
    expect(await explain(id)).toBe(
      [
        `Instance: ${id}`,
        'Status:   ✗ Failed',
        'Output:   SQL execution failed: error returned from database: divis...',
        '',
        'SQL: SELECT 1/0 ✗ Failed',
        '→ IF ⊘ Skipped',
        '    ? condition:',
        '      └─SQL: SELECT true ⊘ Skipped',
        '    ✓ then:',
        '      └─SQL: SELECT 1 ⊘ Skipped',
        '    ✗ else:',
        '      └─SQL: SELECT 2 ⊘ Skipped',
      ].join('\n'),
    );
  });

  it('that waits says for what; cancelled shows as cancelled', async () => {
    const id = await start("'SELECT 1' |=> 'x'");
    await schema.admin.query("UPDATE _df.instances SET waiting = 'no credential for role x' WHERE id = $1", [
      id,
    ]);
    expect(await explain(id)).toBe(
      `Instance: ${id}\nStatus:   ○ Pending\nWaiting:  no credential for role x\n\nSQL |=> 'x': SELECT 1 ○ Pending`,
    );
    await schema.app.query('SELECT df.cancel($1)', [id]);
    expect(await explain(id)).toBe(
      `Instance: ${id}\nStatus:   ⊘ Cancelled\nOutput:   canceled: Cancelled by user\n\nSQL |=> 'x': SELECT 1 ○ Pending`,
    );
  });

  it('without nodes, or made by hand with a cycle, is an answer or a clean error', async () => {
    const superuser = await schema.connect(schema.database.superUrl);
    await superuser.query(
      `SET session_replication_role = replica;
       INSERT INTO df.instances (id, root_node, submitted_by) VALUES
         ('aaaaaaaa', '00000001', '${schema.appRole.name}'::regrole), ('bbbbbbbb', '00000001', '${schema.appRole.name}'::regrole);
       INSERT INTO df.nodes (id, instance_id, node_type, left_node, right_node, submitted_by)
       VALUES ('00000001', 'bbbbbbbb', 'THEN', '00000001', '00000001', '${schema.appRole.name}'::regrole)`,
    );
    expect(await explain('aaaaaaaa')).toBe("No nodes found for instance 'aaaaaaaa'");
    expect(await failure(schema.app, "SELECT df.explain('bbbbbbbb')")).toBe('XX000: graph contains a cycle');
    expect(
      (await schema.app.query("SELECT inferred_status FROM df.instance_nodes('bbbbbbbb')")).rows,
    ).toEqual([{ inferred_status: 'pending' }]);
  });
});
