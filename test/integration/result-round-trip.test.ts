import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { seed } from '../unit/rewrite/seed.js';

let d: Durable;

beforeAll(async () => {
  d = await Durable.open();
  await d.app.query(`CREATE TYPE public.mood AS ENUM ('happy', 'so so', 'it''s "odd"');
    CREATE TYPE public.inner_t AS (v numeric, ok boolean, at timestamptz);
    CREATE TYPE public.outer_t AS (id int8, word text, tags text[], deep inner_t, more inner_t[]);
    CREATE DOMAIN public.positive AS int8 CHECK (value > 0);
    CREATE DOMAIN public.words AS text[];`);
});
afterAll(() => d?.close());

const quote = (text: string) => `'${text.replaceAll("'", "''")}'`;

/** A value as SQL writes it, and its type. */
interface Value {
  readonly literal: string;
  readonly type: string;
}

const literal = (type: string, text: fc.Arbitrary<string>): fc.Arbitrary<Value> =>
  text.map((value) => ({ literal: `${quote(value)}::${type}`, type }));
const among = (type: string, ...texts: string[]) => literal(type, fc.constantFrom(...texts));

const word = fc.oneof(
  fc.string({ unit: 'grapheme' }).map((text) => text.replaceAll('\0', '')),
  fc.constantFrom(
    '',
    ' ',
    `'`,
    `''`,
    '\\',
    `\\'`,
    `\\''; DROP TABLE t; --`,
    '$$',
    '$x',
    '$x.v',
    '{name}',
    '{sys_label}',
    '-- no comment',
    '/* */',
    '\n\r\t\b\f\v\u0001\u007f',
    '😀 e\u0301 \u202e \ufeff \uffff',
    '\\u0000 \\000 \\x00',
    'NULL',
    'null',
    '{a,"b"}',
    '(1,2)',
    '[1]',
    '{"rows":[]}',
    '"',
  ),
);
const bigint = (bits: number) =>
  fc.oneof(
    fc.bigInt({ min: -(2n ** BigInt(bits - 1)), max: 2n ** BigInt(bits - 1) - 1n }),
    fc.constantFrom(0n, 1n, -1n, -(2n ** BigInt(bits - 1)), 2n ** BigInt(bits - 1) - 1n),
  );
const digits = (most: number) =>
  fc.string({ unit: fc.constantFrom(...'0123456789'), minLength: 1, maxLength: most });
const numeric = fc.oneof(
  fc.tuple(fc.constantFrom('', '-'), digits(40), digits(40)).map(([sign, a, b]) => `${sign}${a}.${b}`),
  digits(40),
  fc.constantFrom('NaN', 'Infinity', '-Infinity', '0', '-0.00', '0.000', '1e100', '1e-100', '9'.repeat(1000)),
);
const float = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
  fc.constantFrom(
    '-0',
    '0',
    '1e308',
    '-1e308',
    '1.7976931348623157e308',
    '5e-324',
    '2.2250738585072014e-308',
    '1',
  ),
);
const single = fc.oneof(
  fc.float({ noNaN: true, noDefaultInfinity: true }).map(String),
  fc.constantFrom('-0', '3.4028235e38', '1e-45', '3.14', '16777217'),
);
const moments = [
  '2024-06-15 12:30:00.123456',
  '2024-06-15 12:30:00',
  '2024-06-15 12:30:00.5',
  '0001-01-01 00:00:00',
  '0099-02-03 04:05:06',
  '9999-12-31 23:59:59.999999',
  '10000-01-01 00:00:00',
  '294276-12-31 23:59:59.999999',
  '0044-03-15 12:00:00 BC',
  '4713-01-01 00:00:00 BC',
  'infinity',
  '-infinity',
  '1970-01-01 00:00:00',
];
const json = fc
  .oneof(
    fc.json(),
    fc.jsonValue().map((value) => JSON.stringify({ value })),
    fc.constantFrom(
      '{"a": 12345678901234567890.12345678901234567890}',
      '[1e400, -0.0, 1E5, 0.10]',
      '{"": {"": [[], {}, null]}}',
      '[[[[[[[[[[1]]]]]]]]]]',
      '{"a": "\\ud83d\\ude00 \\\\ \\" \\n"}',
    ),
  )
  .filter((text) => !/^\s*[^[{]/.test(text) && !text.includes('\\u0000') && !/\\ud[89ab-f]/i.test(text));
const arrayText = (element: fc.Arbitrary<string>, type: string): fc.Arbitrary<Value> =>
  fc.array(fc.option(element), { maxLength: 5 }).map((elements) => ({
    literal: `ARRAY[${elements.map((one) => (one === null ? 'NULL' : quote(one))).join(',')}]::${type}[]`,
    type: `${type}[]`,
  }));

const scalar = fc.oneof(
  among('boolean', 'true', 'false'),
  literal('int2', bigint(16).map(String)),
  literal('int4', bigint(32).map(String)),
  literal('int8', bigint(64).map(String)),
  literal('positive', fc.bigInt({ min: 1n, max: 2n ** 63n - 1n }).map(String)),
  literal('numeric', numeric),
  literal('float8', float),
  literal('float4', single),
  literal('text', word),
  literal('varchar', word),
  literal(
    'char(12)',
    word.map((text) => text.slice(0, 5)),
  ),
  literal(
    'name',
    word.map((text) => text.slice(0, 8)),
  ),
  among('"char"', 'a', '', '\\', "'"),
  literal(
    'bytea',
    fc.uint8Array().map((bytes) => `\\x${Buffer.from(bytes).toString('hex')}`),
  ),
  literal('uuid', fc.uuid()),
  literal('timestamp', fc.constantFrom(...moments)),
  literal('timestamptz', fc.constantFrom(...moments)),
  literal(
    'timestamptz',
    fc
      .date({ min: new Date('0001-01-02'), max: new Date('+012000-01-01'), noInvalidDate: true })
      .map((date) => date.toISOString().replace(/^\+0/, '')),
  ),
  among('date', '2024-06-15', '0044-03-15 BC', '5874897-12-31', 'infinity', '-infinity'),
  among('time', '00:00:00', '24:00:00', '12:30:00.000001'),
  among('timetz', '12:30:00+02', '23:59:59.999999-15:59:59', '24:00:00+00'),
  among('interval', '1 day', '-1 mons +2 days -03:04:05.678', '178000000 years', '0', '1 year -1 sec'),
  literal('json', json),
  literal('jsonb', json),
  among('mood', 'happy', 'so so', `it's "odd"`),
  among('inet', '10.0.0.1/8', '::1', 'fe80::1/64'),
  among('cidr', '10.0.0.0/8', '2001:db8::/32'),
  among('macaddr', '08:00:2b:01:02:03'),
  among('macaddr8', '08:00:2b:01:02:03:04:05'),
  among('money', '12.34', '-92233720368547758.08', '0'),
  among('bit(5)', '10101'),
  among('varbit', '', '1', '000'),
  among('int4range', '[1,5)', 'empty', '(,)', '[1,)'),
  among('numrange', '[1.50,2.5]', '(-infinity,infinity)'),
  among(
    'tstzrange',
    '["2024-01-01 00:00:00+00","2024-02-01 00:00:00.5+00")',
    '(,"0044-03-15 00:00:00+00 BC"]',
  ),
  among('int8multirange', '{}', '{[1,3),[5,9223372036854775807)}'),
  among('oid', '0', '4294967295'),
  among('regclass', 'pg_class', 'df.instances'),
  among('regtype', 'int4', 'timestamp with time zone', 'public.mood'),
  among('regprocedure', 'lower(text)'),
  among('point', '(1,2)', '(-0,1e300)'),
  among('box', '(3,4),(1,2)'),
  among('path', '[(1,2),(3,4)]'),
  among('tsvector', `'a':1 'it''s':2A 'b\\\\c':3`),
  among('tsquery', `'a' & !'b' <-> 'c d'`),
  among('pg_lsn', '16/B374D848'),
  among('xid8', '18446744073709551615'),
  among('int2vector', '1 2 3', ''),
  among('oidvector', '23 25', '4294967295'),
  among('tid', '(1,2)'),
  among('jsonpath', '$."a"[*] ? (@ > 1)'),
  among('pg_snapshot', '10:20:10,14,15'),
);

const arrays = fc.oneof(
  arrayText(word, 'text'),
  arrayText(bigint(64).map(String), 'int8'),
  arrayText(numeric, 'numeric'),
  arrayText(fc.constantFrom('happy', `it's "odd"`), 'mood'),
  arrayText(fc.constantFrom(...moments), 'timestamptz'),
  arrayText(
    fc.uint8Array().map((bytes) => `\\x${Buffer.from(bytes).toString('hex')}`),
    'bytea',
  ),
  arrayText(fc.constantFrom('(1,2),(0,0)', '(3,4),(2,2)'), 'box'),
);

/** As text, which tells more apart than equality: a sign of zero, digits. Blanks in json are not kept. */
const text = (expression: string, type: string) =>
  `${expression}::${type}${type === 'json' ? '::jsonb' : ''}::text`;

/** One instance: the first step selects the values, the second compares what has become of each. */
async function differences(values: readonly Value[], compare: (reference: string, value: Value) => string) {
  const first = values.map((value, n) => `${value.literal} AS "c${n}"`).join(', ');
  const second = values.map((value, n) => `${compare(`$held.c${n}`, value)} AS "c${n}"`).join(', ');
  const rows = await d.rows(`${quote(`SELECT ${first}`)} |=> 'held' ~> ${quote(`SELECT ${second}`)}`);
  return values
    .filter((_, n) => rows[0]![`c${n}`] !== true)
    .map((value, n) => [value.literal, rows[0]![`c${n}`]]);
}

test('a value of any type goes through $name.col into SQL without loss', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(scalar, { minLength: 20, maxLength: 20 }), async (values) => {
      const same = (reference: string, { literal, type }: Value) =>
        `(${text(reference, type)} = ${text(literal, type)})`;
      expect(await differences(values, same)).toEqual([]);
    }),
    { seed, numRuns: 40 },
  );
}, 120_000);

test('through $name.* too', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(scalar, { minLength: 8, maxLength: 8 }), async (values) => {
      const columns = values.map((value, n) => `${value.literal} AS "c${n}"`).join(', ');
      const same = values
        .map(({ literal, type }, n) => `${text(`c${n}`, type)} = ${text(literal, type)} AS "c${n}"`)
        .join(', ');
      const rows = await d.rows(
        `${quote(`SELECT ${columns} UNION ALL SELECT ${columns}`)} |=> 'held' ~> ${quote(`SELECT ${same} FROM $held.*`)}`,
      );
      for (const row of rows) {
        expect(values.filter((_, n) => row[`c${n}`] !== true).map(({ literal }) => literal)).toEqual([]);
      }
      expect(rows).toHaveLength(2);
    }),
    { seed, numRuns: 30 },
  );
}, 120_000);

test('arrays as JSON, element by element', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(arrays, { minLength: 5, maxLength: 5 }), async (values) => {
      const same = (reference: string, { literal, type }: Value) =>
        `(ARRAY(SELECT jsonb_array_elements_text(${reference}::jsonb))::${type}::text = ${literal}::text)`;
      expect(await differences(values, same)).toEqual([]);
    }),
    { seed, numRuns: 25 },
  );
}, 120_000);
