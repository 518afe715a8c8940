import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { until } from '../support/wait.js';

let d: Durable;
const PREFIX = 'SQL execution failed: error returned from database: ';

beforeAll(async () => {
  d = await Durable.open();
  await d.app.query('CREATE TABLE public.t (n int)');
});
afterAll(() => d?.close());

const count = (n: number) => d.value('SELECT count(*)::int FROM public.t WHERE n = $1', [n]);
const quote = (sql: string) => `'${sql.replaceAll("'", "''")}'`;

describe('results by type (decision #5)', () => {
  const cases: ReadonlyArray<readonly [sql: string, json: string]> = [
    ['true', 'true'],
    ['7::int2', '7'],
    ['9223372036854775807', '9223372036854775807'],
    ['3.14::float4', '3.140000104904175'],
    ['1::float8', '1.0'],
    [`'NaN'::float8`, 'null'],
    ['1.50::numeric', '"1.50"'],
    ['12345678901234567890.123456789', '"12345678901234567890.123456789"'],
    [`'NaN'::numeric`, '"NaN"'],
    [`'Infinity'::numeric`, '"Infinity"'],
    [`'ab'::char(4)`, '"ab  "'],
    [`'it''s "q" \\ é 😀'`, '"it\'s \\"q\\" \\\\ é 😀"'],
    [`'n'::name`, '"n"'],
    [`'x'::"char"`, '"x"'],
    [`'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid`, '"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"'],
    [`'2024-06-15 12:30:00.5+02'::timestamptz`, '"2024-06-15T10:30:00.500+00:00"'],
    [`'2024-06-15 12:30:00'::timestamp`, '"2024-06-15T12:30:00"'],
    [`'2024-06-15'::date`, '"2024-06-15"'],
    [`'infinity'::timestamptz`, '"infinity"'],
    [`'12:30'::time`, '"12:30:00"'],
    [`'12:30+02'::timetz`, '"12:30:00+02"'],
    [`'1 day 2 hours'::interval`, '"1 day 02:00:00"'],
    [`'{"b": 1, "a": [1.50, null]}'::json`, '{"b":1,"a":[1.50,null]}'],
    [`'{"b": 1, "a": 2}'::jsonb`, '{"a":2,"b":1}'],
    [`'null'::jsonb`, 'null'],
    [`'\\xdead'::bytea`, '"\\\\xdead"'],
    ['ARRAY[1,NULL,3]', '[1,null,3]'],
    [`ARRAY['a','b,c','NULL',NULL]`, '["a","b,c","NULL",null]'],
    ['ARRAY[[1,2],[3,4]]', '[[1,2],[3,4]]'],
    [`ARRAY['{"a": 1}'::jsonb]`, '[{"a":1}]'],
    [`ARRAY[]::text[]`, '[]'],
    [`ARRAY[1.5, 'NaN']::numeric[]`, '["1.5","NaN"]'],
    [`'happy'::mood`, '"happy"'],
    [`ARRAY['happy','sad']::mood[]`, '["happy","sad"]'],
    [
      `ROW(1, 'a "b"', ARRAY['x','y'], ROW(2.5, true)::inner_t)::outer_t`,
      '{"id":1,"word":"a \\"b\\"","tags":["x","y"],"deep":{"v":"2.5","ok":true}}',
    ],
    [`ARRAY[ROW(1.0, false)::inner_t]`, '[{"v":"1.0","ok":false}]'],
    [`ROW(1, 'b', NULL)`, '{"f1":"1","f2":"b","f3":null}'],
    ['7::positive', '7'],
    [`ARRAY[7]::positive[]`, '[7]'],
    [`'10.0.0.1/8'::inet`, '"10.0.0.1/8"'],
    [`'10.0.0.0/8'::cidr`, '"10.0.0.0/8"'],
    [`'08:00:2b:01:02:03'::macaddr`, '"08:00:2b:01:02:03"'],
    [`'08:00:2b:01:02:03:04:05'::macaddr8`, '"08:00:2b:01:02:03:04:05"'],
    [`B'101'`, '"101"'],
    [`'[1,5)'::int4range`, '"[1,5)"'],
    [`'{[1,5)}'::int4multirange`, '"{[1,5)}"'],
    [`'a b'::tsvector`, `"'a' 'b'"`],
    [`'(1,2)'::point`, '"(1,2)"'],
    [`ARRAY['(1,2),(0,0)'::box, '(3,4),(2,2)'::box]`, '["(1,2),(0,0)","(3,4),(2,2)"]'],
    ['42::oid', '"42"'],
    [`'pg_class'::regclass`, '"pg_class"'],
    [`'12.34'::money`, '"$12.34"'],
    [`'<a/>'::xml`, '"<a/>"'],
    ['pg_sleep(0)', 'null'],
    ['NULL::int', 'null'],
    ['NULL', 'null'],
  ];

  beforeAll(async () => {
    await d.app.query(`CREATE TYPE public.mood AS ENUM ('happy', 'sad');
      CREATE TYPE public.inner_t AS (v numeric, ok boolean);
      CREATE TYPE public.outer_t AS (id int, word text, tags text[], deep inner_t);
      CREATE DOMAIN public.positive AS int CHECK (value > 0);`);
  });

  test.each(cases)('%s', async (expression, json) => {
    if (
      expression.includes('xml') &&
      (await d.value(`SELECT count(*)::int FROM pg_config WHERE setting LIKE '%libxml%'`)) === 0
    ) {
      return; // a server built without XML has no values of the type
    }
    const id = await d.complete(quote(`SELECT ${expression} AS v`));
    expect(await d.output(id)).toBe(`{"rows":[{"v":${json}}],"row_count":1}`);
    const stored = (await d.app.query('SELECT df.result($1) AS r', [id])).rows[0].r as string;
    expect(JSON.parse(stored)).toEqual(JSON.parse(`{"rows":[{"v":${json}}],"row_count":1}`));
  });

  test.each([
    ['true', 'boolean'],
    ['9223372036854775807', 'bigint'],
    ['12345678901234567890.123456789', 'numeric'],
    [`'it''s \\ "é"'`, 'text'],
    [`'2024-06-15 12:30:00.123456+02'::timestamptz`, 'timestamptz'],
    [`'1 day'::interval`, 'interval'],
    [`'\\xdead'::bytea`, 'bytea'],
    [`'{"a": 1.50}'::jsonb`, 'jsonb'],
    [`'happy'::mood`, 'mood'],
    [`'[1,5)'::int4range`, 'int4range'],
    [`1.1::float8`, 'float8'],
    [`'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid`, 'uuid'],
  ])('%s goes back into SQL through $name', async (expression, type) => {
    expect(
      await d.rows(
        `${quote(`SELECT ${expression} AS v`)} |=> 'x' ~> ${quote(`SELECT $x.v::${type} = ${expression} AS same`)}`,
      ),
    ).toEqual([{ same: true }]);
  });

  test('columns keep the order of the query, repeated names collapse to the last', async () => {
    const id = await d.complete(quote('SELECT 1 AS z, 2 AS a, 3 AS z'));
    expect(await d.output(id)).toBe('{"rows":[{"z":3,"a":2}],"row_count":1}');
  });

  test('row_count counts returned rows, not changed ones', async () => {
    expect(await d.result(quote('INSERT INTO t VALUES (100), (100)'))).toEqual({ rows: [], row_count: 0 });
    expect(await d.result(quote('UPDATE t SET n = 100 WHERE n = 100 RETURNING n'))).toEqual({
      rows: [{ n: 100 }, { n: 100 }],
      row_count: 2,
    });
  });

  test('empty text and a lone comment succeed without rows', async () => {
    expect(await d.result(`df.sql('')`)).toEqual({ rows: [], row_count: 0 });
    expect(await d.result(`df.sql('-- nothing')`)).toEqual({ rows: [], row_count: 0 });
  });

  test('a NUL escape in jsonb text does not lose the step', async () => {
    const id = await d.start(quote(`SELECT '{"a": "\\u0000"}'::json AS v`));
    const status = await d.ended(id);
    expect(['completed', 'failed']).toContain(status);
  });

  test('a result of 5 MB', async () => {
    const id = await d.complete(quote(`SELECT repeat('x', 5000000) AS v`));
    expect((await d.output(id))!.length).toBeGreaterThan(5_000_000);
  });
});

describe('several statements in one step', () => {
  test('one transaction, the result of the last', async () => {
    expect(
      await d.rows(
        quote(
          'INSERT INTO t VALUES (1); INSERT INTO t VALUES (1); SELECT count(*)::int AS n FROM t WHERE n = 1;',
        ),
      ),
    ).toEqual([{ n: 2 }]);
  });

  test('a failure undoes all of them', async () => {
    expect(await d.failure(quote('INSERT INTO t VALUES (2); SELECT 1/0'))).toBe(`${PREFIX}division by zero`);
    expect(await count(2)).toBe(0);
  });

  test('a temporary table lives for the step', async () => {
    expect(await d.rows(quote('CREATE TEMP TABLE tmp AS SELECT 5 AS v; SELECT v FROM tmp'))).toEqual([
      { v: 5 },
    ]);
  });

  test.each([
    'COMMIT',
    'INSERT INTO t VALUES (3); COMMIT; INSERT INTO t VALUES (3)',
    'ROLLBACK',
    'END',
    'ABORT',
    "PREPARE TRANSACTION 'x'",
    '/* a */ commit',
    'ROLLBACK WORK',
  ])('transaction control is refused: %s', async (sql) => {
    const id = await d.start(quote(sql));
    expect(await d.ended(id)).toBe('failed');
    expect(await d.output(id)).toBe(
      `${PREFIX}transaction control statements cannot be used in a durable step`,
    );
    expect(await count(3)).toBe(0);
  });

  test('a nested BEGIN warns, as on any server', async () => {
    expect(await d.rows(quote('BEGIN; SELECT 1 AS a'))).toEqual([{ a: 1 }]);
  });

  test('savepoints work', async () => {
    await d.complete(
      quote(
        'SAVEPOINT a; INSERT INTO t VALUES (4); ROLLBACK TO a; INSERT INTO t VALUES (5); RELEASE SAVEPOINT a',
      ),
    );
    expect([await count(4), await count(5)]).toEqual([0, 1]);
  });

  test('a DO block that commits is run at least once', async () => {
    await d.complete(quote('DO $$ BEGIN INSERT INTO t VALUES (6); COMMIT; INSERT INTO t VALUES (6); END $$'));
    expect(await count(6)).toBe(2);
  });

  test('the next step is exactly-once again', async () => {
    await d.complete(`'VACUUM t' ~> 'INSERT INTO t VALUES (7)' ~> 'VACUUM t' ~> 'INSERT INTO t VALUES (7)'`);
    expect(await count(7)).toBe(2);
  });
});

describe('what cannot be in a transaction', () => {
  test('VACUUM, CREATE INDEX CONCURRENTLY, CALL with COMMIT', async () => {
    await d.app.query(`CREATE PROCEDURE public.twice() LANGUAGE plpgsql AS
      $$ BEGIN INSERT INTO t VALUES (8); COMMIT; INSERT INTO t VALUES (8); END $$`);
    await d.complete(`'VACUUM public.t'`);
    await d.complete(`'CREATE INDEX CONCURRENTLY t_n ON public.t (n)'`);
    await d.complete(`'CALL public.twice()'`);
    expect(
      await d.value(
        `SELECT count(*)::int FROM pg_index WHERE indexrelid = 'public.t_n'::regclass AND indisvalid`,
      ),
    ).toBe(1);
    expect(await count(8)).toBe(2);
  });

  test('its own failure is the step’s failure', async () => {
    expect(await d.failure(`'VACUUM public.not_there'`)).toBe(
      `${PREFIX}relation "public.not_there" does not exist`,
    );
  });

  test.each(['COPY t TO STDOUT', 'COPY t FROM STDIN', 'COPY (SELECT 1) TO STDOUT; SELECT 1'])(
    '%s is refused',
    async (sql) => {
      const id = await d.start(`${quote(sql)} ~> 'SELECT 1'`);
      expect(await d.ended(id)).toBe('failed');
      expect(await d.output(id)).toMatch(/COPY (?:TO STDOUT|FROM STDIN) is not possible in a durable step/);
      // and the next instance has a session that works
      expect(await d.rows(`'SELECT 1 AS a'`)).toEqual([{ a: 1 }]);
    },
  );

  test('placeholders are the user’s error', async () => {
    expect(await d.failure(quote('SELECT $1::int'))).toMatch(
      /^SQL execution failed: error returned from database: bind message/,
    );
  });
});

describe('errors at the end of a step', () => {
  test('a deferred constraint that fails at COMMIT is the step’s error', async () => {
    await d.app.query(`CREATE TABLE public.p (id int PRIMARY KEY);
      CREATE TABLE public.c (p int REFERENCES public.p DEFERRABLE INITIALLY DEFERRED)`);
    const id = await d.start(`'SELECT 1' ~> 'INSERT INTO c VALUES (9)' ~> 'INSERT INTO t VALUES (9)'`);
    expect(await d.ended(id)).toBe('failed');
    expect(await d.output(id)).toBe(
      `${PREFIX}insert or update on table "c" violates foreign key constraint "c_p_fkey"`,
    );
    expect(await d.node(id, 'INSERT INTO c')).toMatchObject({
      status: 'failed',
      details: { sqlstate: '23503', detail: 'Key (p)=(9) is not present in table "p".' },
    });
    expect(await d.node(id, 'INSERT INTO t')).toMatchObject({ status: 'pending' });
    expect([await count(9), await d.value('SELECT count(*)::int FROM c')]).toEqual([0, 0]);
    expect(await d.node(id, 'SELECT 1')).toMatchObject({ status: 'completed' });
  });

  test('and the last step’s too', async () => {
    const id = await d.start(`'INSERT INTO t VALUES (10)' ~> 'INSERT INTO c VALUES (9)'`);
    expect(await d.ended(id)).toBe('failed');
    expect(await count(10)).toBe(1);
    expect((await d.typed(id, 'THEN'))[0]).toMatchObject({ status: 'failed' });
  });

  test('in a branch of a join', async () => {
    expect(await d.failure(`'INSERT INTO c VALUES (9)' & 'INSERT INTO t VALUES (11)'`)).toMatch(
      /^JOIN branch 1 failed: .*c_p_fkey/,
    );
    expect(await count(11)).toBe(1);
  });

  test('a read-only transaction', async () => {
    expect(
      await d.rows(`'SET TRANSACTION READ ONLY; SELECT 12 AS a' |=> 'x' ~> 'SELECT $x + 1 AS b'`),
    ).toEqual([{ b: 13 }]);
    expect(await d.failure(`'SET TRANSACTION READ ONLY; INSERT INTO t VALUES (12)'`)).toBe(
      `${PREFIX}cannot execute INSERT in a read-only transaction`,
    );
  });

  test('a role whose transactions are read-only by default', async () => {
    const reader = await d.user('reader');
    await d.root.query(`ALTER ROLE ${reader.name} SET default_transaction_read_only = on`);
    const writer = await d.connect(reader);
    const id = await d
      .start(`'SELECT 1 AS a' |=> 'x' ~> 'SELECT $x + 1 AS b'`, writer)
      .catch((error: Error) => error);
    // its own session cannot write the start; begun read-write, it runs
    expect(id).toBeInstanceOf(Error);
    await writer.query('BEGIN READ WRITE');
    const started = await d.start(`'SELECT 1 AS a' |=> 'x' ~> 'SELECT $x + 1 AS b'`, writer);
    await writer.query('COMMIT');
    expect(await d.ended(started)).toBe('completed');
    await writer.end();
  });

  test('a role whose transactions are serializable by default', async () => {
    const strict = await d.user('strict');
    await d.root.query(`ALTER ROLE ${strict.name} SET default_transaction_isolation = 'serializable'`);
    await d.root.query(`GRANT ALL ON public.t TO ${strict.name}`);
    const client = await d.connect(strict);
    await client.query(`SET default_transaction_isolation = 'read committed'`);
    const ids: string[] = [];
    for (let n = 0; n < 10; n += 1) {
      ids.push(
        await d.start(
          `'SELECT count(*) FROM t WHERE n = 13' |=> 'c' ~> 'INSERT INTO t VALUES (14)' ~> 'SELECT current_setting(''transaction_isolation'') AS i'`,
          client,
        ),
      );
    }
    for (const id of ids) {
      expect([await d.ended(id), await d.output(id)]).toEqual(['completed', expect.any(String)]);
      expect(JSON.parse((await d.output(id))!).rows).toEqual([{ i: 'serializable' }]);
    }
    expect(await count(14)).toBe(10);
    await client.end();
  });
});

describe('the detail of a failure', () => {
  test('sqlstate, detail, hint, context, position and the statement that ran', async () => {
    const id = await d.start(
      `'SELECT ''nope'' AS w' |=> 'x' ~> 'DO $do$ BEGIN RAISE EXCEPTION ''it went wrong'' USING ERRCODE = ''P0042'', DETAIL = ''why'', HINT = ''what now: '' || $x; END $do$'`,
    );
    expect(await d.ended(id)).toBe('failed');
    const node = await d.node(id, 'DO');
    expect(node).toMatchObject({
      status: 'failed',
      error: `${PREFIX}it went wrong`,
      result: `${PREFIX}it went wrong`,
      details: { execution_id: `${id}::1`, sqlstate: 'P0042', detail: 'why', hint: 'what now: nope' },
    });
    expect(node.details?.context).toMatch(/PL\/pgSQL function inline_code_block line 1 at RAISE/);
    expect(node.details?.statement).toContain("'what now: ' || 'nope'");
    const result = JSON.parse((await d.app.query('SELECT df.result($1) AS r', [id])).rows[0].r as string);
    expect(result).toEqual({ error: `${PREFIX}it went wrong`, sqlstate: 'P0042', node_id: node.id });
  });

  test('the position points into the statement', async () => {
    const id = await d.start(`'SELECT 1 FORM nothing'`);
    await d.ended(id);
    expect(await d.node(id, 'SELECT 1 FORM')).toMatchObject({
      details: { sqlstate: '42601', position: '15' },
    });
  });

  test('substitution that fails is the node’s error', async () => {
    const id = await d.start(`'SELECT 1 WHERE false' |=> 'x' ~> 'SELECT $x'`);
    expect(await d.ended(id)).toBe('failed');
    expect(await d.node(id, 'SELECT $x')).toMatchObject({
      status: 'failed',
      error: '$x has no rows — query returned zero results',
    });
  });

  test('the statement is left out where record_statements is off', async () => {
    const quiet = await Durable.open({ record_statements: 'off' });
    try {
      const id = await quiet.start(`'SELECT 1/0'`);
      await quiet.ended(id);
      const { details } = await quiet.node(id, 'SELECT 1/0');
      expect(details).toMatchObject({ sqlstate: '22012' });
      expect(details).not.toHaveProperty('statement');
    } finally {
      await quiet.close();
    }
  });
});

describe('what shows while it runs', () => {
  test('a long step, its enclosing nodes and its instance show as running', async () => {
    const id = await d.start(`'SELECT 1' ~> 'SELECT pg_sleep(1.2)'`);
    await until(async () => (await d.node(id, 'SELECT pg_sleep')).status === 'running', {
      what: 'the step to show',
    });
    expect(await d.status(id)).toBe('running');
    expect((await d.typed(id, 'THEN'))[0]).toMatchObject({ status: 'running', stamp: `${id}::1` });
    expect(await d.node(id, 'SELECT 1')).toMatchObject({ status: 'completed' });
    const explained = (await d.app.query('SELECT df.explain($1) AS e', [id])).rows[0].e as string;
    expect(explained).toContain('⏳ Running');
    expect(await d.ended(id)).toBe('completed');
  });
});

describe('substitution through the database', () => {
  test('$name.* as a relation, with its types for an empty one', async () => {
    expect(
      await d.rows(`'SELECT g AS id, ''n'' || g AS name FROM generate_series(1, 3) g' |=> 'b'
                    ~> 'SELECT sum(id)::int AS s, string_agg(name, '','' ORDER BY id) AS n FROM $b.*'`),
    ).toEqual([{ s: 6, n: 'n1,n2,n3' }]);
    expect(
      await d.rows(`'SELECT 1 AS id, ''a''::text AS name, now() AS at, ''happy''::mood AS m WHERE false' |=> 'b'
                    ~> 'SELECT count(*)::int AS c, pg_typeof(max(id))::text AS i, pg_typeof(max(at))::text AS a,
                               pg_typeof(max(m))::text AS m FROM $b.*'`),
    ).toEqual([{ c: 0, i: 'integer', a: 'timestamp with time zone', m: 'mood' }]);
  });

  test('variables and system variables', async () => {
    await d.app.query(`SELECT df.setvar('tbl', 'public.t'), df.setvar('n', '15')`);
    const id = await d.start(
      `'INSERT INTO {tbl} VALUES ({n})' ~> 'SELECT ''{sys_instance_id}'' AS i, ''{sys_label}'' AS l, ''{other}'' AS o', 'lab'`,
    );
    await d.app.query('SELECT df.clearvars()');
    expect(await d.ended(id)).toBe('completed');
    expect(JSON.parse((await d.output(id))!).rows).toEqual([{ i: id, l: 'lab', o: '{other}' }]);
    expect(await count(15)).toBe(1);
  });
});
