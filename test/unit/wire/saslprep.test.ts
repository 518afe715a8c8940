import { expect, test } from 'vitest';
import { saslprep } from '../../../src/wire/saslprep.js';

const prepared = (text: string) => saslprep(text).toString('utf8');

test.each([
  ['user', 'user'],
  // RFC 4013 section 3
  ['I\u00adX', 'IX'],
  ['USER', 'USER'],
  ['\u00aa', 'a'],
  ['\u2168', 'IX'],
  // a space is a space
  ['a\u00a0b\u3000c', 'a b c'],
  // right to left, alone
  ['\u0627\u0628', '\u0627\u0628'],
])('%j becomes %j', (before, after) => {
  expect(prepared(before)).toBe(after);
});

test.each([
  ['a control character', 'a\u0007é'],
  ['right to left with left to right', '\u0627a\u0628'],
  ['right to left that ends in a digit', '\u06271'],
  ['a character of a later Unicode version', '\u{1f512}e\u0301'],
  ['nothing left', '\u00ad'],
  ['private use', '\ue000'],
])('%s is used as it is', (_, text) => {
  expect(prepared(text)).toBe(text);
});

test('bytes that are not UTF-8 are used as they are', () => {
  const bytes = Buffer.from([0x63, 0xe9, 0xad]);
  expect(saslprep(bytes)).toEqual(bytes);
});
