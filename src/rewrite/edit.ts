import { OPERATOR_NAMES, type Operator, qualified } from './operators.js';

/** Replace the bytes [start, end) of the user's text, an operator, by its qualified name. */
export interface Edit {
  start: number;
  end: number;
  /** Index in OPERATOR_NAMES. */
  operator: number;
  /** The byte before would run into the new text: a blank comes between. */
  blank: boolean;
}

export function editOf(operator: Operator, start: number, end: number, blank: boolean): Edit {
  return { start, end, operator: OPERATOR_NAMES.indexOf(operator), blank };
}

/** What takes the operator's place; ASCII only. */
function replacement(edit: Edit): string {
  return (edit.blank ? ' ' : '') + qualified(OPERATOR_NAMES[edit.operator]!);
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

/** A text and the text that it became. */
export interface Edited {
  sql: Buffer;
  /** The edits in order, three numbers each: first byte in the source, byte after the last, length that it got. */
  spans: Uint32Array;
}

/** The text with the edits (in order) made. */
export function applyEdits(sql: Buffer, edits: readonly Edit[]): Edited {
  const texts = edits.map(replacement);
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
  return { sql: out, spans };
}
