import { describe, expect, test } from 'vitest';
import { decodeBody, preview } from '../../../src/http/body.js';

const latin = Buffer.from('caf\xe9', 'latin1');

describe('the body is text or base64', () => {
  test.each<[Buffer | string, string | undefined, string, 'text' | 'base64']>([
    ['', undefined, '', 'text'],
    ['', 'image/png', '', 'text'],
    ['plain', undefined, 'plain', 'text'],
    ['grüße', undefined, 'grüße', 'text'],
    ['looks like text', 'image/png', 'looks like text', 'text'],
    ['{"a":1}', 'application/octet-stream', '{"a":1}', 'text'],
    [Buffer.from([0xff, 0xfe, 0xfd]), undefined, '//79', 'base64'],
    [Buffer.from([0xff, 0xd8]), 'image/jpeg', '/9g=', 'base64'],
    ['a\0b', undefined, 'YQBi', 'base64'],
    ['a\0b', 'text/plain', 'YQBi', 'base64'],
    [latin, undefined, latin.toString('base64'), 'base64'],
    [latin, 'application/octet-stream; charset=latin1', latin.toString('base64'), 'base64'],
    [latin, 'text/plain; charset=iso-8859-1', 'café', 'text'],
    [latin, 'text/plain; charset="ISO-8859-1"', 'café', 'text'],
    [latin, 'TEXT/HTML;CHARSET=latin1', 'café', 'text'],
    [latin, 'text/plain; format=flowed; charset=windows-1252', 'café', 'text'],
    [latin, 'text/plain', 'caf\ufffd', 'text'],
    [latin, 'text/plain; charset=klingon', 'caf\ufffd', 'text'],
    [latin, 'application/json', 'caf\ufffd', 'text'],
    [latin, 'application/problem+json', 'caf\ufffd', 'text'],
    [latin, 'application/atom+xml; x=y', 'caf\ufffd', 'text'],
    [latin, 'application/vnd.api+yaml', 'caf\ufffd', 'text'],
    [latin, 'application/xml', 'caf\ufffd', 'text'],
    [latin, 'application/javascript', 'caf\ufffd', 'text'],
    [latin, 'application/ecmascript', 'caf\ufffd', 'text'],
    [latin, 'application/x-www-form-urlencoded', 'caf\ufffd', 'text'],
    [latin, 'application/graphql', 'caf\ufffd', 'text'],
    [latin, 'application/yaml', 'caf\ufffd', 'text'],
    [latin, 'application/x-yaml', 'caf\ufffd', 'text'],
    [latin, 'application/jsonp', latin.toString('base64'), 'base64'],
    [latin, 'nonsense', latin.toString('base64'), 'base64'],
    [Buffer.from([0xef, 0xbb, 0xbf, 0x61]), 'text/plain; charset=latin1', 'a', 'text'],
    [Buffer.from([0xff, 0xfe, 0x61, 0x00]), 'text/plain', 'a', 'text'],
    [Buffer.from([0x61, 0x00]), 'text/plain; charset=utf-16le', 'a', 'text'],
    [Buffer.from([0x8a, 0xbf, 0x8e, 0x9a]), 'text/plain; charset=shift_jis', '漢字', 'text'],
  ])('%j of type %s', (body, type, text, encoding) => {
    expect(decodeBody(Buffer.from(body as string), type)).toEqual({ text, encoding });
  });
});

describe('the preview of a body', () => {
  const text = (value: string) => ({ text: value, encoding: 'text' }) as const;
  test('is all of it up to 512 bytes', () => {
    expect(preview(text('x'.repeat(512)), true)).toBe('x'.repeat(512));
    expect(preview(text(''), true)).toBe('');
  });
  test('is its beginning, with the length of the whole', () => {
    expect(preview(text('x'.repeat(513)), true)).toBe(`${'x'.repeat(512)}... [truncated, 513 bytes total]`);
    expect(preview({ text: 'A'.repeat(600), encoding: 'base64' }, true)).toBe(
      `${'A'.repeat(512)}... [truncated, 600 base64 characters total]`,
    );
    expect(preview(text('x'.repeat(600)), false)).toBe(
      `${'x'.repeat(512)}... [truncated, more than 600 bytes total]`,
    );
  });
  test('does not end in the midst of a character', () => {
    expect(preview(text(`x${'é'.repeat(300)}`), true)).toBe(
      `x${'é'.repeat(255)}... [truncated, 601 bytes total]`,
    );
    expect(preview(text('😀'.repeat(200)), true)).toBe(`${'😀'.repeat(128)}... [truncated, 800 bytes total]`);
  });
});
