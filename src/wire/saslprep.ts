import {
  LEFT_TO_RIGHT,
  MAPPED_TO_NOTHING,
  NON_ASCII_SPACE,
  PROHIBITED,
  RIGHT_TO_LEFT,
  UNASSIGNED,
} from './saslprep-tables.js';

/** Sorted range bounds: even places begin a range, odd places end it (inclusive). */
type Ranges = Uint32Array;

function decode(table: string): Ranges {
  const numbers = table.split(' ');
  const out = new Uint32Array(numbers.length);
  let previous = 0;
  for (let i = 0; i < numbers.length; i++) {
    previous += Number.parseInt(numbers[i]!, 36);
    out[i] = previous;
  }
  return out;
}

function contains(ranges: Ranges, code: number): boolean {
  let low = 0;
  let high = ranges.length / 2 - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (code < ranges[2 * middle]!) high = middle - 1;
    else if (code > ranges[2 * middle + 1]!) low = middle + 1;
    else return true;
  }
  return false;
}

interface Tables {
  unassigned: Ranges;
  nothing: Ranges;
  space: Ranges;
  prohibited: Ranges;
  rightToLeft: Ranges;
  leftToRight: Ranges;
}

/** Decoded at the first password that needs it: most are plain ASCII. */
let tables: Tables | undefined;

function load(): Tables {
  tables ??= {
    unassigned: decode(UNASSIGNED),
    nothing: decode(MAPPED_TO_NOTHING),
    space: decode(NON_ASCII_SPACE),
    prohibited: decode(PROHIBITED),
    rightToLeft: decode(RIGHT_TO_LEFT),
    leftToRight: decode(LEFT_TO_RIGHT),
  };
  return tables;
}

/**
 * SASLprep (RFC 4013) as PostgreSQL applies it to SCRAM passwords: what the profile refuses, and what is not UTF-8,
 * is used as it is.
 * @returns the very Buffer that was given where nothing is changed
 */
export function saslprep(password: string | Buffer): Buffer {
  const raw = typeof password === 'string' ? Buffer.from(password, 'utf8') : password;
  // Most are plain ASCII. Bytes can be overwritten after use, a string cannot.
  if (raw.every((byte) => byte >= 0x20 && byte <= 0x7e)) return raw;
  const text = raw.toString('utf8');
  if (!Buffer.from(text, 'utf8').equals(raw)) return raw;
  const prepared = prepare(text);
  return prepared === null ? raw : Buffer.from(prepared, 'utf8');
}

/** The prepared string; null where the profile refuses it. */
function prepare(text: string): string | null {
  const t = load();
  let mapped = '';
  for (const character of text) {
    const code = character.codePointAt(0)!;
    if (contains(t.space, code)) mapped += ' ';
    else if (!contains(t.nothing, code)) mapped += character;
  }
  if (mapped === '') return null;
  const normal = mapped.normalize('NFKC');
  const codes = Array.from(normal, (character) => character.codePointAt(0)!);
  // PostgreSQL looks for unassigned characters in the mapped text and for prohibited ones after normalisation.
  for (const character of mapped) if (contains(t.unassigned, character.codePointAt(0)!)) return null;
  for (const code of codes) if (contains(t.prohibited, code)) return null;
  if (codes.some((code) => contains(t.rightToLeft, code))) {
    if (codes.some((code) => contains(t.leftToRight, code))) return null;
    if (!contains(t.rightToLeft, codes[0]!) || !contains(t.rightToLeft, codes[codes.length - 1]!))
      return null;
  }
  return normal;
}
