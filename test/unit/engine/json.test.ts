import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compactJson, JsonNumber, parseJson, printJson, tryParseJson } from '../../../src/engine/json.js';

const seed = Number(process.env.FC_SEED ?? Date.now() % 1_000_000);

describe('JSON without loss', () => {
  test(`compact text comes back as it was (FC_SEED=${seed})`, () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 6 }), (text) => {
        // duplicates and "__proto__" are tested below; what JSON.stringify prints is compact already
        const compact = JSON.stringify(JSON.parse(text));
        expect(printJson(parseJson(compact))).toBe(compact);
      }),
      { seed, numRuns: 300 },
    );
  });

  test('what JSON.parse takes is taken, what it refuses is refused', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json().map((text) => text.replace(/[,:{}[\]"]/, '')),
        ),
        (text) => {
          let native = true;
          try {
            JSON.parse(text);
          } catch {
            native = false;
          }
          expect(tryParseJson(text) !== undefined).toBe(native);
        },
      ),
      { seed, numRuns: 500 },
    );
  });

  test('numbers keep their digits', () => {
    for (const digits of ['9223372036854775807', '1.0', '-0', '1e308', '1E-400', '0.1000', '-12.50e+3']) {
      expect(printJson(parseJson(`[${digits}]`))).toBe(`[${digits}]`);
    }
    expect(parseJson('1.50')).toEqual(new JsonNumber('1.50'));
  });

  test('keys keep their order, also when they look like numbers', () => {
    expect(compactJson('{"b": 1, "10": 2, "a": 3, "2": 4}')).toBe('{"b":1,"10":2,"a":3,"2":4}');
  });

  test('of repeated keys the last wins, in the place of the first', () => {
    expect(compactJson('{"a": 1, "b": 2, "a": 3}')).toBe('{"a":3,"b":2}');
  });

  test('a key named __proto__ is a key', () => {
    expect(compactJson('{"__proto__": {"x": 1}}')).toBe('{"__proto__":{"x":1}}');
  });

  test('text that is not JSON becomes a JSON string', () => {
    expect(compactJson('a "b"')).toBe('"a \\"b\\""');
    expect(compactJson('')).toBe('""');
  });

  test.each([
    '01',
    '1.',
    '.5',
    '+1',
    'NaN',
    "'a'",
    '{a:1}',
    '[1,]',
    '{"a":1,}',
    '"a\nb"',
    '1 2',
    '',
    'nul',
    '"\\x"',
  ])('refuses %j', (text) => {
    expect(tryParseJson(text)).toBeUndefined();
  });

  test('very deep nesting is refused, not fatal', () => {
    expect(tryParseJson('['.repeat(100_000))).toBeUndefined();
    expect(tryParseJson(`${'['.repeat(3000)}${']'.repeat(3000)}`)).toBeDefined();
  });
});
