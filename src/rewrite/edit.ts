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
export function replacement(edit: Edit): string {
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

/** The text with the edits made. */
export function applyEdits(sql: Buffer, edits: readonly Edit[]): Buffer {
  const texts = edits.map(replacement);
  let length = sql.length;
  edits.forEach((edit, i) => {
    length += texts[i]!.length - (edit.end - edit.start);
  });
  const out = Buffer.allocUnsafeSlow(length);
  let from = 0;
  let to = 0;
  edits.forEach((edit, i) => {
    to += sql.copy(out, to, from, edit.start);
    to += out.write(texts[i]!, to, 'latin1');
    from = edit.end;
  });
  sql.copy(out, to, from);
  return out;
}
