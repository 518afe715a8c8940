import { describe, expect, it } from 'vitest';
import { parseCron } from '../../../src/engine/cron.js';
import { nextTick } from '../../../src/engine/next-tick.js';

/** The next times after one, in UTC, as `MM-DD HH:MM`. */
function ticks(expression: string, after: string, count: number): string[] {
  const schedule = parseCron(expression);
  if (schedule === null) throw new Error(`not a schedule: ${expression}`);
  const found: string[] = [];
  let at: number | null = Date.parse(`${after}Z`);
  while (found.length < count) {
    at = nextTick(schedule, at);
    if (at === null) break;
    found.push(new Date(at).toISOString().slice(5, 16).replace('T', ' '));
  }
  return found;
}

describe('days', () => {
  it.each<[string, string, string[]]>([
    ['0 9 * * 1-5', '2026-01-02T09:00', ['01-05 09:00', '01-06 09:00']],
    ['0 0 * * 0', '2026-01-01T00:00', ['01-04 00:00', '01-11 00:00']],
    ['0 0 * * 7', '2026-01-01T00:00', ['01-04 00:00', '01-11 00:00']],
    ['0 0 * * FRI-Sunday', '2026-01-01T00:00', ['01-02 00:00', '01-03 00:00', '01-04 00:00', '01-09 00:00']],
    ['0 0 * * sun-sun', '2026-01-01T00:00', ['01-04 00:00', '01-11 00:00']],
    [
      '1/20 0 1 jan,March *',
      '2026-01-01T00:00',
      ['01-01 00:01', '01-01 00:21', '01-01 00:41', '03-01 00:01'],
    ],
    ['@weekly', '2026-01-01T00:00', ['01-04 00:00']],
    ['@annually', '2026-01-01T00:00', ['01-01 00:00']],
    ['0 0 1 1 ? 2030,2099', '2026-01-01T00:00', ['01-01 00:00', '01-01 00:00']],
    ['59 23 31 12 * 2025', '2026-01-01T00:00', []],
    ['0 0 31 2 *', '2026-01-01T00:00', []],
    ['0 0 30 feb */2', '2026-01-01T00:00', []],
    ['0 0 29 2 *', '2097-01-01T00:00', ['02-29 00:00']],
  ])('%s after %s', (expression, after, expected) => {
    expect(ticks(expression, after, expected.length || 1)).toEqual(expected);
  });

  it('of two restricted day fields either is enough', () => {
    expect(ticks('0 0 13 * fri', '2026-01-01T00:00', 4)).toEqual([
      '01-02 00:00',
      '01-09 00:00',
      '01-13 00:00',
      '01-16 00:00',
    ]);
  });

  it('a day field that begins with a star restricts the other one', () => {
    const next = nextTick(parseCron('0 0 */30 2 1')!, Date.parse('2026-01-01T00:00Z'));
    expect(new Date(next!).toISOString()).toBe('2027-02-01T00:00:00.000Z'); // the first 1 February that is a Monday
  });

  it('the next time is strictly later, by a millisecond if need be', () => {
    const each = parseCron('*/5 * * * *')!;
    const tick = Date.parse('2026-01-01T00:05Z');
    expect(nextTick(each, tick - 1)).toBe(tick);
    expect(nextTick(each, tick - 0.25)).toBe(tick);
    expect(nextTick(each, tick)).toBe(tick + 300_000);
  });
});

describe('when the clock is put forward', () => {
  it('a time of day that it jumps over comes at the jump, once', () => {
    expect(ticks('CRON_TZ=Europe/Rome 30 2 * * *', '2026-03-27T12:00', 3)).toEqual([
      '03-28 01:30',
      '03-29 01:00',
      '03-30 00:30',
    ]);
    expect(ticks('CRON_TZ=Europe/Rome 0,30 2 * * *', '2026-03-28T12:00', 2)).toEqual([
      '03-29 01:00',
      '03-30 00:00',
    ]);
    expect(ticks('CRON_TZ=America/New_York 15 2 8 3 *', '2026-03-08T00:00', 1)).toEqual(['03-08 07:00']);
    // by half an hour: from 2:00 to 2:30
    expect(ticks('CRON_TZ=Australia/Lord_Howe 15 2 * * *', '2026-10-02T00:00', 3)).toEqual([
      '10-02 15:45',
      '10-03 15:30',
      '10-04 15:15',
    ]);
  });

  it('what follows the clock leaves out what is not shown', () => {
    expect(ticks('CRON_TZ=Europe/Rome 30 * * * *', '2026-03-29T00:00', 3)).toEqual([
      '03-29 00:30',
      '03-29 01:30',
      '03-29 02:30',
    ]);
    expect(ticks('CRON_TZ=Europe/Rome */30 2 * * *', '2026-03-28T12:00', 1)).toEqual(['03-30 00:00']);
  });
});

describe('when the clock is put back', () => {
  it('a time of day that it shows twice comes the first time only', () => {
    expect(ticks('CRON_TZ=Europe/Rome 30 2 * * *', '2026-10-24T12:00', 2)).toEqual([
      '10-25 00:30',
      '10-26 01:30',
    ]);
    expect(ticks('CRON_TZ=America/New_York 30 1 * * *', '2026-11-01T00:00', 2)).toEqual([
      '11-01 05:30',
      '11-02 06:30',
    ]);
    expect(ticks('CRON_TZ=Australia/Lord_Howe 45 1 * * *', '2026-04-04T00:00', 2)).toEqual([
      '04-04 14:45',
      '04-05 15:15',
    ]);
  });

  it('what follows the clock comes both times', () => {
    expect(ticks('CRON_TZ=Europe/Rome */30 2 * * *', '2026-10-24T12:00', 5)).toEqual([
      '10-25 00:00',
      '10-25 00:30',
      '10-25 01:00',
      '10-25 01:30',
      '10-26 01:00',
    ]);
    expect(ticks('CRON_TZ=Europe/Rome 15 */2 * * *', '2026-10-25T00:10', 3)).toEqual([
      '10-25 00:15',
      '10-25 01:15',
      '10-25 03:15',
    ]);
    expect(ticks('CRON_TZ=Australia/Lord_Howe 40 * * * *', '2026-04-04T14:30', 3)).toEqual([
      '04-04 14:40',
      '04-04 15:10',
      '04-04 16:10',
    ]);
  });
});

it('a zone that is not known here is an error', () => {
  expect(() => nextTick(parseCron('CRON_TZ=No/Where 0 9 * * *')!, 0)).toThrow(RangeError);
});

it('takes no expression of a length that none needs, without a second look', () => {
  const list = (from: number, to: number) =>
    Array.from({ length: to - from + 1 }, (_, i) => from + i).join(',');
  const longest = `CRON_TZ=America/Argentina/ComodRivadavia ${list(0, 59)} ${list(0, 23)} ${list(1, 31)} ${list(1, 12)} ${list(0, 7)} ${list(1970, 2100)}`;
  expect(parseCron(longest)).not.toBeNull();
  const began = performance.now();
  expect(parseCron(`0${' '.repeat(4_000_000)}0 * * x`)).toBeNull();
  expect(performance.now() - began).toBeLessThan(1000);
});
