/**
 * The message by which a SQL function asks the proxy for something in the midst of a statement (sql/013_launch.sql): an
 * INFO with the SQLSTATE DF100. It is for the proxy alone and is taken out of the stream.
 */
import { FieldCode, fieldText, readFields } from '../wire/fields.js';

export interface PrivateNotice {
  /** The message: what is asked for, and by whom. */
  readonly head: string;
  /** The detail: what it is to be done with. */
  readonly body: string;
}

/** C, SQLSTATE, as it stands among the fields. */
const CODE = Buffer.from('\0CDF100\0');
const HEADER_BYTES = 5;

/** Bytes of a NoticeResponse in which its SQLSTATE stands: before it come only the severity and its translation. */
export const CODE_WITHIN = 128;
/** A longer one passes as any other: no request is as long (_df.launch). */
export const MAX_PRIVATE_NOTICE = 16 * 1024 * 1024;

/** Whether a NoticeResponse, of which the first bytes are at buf[start, end), is for the proxy. */
export function isPrivate(buf: Buffer, start: number, end: number): boolean {
  let at = start + HEADER_BYTES;
  // S and V, each with a text
  for (let field = 0; field < 2 && at < end && buf[at] !== FieldCode.Code; field++) {
    at = buf.indexOf(0, at + 1) + 1;
    if (at === 0) return false;
  }
  return at + CODE.length - 1 <= end && CODE.compare(buf, at - 1, at - 1 + CODE.length) === 0;
}

/** @param raw the whole message; undefined for one that says nothing */
export function readPrivateNotice(raw: Buffer): PrivateNotice | undefined {
  const fields = readFields(raw.subarray(HEADER_BYTES));
  const head = fieldText(fields, FieldCode.Message);
  if (head === undefined) return undefined;
  return { head, body: fieldText(fields, FieldCode.Detail) ?? '' };
}
