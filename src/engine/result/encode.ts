/** Rows of a statement as the JSON text of a step's result. Source: df-api §4.2, decision #5. Pure. */
import type { Field } from '../../upstream/command.js';
import { compactJson } from '../json.js';
import { readArray, readComposite } from './literal.js';
import type { Shape } from './types.js';

/** The result of a statement that returned no rows. */
export const NO_ROWS = '{"rows":[],"row_count":0}';

/** `{"rows":[…],"row_count":n}`, compact, columns in the query's order; of repeated names the last column counts. */
export function encodeRows(
  fields: readonly Field[],
  shapes: readonly Shape[],
  rows: ReadonlyArray<ReadonlyArray<string | null>>,
): string {
  if (rows.length === 0) return NO_ROWS;
  const columns: Array<{ readonly key: string; readonly at: number; readonly shape: Shape }> = [];
  fields.forEach((field, at) => {
    const column = { key: `${JSON.stringify(field.name)}:`, at, shape: shapes[at] as Shape };
    const same = columns.findIndex((other) => other.key === column.key);
    if (same >= 0) columns[same] = column;
    else columns.push(column);
  });
  const objects = rows.map((row) => {
    const parts = columns.map((column) => column.key + encodeValue(row[column.at] ?? null, column.shape));
    return `{${parts.join(',')}}`;
  });
  return `{"rows":[${objects.join(',')}],"row_count":${rows.length}}`;
}

/** One value in the server's text form as JSON. */
export function encodeValue(text: string | null, shape: Shape): string {
  if (text === null) return 'null';
  switch (shape.kind) {
    case 'boolean':
      return text === 't' || text === 'true' ? 'true' : 'false';
    case 'number':
      return text;
    case 'float4':
      return Number.isFinite(Number(text)) ? floatText(String(Math.fround(Number(text))), text) : 'null';
    case 'float8':
      return Number.isFinite(Number(text)) ? floatText(text, text) : 'null';
    case 'json':
      return compactJson(text);
    case 'timestamp':
      return JSON.stringify(isoTimestamp(text, false));
    case 'timestamptz':
      return JSON.stringify(isoTimestamp(text, true));
    case 'void':
      return 'null';
    case 'text':
      return JSON.stringify(text);
    case 'array':
      return encodeArray(readArray(text, shape.delimiter), shape.element);
    case 'composite': {
      const values = readComposite(text);
      const parts = shape.attributes.map(
        ([name, of], i) => `${JSON.stringify(name)}:${encodeValue(values[i] ?? null, of)}`,
      );
      return `{${parts.join(',')}}`;
    }
    case 'record': {
      const parts = readComposite(text).map(
        (value, i) => `"f${i + 1}":${value === null ? 'null' : JSON.stringify(value)}`,
      );
      return `{${parts.join(',')}}`;
    }
  }
}

type Nested = string | null | Nested[];

function encodeArray(elements: Nested[], shape: Shape): string {
  const parts = elements.map((element) =>
    Array.isArray(element) ? encodeArray(element, shape) : encodeValue(element, shape),
  );
  return `[${parts.join(',')}]`;
}

/** A float always looks like one (`1.0`), and minus zero keeps its sign. */
function floatText(digits: string, original: string): string {
  const signed = digits === '0' && original.startsWith('-') ? '-0' : digits;
  return /^-?\d+$/.test(signed) ? `${signed}.0` : signed;
}

const TIMESTAMP = /^(\d{4,})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d+))?([+-]\d\d(?::\d\d){0,2})?$/;

/**
 * ISO 8601 with 0, 3 or 6 digits of fraction; with a zone in UTC. What has no such form (infinity, years BC, another
 * DateStyle) stays as the server wrote it.
 */
export function isoTimestamp(text: string, zoned: boolean): string {
  const found = TIMESTAMP.exec(text);
  if (found === null) return text;
  const [, year, month, day, hour, minute, second, fraction, zone] = found;
  const digits = fractionDigits(fraction ?? '');
  if (!zoned) return `${year}-${month}-${day}T${hour}:${minute}:${second}${digits}`;
  if (zone === undefined) return text;
  if (/^[+-]00(?::00){0,2}$/.test(zone)) {
    return `${year}-${month}-${day}T${hour}:${minute}:${second}${digits}+00:00`;
  }
  const [h = 0, m = 0, s = 0] = zone.slice(1).split(':').map(Number);
  const offset = (zone.startsWith('-') ? -1 : 1) * (h * 3600 + m * 60 + s);
  // the calendar repeats after 400 years: a Date reaches no further than the year 275760
  const era = Math.floor((Number(year) - 2000) / 400) * 400;
  const moment = new Date(0);
  moment.setUTCFullYear(Number(year) - era, Number(month) - 1, Number(day));
  moment.setUTCHours(Number(hour), Number(minute), Number(second) - offset);
  if (moment.getUTCFullYear() + era < 1) return text; // the year before 1 is 1 BC
  const inUtc = String(moment.getUTCFullYear() + era).padStart(4, '0');
  return `${inUtc}${moment.toISOString().slice(4, 19)}${digits}+00:00`;
}

function fractionDigits(fraction: string): string {
  const digits = fraction.replace(/0+$/, '');
  if (digits === '') return '';
  return `.${digits.padEnd(digits.length <= 3 ? 3 : 6, '0')}`;
}
