/**
 * Splits a step's text into its statements, as psql does: at semicolons outside quotes, comments, parentheses and
 * SQL-standard function bodies. The executor's sessions have standard_conforming_strings on. Pure.
 */

const DOLLAR_TAG = /\$(?:[A-Za-z_\u0080-\uffff][A-Za-z0-9_\u0080-\uffff]*)?\$/y;
const WORD = /[A-Za-z_\u0080-\uffff][A-Za-z0-9_$\u0080-\uffff]*/y;

/** The statements, in order, without their semicolons; texts without any token are left out. At least one element. */
export function splitStatements(sql: string): string[] {
  const first = sql.indexOf(';');
  if (first < 0 || sql.slice(first + 1).trim() === '') return [sql];

  const statements: string[] = [];
  let start = 0;
  let at = 0;
  let depth = 0;
  let blocks = 0;
  let tokens = false;
  let words: string[] = [];

  const close = (end: number): void => {
    if (tokens) statements.push(sql.slice(start, end));
    start = end + 1;
    depth = 0;
    blocks = 0;
    tokens = false;
    words = [];
  };

  while (at < sql.length) {
    const c = sql[at] as string;
    if (c === '-' && sql[at + 1] === '-') {
      at = endOfLine(sql, at);
      continue;
    }
    if (c === '/' && sql[at + 1] === '*') {
      at = endOfComment(sql, at);
      continue;
    }
    if (c === ';' && depth === 0 && blocks === 0) {
      close(at);
      at += 1;
      continue;
    }
    if (/\s/.test(c)) {
      at += 1;
      continue;
    }
    tokens = true;
    if (c === "'" || c === '"') {
      at = endOfQuoted(sql, at, c, false);
    } else if (c === '$') {
      at = endOfDollarQuoted(sql, at) ?? at + 1;
    } else if (c === '(') {
      depth += 1;
      at += 1;
    } else if (c === ')') {
      if (depth > 0) depth -= 1;
      at += 1;
    } else {
      WORD.lastIndex = at;
      const word = WORD.exec(sql)?.[0];
      if (word === undefined) {
        at += 1;
      } else if ((word === 'e' || word === 'E') && sql[at + 1] === "'") {
        at = endOfQuoted(sql, at + 1, "'", true);
      } else {
        at += word.length;
        const lower = word.toLowerCase();
        if (words.length < 4) words.push(lower);
        if (depth === 0 && createsRoutine(words)) {
          if (lower === 'begin' || (blocks > 0 && lower === 'case')) blocks += 1;
          else if (lower === 'end' && blocks > 0) blocks -= 1;
        }
      }
    }
  }
  close(sql.length);
  return statements.length === 0 ? [sql] : statements;
}

function createsRoutine(words: readonly string[]): boolean {
  if (words[0] !== 'create') return false;
  const kind = words[1] === 'or' ? words[3] : words[1];
  return kind === 'function' || kind === 'procedure';
}

const LINE_END = /[\n\r]/g;

/** Behind a comment that begins with `--` there. To the server a carriage return ends it as well. */
export function endOfLine(sql: string, from: number): number {
  LINE_END.lastIndex = from;
  return LINE_END.test(sql) ? LINE_END.lastIndex : sql.length;
}

/** Behind a comment that begins with slash and star there; such comments nest. */
export function endOfComment(sql: string, from: number): number {
  let depth = 0;
  for (let at = from; at < sql.length; at += 1) {
    if (sql[at] === '/' && sql[at + 1] === '*') {
      depth += 1;
      at += 1;
    } else if (sql[at] === '*' && sql[at + 1] === '/') {
      depth -= 1;
      at += 1;
      if (depth === 0) return at + 1;
    }
  }
  return sql.length;
}

/** Behind a literal that begins with a dollar there; undefined when none does. */
export function endOfDollarQuoted(sql: string, from: number): number | undefined {
  DOLLAR_TAG.lastIndex = from;
  const tag = DOLLAR_TAG.exec(sql)?.[0];
  if (tag === undefined) return undefined;
  const end = sql.indexOf(tag, from + tag.length);
  return end < 0 ? sql.length : end + tag.length;
}

/** Behind the literal or name that begins with the quote there. */
export function endOfQuoted(sql: string, from: number, quote: string, backslash: boolean): number {
  for (let at = from + 1; at < sql.length; at += 1) {
    if (backslash && sql[at] === '\\') at += 1;
    else if (sql[at] === quote) {
      if (sql[at + 1] === quote) at += 1;
      else return at + 1;
    }
  }
  return sql.length;
}
