import { describe, expect, test } from 'vitest';
import { isTruthy } from '../../../src/engine/truth.js';

const rowOf = (value: string) => `{"rows":[{"c":${value},"other":false}],"row_count":1}`;

/** df-api §6, row by row. */
const values: ReadonlyArray<readonly [json: string, truth: boolean]> = [
  ['true', true],
  ['false', false],
  ['1', true],
  ['-1', true],
  ['0', false],
  ['0.0', false],
  ['-0', false],
  ['0e5', false],
  ['1e-400', true],
  ['0.0001', true],
  ['null', false],
  ['""', false],
  ['"   "', false],
  ['"true"', true],
  ['"T"', true],
  ['"Yes"', true],
  ['" yes "', true],
  ['"false"', false],
  ['"F"', false],
  ['"NO"', false],
  ['"y"', true],
  ['"n"', true],
  ['"on"', true],
  ['"off"', true],
  ['"0"', false],
  ['"0.0000"', false],
  ['"-0.0"', false],
  ['"1"', true],
  ['"2.50"', true],
  ['"NaN"', true],
  ['"inf"', true],
  ['"-Infinity"', true],
  ['"anything"', true],
  ['"0x0"', true],
  ['[]', false],
  ['[0]', true],
  ['{}', false],
  ['{"a":null}', true],
];

describe('truthiness', () => {
  test.each(values)('%s as the first column is %s', (json, truth) => {
    expect(isTruthy(rowOf(json))).toBe(truth);
  });

  test.each(values)('%s as the whole value is %s', (json, truth) => {
    expect(isTruthy(json)).toBe(truth);
  });

  test('only the first row and its first column count', () => {
    expect(isTruthy('{"rows":[{"a":0,"b":1},{"a":1}],"row_count":2}')).toBe(false);
    expect(isTruthy('{"rows":[{"z":1,"a":0}],"row_count":1}')).toBe(true);
  });

  test('no rows is false', () => {
    expect(isTruthy('{"rows":[],"row_count":0}')).toBe(false);
  });

  test('a row without columns: the result itself is judged', () => {
    expect(isTruthy('{"rows":[{}],"row_count":1}')).toBe(true);
  });

  test('an object whose rows are no array is judged as an object', () => {
    expect(isTruthy('{"rows":0}')).toBe(true);
  });

  test('text that is not JSON is judged as text', () => {
    expect(isTruthy('no')).toBe(false);
    expect(isTruthy('nope')).toBe(true);
    expect(isTruthy('')).toBe(false);
    expect(isTruthy('+0.0')).toBe(false);
  });

  test('results of other steps are true', () => {
    expect(isTruthy('{"slept":true,"seconds":0}')).toBe(true);
    expect(isTruthy('{"signal_name":"x","timed_out":true,"data":null}')).toBe(true);
    expect(isTruthy('[{"rows":[],"row_count":0},{"rows":[],"row_count":0}]')).toBe(true);
  });

  test('texts of millions of digits are judged in a moment', () => {
    const began = performance.now();
    expect(isTruthy(`${'1'.repeat(2_000_000)}x`)).toBe(true);
    expect(isTruthy(`${'0'.repeat(2_000_000)}.${'0'.repeat(2_000_000)}`)).toBe(false);
    expect(performance.now() - began).toBeLessThan(5000);
  });
});
