/** Whether a place in a SQL text lies inside a literal, a quoted name or a comment. Source: documentation, "Lexical Structure". Pure. */
import { endOfComment, endOfDollarQuoted, endOfLine, endOfQuoted } from './split.js';

const INTERESTING = /['"$]|--|\/\*/g;

/** @param at an offset in UTF-16 code units */
export function isQuoted(sql: string, at: number): boolean {
  INTERESTING.lastIndex = 0;
  for (let found = INTERESTING.exec(sql); found !== null; found = INTERESTING.exec(sql)) {
    const start = found.index;
    if (start >= at) return false;
    const end = endOf(sql, start, found[0]);
    if (end > at) return true;
    INTERESTING.lastIndex = end;
  }
  return false;
}

function endOf(sql: string, start: number, sign: string): number {
  switch (sign) {
    case '--':
      return endOfLine(sql, start);
    case '/*':
      return endOfComment(sql, start);
    case '$':
      return endOfDollarQuoted(sql, start) ?? start + 1;
    case "'":
      return endOfQuoted(
        sql,
        start,
        sign,
        /(?:^|[^\w$\u0080-\uffff])[eE]$/.test(sql.slice(Math.max(0, start - 2), start)),
      );
    default:
      return endOfQuoted(sql, start, sign, false);
  }
}
