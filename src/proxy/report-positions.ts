import type { SessionSyntax } from '../rewrite/rewriter.js';
import { type Field, FieldCode, readFields, writeFields } from '../wire/fields.js';
import { message } from '../wire/message.js';
import type { StatementFacts } from './statement-memory.js';

/**
 * Points the server's error or notice back into the text that the user wrote, where the statement was rewritten:
 * P, and the pair p and q where q is a piece of the rewritten text (a line of a DO block).
 * @param raw the whole message
 * @returns the message to send instead
 */
export function withOriginalPositions(raw: Buffer, facts: StatementFacts, syntax: SessionSyntax): Buffer {
  if (facts.rewritten === null) return raw;
  const { by, original } = facts.rewritten;
  const fields = readFields(raw.subarray(5));
  const position = number(fields, FieldCode.Position);
  if (position !== null) set(fields, FieldCode.Position, String(by.positions.original(position)));
  mapInternalQuery(fields, by.sql, original, (at) => by.positions.original(at), syntax);
  return message(raw[0]!, writeFields(fields));
}

/** How a qualified operator begins; a query without it is the user's own text. */
const QUALIFIED = Buffer.from('OPERATOR(df.');

/**
 * q is the user's text where it stands once, letter by letter, in the rewritten statement. A body in a quoted literal
 * that doubles its quotes is not found, and stays as the server gave it.
 */
function mapInternalQuery(
  fields: Field[],
  rewritten: Buffer,
  original: Buffer,
  back: (position: number) => number,
  syntax: SessionSyntax,
): void {
  const query = fields.find((field) => field.code === FieldCode.InternalQuery);
  if (query === undefined || !query.value.includes(QUALIFIED)) return;
  const width = characterWidth(syntax.clientEncoding);
  if (width === null) return;
  const at = rewritten.indexOf(query.value);
  if (at < 0 || rewritten.indexOf(query.value, at + 1) >= 0) return;
  const before = characters(rewritten, 0, at, width);
  const length = characters(query.value, 0, query.value.length, width);
  const from = back(before + 1);
  const to = back(before + length) + 1;
  const position = number(fields, FieldCode.InternalPosition);
  if (position !== null) {
    set(fields, FieldCode.InternalPosition, String(back(before + position) - from + 1));
  }
  const fromByte = byteOf(original, from - 1, width);
  query.value = original.subarray(fromByte, byteOf(original, to - 1, width));
}

type Width = 'utf8' | 'single';

/** How characters are counted; null for the encodings in which a byte does not show what it is. */
function characterWidth(encoding: string): Width | null {
  const name = encoding.toUpperCase();
  if (name === 'UTF8' || name === 'UNICODE') return 'utf8';
  if (/^(SQL_ASCII|LATIN\d+|WIN\d+|ISO_8859_\d|KOI8[RU]?)$/.test(name)) return 'single';
  return null;
}

function characters(buf: Buffer, start: number, end: number, width: Width): number {
  if (width === 'single') return end - start;
  let count = 0;
  for (let i = start; i < end; i++) if ((buf[i]! & 0xc0) !== 0x80) count++;
  return count;
}

/** Where the character with that index (from 0) begins. */
function byteOf(buf: Buffer, index: number, width: Width): number {
  if (width === 'single') return Math.min(index, buf.length);
  for (let i = 0; i < buf.length; i++) {
    if ((buf[i]! & 0xc0) !== 0x80 && index-- === 0) return i;
  }
  return buf.length;
}

function number(fields: readonly Field[], code: number): number | null {
  const field = fields.find((each) => each.code === code);
  if (field === undefined) return null;
  const value = Number(field.value.toString('latin1'));
  return Number.isInteger(value) && value > 0 ? value : null;
}

function set(fields: Field[], code: number, text: string): void {
  const field = fields.find((each) => each.code === code);
  if (field !== undefined) field.value = Buffer.from(text, 'latin1');
}
