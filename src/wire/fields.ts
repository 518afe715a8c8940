import { Backend } from './codes.js';
import { message } from './message.js';

/**
 * ErrorResponse and NoticeResponse: a list of fields, each one letter and a NUL-terminated string, closed by a NUL
 * (protocol chapter "Error and Notice Message Fields"). Values stay bytes: they are in the session's encoding.
 */
export interface Field {
  /** The letter as a byte, one of `FieldCode` or one that a newer server knows. */
  code: number;
  value: Buffer;
}

export const FieldCode = {
  Severity: 0x53, // S, translated
  SeverityEnglish: 0x56, // V, never translated
  Code: 0x43, // C, SQLSTATE
  Message: 0x4d, // M
  Detail: 0x44, // D
  Hint: 0x48, // H
  Position: 0x50, // P, in characters of the client's statement
  InternalPosition: 0x70, // p, in characters of q
  InternalQuery: 0x71, // q
  Where: 0x57, // W
} as const;

/**
 * The fields of a message's body. A body that is cut short gives the fields that are whole.
 * @param body what follows the length
 */
export function readFields(body: Buffer): Field[] {
  const fields: Field[] = [];
  let at = 0;
  while (at < body.length && body[at] !== 0) {
    const end = body.indexOf(0, at + 1);
    if (end < 0) break;
    fields.push({ code: body[at]!, value: body.subarray(at + 1, end) });
    at = end + 1;
  }
  return fields;
}

/** The body that `readFields` reads. */
export function writeFields(fields: readonly Field[]): Buffer {
  let length = 1;
  for (const field of fields) length += field.value.length + 2;
  const out = Buffer.allocUnsafe(length);
  let at = 0;
  for (const field of fields) {
    out[at++] = field.code;
    at += field.value.copy(out, at);
    out[at++] = 0;
  }
  out[at] = 0;
  return out;
}

/** The first field of that code as text, read as UTF-8; undefined where there is none. */
export function fieldText(fields: readonly Field[], code: number): string | undefined {
  for (const field of fields) if (field.code === code) return field.value.toString('utf8');
  return undefined;
}

export interface Report {
  severity: 'ERROR' | 'FATAL';
  /** SQLSTATE. */
  code: string;
  message: string;
  detail?: string;
  hint?: string;
}

/** A whole ErrorResponse of our own, fields in the order in which the server sends them. */
export function errorResponse(report: Report): Buffer {
  const fields: Field[] = [];
  const add = (code: number, text: string | undefined) => {
    // A NUL would end the field early.
    if (text !== undefined) fields.push({ code, value: Buffer.from(text.replaceAll('\0', ''), 'utf8') });
  };
  add(FieldCode.Severity, report.severity);
  add(FieldCode.SeverityEnglish, report.severity);
  add(FieldCode.Code, report.code);
  add(FieldCode.Message, report.message);
  add(FieldCode.Detail, report.detail);
  add(FieldCode.Hint, report.hint);
  return message(Backend.ErrorResponse, writeFields(fields));
}
