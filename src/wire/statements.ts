import { Frontend } from './codes.js';
import { message } from './message.js';

/**
 * Where the strings of a message lie that names or holds a statement. All functions look at a message (or its
 * beginning) at buf[start, end), header included.
 */

const HEADER = 5;
/** Marks a statement, where a portal has P. */
const STATEMENT = 0x53;

/** The place of the first NUL in buf[at, end), or -1. Names are short: a loop beats a call into native code. */
export function stringEnd(buf: Buffer, at: number, end: number): number {
  for (let i = at; i < end; i++) if (buf[i] === 0) return i;
  return -1;
}

/** Where the text of a Query (Q) or Parse (P) begins; -1 where the message is malformed. */
export function sqlStart(type: number, buf: Buffer, start: number, end: number): number {
  if (type === Frontend.Query) return start + HEADER;
  const nameEnd = stringEnd(buf, start + HEADER, end);
  return nameEnd < 0 ? -1 : nameEnd + 1;
}

/** The NUL that ends the text which begins at `from`; -1 where there is none before `end`. */
export function sqlEnd(buf: Buffer, from: number, end: number): number {
  const at = buf.indexOf(0, from);
  return at < 0 || at >= end ? -1 : at;
}

/** The message with the text buf[from, to) replaced: the name before it and the types behind it stay. */
export function withSql(
  type: number,
  buf: Buffer,
  start: number,
  end: number,
  from: number,
  to: number,
  sql: Buffer,
): Buffer {
  return message(type, Buffer.concat([buf.subarray(start + HEADER, from), sql, buf.subarray(to, end)]));
}

/** The statement name of a Parse; null where it is cut off. */
export function parseName(buf: Buffer, start: number, end: number): string | null {
  return nameAt(buf, start + HEADER, end);
}

/** The portal and the statement of a Bind; null where they are cut off. */
export function bindNames(
  buf: Buffer,
  start: number,
  end: number,
): { portal: string; statement: string } | null {
  const portalEnd = stringEnd(buf, start + HEADER, end);
  if (portalEnd < 0) return null;
  const statement = nameAt(buf, portalEnd + 1, end);
  return statement === null ? null : { portal: buf.toString('latin1', start + HEADER, portalEnd), statement };
}

/** The portal of an Execute; null where it is cut off. */
export function executePortal(buf: Buffer, start: number, end: number): string | null {
  return nameAt(buf, start + HEADER, end);
}

/** What a Close or Describe names: `statement` or portal; null where it is cut off. */
export function namedObject(
  buf: Buffer,
  start: number,
  end: number,
): { statement: boolean; name: string } | null {
  const name = nameAt(buf, start + HEADER + 1, end);
  return name === null ? null : { statement: buf[start + HEADER] === STATEMENT, name };
}

/** Names are keys here, nothing more: latin1 keeps every byte apart. */
function nameAt(buf: Buffer, at: number, end: number): string | null {
  const stop = stringEnd(buf, at, end);
  return stop < 0 ? null : buf.toString('latin1', at, stop);
}
