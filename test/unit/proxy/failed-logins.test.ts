import { beforeEach, describe, expect, it } from 'vitest';
import { FailedLogins } from '../../../src/proxy/failed-logins.js';

const limit = { count: 3, windowMs: 1000 };
let now = 0;
let logins: FailedLogins;

beforeEach(() => {
  now = 5;
  logins = new FailedLogins(() => now);
});

function fail(address: string, times: number): boolean[] {
  return Array.from({ length: times }, () => logins.add(address, limit));
}

describe('an address', () => {
  it('waits after the last failure that is allowed, until the window of the first one has ended', () => {
    expect(fail('203.0.113.7', 2)).toEqual([false, false]);
    expect(logins.wait('203.0.113.7', limit)).toBe(0);
    now += 400;
    expect(fail('203.0.113.7', 1)).toEqual([true]);
    expect(logins.wait('203.0.113.7', limit)).toBe(600);
    now += 599;
    expect(logins.wait('203.0.113.7', limit)).toBe(1);
    now += 1;
    expect(logins.wait('203.0.113.7', limit)).toBe(0);
    expect(fail('203.0.113.7', 1)).toEqual([false]);
    expect(logins.wait('203.0.113.7', limit)).toBe(0);
  });

  it('does not wait for others', () => {
    fail('203.0.113.7', 9);
    expect(logins.wait('203.0.113.8', limit)).toBe(0);
  });

  it('of IPv6 stands for its network of 64 bits', () => {
    fail('2001:db8:1:2::1', 3);
    expect(logins.wait('2001:db8:1:2:ffff:0:0:9', limit)).toBeGreaterThan(0);
    expect(logins.wait('2001:db8:1:2:3:4:5:6', limit)).toBeGreaterThan(0);
    expect(logins.wait('2001:db8:1:3::1', limit)).toBe(0);
    fail('fe80::1%eth0', 3);
    expect(logins.wait('fe80::2', limit)).toBeGreaterThan(0);
  });
});

it('a limit of 0 is none, also when it comes later', () => {
  fail('203.0.113.7', 3);
  expect(logins.wait('203.0.113.7', { ...limit, count: 0 })).toBe(0);
  expect(logins.add('203.0.113.7', { ...limit, count: 0 })).toBe(false);
});

it('memory is bounded: of very many addresses the oldest are forgotten', () => {
  fail('203.0.113.7', 3);
  for (let i = 0; i < 10_000; i++) logins.add(`10.0.${i >> 8}.${i & 255}`, limit);
  expect(logins.wait('203.0.113.7', limit)).toBe(0);
});
