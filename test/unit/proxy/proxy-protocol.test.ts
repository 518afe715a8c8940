import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseProxyHeader } from '../../../src/proxy/proxy-protocol.js';
import { ipv4Header, ipv6Header, proxyHeader } from '../../support/proxy-header.js';

describe('a header of the PROXY protocol', () => {
  it.each([
    ['IPv4', ipv4Header('203.0.113.7'), { kind: 'proxied', address: '203.0.113.7' }],
    ['IPv6', ipv6Header('20010db8000000000000000000000001'), { kind: 'proxied', address: '2001:db8::1' }],
    [
      'IPv6 without zeros',
      ipv6Header('20010db8000100020003000400050006'),
      { kind: 'proxied', address: '2001:db8:1:2:3:4:5:6' },
    ],
    ['IPv6 of all zeros', ipv6Header('00000000000000000000000000000000'), { kind: 'proxied', address: '::' }],
    ['IPv6 loopback', ipv6Header('00000000000000000000000000000001'), { kind: 'proxied', address: '::1' }],
    [
      'IPv6 with zeros behind',
      ipv6Header('20010db8000000000000000000000000'),
      { kind: 'proxied', address: '2001:db8::' },
    ],
    [
      'IPv6 with two runs of zeros',
      ipv6Header('20010000000000010000000000000001'),
      { kind: 'proxied', address: '2001:0:0:1::1' },
    ],
    [
      'IPv4 in IPv6',
      ipv6Header('00000000000000000000ffffcb007107'),
      { kind: 'proxied', address: '203.0.113.7' },
    ],
    ['LOCAL', proxyHeader(0x20, 0x00), { kind: 'local' }],
    ['LOCAL with addresses, which say nothing', proxyHeader(0x20, 0x11, Buffer.alloc(12)), { kind: 'local' }],
    ['somebody without an address', proxyHeader(0x21, 0x00), { kind: 'unknown' }],
    ['a Unix socket at the other end', proxyHeader(0x21, 0x31, Buffer.alloc(216)), { kind: 'local' }],
    [
      'with TLVs',
      ipv4Header('203.0.113.7', Buffer.from('0400050102030405', 'hex')),
      { kind: 'proxied', address: '203.0.113.7' },
    ],
    [
      'of the longest kind',
      ipv4Header('203.0.113.7', Buffer.alloc(65_535 - 12)),
      { kind: 'proxied', address: '203.0.113.7' },
    ],
  ])('%s', (_, bytes, header) => {
    const read = { state: 'header', length: bytes.length, header };
    expect(parseProxyHeader(bytes)).toEqual(read);
    expect(parseProxyHeader(Buffer.concat([bytes, Buffer.from('more')]))).toEqual(read);
    for (const end of [0, 1, 11, 12, 15, bytes.length - 1]) {
      expect(parseProxyHeader(bytes.subarray(0, end))).toEqual({ state: 'partial' });
    }
  });

  it.each([
    ['version 1', Buffer.from('PROXY TCP4 203.0.113.7 203.0.113.8 1 2\r\n'), /version 1/],
    ['another version', proxyHeader(0x11, 0x11, Buffer.alloc(12)), /version or command/],
    ['another command', proxyHeader(0x22, 0x11, Buffer.alloc(12)), /version or command/],
    ['UDP', proxyHeader(0x21, 0x12, Buffer.alloc(12)), /family/],
    ['too short for its addresses', proxyHeader(0x21, 0x11, Buffer.alloc(11)), /too short/],
    ['a start-up packet', Buffer.from('0000000804d2162f', 'hex'), /no PROXY/],
    ['TLS', Buffer.from('1603010200', 'hex'), /no PROXY/],
  ])('is not: %s', (_, bytes, reason) => {
    const read = parseProxyHeader(bytes);
    expect(read).toMatchObject({ state: 'garbage', reason: expect.stringMatching(reason) });
  });

  it('is never read beyond its length, whatever the bytes are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(255), fc.nat(255), (rest, command, family) => {
        const bytes = proxyHeader(command, family, Buffer.from(rest));
        const read = parseProxyHeader(Buffer.concat([bytes, Buffer.from([1, 2, 3])]));
        if (read.state === 'header') expect(read.length).toBe(bytes.length);
      }),
    );
  });
});
