/** Whether a place in a SQL text lies inside a literal, a quoted name or a comment. Source: documentation, "Lexical Structure". Pure. */
import { endOfComment, endOfDollarQuoted, endOfLine, endOfQuoted } from './split.js';

const INTERESTING = /['"$]|--|\/\*/g;

/**
 * Answers for places of one text, each further on than the one before: together they cost one reading of it.
 * @returns a function of an offset in UTF-16 code units
 */
export function quotedPlaces(sql: string): (at: number) => boolean {
  let from = 0;
  // what begins at `start` ends at `end`; there is nothing quoted between `from` and `start`
  let [start, end] = [-1, -1];
  return (at) => {
    while (end <= at) {
      from = Math.max(from, end);
      INTERESTING.lastIndex = from;
      const found = INTERESTING.exec(sql);
      start = found?.index ?? sql.length;
      end = found === null ? Number.POSITIVE_INFINITY : endOf(sql, start, found[0]);
    }
    return start < at;
  };
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
