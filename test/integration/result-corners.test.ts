import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';

let d: Durable;
const PREFIX = 'SQL execution failed: error returned from database: ';
const quote = (sql: string) => `'${sql.replaceAll("'", "''")}'`;
/** `first`, named r, then `second`. */
const rows = (first: string, second: string) => d.rows(`${quote(first)} |=> 'r' ~> ${quote(second)}`);

beforeAll(async () => {
  d = await Durable.open();
  await d.app.query(`CREATE SCHEMA other;
    CREATE TYPE other.mood AS ENUM ('happy', 'sad');
    CREATE TYPE other.inner_t AS (v numeric, ok boolean, at timestamptz);
    CREATE TYPE other.outer_t AS (id int8, word text, tags text[], deep other.inner_t, more other.inner_t[]);
    CREATE DOMAIN other.moods AS other.mood[];`);
});
afterAll(() => d?.close());

describe('composites, arrays and domains', () => {
  test('a nested composite comes back as it was', async () => {
    const value = `ROW(-9223372036854775808, E'a "b" \\\\ ''c'',\\n()', ARRAY['x,y', '"', NULL, 'NULL', ''],
      ROW(-12.50, true, '2024-06-15 12:30:00.5+00')::other.inner_t,
      ARRAY[ROW(NULL, false, 'infinity')::other.inner_t, NULL])::other.outer_t`;
    expect(
      await rows(
        `SELECT ${value} AS v`,
        `SELECT jsonb_populate_record(NULL::other.outer_t, $r.v::jsonb) = ${value} AS same,
                (jsonb_populate_record(NULL::other.outer_t, $r.v::jsonb)).word AS word`,
      ),
    ).toEqual([{ same: true, word: `a "b" \\ 'c',\n()` }]);
  });

  test('the whole row of a table, and its fields', async () => {
    await d.app.query('CREATE TABLE public.pairs (n int, w text)');
    expect(
      await rows(
        `INSERT INTO pairs VALUES (1, 'a''b') RETURNING pairs`,
        'SELECT $r.n AS n, $r.w AS w, $r::jsonb AS t',
      ),
    ).toEqual([{ n: 1, w: "a'b", t: { n: 1, w: "a'b" } }]);
  });

  test('multi-dimensional arrays, bounds, a domain over an array', async () => {
    expect(
      await d.rows(
        quote(`SELECT ARRAY[[1,2],[3,NULL]] AS two, '[0:1]={7,8}'::int[] AS bounds, '{}'::int[] AS none,
                      ARRAY['happy']::other.moods AS moods, '1 2'::int2vector AS vector,
                      ARRAY['1 2','3']::int2vector[] AS vectors`),
      ),
    ).toEqual([
      {
        two: [
          [1, 2],
          [3, null],
        ],
        bounds: [7, 8],
        none: [],
        moods: ['happy'],
        vector: '1 2',
        vectors: ['1 2', '3'],
      },
    ]);
  });
});

describe('names of columns', () => {
  test('with quotes, blanks, other alphabets, and rows', async () => {
    expect(
      await rows(
        `SELECT 1 AS "a ""b""", 2 AS "é 😀", 3 AS rows, 4 AS row_count, 6 AS "a.b"`,
        `SELECT "a ""b""" AS a, "é 😀" AS b, rows AS c, $r.rows AS d, $r.row_count AS e, "a.b" AS f FROM $r.*`,
      ),
    ).toEqual([{ a: 1, b: 2, c: 3, d: 3, e: 4, f: 6 }]);
  });

  test('used twice: the last counts, with rows and without', async () => {
    for (const condition of ['true', 'false']) {
      expect(
        await rows(
          `SELECT 1 AS a, 'x'::text AS a, 2 AS b WHERE ${condition}`,
          `SELECT count(a)::int AS n, pg_typeof(max(a))::text AS a, pg_typeof(max(b))::text AS b FROM $r.*`,
        ),
      ).toEqual([{ n: condition === 'true' ? 1 : 0, a: 'text', b: 'integer' }]);
    }
  });
});

describe('$name.* of no rows keeps the types', () => {
  test('under any search_path, of types that no column can have, and of arrays and domains', async () => {
    expect(
      await rows(
        `SET LOCAL search_path = other, public;
         SELECT 'happy'::mood AS a, ARRAY['sad']::mood[] AS b, NULL::inner_t AS c, pg_sleep(0) AS d,
                NULL::moods AS e, NULL::"char" AS f, NULL::char(3) AS g, NULL::numeric(5,2) AS h,
                (SELECT s.most_common_vals FROM pg_catalog.pg_stats AS s WHERE false) AS i
         WHERE false`,
        `SELECT pg_typeof(min(a))::text AS a, pg_typeof(min(b))::text AS b, pg_typeof((array_agg(c))[1])::text AS c,
                count(d)::int AS d, count(e)::int AS e, count(f)::int AS f, pg_typeof(min(g))::text AS g,
                pg_typeof(min(h))::text AS h, count(i)::int AS i FROM $r.*`,
      ),
    ).toEqual([
      {
        a: 'other.mood',
        b: 'other.mood[]',
        c: 'other.inner_t',
        d: 0,
        e: 0,
        f: 0,
        g: 'character',
        h: 'numeric',
        i: 0,
      },
    ]);
  });

  test('a record', async () => {
    expect(
      await rows('SELECT ROW(1, 2) AS a, 3 AS b WHERE false', 'SELECT count(b)::int AS n FROM $r.*'),
    ).toEqual([{ n: 0 }]);
  });
});

describe('large values', () => {
  test('a text of 1 MB with signs of all kinds', async () => {
    const piece = `''"\\\\{} %s é😀\n`;
    expect(
      await rows(
        `SELECT repeat('${piece}', 60000) AS v`,
        `SELECT length($r.v) AS n, md5($r.v) = md5(repeat('${piece}', 60000)) AS same`,
      ),
    ).toEqual([{ n: 60000 * ([...piece].length - 1), same: true }]);
  });
});

describe('what JSON can hold and PostgreSQL’s text or jsonb cannot', () => {
  test('a NUL in json: the output is exact, df.nodes shows U+FFFD, and it goes back as json', async () => {
    const json = '{"a":"x\\u0000y","b":"\\\\u0000","c":"\\ud800"}';
    const id = await d.complete(
      `${quote(`SELECT '${json}'::json AS v`)} |=> 'r' ~> ${quote(`SELECT ($r.v::json)::text AS t`)}`,
    );
    const first = await d.node(id, `SELECT '`);
    expect(first.result).toEqual({
      rows: [{ v: { a: 'x\ufffdy', b: '\\u0000', c: '\ufffd' } }],
      row_count: 1,
    });
    expect(JSON.parse((await d.output(id))!).rows[0].t).toBe(json);
  });

  test('a NUL that would get into a statement fails the step, and nothing of it runs', async () => {
    await d.app.query('CREATE TABLE public.ran (n int)');
    const id = await d.start(
      `${quote(`SELECT '"a\\u0000b"'::json AS v`)} |=> 'r' ~> ${quote(`INSERT INTO ran VALUES (1); SELECT $r.v`)}`,
    );
    expect(await d.ended(id)).toBe('failed');
    expect(await d.output(id)).toBe(`${PREFIX}invalid byte sequence for encoding "UTF8": 0x00`);
    expect((await d.node(id, 'INSERT')).details).toMatchObject({ sqlstate: '22021' });
    expect(await d.value('SELECT count(*)::int FROM public.ran')).toBe(0);
  });

  test('a number beyond double, repeated keys', async () => {
    expect(
      await rows(
        `SELECT '[1e400, 123456789012345678901234567890.5, -0]'::jsonb AS n, '{"a":1,"a":2}'::json AS k`,
        `SELECT $r.n::jsonb = '[1e400, 123456789012345678901234567890.5, 0]'::jsonb AS n, $r.k::jsonb AS k`,
      ),
    ).toEqual([{ n: true, k: { a: 2 } }]);
  });
});

describe('settings of the session do not spoil results', () => {
  afterEach(async () => {
    await d.app.query(`ALTER ROLE ${d.role.name} RESET ALL`);
    await d.root.query(
      `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET ALL', current_database()); END $$`,
    );
  });

  const values = `SELECT '2024-06-07 08:09:10.5+00'::timestamptz AS tz, '2024-06-07'::date AS dt, 0.1::float8 AS f,
    '\\xdead'::bytea AS b, '-1 day -02:03:04'::interval AS i, '12.34'::money AS m, 'a\\b''c' AS t,
    '2024-06-07 08:09:10'::timestamp AS ts, '{"a b",NULL}'::text[] AS a`;
  const back = `SELECT $r.tz::timestamptz = '2024-06-07 08:09:10.5+00'::timestamptz AS tz, $r.dt::date = '2024-06-07'::date AS dt,
    $r.f::float8 = 0.1::float8 AS f, $r.b::bytea = '\\xdead'::bytea AS b, $r.i::interval = '-1 day -02:03:04'::interval AS i,
    $r.m::money = '12.34'::money AS m, $r.t = 'a\\b''c' AS t, $r.ts::timestamp = '2024-06-07 08:09:10'::timestamp AS ts,
    ARRAY(SELECT jsonb_array_elements_text($r.a::jsonb)) = '{"a b",NULL}'::text[] AS a`;
  const all = { tz: true, dt: true, f: true, b: true, i: true, m: true, t: true, ts: true, a: true };

  test.each([
    `DateStyle = 'German, DMY'`,
    `DateStyle = 'SQL, DMY'`,
    `IntervalStyle = 'sql_standard'`,
    `IntervalStyle = 'iso_8601'`,
    `bytea_output = 'escape'`,
    'standard_conforming_strings = off',
    'extra_float_digits = -10',
    `TimeZone = 'Asia/Kathmandu'`,
    `client_encoding = 'LATIN1'`,
    'array_nulls = on',
    `lc_monetary = 'C'`,
    'quote_all_identifiers = on',
    `search_path = 'pg_temp'`,
    'default_transaction_isolation = serializable',
    `statement_timeout = '20s'`,
    'row_security = off',
    'jit = on',
  ])('ALTER ROLE … SET %s', async (setting) => {
    if (
      setting.startsWith('standard_conforming') &&
      Number(await d.value('SHOW server_version_num')) >= 190000
    )
      return;
    await d.app.query(`ALTER ROLE ${d.role.name} SET ${setting}`);
    await d.root.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE datname = current_database() AND application_name = 'pg_durable:worker:workflow-sql'`,
    );
    expect(await rows(values, back)).toEqual([all]);
  });

  test('a step that changes client_encoding fails, and the session is good again', async () => {
    for (const sql of [
      `SET client_encoding = 'LATIN1'; SELECT 'é' AS v`,
      `SELECT set_config('client_encoding', 'SQL_ASCII', true), 'é' AS v`,
    ]) {
      expect(await d.failure(quote(sql))).toMatch(
        /client_encoding (LATIN1|SQL_ASCII) is not possible in a durable step$/,
      );
    }
    expect(await d.rows(`'SELECT ''é'' AS v'`)).toEqual([{ v: 'é' }]);
  });

  test('a step in another time zone gives the same moment', async () => {
    expect(
      await d.rows(
        quote(`SET TimeZone = 'Asia/Kathmandu';
               SELECT '2024-06-15 12:30:00+00'::timestamptz AS a, '294276-12-31 20:00:00+00'::timestamptz AS b,
                      '1901-01-01 00:00:00+00'::timestamptz AS c`),
      ),
    ).toEqual([
      { a: '2024-06-15T12:30:00+00:00', b: '294276-12-31T20:00:00+00:00', c: '1901-01-01T00:00:00+00:00' },
    ]);
  });
});

describe('negative numbers', () => {
  test('before a cast, behind an operator, in a literal', async () => {
    expect(
      await rows(
        `SELECT -5 AS n, '-0'::float8 AS z, (-32768)::int2 AS s`,
        `SELECT $r.n::text AS t, 10 -$r.n AS d, 'a-$r.n::x' AS l, $r.z::float8::text AS z, @$r.n AS a, $r.n AS n,
                $r.s::int2 AS s, $$q-$r.n$$ AS q -- $r.n::text`,
      ),
    ).toEqual([{ t: '-5', d: 15, l: 'a--5::x', z: '-0', a: 5, n: -5, s: -32768, q: 'q--5' }]);
  });
});
