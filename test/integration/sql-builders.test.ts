import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dsl, failure, installSchema, type Schema, value } from './schema.js';

let schema: Schema;
beforeAll(async () => {
  schema = await installSchema();
});
afterAll(() => schema?.drop());

const evaluate = (expression: string) => value<string | null>(schema.admin, `SELECT ${dsl(expression)}`);
const refused = (expression: string) => failure(schema.admin, `SELECT ${dsl(expression)}`);
const sql = (query: string) => `{"node_type":"SQL","query":"${query}"}`;

describe('builders write the reference envelope byte for byte', () => {
  const envelopes: [expression: string, envelope: string][] = [
    ["df.sql('SELECT 1')", sql('SELECT 1')],
    ["df.sql('')", sql('')],
    ["df.sql(df.sql('a'))", '{"node_type":"SQL","query":"{\\"node_type\\":\\"SQL\\",\\"query\\":\\"a\\"}"}'],
    ["df.seq('a', 'b')", `{"node_type":"THEN","left_node":${sql('a')},"right_node":${sql('b')}}`],
    ["df.as('a', 'x')", '{"node_type":"SQL","query":"a","result_name":"x"}'],
    ["df.join('a', 'b')", `{"node_type":"JOIN","left_node":${sql('a')},"right_node":${sql('b')}}`],
    [
      "df.join3('a','b','c')",
      `{"node_type":"JOIN","left_node":${sql('a')},"right_node":${sql('b')},"extra_nodes":[${sql('c')}]}`,
    ],
    ["df.race('a', 'b')", `{"node_type":"RACE","left_node":${sql('a')},"right_node":${sql('b')}}`],
    [
      "df.if('c', 'a', 'b')",
      `{"node_type":"IF","left_node":${sql('a')},"right_node":${sql('b')},"condition_node":${sql('c')}}`,
    ],
    [
      "df.if_rows('n', 'a', 'b')",
      `{"node_type":"IF","left_node":${sql('a')},"right_node":${sql('b')},` +
        '"query":"{\\"condition_type\\":\\"result_has_rows\\",\\"result_name\\":\\"n\\"}"}',
    ],
    ["df.loop('a')", `{"node_type":"LOOP","left_node":${sql('a')}}`],
    ["df.loop('a', 'w')", `{"node_type":"LOOP","left_node":${sql('a')},"condition_node":${sql('w')}}`],
    [
      "df.loop('a','w') |=> 'l'",
      `{"node_type":"LOOP","left_node":${sql('a')},"condition_node":${sql('w')},"result_name":"l"}`,
    ],
    ['df.break()', '{"node_type":"BREAK","query":"{\\"break_value\\":null}"}'],
    [
      'df.break(\'{"x":1}\')',
      '{"node_type":"BREAK","query":"{\\"break_value\\":\\"{\\\\\\"x\\\\\\":1}\\"}"}',
    ],
    ['df.sleep(60)', '{"node_type":"SLEEP","query":"60"}'],
    ['df.sleep(0)', '{"node_type":"SLEEP","query":"0"}'],
    [
      "df.wait_for_schedule('0 9 * * *')",
      '{"node_type":"WAIT_SCHEDULE","query":"{\\"cron_expr\\":\\"0 9 * * *\\"}"}',
    ],
    [
      "df.wait_for_signal('go')",
      '{"node_type":"SIGNAL","query":"{\\"signal_name\\":\\"go\\",\\"timeout_seconds\\":null}"}',
    ],
    [
      "df.wait_for_signal('go',10)",
      '{"node_type":"SIGNAL","query":"{\\"signal_name\\":\\"go\\",\\"timeout_seconds\\":10}"}',
    ],
    [
      "df.http('https://h/x')",
      '{"node_type":"HTTP","query":"{\\"url\\":\\"https://h/x\\",\\"method\\":\\"POST\\",\\"body\\":null,' +
        '\\"headers\\":null,\\"timeout_seconds\\":30}"}',
    ],
    [
      `df.http('{base}/x', 'get', 'b', '{"A": "b: c, d"}', 5)`,
      '{"node_type":"HTTP","query":"{\\"url\\":\\"{base}/x\\",\\"method\\":\\"GET\\",\\"body\\":\\"b\\",' +
        '\\"headers\\":{\\"A\\":\\"b: c, d\\"},\\"timeout_seconds\\":5}"}',
    ],
    [
      `df.http_multipart('http://h', 'put', '[{"name": "n", "data_b64": "eA=="}]')`,
      '{"node_type":"HTTP_MULTIPART","query":"{\\"url\\":\\"http://h\\",\\"method\\":\\"PUT\\",' +
        '\\"parts\\":[{\\"name\\":\\"n\\",\\"data_b64\\":\\"eA==\\"}],\\"headers\\":null,\\"timeout_seconds\\":30}"}',
    ],
    [String.raw`df.sql(E'a"b\\c\n\t\x01/é')`, String.raw`{"node_type":"SQL","query":"a\"b\\c\n\t\u0001/é"}`],
  ];
  it.each(envelopes)('%s', async (expression, envelope) => {
    expect(await evaluate(expression)).toBe(envelope);
  });
});

describe('operators compose as the flat precedence says', () => {
  const same: [expression: string, functions: string][] = [
    ["'a' |=> 'x' ~> 'b' |=> 'y'", "df.as(df.seq(df.as('a','x'),'b'),'y')"],
    ["'a' |=> 'x' |=> 'y'", "df.as('a','y')"],
    ["('a' |=> 'x') ~> ('b' |=> 'y')", "df.seq(df.as('a','x'),df.as('b','y'))"],
    ["'c' ?> 'a' !> 'b' ~> 'd'", "df.seq(df.if('c','a','b'),'d')"],
    ["'z' ~> 'c' ?> 'a' !> 'b'", "df.if(df.seq('z','c'),'a','b')"],
    ["'c1' ?> 'a1' !> 'c2' ?> 'a2' !> 'b2'", "df.if(df.if('c1','a1','c2'),'a2','b2')"],
    ["'c1' ?> 'a1' !> ('c2' ?> 'a2' !> 'b2')", "df.if('c1','a1',df.if('c2','a2','b2'))"],
    ["'a' & 'b' ~> 'c'", "df.seq(df.join('a','b'),'c')"],
    ["'a' ~> 'b' & 'c'", "df.join(df.seq('a','b'),'c')"],
    ["'a' | 'b' & 'c'", "df.join(df.race('a','b'),'c')"],
    ["'a' & 'b' & 'c'", "df.join(df.join('a','b'),'c')"],
    ["@> 'a' ~> 'b'", "df.seq(df.loop('a'),'b')"],
    ["@> 'a' |=> 'x'", "df.as(df.loop('a'),'x')"],
    ["'a' ~> @> 'b' ~> 'c'", "df.seq(df.seq('a',df.loop('b')),'c')"],
    ["'a' ~> 'x'::text", "df.seq('a','x')"],
    ["'a'::varchar ~> 'b'::name", "df.seq('a','b')"],
  ];
  it.each(same)('%s', async (expression, functions) => {
    expect(await evaluate(expression)).toBe(await evaluate(functions));
  });

  it('a partial is jsonb text with the operands as they are', async () => {
    expect(await evaluate("'c' ?> 'a'")).toBe('{"condition": "c", "_partial_if": true, "then_branch": "a"}');
  });

  it.each([
    ["'c' ?> 'a' ~> 'x' !> 'b'", 'P0001: Invalid if-then-else: left side of !> must be a ?> expression'],
    ["'c' ?> 'a' & 'b' !> 'd'", 'P0001: Invalid if-then-else: left side of !> must be a ?> expression'],
    ["'c' ?> 'a' |=> 'n' !> 'b'", 'P0001: Invalid if-then-else: left side of !> must be a ?> expression'],
    ["'[1]' !> 'b'", 'P0001: Invalid if-then-else: left side of !> must be a ?> expression'],
    ["'plain' !> 'b'", '22P02: invalid input syntax for type json'],
    ["5 ~> 'a'", '42883: operator does not exist: integer df.~> unknown'],
  ])('%s is refused', async (expression, error) => {
    expect(await refused(expression)).toBe(error);
  });
});

describe('an argument that stands for a step', () => {
  it.each([
    ['plain text', 'SELECT 1', sql('SELECT 1')],
    ['text that looks like JSON and is none', '{a', sql('{a')],
    ['JSON without node_type', '{"a":1}', sql('{\\"a\\":1}')],
    ['JSON with a node_type that is no string', '{"node_type":1}', sql('{\\"node_type\\":1}')],
    ['an unknown node_type', '{"node_type":"NOPE"}', sql('{\\"node_type\\":\\"NOPE\\"}')],
    ['an array', '[1]', sql('[1]')],
  ])('%s is a SQL step', async (_what, text, step) => {
    expect(await value(schema.admin, 'SELECT df.loop($1)', [text])).toBe(
      `{"node_type":"LOOP","left_node":${step}}`,
    );
  });

  it('is compacted, its keys ordered, unknown ones dropped', async () => {
    const text =
      ' { "result_name" : "r", "query" : "a , { b" , "x": 1,\n"node_type":"SQL", "left_node": null }';
    expect(await value(schema.admin, 'SELECT df.loop($1)', [text])).toBe(
      '{"node_type":"LOOP","left_node":{"node_type":"SQL","query":"a , { b","result_name":"r"}}',
    );
    const nested = '{"node_type":"LOOP", "left_node": {"node_type": "SQL", "query": "a \\" : b"}}';
    expect(await value(schema.admin, 'SELECT df.loop($1)', [nested])).toBe(
      '{"node_type":"LOOP","left_node":{"node_type":"LOOP","left_node":{"node_type":"SQL","query":"a \\" : b"}}}',
    );
  });

  const prefix = 'XX000: Invalid Durofut JSON: failed to deserialize workflow step: ';
  it.each([
    ['{"node_type":"THEN","left_node":1}', 'Durofut children must be JSON objects at line 1 column 34'],
    ['{"node_type":"NOPE","right_node":[]}', 'Durofut children must be JSON objects at line 1 column 36'],
    [
      '{"node_type":"IF",\n"condition_node":"x"}',
      'condition_node must be a Durofut JSON object at line 2 column 21',
    ],
    [
      '{"node_type":"JOIN","extra_nodes":[1]}',
      'extra_nodes entries must be Durofut JSON objects at line 1 column 38',
    ],
    ['{"node_type":"SQL","query":5}', 'invalid type: number, expected a string at line 1 column 29'],
  ])('%s is refused', async (text, error) => {
    expect(await failure(schema.admin, 'SELECT df.loop($1)', [text])).toBe(prefix + error);
  });

  it('means the same with standard_conforming_strings off and any search_path', async () => {
    const client = await schema.connect(schema.database.adminUrl);
    await client.query("SET standard_conforming_strings = off; SET search_path = ''");
    const text = '{ "node_type" : "SQL", "query" : "a \\\\ b" }';
    expect(await value(client, 'SELECT df.seq($1, $2)', [text, 'x'])).toBe(
      `{"node_type":"THEN","left_node":${sql('a \\\\ b')},"right_node":${sql('x')}}`,
    );
    expect(await value(client, "SELECT df.wait_for_schedule('CRON_TZ=UTC 0 9 * * *')")).toContain('CRON_TZ');
  });
});

describe('builders refuse', () => {
  it.each([
    ["df.as('a', '')", 'df.as: result name cannot be empty'],
    [
      "df.as('a', '1x')",
      "df.as: result name '1x' is not a valid identifier — must match [a-zA-Z_][a-zA-Z0-9_]*",
    ],
    [
      "df.as('a', E'x\\n')",
      "df.as: result name 'x\n' is not a valid identifier — must match [a-zA-Z_][a-zA-Z0-9_]*",
    ],
    ['df.sleep(-1)', 'Sleep duration must be non-negative'],
    ["df.wait_for_signal('')", 'Signal name cannot be empty'],
    ["df.wait_for_signal('a', 0)", 'Timeout must be positive'],
    ["df.http('ftp://h')", "Blocked: unsupported URL scheme 'ftp'. Only http and https are allowed."],
    ["df.http('$url')", "Blocked: unsupported URL scheme '$url'. Only http and https are allowed."],
    ["df.http('http://h', 'Head')", 'Invalid HTTP method: Head. Must be GET, POST, PUT, DELETE, or PATCH'],
    ["df.http('http://h', timeout_seconds => 0)", 'Timeout must be positive'],
    [
      "df.http_multipart('http://h', 'GET')",
      'Invalid HTTP method for multipart: GET. Must be POST, PUT, or PATCH',
    ],
    ["df.http_multipart('http://h')", 'parts is required and cannot be NULL'],
    ["df.http_multipart('http://h', parts => '{}')", 'parts must be a JSON array of part objects'],
    ["df.http_multipart('http://h', parts => '[]')", 'parts must contain at least one part'],
  ])('%s', async (expression, message) => {
    expect(await refused(expression)).toBe(`XX000: ${message}`);
  });

  it.each([
    '',
    '* * * *',
    '60 * * * *',
    '* * 0 * *',
    '* * * * 8',
    '*/0 * * * *',
    '5-1 * * * *',
    '@reboot',
    '* * * foo *',
    'CRON_TZ=No/Where 0 9 * * *',
    '* * * * * 1969',
    '* * * * * * *',
    'a b c d e',
    '0 0 31 2 *',
    '0 0 * * * 2020',
    'CRON_TZ=Foo/Bar+3 0 9 * * *',
    '0 0 1 2-sun *',
  ])('the schedule %j', async (cron) => {
    expect(await failure(schema.admin, 'SELECT df.wait_for_schedule($1)', [cron])).toBe(
      `XX000: Invalid cron expression '${cron}': Invalid expression: Invalid cron expression.`,
    );
  });

  it.each([
    '*/5 * * * *',
    '0 9 * * 1-5',
    '0 0 * * 0',
    '0 0 * * 7',
    '0 0 * * sat-sun',
    '0 0 1,15 jan-MAR Monday',
    '1/5 * ? * ?',
    '@hourly',
    '@Daily',
    'CRON_TZ=Europe/Rome 0 9 * * *',
    '  0   9 * * *  ',
    '0 0 31 2 mon',
    '0 0 29 2 *',
    '0 0 * * * 2099',
  ])('not the schedule %j', async (cron) => {
    expect(await value(schema.admin, "SELECT df.wait_for_schedule($1)::json ->> 'node_type'", [cron])).toBe(
      'WAIT_SCHEDULE',
    );
  });

  it('what helpers answer, in the same statement only', async () => {
    const message = 'df.setvar cannot be used as a workflow step. Call df.setvar before df.start().';
    expect(await refused("df.setvar('a','b') ~> 'x'")).toBe(`XX000: ${message}`);
    expect(await refused("df.seq('x', df.unsetvar('a'))")).toContain('df.unsetvar cannot be used');
    expect(await refused("df.start(df.setvar('a','b'))")).toBe(`XX000: Invalid durable function: ${message}`);
    await schema.admin.query("BEGIN; SELECT df.setvar('a','b')");
    expect(await evaluate("'OK' ~> 'OK'")).toContain('THEN');
    await schema.admin.query('ROLLBACK');
  });
});

describe('strictness', () => {
  it.each([
    'df.sql(NULL)',
    "df.seq(NULL,'x')",
    "df.as('a',NULL)",
    "df.join('a',NULL)",
    "df.join3('a','b',NULL)",
    "df.race(NULL,'b')",
    "df.if('a','b',NULL)",
    "df.if_rows(NULL,'a','b')",
    'df.sleep(NULL)',
    'df.wait_for_schedule(NULL)',
  ])('%s is NULL', async (expression) => {
    expect(await evaluate(expression)).toBeNull();
  });
  it.each(['df.loop(NULL)', 'df.wait_for_signal(NULL)', 'df.http(NULL)', 'df.start(NULL)'])(
    '%s raises',
    async (expression) => {
      expect(await refused(expression)).toMatch(/^XX000: unboxing \w+ argument failed$/);
    },
  );
});

it('functions and operators have the signatures of the contract', async () => {
  const { rows } = await schema.admin.query<{ signature: string }>(
    `SELECT p.proname || '(' || pg_get_function_arguments(p.oid) || ')' || CASE WHEN p.proisstrict THEN ' STRICT' ELSE '' END
            AS signature
     FROM pg_proc AS p WHERE p.pronamespace = 'df'::regnamespace ORDER BY p.proname COLLATE "C", p.pronargs`,
  );
  expect(rows.map((row) => row.signature)).toMatchInlineSnapshot(`
    [
      "as(fut text, name text) STRICT",
      "as_op(fut text, name text)",
      "await_instance(instance_id text, timeout_seconds integer DEFAULT 30) STRICT",
      "break(value text DEFAULT NULL::text)",
      "cancel(instance_id text, reason text DEFAULT 'Cancelled by user'::text) STRICT",
      "clearvars() STRICT",
      "duroxide_schema()",
      "explain(input text) STRICT",
      "getvar(name text) STRICT",
      "grant_usage(p_role text, include_http boolean DEFAULT false, with_grant boolean DEFAULT false)",
      "http(url text, method text DEFAULT 'POST'::text, body text DEFAULT NULL::text, headers jsonb DEFAULT NULL::jsonb, timeout_seconds integer DEFAULT 30)",
      "http_multipart(url text, method text DEFAULT 'POST'::text, parts jsonb DEFAULT NULL::jsonb, headers jsonb DEFAULT NULL::jsonb, timeout_seconds integer DEFAULT 30)",
      "if(condition text, then_branch text, else_branch text) STRICT",
      "if_else_op(partial_if text, else_branch text)",
      "if_rows(result_name text, then_branch text, else_branch text) STRICT",
      "if_then_op(condition text, then_branch text)",
      "instance_executions(instance_id text, limit_count integer DEFAULT 5) STRICT",
      "instance_info(instance_id text) STRICT",
      "instance_nodes(instance_id_param text) STRICT",
      "instance_nodes(instance_id_param text, _last_n_executions integer) STRICT",
      "join(a text, b text) STRICT",
      "join3(a text, b text, c text) STRICT",
      "list_instances(status_filter text DEFAULT NULL::text, limit_count integer DEFAULT 100)",
      "list_instances(status_filter text, limit_count integer, label_filter text, after_cursor text DEFAULT NULL::text)",
      "loop(body text, condition text DEFAULT NULL::text)",
      "loop_prefix_op(body text)",
      "metrics() STRICT",
      "race(a text, b text) STRICT",
      "result(instance_id text) STRICT",
      "revoke_usage(p_role text)",
      "run(instance_id text DEFAULT NULL::text)",
      "seq(a text, b text) STRICT",
      "setvar(name text, value text) STRICT",
      "signal(instance_id text, signal_name text, signal_data text DEFAULT '{}'::text) STRICT",
      "sleep(seconds bigint) STRICT",
      "sql(query text) STRICT",
      "start(fut text, label text DEFAULT NULL::text, database text DEFAULT NULL::text, transaction_mode text DEFAULT 'caller'::text)",
      "status(instance_id text) STRICT",
      "target_database() STRICT",
      "unsetvar(name text) STRICT",
      "version() STRICT",
      "wait_for_completion(instance_id text, timeout_seconds integer DEFAULT 30) STRICT",
      "wait_for_schedule(cron_expr text) STRICT",
      "wait_for_signal(name text, timeout_seconds integer DEFAULT NULL::integer)",
    ]
  `);
  expect(
    await value(
      schema.admin,
      `SELECT string_agg(oprname || CASE oprkind WHEN 'l' THEN ' prefix' ELSE '' END, ' ' ORDER BY oprname COLLATE "C")
       FROM pg_operator WHERE oprnamespace = 'df'::regnamespace`,
    ),
  ).toBe('!> & ?> @> prefix | |=> ~>');
  // df.explain reads an expression with the caller's search_path; _df.record is the owner's, called by functions that pin it
  expect(
    await value(
      schema.admin,
      `SELECT string_agg(p.oid::regprocedure::text, ' ') FROM pg_proc AS p
       WHERE p.pronamespace IN ('df'::regnamespace, '_df'::regnamespace)
         AND NOT coalesce(p.proconfig[1] LIKE 'search_path=%', false)
         AND has_function_privilege('public', p.oid, 'EXECUTE')`,
    ),
  ).toBe('df.explain(text)');
});

it('the catalogue says of functions what the contract says', async () => {
  const named = (where: string) =>
    value<string | null>(
      schema.admin,
      `SELECT string_agg(p.proname, ' ' ORDER BY p.proname COLLATE "C") FROM pg_proc AS p
       WHERE p.pronamespace = 'df'::regnamespace AND (${where})`,
    );
  expect(await named("p.provolatile <> 'v'")).toBe(
    'as_op duroxide_schema if_else_op if_then_op loop_prefix_op target_database',
  );
  expect(await named("p.proparallel <> 'u'")).toBe('duroxide_schema target_database');
  expect(await named('p.prosecdef')).toBe('metrics');
  expect(await named("NOT has_function_privilege('public', p.oid, 'EXECUTE')")).toBe(
    'grant_usage http http_multipart metrics revoke_usage',
  );
  // psql shows what each is for
  expect(
    await value(
      schema.admin,
      `SELECT string_agg(o.what, ', ') FROM (
         SELECT p.oid::regprocedure::text, 'pg_proc'::regclass, p.oid FROM pg_proc AS p WHERE p.pronamespace = 'df'::regnamespace
         UNION ALL SELECT c.oid::regclass::text, 'pg_class', c.oid FROM pg_class AS c
                   WHERE c.relnamespace = 'df'::regnamespace AND c.relkind IN ('r', 'v')
         UNION ALL SELECT r.oid::regoperator::text, 'pg_operator', r.oid FROM pg_operator AS r WHERE r.oprnamespace = 'df'::regnamespace
         UNION ALL SELECT n.nspname, 'pg_namespace', n.oid FROM pg_namespace AS n WHERE n.nspname IN ('df', '_df')
       ) AS o (what, class, oid) WHERE obj_description(o.oid, o.class::name) IS NULL`,
    ),
  ).toBeNull();
});

it('200 steps are built and started in less than a second', async () => {
  const chain = Array.from({ length: 200 }, (_, n) => `'INSERT INTO t VALUES (${n})'`).join(' ~> ');
  const begun = performance.now();
  await value(schema.admin, `SELECT df.start(${dsl(chain)})`);
  expect(performance.now() - begun).toBeLessThan(1000);
});
