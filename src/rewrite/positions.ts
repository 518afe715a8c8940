import { isAscii } from 'node:buffer';
import { countChars } from './encoding.js';

/** From positions in the rewritten text to positions in the text that the user sent. */
export interface PositionMap {
  /**
   * `position`: 1-based characters of the rewritten text, as in the P field of ErrorResponse. Returns 1-based
   * characters of the user's text; a position inside a replacement gives the operator's first character.
   */
  original(position: number): number;
}

/**
 * The map of some edits (`spans` as in Edited); characters are counted when it is first asked, as hardly any
 * map ever is.
 */
export function positionMap(source: Buffer, spans: Uint32Array, encoding: string): PositionMap {
  /** For each edit: its first character in the source (0-based), its length in characters before and after. */
  let places: Uint32Array | null = null;
  const count = () => {
    const chars = isAscii(source)
      ? (from: number, to: number) => to - from
      : (from: number, to: number) => countChars(source, from, to, encoding);
    const counted = new Uint32Array(spans.length);
    let byte = 0;
    let char = 0;
    for (let i = 0; i < spans.length; i += 3) {
      const start = spans[i]!;
      const end = spans[i + 1]!;
      char += chars(byte, start);
      counted[i] = char;
      counted[i + 1] = chars(start, end);
      counted[i + 2] = spans[i + 2]!;
      char += counted[i + 1]!;
      byte = end;
    }
    return counted;
  };
  return {
    original(position) {
      places ??= count();
      let grown = 0;
      for (let i = 0; i < places.length; i += 3) {
        const at = places[i]!;
        const start = at + grown;
        const after = places[i + 2]!;
        if (position - 1 < start) break;
        if (position - 1 < start + after) return at + 1;
        grown += after - places[i + 1]!;
      }
      return position - grown;
    },
  };
}
