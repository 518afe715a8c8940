import type { SessionSyntax } from '../rewrite/rewriter.js';
import { type Field, FieldCode, readFields, writeFields } from '../wire/fields.js';
import { message } from '../wire/message.js';
import type { StatementFacts } from './statement-memory.js';

/**
 * Points the server's error or notice back into the text that the user wrote, where the statement was rewritten:
 * P; the pair p and q where q is a piece of the rewritten text (a line of a DO block); and statements quoted in W.
 * @param raw the whole message
 * @returns the message to send instead
 */
export function withOriginalPositions(raw: Buffer, facts: StatementFacts, syntax: SessionSyntax): Buffer {
  if (facts.rewritten === null) return raw;
  const { by, original } = facts.rewritten;
  const fields = readFields(raw.subarray(5));
  const position = number(fields, FieldCode.Position);
  if (position !== null) set(fields, FieldCode.Position, String(by.positions.original(position)));
  const written = original.includes(QUALIFIED);
  if (!mapInternalQuery(fields, by.sql, original, (at) => by.positions.original(at), syntax) && !written) {
    shortenInternalQuery(fields, original, syntax);
  }
  const where = fields.find((field) => field.code === FieldCode.Where);
  if (where !== undefined && !written) where.value = withoutNames(where.value, original);
  return message(raw[0]!, writeFields(fields));
}

/** How a qualified operator begins; a query without it is the user's own text. */
const QUALIFIED = Buffer.from('OPERATOR(df.');

/**
 * q is the user's text where it stands once, letter by letter, in the rewritten statement.
 * @returns whether that is so, or nothing is to be done
 */
function mapInternalQuery(
  fields: Field[],
  rewritten: Buffer,
  original: Buffer,
  back: (position: number) => number,
  syntax: SessionSyntax,
): boolean {
  const query = fields.find((field) => field.code === FieldCode.InternalQuery);
  if (query === undefined || !query.value.includes(QUALIFIED)) return true;
  const width = characterWidth(syntax.clientEncoding);
  if (width === null) return false;
  const head = standsOnce(rewritten, query.value) >= 0 ? EMPTY : performHead(rewritten, query.value);
  if (head === null) return false;
  const text = query.value.subarray(head.length);
  const before = characters(rewritten, 0, standsOnce(rewritten, text), width);
  const length = characters(text, 0, text.length, width);
  const from = back(before + 1);
  const to = back(before + length) + 1;
  const position = number(fields, FieldCode.InternalPosition);
  if (position !== null && position > head.length) {
    const mapped = back(before + position - head.length) - from + 1 + head.length;
    set(fields, FieldCode.InternalPosition, String(mapped));
  }
  const mine = original.subarray(byteOf(original, from - 1, width), byteOf(original, to - 1, width));
  query.value = Buffer.concat([head, mine]);
  return true;
}

const EMPTY = Buffer.alloc(0);
const SELECT = Buffer.from('SELECT');

/**
 * PL/pgSQL runs `PERFORM ...` as `SELECT ...`, and shows that (pl_gram.y, stmt_perform).
 * @returns the SELECT that the user has not written; null where the query does not come from a PERFORM
 */
function performHead(rewritten: Buffer, query: Buffer): Buffer | null {
  if (!query.subarray(0, SELECT.length).equals(SELECT)) return null;
  const at = standsOnce(rewritten, query.subarray(SELECT.length));
  if (at < 0) return null;
  const word = rewritten.toString('latin1', Math.max(0, at - 'PERFORM'.length), at);
  return word.toUpperCase() === 'PERFORM' ? SELECT : null;
}

/** Where the text stands; -1 unless it stands there exactly once. */
function standsOnce(where: Buffer, text: Buffer): number {
  const at = where.indexOf(text);
  return at >= 0 && where.indexOf(text, at + 1) < 0 ? at : -1;
}

/**
 * A piece that does not stand once in the statement (doubled quotes that became single, a line that comes twice): the
 * operators get their own names back, and p follows.
 */
function shortenInternalQuery(fields: Field[], original: Buffer, syntax: SessionSyntax): void {
  const query = fields.find((field) => field.code === FieldCode.InternalQuery);
  const width = characterWidth(syntax.clientEncoding);
  if (query === undefined || width === null) return;
  const long = query.value;
  query.value = withoutNames(long, original);
  const position = number(fields, FieldCode.InternalPosition);
  if (position === null) return;
  const before = withoutNames(long.subarray(0, byteOf(long, position - 1, width)), original);
  set(fields, FieldCode.InternalPosition, String(characters(before, 0, before.length, width) + 1));
}

/**
 * The text with plain operators in place of their qualified names. A blank before a name is the rewriter's where the
 * user has written that operator right behind such a character and never with a blank between. Latin1 keeps each byte
 * as it is.
 */
function withoutNames(text: Buffer, original: Buffer): Buffer {
  if (!text.includes(QUALIFIED)) return text;
  const plain = text
    .toString('latin1')
    .replace(/([\w$\x80-\xff]?)( ?)OPERATOR\(df\.([^)\w\s]+)\)/g, (_, before, blank, operator) => {
      const close = before !== '' && original.includes(`${before}${operator}`, 0, 'latin1');
      const apart = original.includes(`${before} ${operator}`, 0, 'latin1');
      return `${before}${close && !apart ? '' : blank}${operator}`;
    });
  return Buffer.from(plain, 'latin1');
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
