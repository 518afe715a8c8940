import { describe, expect, test } from 'vitest';
import { printJson } from '../../../src/engine/json.js';
import type { NamedResult } from '../../../src/engine/reference.js';
import { type Bindings, loneReference, substitute } from '../../../src/engine/substitute.js';
import { isTrueValue } from '../../../src/engine/truth.js';

const rows = (...all: string[]) => `{"rows":[${all.join(',')}],"row_count":${all.length}}`;

function bind(
  names: Record<string, string | NamedResult> = {},
  variables: Record<string, string> = {},
  label: string | null = 'my label',
): Bindings {
  return {
    instanceId: 'a1b2c3d4',
    label,
    variables: new Map(Object.entries(variables)),
    names: new Map(
      Object.entries(names).map(
        ([name, one]) => [name, typeof one === 'string' ? { text: one } : one] as const,
      ),
    ),
  };
}

const sql = (template: string, bindings: Bindings) => substitute(template, bindings, 'sql');
const raw = (template: string, bindings: Bindings) => substitute(template, bindings, 'raw');

const user = rows(`{"id":42,"name":"O'Hara","tags":["a",1],"ok":true,"gone":null}`, '{"id":43}');
const empty = rows();
const nothing = rows('{"val":null}');

describe('{name}', () => {
  test('captured and system variables are inserted as they are', () => {
    const bindings = bind({}, { t: `x'; --`, sys_label: 'not this' });
    expect(sql('{t} {sys_instance_id} {sys_label}', bindings)).toBe("x'; -- a1b2c3d4 my label");
    expect(sql('[{sys_label}]', bind({}, {}, null))).toBe('[]');
  });

  test('what is no captured variable stays', () => {
    const text = `{} {"a":1} '{1,2}' {red} { t } {a-b} {`;
    expect(sql(text, bind({}, { t: '1' }))).toBe(text);
  });

  test('a variable inside JSON is replaced (decision #12)', () => {
    expect(raw('{"key": "{v}", "n": {"m": {v}}}', bind({}, { v: '7' }))).toBe('{"key": "7", "n": {"m": 7}}');
  });

  test('values are not scanned for braces again, but for results', () => {
    const bindings = bind({ user }, { a: '{b} $user.id', b: 'no' });
    expect(sql('{a}', bindings)).toBe('{b} 42');
  });

  test('a result is not scanned for braces', () => {
    expect(sql('$r', bind({ r: rows('{"c":"{a}"}') }, { a: 'no' }))).toBe("'{a}'");
  });

  test('a value with replacement patterns of its own stays as it is', () => {
    expect(sql('{a}', bind({}, { a: '$& $1 $$' }))).toBe('$& $1 $$');
  });
});

describe('$name in SQL', () => {
  test('first column of the first row', () => {
    expect(sql('SELECT $user + 1', bind({ user }))).toBe('SELECT 42 + 1');
  });

  test('strings are quoted, numbers and booleans bare, arrays and objects as quoted JSON', () => {
    const bindings = bind({ user });
    expect(sql('$user.name', bindings)).toBe("'O''Hara'");
    expect(sql('$user.id', bindings)).toBe('42');
    expect(sql('$user.ok', bindings)).toBe('true');
    expect(sql('$user.tags', bindings)).toBe(`'["a",1]'`);
  });

  test('numbers keep their digits', () => {
    expect(sql('$r', bind({ r: rows('{"n":9223372036854775807}') }))).toBe('9223372036854775807');
  });

  test('a negative number is bare, but where its sign would mean something else', () => {
    const bindings = bind({ n: rows('{"v":-5}'), z: rows('{"v":-0.0}'), t: rows('{"v":"-5"}') });
    for (const [template, text] of [
      ['$n', '-5'],
      ['$n + 1', '-5 + 1'],
      ['$n::int8', '(-5)::int8'],
      ['$n ::int8', '(-5) ::int8'],
      ['1 -$n', '1 -(-5)'],
      ['1 - $n', '1 - -5'],
      ['a @$n.v', 'a @(-5)'],
      [`'x$n::y' || $n::text`, `'x-5::y' || (-5)::text`],
      [`"-$n" /* -$n */ -- -$n`, '"--5" /* --5 */ -- --5'],
      [`$q$-$n$q$ -$n`, '$q$--5$q$ -(-5)'],
      [`E'\\'-$n' -$n`, `E'\\'--5' -(-5)`],
      ['$z::float8', `'-0'::float8`],
      ['$t::int', `'-5'::int`],
    ] as const) {
      expect(sql(template, bindings)).toBe(text);
    }
    expect(raw('-$n::x', bindings)).toBe('--5::x');
    expect(sql('$z.*', bindings)).toBe(`(VALUES ('-0'::float8)) AS "z"("v")`);
  });

  test('other JSON is one quoted literal', () => {
    expect(sql('$j', bind({ j: `[{"a":"it's"}]` }))).toBe(`'[{"a":"it''s"}]'`);
    expect(sql('$j', bind({ j: '"text"' }))).toBe(`'"text"'`);
    expect(sql('$j.a', bind({ j: '{"a":"b"}' }))).toBe("'b'");
  });

  test('text that is not JSON is quoted', () => {
    expect(sql('$j', bind({ j: `it's` }))).toBe("'it''s'");
  });

  test('the scan knows nothing of SQL', () => {
    const bindings = bind({ user });
    expect(sql(`'a $user b' -- $user`, bindings)).toBe(`'a 42 b' -- 42`);
    expect(sql('$user::text', bindings)).toBe('42::text');
    expect(sql('$$ $user $$', bindings)).toBe('$$ 42 $$');
  });

  test('the longest name is tried first, then shorter ones', () => {
    const bindings = bind({ a: rows('{"c":1}'), ab: rows('{"c":2}') });
    expect(sql('$ab $a $abc $a.c $ab.c $ab?', bindings)).toBe('2 1 $abc 1 2 2');
  });

  test('unknown names and lone dollars stay', () => {
    expect(sql('$foo $1 $ $', bind({ user }))).toBe('$foo $1 $ $');
    expect(sql('$user', bind())).toBe('$user');
  });

  test('a dot that no column follows stays', () => {
    expect(sql('$user. $user.1', bind({ user }))).toBe('42. 42.1');
  });

  test('a missing column stays as it was written', () => {
    expect(sql('$user.nope $user.nope?', bind({ user }))).toBe('$user.nope $user.nope?');
    expect(sql('$j.nope', bind({ j: '{"a":1}' }))).toBe('$j.nope');
  });

  test('fields of an only column that is an object, where no column has the name', () => {
    const bindings = bind({ f: rows('{"f":{"done":true,"n":null}}'), g: rows('{"g":{"a":1},"h":2}') });
    expect(sql('$f.done $f.n? $g.a $f.nope', bindings)).toBe('true NULL $g.a $f.nope');
    expect(() => sql('$f.n', bindings)).toThrow('$f.n is NULL');
  });

  test('rows and row_count of a row set are columns', () => {
    expect(sql('$user.rows', bind({ user }))).toBe('$user.rows');
  });

  test('null-safe references give NULL for no rows and for NULL', () => {
    const bindings = bind({ empty, nothing, j: '{"a":null}' });
    expect(sql('$empty? $empty.x? $nothing? $nothing.val? $j.a?', bindings)).toBe('NULL NULL NULL NULL NULL');
  });

  test('null-safe references give the value where there is one', () => {
    expect(sql('$user? $user.name?', bind({ user }))).toBe("42 'O''Hara'");
  });
});

describe('error texts', () => {
  test.each([
    ['$empty', '$empty has no rows — query returned zero results'],
    ['$empty.x', '$empty has no rows — query returned zero results'],
    ['$nothing', '$nothing is NULL — first column of first row is NULL'],
    ['$nothing.val', '$nothing.val is NULL'],
    ['$obj.a', '$obj.a is NULL'],
    ['$list.a', '$list.a: result is neither a row set nor a JSON object'],
    ['$list.a?', '$list.a?'.slice(0, -1).concat(': result is neither a row set nor a JSON object')],
    ['$words.a', '$words.a: result is not valid JSON'],
    ['$words.a?', '$words.a: result is not valid JSON'],
    ['$obj.*', '$obj.* — invalid result format'],
  ])('%s', (template, message) => {
    const bindings = bind({ empty, nothing, obj: '{"a":null}', list: '[1]', words: 'not json' });
    expect(() => sql(template, bindings)).toThrow(new Error(message));
  });

  test('$name.* of what is not JSON', () => {
    expect(() => sql('$w.*', bind({ w: 'x' }))).toThrow(/^\$w\.\* — invalid result JSON: /);
  });

  test('a missing field in raw mode names what there is', () => {
    expect(() => raw('$user.nope', bind({ user }))).toThrow(
      new Error("$user.nope: result has no field 'nope' (available: gone, id, name, ok, tags)"),
    );
    expect(raw('$user.nope?', bind({ user }))).toBe('$user.nope?');
  });

  test('more rows than can be expanded', () => {
    const many = rows(...Array.from({ length: 10_001 }, (_, i) => `{"n":${i}}`));
    expect(() => sql('$many.*', bind({ many }))).toThrow(
      new Error(
        '$many.* — result has 10001 rows, exceeding the maximum of 10000 for row-set expansion. Use pagination or intermediate tables for large result sets.',
      ),
    );
  });
});

describe('$name in raw text', () => {
  test('strings as they are, the rest as in JSON', () => {
    expect(raw('$user.name/$user.id/$user.tags/$user.ok', bind({ user }))).toBe(`O'Hara/42/["a",1]/true`);
    expect(raw('$j', bind({ j: '{"a": 1}' }))).toBe('{"a": 1}');
    expect(raw('$nothing?', bind({ nothing }))).toBe('NULL');
  });

  test('$name.* is the JSON array of the rows', () => {
    expect(raw('$r.*', bind({ r: rows('{"a":1}', '{"a":2}') }))).toBe('[{"a":1},{"a":2}]');
    expect(raw('$empty.*', bind({ empty }))).toBe('[]');
  });
});

describe('$name.* in SQL', () => {
  test('an inline relation with the columns of the query', () => {
    const r = rows('{"id":1,"val":"a\'b","x":null,"j":{"k":1}}', '{"id":2,"val":null,"x":true,"j":[]}');
    expect(sql('FROM $r.*', bind({ r }))).toBe(
      `FROM (VALUES (1,'a''b'::text,NULL,'{"k":1}'::text), (2,NULL,true,'[]'::text)) AS "r"("id", "val", "x", "j")`,
    );
  });

  test('column names are quoted', () => {
    expect(sql('$r.*', bind({ r: rows('{"a \\"b":1}') }))).toBe('(VALUES (1)) AS "r"("a ""b")');
  });

  test('no rows: an empty relation that keeps its columns and types', () => {
    const r = {
      text: empty,
      columns: [
        ['id', 'integer'],
        ['na"me', 'varchar'],
      ] as const,
    };
    expect(sql('$r.*', bind({ r }))).toBe(
      '(SELECT NULL::integer AS "id", NULL::varchar AS "na""me" WHERE false) AS "r"',
    );
    expect(sql('$r.*', bind({ r: empty }))).toBe('(SELECT NULL WHERE false) AS "r"');
  });
});

describe('a text that is one reference', () => {
  test.each([
    ['$user', '42'],
    [' $user.name ', `"O'Hara"`],
    ['$user.ok?', 'true'],
    ['$user.tags', '["a",1]'],
    ['$empty?', 'null'],
    ['$nothing.val?', 'null'],
    ['$words', '"not json"'],
  ])('%s', (text, json) => {
    const value = loneReference(text, bind({ user, empty, nothing, words: 'not json' }));
    expect(printJson(value!)).toBe(json);
  });

  test.each(['SELECT $user', '$user.*', '$other', '{w}', '$user $user', '$user.id > 1', 'NOT $user.ok'])(
    '%s is none',
    (text) => {
      expect(loneReference(text, bind({ user }, { v: 'SELECT false' }))).toBeUndefined();
    },
  );

  test('a null-safe miss is false, a text that looks like JSON is a text', () => {
    const bindings = bind({ empty, nothing, text: rows('{"c":"[]"}'), word: rows('{"c":"null"}') });
    expect(isTrueValue(loneReference('$empty?', bindings)!)).toBe(false);
    expect(isTrueValue(loneReference('$nothing.val?', bindings)!)).toBe(false);
    expect(isTrueValue(loneReference('$text', bindings)!)).toBe(true);
    expect(isTrueValue(loneReference('$word.c', bindings)!)).toBe(true);
  });
});

describe('texts of a size that somebody might choose to do harm', () => {
  test('cost time in proportion, whatever names there are', () => {
    const names: Record<string, NamedResult> = {};
    for (let n = 0; n < 10_000; n++) names[`n${n}`] = { text: 'null' };
    names.minus = { text: rows('{"a":-1}') };
    const began = performance.now();
    expect(sql('$'.repeat(1_000_000), bind(names))).toHaveLength(1_000_000);
    const casts = sql(`SELECT ${'$minus::int,'.repeat(100_000)} '$minus::int' -- $minus::int`, bind(names));
    expect(casts).toBe(`SELECT ${'(-1)::int,'.repeat(100_000)} '-1::int' -- -1::int`);
    expect(performance.now() - began).toBeLessThan(5000);
  });
});
