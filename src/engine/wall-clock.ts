/** What the clocks of a time zone show, and which instants a time on them means. Instants and local times in ms. Pure. */

const DAY = 24 * 3600 * 1000;

/** A local time, as if it were UTC: `Date.UTC(2026, 2, 29, 2, 30)` is half past two on that day, wherever that is. */
export type LocalTime = number;

export type Meaning =
  | { readonly kind: 'once'; readonly at: number }
  /** The clock was put back: it is shown twice. */
  | { readonly kind: 'twice'; readonly first: number; readonly second: number }
  /** The clock was put forward, at this instant: it is never shown. */
  | { readonly kind: 'never'; readonly change: number };

export class WallClock {
  readonly #format: Intl.DateTimeFormat;

  /** @throws RangeError when the zone is not known */
  constructor(zone: string) {
    this.#format = new Intl.DateTimeFormat('en-US', {
      timeZone: zone,
      calendar: 'iso8601',
      numberingSystem: 'latn',
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
  }

  /** How far the zone is ahead of UTC at an instant. */
  offset(at: number): number {
    const whole = Math.floor(at / 1000) * 1000;
    const shown = new Map(this.#format.formatToParts(whole).map(({ type, value }) => [type, Number(value)]));
    const part = (name: Intl.DateTimeFormatPartTypes) => shown.get(name) ?? 0;
    const local = Date.UTC(
      part('year'),
      part('month') - 1,
      part('day'),
      part('hour'),
      part('minute'),
      part('second'),
    );
    return local - whole;
  }

  local(at: number): LocalTime {
    return at + this.offset(at);
  }

  meaning(local: LocalTime): Meaning {
    const before = this.offset(local - DAY);
    const after = this.offset(local + DAY);
    const early = local - before;
    if (before === after) return { kind: 'once', at: early };
    const late = local - after;
    const isEarly = this.offset(early) === before;
    const isLate = this.offset(late) === after;
    if (isEarly && isLate) return { kind: 'twice', first: early, second: late };
    if (isEarly) return { kind: 'once', at: early };
    if (isLate) return { kind: 'once', at: late };
    return { kind: 'never', change: this.#change(local - DAY, local + DAY) };
  }

  /** The instant within the next day (and two hours) at which the clock is put back; null when it is not. */
  nextSetBack(after: number): number | null {
    const until = after + DAY + DAY / 12;
    return this.offset(until) < this.offset(after) ? this.#change(after, until) : null;
  }

  /** The first instant of the offset that is in force at `end`; another is at `start`. */
  #change(start: number, end: number): number {
    const offset = this.offset(end);
    let before = Math.floor(start / 1000);
    let from = Math.ceil(end / 1000);
    while (from - before > 1) {
      const middle = Math.floor((before + from) / 2);
      if (this.offset(middle * 1000) === offset) from = middle;
      else before = middle;
    }
    return from * 1000;
  }
}
