/**
 * When a schedule comes next. Days, hours and minutes are cron-parser's, on a clock that never changes; what changes of
 * the clock do to them is decided here, as cron does it:
 *
 * - A time of day (`30 2 * * *`) happens once a day: when the clock jumps over it, at that moment; when the clock shows
 *   it twice, the first time.
 * - What has a star in front of the minute or the hour (`0 * * * *`, every quarter of an hour) follows the clock: what
 *   the clock jumps over does not happen, what it shows twice happens twice.
 */
import { CronExpressionParser } from 'cron-parser';
import { hasDays, type Schedule } from './cron.js';
import { type LocalTime, WallClock } from './wall-clock.js';

const DAY = 24 * 3600 * 1000;
const LAST_YEAR = 2200;

/**
 * The first tick strictly later than `now` (ms since 1970, as is what it returns); null when there is none any more.
 * @throws RangeError when the time zone is not known here
 */
export function nextTick(schedule: Schedule, now: number): number | null {
  const clock = new WallClock(schedule.zone);
  const start = Math.floor(now);
  if (!hasDays(schedule)) return null;
  return schedule.byTheClock ? followClock(schedule, clock, start) : timeOfDay(schedule, clock, start);
}

function timeOfDay(schedule: Schedule, clock: WallClock, now: number): number | null {
  for (const local of localTimes(schedule, clock.local(now))) {
    const meaning = clock.meaning(local);
    const at =
      meaning.kind === 'once' ? meaning.at : meaning.kind === 'twice' ? meaning.first : meaning.change;
    if (at > now) return at;
  }
  return null;
}

function followClock(schedule: Schedule, clock: WallClock, now: number): number | null {
  let found: number | null = null;
  for (const local of localTimes(schedule, clock.local(now))) {
    const meaning = clock.meaning(local);
    if (meaning.kind === 'never') continue;
    const instants = meaning.kind === 'once' ? [meaning.at] : [meaning.first, meaning.second];
    found = instants.find((at) => at > now) ?? null;
    if (found !== null) break;
  }
  // the clock may be put back before that: then it shows once more what it has shown
  const change = clock.nextSetBack(now);
  if (change === null || (found !== null && found <= change)) return found;
  for (const local of localTimes(schedule, clock.local(change) - 1)) {
    const at = local - clock.offset(change);
    return found === null || at < found ? at : found;
  }
  return found;
}

/** The times that a schedule names on a clock that never changes, later than one. */
function* localTimes(schedule: Schedule, after: LocalTime): Generator<LocalTime> {
  const { eitherDay, days, weekdays, years } = schedule;
  const everyDay = days.length === 31;
  const everyWeekday = weekdays.length === 7;
  // cron-parser takes either of two day fields: where both must match, or either is always so, it gets one of them
  const both = !eitherDay && !everyDay && !everyWeekday;
  const always = eitherDay && (everyDay || everyWeekday);
  const fields = [
    '0',
    schedule.minutes.join(','),
    schedule.hours.join(','),
    always || everyDay ? '*' : days.join(','),
    schedule.months.join(','),
    always || everyWeekday || both ? '*' : weekdays.join(','),
  ];
  const ticks = CronExpressionParser.parse(fields.join(' '), { currentDate: new Date(after), tz: 'UTC' });
  for (;;) {
    const local = ticks.next().getTime();
    const date = new Date(local);
    const year = date.getUTCFullYear();
    if (year > LAST_YEAR) return;
    if (years !== null && !years.includes(year)) {
      const next = years.find((one) => one > year);
      if (next === undefined) return;
      ticks.reset(new Date(Date.UTC(next, 0, 1) - 1));
    } else if (both && !weekdays.includes(date.getUTCDay())) {
      ticks.reset(new Date(Math.floor(local / DAY) * DAY + DAY - 1));
    } else {
      yield local;
    }
  }
}
