import { describe, expect, test } from 'vitest';
import { shownUrl } from '../../../src/http/failure.js';
import { authorizationOf, requestHeaders } from '../../../src/http/headers.js';
import { encodeMultipart } from '../../../src/http/multipart.js';

const ADDED = [
  ['Accept', '*/*'],
  ['User-Agent', 'ours'],
] as const;

describe('headers', () => {
  test('of the user go before those that are added', () => {
    expect(
      requestHeaders(
        [
          ['user-agent', 'mine'],
          ['X', '1'],
        ],
        ADDED,
        'w',
      ),
    ).toEqual([
      ['user-agent', 'mine'],
      ['X', '1'],
      ['Accept', '*/*'],
    ]);
  });
  test('that follow from the request are left out', () => {
    const given = ['Content-Length', 'connection', 'Keep-Alive', 'Proxy-Connection'].map(
      (name) => [name, '1'] as const,
    );
    expect(requestHeaders(given, [], 'w')).toEqual([]);
  });
  test.each(['Host', 'HOST', 'Transfer-Encoding', 'Upgrade', 'Expect', 'TE', 'Trailer'])(
    '%s is refused',
    (name) => {
      expect(() => requestHeaders([[name, 'x']], [], 'w')).toThrow(`w - header '${name}' cannot be set`);
    },
  );
  test.each(['a\r\nHost: evil', 'a\nb', 'a\rb', 'a\0b', 'caf\u00e9', '\u{1F600}', '\x7f'])(
    'value %j is refused',
    (value) => {
      expect(() => requestHeaders([['X-A', value]], [], 'w')).toThrow(/^w - invalid value of header 'X-A'/);
    },
  );
  test.each(['', 'a b', 'a:b', 'a\r\nb', 'é', 'a(b)'])('name %j is refused', (name) => {
    expect(() => requestHeaders([[name, 'x']], [], 'w')).toThrow(/^w - invalid header name '[\x20-\x7e]*'$/);
  });
});

describe('multipart', () => {
  const part = { name: 'f', data: 'aGk=', filename: null, contentType: null };
  const shown = (parts: Parameters<typeof encodeMultipart>[0]) => {
    const { body, contentType } = encodeMultipart(parts);
    const boundary = /^multipart\/form-data; boundary=(pg-durable-[0-9a-f]{36})$/.exec(contentType)![1]!;
    return body.toString('latin1').replaceAll(boundary, 'B');
  };
  test('is written as RFC 7578 says', () => {
    expect(
      shown([part, { name: 'g', data: ' AP\n8\t=\r', filename: 'a.bin', contentType: 'image/png' }]),
    ).toBe(
      '--B\r\nContent-Disposition: form-data; name="f"\r\n\r\nhi\r\n' +
        '--B\r\nContent-Disposition: form-data; name="g"; filename="a.bin"\r\nContent-Type: image/png\r\n\r\n\x00\xff\r\n' +
        '--B--\r\n',
    );
  });
  test('names cannot end their line or their quotes', () => {
    expect(shown([{ ...part, name: 'a"; x="\r\nX: 1', filename: '"\n' }])).toContain(
      'name="a%22; x=%22%0D%0AX: 1"; filename="%22%0A"\r\n',
    );
  });
  test.each(['a', 'aGk', 'aGk=a', '=aGk', 'a-k=', 'a_k=', 'aGl=', '$x', 'é==='])(
    'base64 %j is refused',
    (data) => {
      expect(() => encodeMultipart([{ ...part, data }])).toThrow(/^Invalid base64 in part 'f': /);
    },
  );
  test.each([
    '',
    'text',
    'text/',
    '/plain',
    'text/plain\r\nX: 1',
    'text/plain; charset',
    'text/pläin',
    'a/b; c="\n"',
  ])('content type %j is refused', (contentType) => {
    expect(() => encodeMultipart([{ ...part, contentType }])).toThrow(/^Invalid content_type for part 'f': /);
  });
  test.each([
    'text/plain',
    'text/plain; charset=utf-8',
    'application/vnd.x+json;a="b c"',
    'TEXT/PLAIN;CHARSET=x',
  ])('content type %j is taken', (contentType) =>
    expect(shown([{ ...part, contentType }])).toContain(`Content-Type: ${contentType}\r\n`),
  );
});

test.each([
  ['http://a/b', 'http://a/b'],
  ['http://user:secret@a/b', 'http://user:***@a/b'],
  ['http://user:sec@ret@a/b?x=1@2', 'http://user:***@a/b?x=1@2'],
  ['http://user:sec:ret@a', 'http://user:***@a'],
  ['http://user@a/b:c@d', 'http://user@a/b:c@d'],
  ['http://a:80/b@c', 'http://a:80/b@c'],
  ['http://a?x:y@z', 'http://a?x:y@z'],
])('errors show %s as %s', (url, shown) => expect(shownUrl(url)).toBe(shown));

test('the user information of a URL is sent as Basic authorization', () => {
  const of = (url: string) =>
    authorizationOf(new URL(url))?.replace(/^Basic (.*)$/, (_, text: string) =>
      Buffer.from(text, 'base64').toString(),
    );
  expect(of('http://a/')).toBeUndefined();
  expect(of('http://user@a/')).toBe('user:');
  expect(of('http://us%40er:p%3Aw%C3%BC@a/')).toBe('us@er:p:wü');
  expect(of('http://u:%ZZ@a/')).toBe('u:%ZZ');
});
