import { describe, expect, test } from 'vitest';
import { encodeRows, encodeValue, isoTimestamp, NO_ROWS } from '../../../src/engine/result/encode.js';
import { readArray, readComposite } from '../../../src/engine/result/literal.js';
import { builtinShape, type Shape } from '../../../src/engine/result/types.js';

const field = (name: string, type = 25) => ({ name, type, modifier: -1 });
const shape = (oid: number): Shape => builtinShape(oid)!;

describe('rows as JSON', () => {
  test('no rows', () => {
    expect(encodeRows([field('a')], [shape(25)], [])).toBe(NO_ROWS);
  });

  test('columns in the order of the query, names escaped', () => {
    expect(
      encodeRows(
        [field('z', 23), field('a"b', 25)],
        [shape(23), shape(25)],
        [
          ['1', 'x'],
          ['2', null],
        ],
      ),
    ).toBe('{"rows":[{"z":1,"a\\"b":"x"},{"z":2,"a\\"b":null}],"row_count":2}');
  });

  test('of repeated names the last column counts', () => {
    expect(encodeRows([field('a', 23), field('a', 25)], [shape(23), shape(25)], [['1', 'x']])).toBe(
      '{"rows":[{"a":"x"}],"row_count":1}',
    );
  });
});

describe('values', () => {
  test.each([
    [16, 't', 'true'],
    [16, 'f', 'false'],
    [21, '-7', '-7'],
    [23, '42', '42'],
    [20, '9223372036854775807', '9223372036854775807'],
    [700, '3.14', '3.140000104904175'],
    [700, '1', '1.0'],
    [700, 'NaN', 'null'],
    [701, '1', '1.0'],
    [701, '0.1', '0.1'],
    [701, '1e+300', '1e+300'],
    [701, '-0', '-0.0'],
    [701, 'Infinity', 'null'],
    [701, '-Infinity', 'null'],
    [25, `it's "so"`, `"it's \\"so\\""`],
    [1043, '', '""'],
    [1042, 'ab   ', '"ab   "'],
    [19, 'n', '"n"'],
    [1700, '1.50', '"1.50"'],
    [1700, 'NaN', '"NaN"'],
    [1700, 'Infinity', '"Infinity"'],
    [2950, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"'],
    [1184, '2024-06-15 12:30:00+00', '"2024-06-15T12:30:00+00:00"'],
    [1184, '2024-06-15 12:30:00.5+00', '"2024-06-15T12:30:00.500+00:00"'],
    [1114, '2024-06-15 12:30:00.123456', '"2024-06-15T12:30:00.123456"'],
    [1082, '2024-06-15', '"2024-06-15"'],
    [1083, '12:30:00', '"12:30:00"'],
    [1186, '1 day 02:00:00', '"1 day 02:00:00"'],
    [17, '\\xdeadbeef', '"\\\\xdeadbeef"'],
    [869, '10.0.0.1', '"10.0.0.1"'],
    [114, '{"a": [1, 2.50]}', '{"a":[1,2.50]}'],
    [3802, 'null', 'null'],
    [2278, '', 'null'],
    [1007, '{1,NULL,3}', '[1,null,3]'],
    [1009, '{a,"b,c",NULL,"NULL","q\\"q"}', '["a","b,c",null,"NULL","q\\"q"]'],
    [1000, '{t,f}', '[true,false]'],
    [1016, '[0:1]={9007199254740993,2}', '[9007199254740993,2]'],
    [1007, '{{1,2},{3,4}}', '[[1,2],[3,4]]'],
    [1231, '{1.50,NaN}', '["1.50","NaN"]'],
    [3807, '{"{\\"a\\": 1}"}', '[{"a":1}]'],
    [1009, '{}', '[]'],
    [2249, '(1,,"a b")', '{"f1":"1","f2":null,"f3":"a b"}'],
  ])('type %i: %s', (oid, text, json) => {
    expect(encodeValue(text, shape(oid))).toBe(json);
  });

  test('NULL is null, whatever the type', () => {
    for (const oid of [16, 23, 25, 701, 1007, 3802]) expect(encodeValue(null, shape(oid))).toBe('null');
  });

  test('a composite is an object of its attributes', () => {
    const point: Shape = {
      kind: 'composite',
      attributes: [
        ['x', shape(23)],
        ['label', shape(25)],
        ['tags', shape(1009)],
      ],
    };
    expect(encodeValue('(1,"a ""b""","{p,q}")', point)).toBe('{"x":1,"label":"a \\"b\\"","tags":["p","q"]}');
    expect(encodeValue('(,,)', point)).toBe('{"x":null,"label":null,"tags":null}');
    const list: Shape = { kind: 'array', element: point, delimiter: ',' };
    expect(encodeValue('{"(1,a,)","(2,,{})"}', list)).toBe(
      '[{"x":1,"label":"a","tags":null},{"x":2,"label":null,"tags":[]}]',
    );
  });
});

describe('timestamps', () => {
  test.each([
    ['2024-06-15 12:30:00+02', true, '2024-06-15T10:30:00+00:00'],
    ['2024-01-01 00:30:00.120+05:30', true, '2023-12-31T19:00:00.120+00:00'],
    ['2024-06-15 12:30:00.1234', false, '2024-06-15T12:30:00.123400'],
    ['12024-06-15 12:30:00', false, '12024-06-15T12:30:00'],
    ['294276-12-31 23:59:59.5+05:45', true, '294276-12-31T18:14:59.500+00:00'],
    ['10000-01-01 00:30:00+02', true, '9999-12-31T22:30:00+00:00'],
    ['0099-01-01 00:00:00+00:09:21', true, '0098-12-31T23:50:39+00:00'],
    ['0001-01-01 00:00:00+02', true, '0001-01-01 00:00:00+02'],
    ['infinity', true, 'infinity'],
    ['-infinity', false, '-infinity'],
    ['0044-03-15 00:00:00 BC', false, '0044-03-15 00:00:00 BC'],
  ])('%s', (text, zoned, iso) => {
    expect(isoTimestamp(text, zoned)).toBe(iso);
  });
});

describe('literals', () => {
  test('arrays', () => {
    expect(readArray('{}', ',')).toEqual([]);
    expect(readArray('{"a\\\\b","{}",c d}', ',')).toEqual(['a\\b', '{}', 'c d']);
    expect(readArray('{1;2}', ';')).toEqual(['1', '2']);
    expect(readArray('[2:3][0:0]={{1},{2}}', ',')).toEqual([['1'], ['2']]);
    expect(readArray('{null,NULL,"NULL"}', ',')).toEqual(['null', null, 'NULL']);
  });

  test('composites', () => {
    expect(readComposite('()')).toEqual([]);
    expect(readComposite('(,)')).toEqual([null, null]);
    expect(readComposite('("",a)')).toEqual(['', 'a']);
    expect(readComposite('("a""b","c\\\\d","(1,2)")')).toEqual(['a"b', 'c\\d', '(1,2)']);
  });
});
