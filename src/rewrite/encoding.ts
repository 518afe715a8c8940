import { isAscii } from 'node:buffer';

/**
 * Client encodings. The grammar (libpg-query) reads UTF-8 only, and in some client encodings the second byte of
 * a character may look like `\`, `|` or `~`. For such sessions the parser gets a text of its own in which each
 * non-ASCII byte became one character of UTF-8 (bytes 80–FF → U+0080–U+00FF; an ASCII byte inside a character →
 * U+0100 and up): names stay different from each other and ASCII stays as it is, which is all that the lexical
 * structure depends on. Edits are made on the original bytes.
 *
 * Names are those that the server reports in ParameterStatus. Lengths follow src/common/wchar.c.
 */

type CharLength = (bytes: Buffer, i: number) => number;

const single: CharLength = () => 1;
const utf8: CharLength = (bytes, i) => {
  const c = bytes[i]!;
  return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
};
const pair: CharLength = (bytes, i) => (bytes[i]! < 0x80 ? 1 : 2);
const euc: CharLength = (bytes, i) => {
  const c = bytes[i]!;
  return c === 0x8f ? 3 : c < 0x80 ? 1 : 2;
};
const eucTw: CharLength = (bytes, i) => {
  const c = bytes[i]!;
  return c === 0x8e ? 4 : c === 0x8f ? 3 : c < 0x80 ? 1 : 2;
};
const sjis: CharLength = (bytes, i) => {
  const c = bytes[i]!;
  return c < 0x80 || (c >= 0xa1 && c <= 0xdf) ? 1 : 2;
};
const gb18030: CharLength = (bytes, i) => {
  if (bytes[i]! < 0x80) return 1;
  const second = bytes[i + 1] ?? 0;
  return second >= 0x30 && second <= 0x39 ? 4 : 2;
};
const mule: CharLength = (bytes, i) => {
  const c = bytes[i]!;
  if (c >= 0x81 && c <= 0x8d) return 2;
  if ((c >= 0x90 && c <= 0x99) || c === 0x9a || c === 0x9b) return 3;
  return c === 0x9c || c === 0x9d ? 4 : 1;
};

const MULTIBYTE: Readonly<Record<string, CharLength>> = {
  UTF8: utf8,
  UNICODE: utf8,
  EUC_JP: euc,
  EUC_JIS_2004: euc,
  EUC_KR: euc,
  EUC_CN: pair,
  EUC_TW: eucTw,
  JOHAB: euc,
  SJIS: sjis,
  SHIFT_JIS_2004: sjis,
  BIG5: pair,
  GBK: pair,
  UHC: pair,
  GB18030: gb18030,
  MULE_INTERNAL: mule,
};

/** Bytes of the character that begins at bytes[i]. An encoding without an entry has one byte a character. */
export function charLength(encoding: string): CharLength {
  return MULTIBYTE[encoding.toUpperCase()] ?? single;
}

export function isUtf8Encoding(encoding: string): boolean {
  return charLength(encoding) === utf8;
}

/** Number of characters in bytes[start, end), where start is the beginning of a character. */
export function countChars(bytes: Buffer, start: number, end: number, encoding: string): number {
  const length = charLength(encoding);
  if (length === single) return end - start;
  let count = 0;
  for (let i = start; i < end; i += length(bytes, i)) count++;
  return count;
}

/**
 * The text as the parser may read it, and where each of its bytes comes from (null: offsets are the same).
 * The map has one more entry than the text has bytes.
 */
export interface Readable {
  bytes: Buffer;
  map: Uint32Array | null;
}

export function toReadable(bytes: Buffer, encoding: string): Readable {
  if (isUtf8Encoding(encoding) || isAscii(bytes)) return { bytes, map: null };
  const length = charLength(encoding);
  const out = Buffer.allocUnsafe(bytes.length * 2);
  const map = new Uint32Array(bytes.length * 2 + 1);
  let o = 0;
  for (let i = 0; i < bytes.length; ) {
    const end = Math.min(bytes.length, i + length(bytes, i));
    const multi = end - i > 1;
    for (; i < end; i++) {
      const c = bytes[i]!;
      map[o] = i;
      if (c < 0x80 && !multi) out[o++] = c;
      else {
        const point = c < 0x80 ? 0x100 + c : c;
        map[o + 1] = i;
        out[o++] = 0xc0 | (point >> 6);
        out[o++] = 0x80 | (point & 0x3f);
      }
    }
  }
  map[o] = bytes.length;
  return { bytes: out.subarray(0, o), map: map.subarray(0, o + 1) };
}
