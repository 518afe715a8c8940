/**
 * The dialect of df.wait_for_schedule: `[CRON_TZ=zone] minute hour day month weekday [year]`, or `@daily` and its like.
 *
 * Lists, ranges, steps (`a/n`: from a to the end), names of months and days, short or full, in any case; `?` is `*` in
 * the day fields; Sunday is 0 and 7. `_df.cron_valid` (sql/003) accepts the same set: a change here is one there.
 * Source: df-api §4.10, decision #11. Pure.
 */

export interface Schedule {
  /** IANA name, as written. */
  readonly zone: string;
  readonly minutes: readonly number[];
  readonly hours: readonly number[];
  /** Days of the month. */
  readonly days: readonly number[];
  readonly months: readonly number[];
  /** 0 is Sunday, 6 Saturday. */
  readonly weekdays: readonly number[];
  /** null: every year. */
  readonly years: readonly number[] | null;
  /** Both day fields are restricted (neither begins with a star): a day that matches either is meant. */
  readonly eitherDay: boolean;
  /** Minute or hour begins with a star: it follows the clock through its changes, instead of a time of day. */
  readonly byTheClock: boolean;
}

const SPACE = '[ \\t\\n\\r\\f\\v]';
const WITH_ZONE = new RegExp(`^CRON_TZ=([A-Za-z][A-Za-z0-9_+/-]*)${SPACE}+([^]*)$`);
const AROUND = new RegExp(`^${SPACE}+|${SPACE}+$`, 'g');
const BETWEEN = new RegExp(`${SPACE}+`);
const ITEM = /^([^/-]+)(?:-([^/-]+))?(?:\/([0-9]{1,4}))?$/;

const SHORTCUTS: Readonly<Record<string, string>> = {
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
  '@monthly': '0 0 1 * *',
  '@weekly': '0 0 * * 0',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@hourly': '0 * * * *',
};
const MONTHS = [
  ['jan', 'january'],
  ['feb', 'february'],
  ['mar', 'march'],
  ['apr', 'april'],
  ['may'],
  ['jun', 'june'],
  ['jul', 'july'],
  ['aug', 'august'],
  ['sep', 'september'],
  ['oct', 'october'],
  ['nov', 'november'],
  ['dec', 'december'],
];
const WEEKDAYS = [
  ['sun', 'sunday'],
  ['mon', 'monday'],
  ['tue', 'tuesday'],
  ['wed', 'wednesday'],
  ['thu', 'thursday'],
  ['fri', 'friday'],
  ['sat', 'saturday'],
];
const LONGEST_MONTHS = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** No expression that means something is as long; patterns may take time that grows with the square of it. */
const LONGEST = 2000;

/** @returns null for what is no cron expression. Whether the zone exists is not asked here. */
export function parseCron(expression: string): Schedule | null {
  if (expression.length > LONGEST) return null;
  let rest = expression.replace(AROUND, '');
  let zone = 'UTC';
  if (rest.startsWith('CRON_TZ=')) {
    const [, name, after] = WITH_ZONE.exec(rest) ?? [];
    if (name === undefined || after === undefined) return null;
    zone = name;
    rest = after;
  }
  rest = rest.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
  if (rest.startsWith('@')) {
    const meaning = Object.hasOwn(SHORTCUTS, rest) ? SHORTCUTS[rest] : undefined;
    if (meaning === undefined) return null;
    rest = meaning;
  }
  const [minute = '', hour = '', day = '', month = '', weekday = '', year, ...more] = rest.split(BETWEEN);
  if (more.length > 0) return null;
  const minutes = readField(minute, 0, 59);
  const hours = readField(hour, 0, 23);
  const days = readField(day, 1, 31, { question: true });
  const months = readField(month, 1, 12, { names: MONTHS });
  const weekdays = readField(weekday, 0, 7, { names: WEEKDAYS, question: true });
  const years = year === undefined ? null : readField(year, 1970, 2100);
  if (minutes === null || hours === null || days === null || months === null || weekdays === null)
    return null;
  if (years === null && year !== undefined) return null;
  const starred = (field: string) => field.startsWith('*') || field.startsWith('?');
  return {
    zone,
    minutes,
    hours,
    days,
    months,
    weekdays: [...new Set(weekdays.map((value) => value % 7))].sort((a, b) => a - b),
    years,
    eitherDay: !starred(day) && !starred(weekday),
    byTheClock: starred(minute) || starred(hour),
  };
}

/** Whether there is such a day in any year: not so 31 February. */
export function hasDays({ eitherDay, days, months }: Schedule): boolean {
  const first = days[0] as number;
  return eitherDay || months.some((month) => first <= (LONGEST_MONTHS[month - 1] as number));
}

interface FieldRules {
  /** Names of the values from the lowest on. */
  readonly names?: readonly (readonly string[])[];
  /** Whether `?` stands for `*`. */
  readonly question?: boolean;
}

/** The values of a field, ascending. */
function readField(field: string, min: number, max: number, rules: FieldRules = {}): number[] | null {
  const values = new Set<number>();
  for (const item of field.split(',')) {
    const [, first, last, stepText] = ITEM.exec(item) ?? [];
    const step = stepText === undefined ? 1 : Number(stepText);
    if (first === undefined || step === 0) return null;
    let low: number | null = min;
    let high: number | null = max;
    if (first === '*' || (first === '?' && rules.question === true)) {
      if (last !== undefined) return null;
    } else {
      low = readValue(first, min, max, rules);
      if (last !== undefined) {
        high = readValue(last, min, max, rules);
        // Sunday ends a week as well as it begins one
        if (high === 0 && /^[a-z]/.test(last) && low !== 0) high = 7;
      } else if (stepText === undefined) {
        high = low;
      }
    }
    if (low === null || high === null || high < low) return null;
    for (let value = low; value <= high; value += step) values.add(value);
  }
  return [...values].sort((a, b) => a - b);
}

function readValue(text: string, min: number, max: number, { names = [] }: FieldRules): number | null {
  if (/^[0-9]{1,4}$/.test(text)) {
    const value = Number(text);
    return value >= min && value <= max ? value : null;
  }
  const at = names.findIndex((spellings) => spellings.includes(text));
  return at < 0 ? null : at + min;
}
