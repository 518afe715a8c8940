import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { LoginWaits } from '../../../src/upstream/login-waits.js';
import { OpenFailure } from '../../../src/upstream/open.js';

const failure = new OpenFailure('credential', '28P01', 'password authentication failed');
const delays = { firstMs: 1000, mostMs: 8000 };

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

const pass = (milliseconds: number) => vi.advanceTimersByTime(milliseconds);
const now = () => performance.now();

test('each refusal in a row closes for twice the time, up to the most', () => {
  const waits = new LoginWaits();
  const seen: number[] = [];
  for (let n = 0; n < 6; n++) {
    const began = now();
    pass(1);
    const retryInMs = waits.failed('app', 'db', failure, began, 'v', delays);
    seen.push(retryInMs);
    expect(waits.closed('app', 'db')).toEqual({ failure, retryInMs });
    expect(waits.closed('app', 'other')).toBeUndefined();
    expect(waits.closed('other', 'db')).toBeUndefined();
    pass(retryInMs - 1);
    expect(waits.closed('app', 'db')).toBeDefined();
    pass(1);
    expect(waits.closed('app', 'db')).toBeUndefined();
  }
  expect(seen).toEqual([1000, 2000, 4000, 8000, 8000, 8000]);
});

test('of attempts at the same time one counts, and is told once', () => {
  const waits = new LoginWaits();
  const told: string[] = [];
  waits.onRefused((role) => told.push(role));
  pass(10);
  const began = now();
  pass(10);
  for (let n = 0; n < 10; n++) waits.failed('app', 'db', failure, began, 'v', delays);
  expect(waits.closed('app', 'db')?.retryInMs).toBe(1000);
  expect(told).toEqual(['app']);
});

test('a login that works forgets the refusals, and says so once', () => {
  const waits = new LoginWaits();
  const recovered: string[] = [];
  waits.onRecovered((role) => recovered.push(role));
  waits.succeeded('app', 'db');
  waits.failed('app', 'db', failure, now(), 'v', delays);
  waits.succeeded('app', 'db');
  waits.succeeded('app', 'db');
  expect(recovered).toEqual(['app']);
  pass(5);
  expect(waits.failed('app', 'db', failure, now(), 'v', delays)).toBe(1000);
});

test('a new credential opens every database of its role at once', () => {
  const waits = new LoginWaits();
  for (const database of ['a', 'b']) waits.failed('app', database, failure, now(), `v-${database}`, delays);
  waits.failed('other', 'a', failure, now(), 'w', delays);
  expect(waits.refusedWith('app')).toEqual(['v-a', 'v-b']);
  waits.reopen('app');
  expect(waits.closed('app', 'a')).toBeUndefined();
  expect(waits.refusedWith('app')).toEqual([]);
  expect(waits.closed('other', 'a')).toBeDefined();
});
