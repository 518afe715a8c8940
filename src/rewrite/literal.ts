import { continuation, Lexer, STRING } from './lexer.js';
import { type Text, within } from './text.js';

/**
 * The content of string literals, with the place of each of its bytes in the literal's source: what a rewrite
 * inside the body of a function needs. Follows scan.l: '…' with doubled quotes, E'…' with escapes, U&'…' with
 * the default escape character, $tag$…$tag$, and literals that go on on the next line.
 */

/** The literal's content, or null where it cannot be edited in place (bit strings, UESCAPE, bad escapes). */
export function literalContent(text: Text, at: number): Text | null {
  const { bytes } = text;
  const lexer = new Lexer(bytes);
  lexer.end = at;
  if (lexer.next() !== STRING || lexer.start !== at) return null;
  const { end, spelling } = lexer;
  switch (spelling) {
    case 'dollar': {
      const tag = bytes.indexOf(0x24, at + 1) + 1 - at;
      return within(text, bytes.subarray(at + tag, end - tag), at + tag, null);
    }
    case 'bits':
      return null;
    case 'unicode': {
      // With UESCAPE any character may be the escape, also one that we write.
      lexer.next();
      return lexer.raw().toLowerCase() === 'uescape' ? null : decode(text, at + 3, end, 'unicode');
    }
    default:
      return decode(text, bytes.indexOf(0x27, at) + 1, end, spelling);
  }
}

const SIMPLE: Readonly<Record<string, number>> = { b: 8, f: 12, n: 10, r: 13, t: 9, v: 11 };
const ENCODER = new TextEncoder();

/** i stands behind the opening quote, end behind the closing one. */
function decode(text: Text, i: number, end: number, spelling: 'plain' | 'escape' | 'unicode'): Text | null {
  const { bytes } = text;
  const content = Buffer.allocUnsafe(end - i);
  const offsets = new Uint32Array(end - i + 1);
  let o = 0;
  let surrogate = 0;
  let surrogateAt = 0;
  const put = (byte: number, from: number) => {
    content[o] = byte;
    offsets[o++] = from;
  };
  const putPoint = (point: number, from: number): boolean => {
    if (point >= 0xd800 && point <= 0xdbff) {
      surrogate = point;
      surrogateAt = from;
      return true;
    }
    if (surrogate !== 0) {
      if (point < 0xdc00 || point > 0xdfff) return false;
      point = 0x10000 + ((surrogate - 0xd800) << 10) + (point - 0xdc00);
      from = surrogateAt;
      surrogate = 0;
    }
    if (point === 0 || point > 0x10ffff || (point >= 0xdc00 && point <= 0xdfff)) return false;
    for (const byte of ENCODER.encode(String.fromCodePoint(point))) put(byte, from);
    return true;
  };
  while (i < end) {
    const c = bytes[i]!;
    if (surrogate !== 0 && c !== 0x5c) return null;
    if (c === 0x27) {
      if (bytes[i + 1] === 0x27 && i + 1 < end - 1) {
        put(c, i);
        i += 2;
        continue;
      }
      if (i + 1 >= end) break;
      i = continuation(bytes, i + 1);
      if (i < 0) return null;
      continue;
    }
    if (c !== 0x5c || spelling === 'plain') {
      put(c, i++);
      continue;
    }
    const at = i++;
    const rest = bytes.toString('latin1', i, i + 9);
    if (spelling === 'unicode') {
      const match = /^(?:([0-9a-fA-F]{4})|\+([0-9a-fA-F]{6}))/.exec(rest);
      if (match !== null) {
        if (!putPoint(Number.parseInt(match[1] ?? match[2]!, 16), at)) return null;
        i += match[0].length;
      } else if (rest[0] === '\\') {
        put(0x5c, at);
        i++;
      } else return null;
      continue;
    }
    const unicode = /^(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))/.exec(rest);
    if (unicode !== null) {
      if (!putPoint(Number.parseInt(unicode[1] ?? unicode[2]!, 16), at)) return null;
      i += unicode[0].length;
      continue;
    }
    if (surrogate !== 0) return null;
    const numeric = /^(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3}))/.exec(rest);
    if (numeric !== null) {
      const byte =
        (numeric[1] === undefined ? Number.parseInt(numeric[2]!, 8) : Number.parseInt(numeric[1], 16)) & 255;
      if (byte === 0) return null;
      put(byte, at);
      i += numeric[0].length;
      continue;
    }
    put(SIMPLE[rest[0]!] ?? bytes[i]!, at);
    i++;
  }
  if (surrogate !== 0) return null;
  offsets[o] = end - 1;
  return within(text, content.subarray(0, o), 0, offsets.subarray(0, o + 1), text.quotes + 1);
}
