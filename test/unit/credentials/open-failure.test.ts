import { expect, test } from 'vitest';
import { kindOf } from '../../../src/upstream/open.js';

test.each([
  ['28P01', 'credential'],
  ['stale-credential', 'credential'],
  ['28000', 'barred'],
  ['53300', 'barred'],
  ['55000', 'barred'],
  ['0A000', 'barred'],
  ['08006', 'unavailable'],
  ['53200', 'unavailable'], // out of memory
  ['53400', 'unavailable'],
  ['57014', 'unavailable'],
  ['57P01', 'unavailable'],
  ['57P03', 'unavailable'],
  ['58030', 'unavailable'], // the server's disk
  ['57P04', 'refused'],
  ['3D000', 'refused'],
  ['42501', 'refused'],
])('a login that ends with %s is %s: only what will not pass by itself fails an instance', (code, kind) => {
  expect(kindOf(code)).toBe(kind);
});
