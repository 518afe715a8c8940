import { type Edit, replacement } from './edit.js';
import { countChars } from './encoding.js';

/** From positions in the rewritten text to positions in the text that the user sent. */
export interface PositionMap {
  /**
   * `position`: 1-based characters of the rewritten text, as in the P field of ErrorResponse. Returns 1-based
   * characters of the user's text; a position inside a replacement gives the operator's first character.
   */
  original(position: number): number;
}

/** The map of some edits; characters are counted when it is first asked, as hardly any map ever is. */
export function positionMap(source: Buffer, edits: readonly Edit[], encoding: string): PositionMap {
  /** For each edit: its first character in the source (0-based), its length in characters before and after. */
  let places: { at: number; before: number; after: number }[] | null = null;
  const count = () => {
    let byte = 0;
    let char = 0;
    return edits.map((edit) => {
      char += countChars(source, byte, edit.start, encoding);
      const before = countChars(source, edit.start, edit.end, encoding);
      const place = { at: char, before, after: replacement(edit).length };
      char += before;
      byte = edit.end;
      return place;
    });
  };
  return {
    original(position) {
      places ??= count();
      let grown = 0;
      for (const { at, before, after } of places) {
        const start = at + grown;
        if (position - 1 < start) break;
        if (position - 1 < start + after) return at + 1;
        grown += after - before;
      }
      return position - grown;
    },
  };
}
