import { expect, test } from 'vitest';
import { type HostPattern, hostPattern, matchesHost } from '../../../src/config/host-pattern.js';

const matches = (pattern: string, host: string, port = 443) =>
  matchesHost(hostPattern(pattern) as HostPattern, host, port);

test('a name means itself, one with *. the names below it, a port only that port', () => {
  expect(matches('api.github.com', 'api.github.com')).toBe(true);
  expect(matches('API.GitHub.com', 'api.github.com')).toBe(true);
  expect(matches('api.github.com', 'x.api.github.com')).toBe(false);
  expect(matches('api.github.com', 'xapi.github.com')).toBe(false);
  expect(matches('api.github.com', 'api.github.com.')).toBe(false);
  expect(matches('*.example.com', 'a.example.com')).toBe(true);
  expect(matches('*.example.com', 'a.b.example.com')).toBe(true);
  expect(matches('*.example.com', 'example.com')).toBe(false);
  expect(matches('*.example.com', '.example.com')).toBe(false);
  expect(matches('*.example.com', 'badexample.com')).toBe(false);
  expect(matches('example.com:8443', 'example.com', 8443)).toBe(true);
  expect(matches('example.com:8443', 'example.com', 443)).toBe(false);
  expect(matches('*.bücher.example', 'a.xn--bcher-kva.example')).toBe(true);
});

test.each([
  '',
  '*',
  '*.',
  'https://example.com',
  'example.com/',
  'a.*.com',
  '**.com',
  '*example.com',
  'example.com:0',
  'example.com:65536',
  'example.com.',
  'user@example.com',
  '10.0.0.1',
  '127.1',
  '0x7f000001',
  '2130706433',
  '[::1]',
  '::1',
  'exa mple.com',
  'a?b',
  'a#b',
  'a\\b',
])('%j is no pattern', (text) => expect(hostPattern(text)).toBeUndefined());
