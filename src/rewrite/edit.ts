import { type Operator, qualified } from './operators.js';

/** Replace the bytes [start, end) of the user's text. */
export interface Edit {
  start: number;
  end: number;
  /** What takes their place; ASCII only. */
  text: string;
}

/** An operator becomes its qualified name. @param blank the byte before would run into it: a blank comes between */
export function editOf(operator: Operator, start: number, end: number, blank: boolean): Edit {
  return { start, end, text: (blank ? ' ' : '') + qualified(operator) };
}

/** Edits in the order of the text, without repetitions; null if two of them overlap. */
export function inOrder(edits: Edit[]): Edit[] | null {
  const sorted = [...edits].sort((a, b) => a.start - b.start);
  const result: Edit[] = [];
  for (const edit of sorted) {
    const last = result.at(-1);
    if (last !== undefined && last.start === edit.start && last.end === edit.end) continue;
    if (last !== undefined && edit.start < last.end) return null;
    result.push(edit);
  }
  return result;
}

/** In every statement that stands for one of an extension or setting (extension.ts), however often quoted. */
const BLOCK = '/* pg_durable: ';

/** A text and the text that it became. */
export interface Edited {
  sql: Buffer;
  /** The edits in order, three numbers each: first byte in the source, byte after the last, length that it got. */
  spans: Uint32Array;
  /**
   * Statements of the text that have become others, by their place (the first is 0): the command tag that the user is to
   * see. Null where there is none.
   */
  tags: ReadonlyMap<number, string> | null;
  /** A body holds such a statement: contexts in reports show it. */
  blocks: boolean;
}

/** The text with the edits (in order) made. */
export function applyEdits(
  sql: Buffer,
  edits: readonly Edit[],
  tags: ReadonlyMap<number, string> | null = null,
): Edited {
  const texts = edits.map((edit) => edit.text);
  const spans = new Uint32Array(edits.length * 3);
  let length = sql.length;
  edits.forEach(({ start, end }, i) => {
    const text = texts[i]!;
    spans.set([start, end, text.length], i * 3);
    length += text.length - (end - start);
  });
  const out = Buffer.allocUnsafeSlow(length);
  let from = 0;
  let to = 0;
  edits.forEach(({ start, end }, i) => {
    to += sql.copy(out, to, from, start);
    to += out.write(texts[i]!, to, 'latin1');
    from = end;
  });
  sql.copy(out, to, from);
  return { sql: out, spans, tags, blocks: texts.some((text) => text.includes(BLOCK)) };
}
