import { isUtf8 } from 'node:buffer';
import { isUtf8Encoding, toReadable } from './encoding.js';
import { continuesName, END, Lexer, STRING } from './lexer.js';

/** The two settings of a session on which the reading of its statements depends (ParameterStatus). */
export interface SessionSyntax {
  clientEncoding: string;
  standardConformingStrings: boolean;
}

/**
 * A text as the parser reads it (UTF-8, standard_conforming_strings on) that knows where it came from: the
 * statement itself, or the content of a literal in it, at any depth. Byte i is byte `map[i]` of the statement
 * that the client sent, or `base + i` where there is no map.
 */
export interface Text {
  bytes: Buffer;
  base: number;
  map: Uint32Array | null;
  /** How many literals in quotes it is in: each doubles the quotes of what is put there. */
  quotes: number;
}

export function sourceOffset(text: Text, i: number): number {
  return text.map === null ? text.base + i : text.map[i]!;
}

/** A text within a text: `bytes` came from `outer`, byte i from `offsets[i]` there (or from `start + i`). */
export function within(
  outer: Text,
  bytes: Buffer,
  start: number,
  offsets: Uint32Array | null,
  quotes = outer.quotes,
): Text {
  if (offsets === null && outer.map === null) return { bytes, base: outer.base + start, map: null, quotes };
  const map = new Uint32Array(bytes.length + 1);
  for (let i = 0; i <= bytes.length; i++)
    map[i] = sourceOffset(outer, offsets === null ? start + i : offsets[i]!);
  return { bytes, base: 0, map, quotes };
}

/**
 * The statement as the parser may read it; null if it is not valid in the session's encoding. Not read: E'\351',
 * a character of a database whose encoding is not UTF-8 spelled by its byte; the parser refuses it.
 */
export function readStatement(sql: Buffer, syntax: SessionSyntax): Text | null {
  if (isUtf8Encoding(syntax.clientEncoding) && !isUtf8(sql)) return null;
  const { bytes, map } = toReadable(sql, syntax.clientEncoding);
  return conforming({ bytes, base: 0, map, quotes: 0 }, syntax.standardConformingStrings);
}

/**
 * With standard_conforming_strings off, '…' knows backslash escapes: such literals become E'…', which is what
 * they are. Null if the text does not lex (the server will say so).
 */
export function conforming(text: Text, standardConformingStrings: boolean): Text | null {
  if (standardConformingStrings || !text.bytes.includes(0x5c)) return text;
  const { bytes } = text;
  const lexer = new Lexer(bytes, false);
  const parts: Buffer[] = [];
  const offsets: number[] = [];
  let done = 0;
  const copy = (to: number) => {
    parts.push(bytes.subarray(done, to));
    for (; done < to; done++) offsets.push(done);
  };
  while (lexer.next() !== END) {
    if (lexer.kind !== STRING || !lexer.backslash) continue;
    const first = bytes[lexer.start]!;
    if ((first | 0x20) === 0x65) continue;
    copy(lexer.start);
    // N'…' is '…' of type char; the E takes the place of the N.
    if (first !== 0x27) done++;
    const glue = done > 0 && continuesName(bytes[done - 1]!) ? ' E' : 'E';
    parts.push(Buffer.from(glue, 'latin1'));
    for (let i = 0; i < glue.length; i++) offsets.push(lexer.start);
  }
  if (lexer.broken) return null;
  if (parts.length === 0) return text;
  copy(bytes.length);
  offsets.push(bytes.length);
  return within(text, Buffer.concat(parts), 0, Uint32Array.from(offsets));
}
