/**
 * The lexical structure of PostgreSQL (scan.l): where literals, names, comments and operators begin and end.
 * The grammar's own scanner is in libpg-query; this one is for what that one is not for: to look at a text
 * without paying for a parse, to mark operators in a body before it is parsed, and to read texts for sessions
 * with standard_conforming_strings off.
 *
 * It works on bytes of UTF-8 (or of any encoding without ASCII bytes inside characters) and holds one token at
 * a time: call next() and read start, end and kind. Comments and blanks are skipped. Text that ends inside a
 * literal or comment gives END with `broken` set.
 */

export const END = 0;
export const WORD = 1;
export const QUOTED_NAME = 2;
export const STRING = 3;
export const NUMBER = 4;
export const PARAMETER = 5;
export const OPERATOR = 6;
/** `:=`, one of `,()[].;:{}`, or any other single byte. */
export const PUNCTUATION = 7;

/** How a STRING is spelled. */
export type Spelling = 'plain' | 'escape' | 'unicode' | 'dollar' | 'bits';

const BLANK = 1;
const IDENT_START = 2;
const DIGIT = 3;
const OP = 4;

const CLASS = new Uint8Array(256);
for (let c = 0; c < 256; c++) {
  if ((c >= 0x41 && c <= 0x5a) || (c >= 0x61 && c <= 0x7a) || c === 0x5f || c >= 0x80) CLASS[c] = IDENT_START;
  else if (c >= 0x30 && c <= 0x39) CLASS[c] = DIGIT;
}
for (const c of ' \t\n\r\f\v') CLASS[c.charCodeAt(0)] = BLANK;
for (const c of '~!@#^&|`?+-*/%<>=') CLASS[c.charCodeAt(0)] = OP;

/** May stand in a name after its first byte. */
export function continuesName(byte: number): boolean {
  const kind = CLASS[byte];
  return kind === IDENT_START || kind === DIGIT || byte === 0x24;
}

const NEWLINE = 0x0a;
const RETURN = 0x0d;
const QUOTE = 0x27;
const DOUBLE_QUOTE = 0x22;
const BACKSLASH = 0x5c;
const DOLLAR = 0x24;
const AMP = 0x26;
const MINUS = 0x2d;
const SLASH = 0x2f;
const STAR = 0x2a;
const DOT = 0x2e;
const COLON = 0x3a;
const EQUALS = 0x3d;

export class Lexer {
  readonly text: Buffer;
  kind = END;
  start = 0;
  end = 0;
  /** Of a STRING: how it is spelled. */
  spelling: Spelling = 'plain';
  /** Of a STRING in quotes: whether it holds a backslash. */
  backslash = false;
  /** The text ended inside a literal, a quoted name or a comment. */
  broken = false;
  /** How deep comments were nested in the text so far, if they were. */
  deepestComment = 0;
  private readonly escapesInPlain: boolean;

  /** standardConformingStrings: the session's setting; off means that '…' knows backslash escapes. */
  constructor(text: Buffer, standardConformingStrings = true) {
    this.text = text;
    this.escapesInPlain = !standardConformingStrings;
  }

  /** Moves to the next token; returns its kind. */
  next(): number {
    const { text } = this;
    const i = this.skipBlanks(this.end);
    this.start = i;
    if (i >= text.length) return this.token(END, i);
    const c = text[i]!;
    switch (CLASS[c]) {
      case IDENT_START:
        return this.word(i, c);
      case DIGIT:
        return this.token(NUMBER, this.endOfNumber(i));
      case OP:
        return this.operator(i);
      default:
    }
    if (c === QUOTE) return this.quoted(i + 1, this.escapesInPlain ? 'escape' : 'plain');
    if (c === DOUBLE_QUOTE) return this.quotedName(i + 1);
    if (c === DOLLAR) return this.dollar(i);
    // The one punctuation that would run into an operator behind it.
    if (c === COLON && text[i + 1] === EQUALS) return this.token(PUNCTUATION, i + 2);
    if (c === DOT && CLASS[text[i + 1] ?? 0] === DIGIT) return this.token(NUMBER, this.endOfNumber(i));
    return this.token(PUNCTUATION, i + 1);
  }

  /** The token's bytes as text, for ASCII comparisons. */
  raw(): string {
    return this.text.toString('latin1', this.start, this.end);
  }

  private token(kind: number, end: number): number {
    this.end = end;
    this.kind = kind;
    return kind;
  }

  private fail(): number {
    this.broken = true;
    return this.token(END, this.text.length);
  }

  private skipBlanks(i: number): number {
    const { text } = this;
    const length = text.length;
    for (;;) {
      while (i < length && CLASS[text[i]!] === BLANK) i++;
      if (i + 1 >= length) return i;
      if (text[i] === MINUS && text[i + 1] === MINUS) i = endOfLine(text, i + 2);
      else if (text[i] === SLASH && text[i + 1] === STAR) {
        i = this.endOfComment(i + 2);
        if (i < 0) {
          this.broken = true;
          return length;
        }
      } else return i;
    }
  }

  /** i stands after the opening of a comment; returns the offset after its end, or -1. Comments nest. */
  private endOfComment(i: number): number {
    const { text } = this;
    let depth = 1;
    for (; i + 1 < text.length; i++) {
      if (text[i] === STAR && text[i + 1] === SLASH) {
        i++;
        if (--depth === 0) return i + 1;
      } else if (text[i] === SLASH && text[i + 1] === STAR) {
        i++;
        if (++depth > this.deepestComment) this.deepestComment = depth;
      }
    }
    return -1;
  }

  private word(i: number, c: number): number {
    const { text } = this;
    const next = text[i + 1];
    if (next === QUOTE) {
      switch (c | 0x20) {
        case 0x65: // e
          return this.quoted(i + 2, 'escape');
        case 0x6e: // n
          return this.quoted(i + 2, this.escapesInPlain ? 'escape' : 'plain');
        case 0x62: // b
        case 0x78: // x
          return this.quoted(i + 2, 'bits');
        default:
      }
    } else if (next === AMP && (c | 0x20) === 0x75) {
      if (text[i + 2] === QUOTE) return this.quoted(i + 3, 'unicode');
      if (text[i + 2] === DOUBLE_QUOTE) return this.quotedName(i + 3);
    }
    let e = i + 1;
    while (e < text.length && continuesName(text[e]!)) e++;
    return this.token(WORD, e);
  }

  /** i stands after the opening quote. Takes adjacent literals on following lines in, as the grammar does. */
  private quoted(i: number, spelling: Spelling): number {
    const { text } = this;
    const escapes = spelling === 'escape';
    this.spelling = spelling;
    this.backslash = false;
    for (;;) {
      let close = escapes ? this.escapedQuote(i) : text.indexOf(QUOTE, i);
      while (close >= 0 && text[close + 1] === QUOTE) {
        close = escapes ? this.escapedQuote(close + 2) : text.indexOf(QUOTE, close + 2);
      }
      if (close < 0) return this.fail();
      const more = continuation(text, close + 1);
      if (more < 0) return this.token(STRING, close + 1);
      i = more;
    }
  }

  /** The next quote from i on that no backslash hides, or -1. */
  private escapedQuote(i: number): number {
    const { text } = this;
    for (; i < text.length; i++) {
      if (text[i] === QUOTE) return i;
      if (text[i] === BACKSLASH) {
        this.backslash = true;
        i++;
      }
    }
    return -1;
  }

  private quotedName(i: number): number {
    const { text } = this;
    for (;;) {
      const close = text.indexOf(DOUBLE_QUOTE, i);
      if (close < 0) return this.fail();
      if (text[close + 1] !== DOUBLE_QUOTE) return this.token(QUOTED_NAME, close + 1);
      i = close + 2;
    }
  }

  private dollar(i: number): number {
    const { text } = this;
    let e = i + 1;
    if (CLASS[text[e] ?? 0] === DIGIT) {
      while (e < text.length && CLASS[text[e]!] === DIGIT) e++;
      return this.token(PARAMETER, e);
    }
    if (CLASS[text[e] ?? 0] === IDENT_START) {
      while (e < text.length && text[e] !== DOLLAR && continuesName(text[e]!)) e++;
    }
    if (text[e] !== DOLLAR) return this.token(PUNCTUATION, i + 1);
    const tag = text.subarray(i, e + 1);
    const close = text.indexOf(tag, e + 1);
    if (close < 0) return this.fail();
    this.spelling = 'dollar';
    this.backslash = false;
    return this.token(STRING, close + tag.length);
  }

  private endOfNumber(i: number): number {
    const { text } = this;
    const digits = () => {
      while (i < text.length && (CLASS[text[i]!] === DIGIT || text[i] === 0x5f)) i++;
    };
    if (text[i] === 0x30 && /[xob]/i.test(String.fromCharCode(text[i + 1] ?? 0))) {
      i += 2;
      while (i < text.length && CLASS[text[i]!] !== OP && continuesName(text[i]!) && text[i] !== DOLLAR) i++;
      return i;
    }
    digits();
    // Two dots are plpgsql's range, not a fraction.
    if (text[i] === DOT && text[i + 1] !== DOT) {
      i++;
      digits();
    }
    if (i < text.length && (text[i]! | 0x20) === 0x65) {
      const sign = text[i + 1] === 0x2b || text[i + 1] === MINUS ? 1 : 0;
      if (CLASS[text[i + 1 + sign] ?? 0] === DIGIT) {
        i += 1 + sign;
        digits();
      }
    }
    return i;
  }

  /** The longest run of operator bytes, cut before a comment, and then before a trailing sign as scan.l does. */
  private operator(i: number): number {
    const { text } = this;
    let e = i;
    let unusual = false;
    while (e < text.length && CLASS[text[e]!] === OP) {
      const c = text[e]!;
      const n = text[e + 1];
      if (e > i && ((c === SLASH && n === STAR) || (c === MINUS && n === MINUS))) break;
      if (!'+-*/<>='.includes(String.fromCharCode(c))) unusual = true;
      e++;
    }
    if (!unusual) while (e - i > 1 && (text[e - 1] === 0x2b || text[e - 1] === MINUS)) e--;
    return this.token(OPERATOR, e);
  }
}

function endOfLine(text: Buffer, i: number): number {
  while (i < text.length && text[i] !== NEWLINE && text[i] !== RETURN) i++;
  return i;
}

/** After a closing quote: the offset behind the quote that opens the next part of the literal, or -1. */
export function continuation(text: Buffer, i: number): number {
  let newline = false;
  for (;;) {
    const c = text[i];
    if (c === undefined) return -1;
    if (CLASS[c] === BLANK) {
      if (c === NEWLINE || c === RETURN) newline = true;
      i++;
    } else if (c === MINUS && text[i + 1] === MINUS) i = endOfLine(text, i + 2);
    else return newline && c === QUOTE ? i + 1 : -1;
  }
}

/** The offset after the operator that begins at `at`, as itself or as `OPERATOR(itself)`; -1 if it is not there. */
export function operatorEnd(text: Buffer, at: number, operator: string): number {
  const lexer = new Lexer(text);
  lexer.end = at;
  if (lexer.next() === OPERATOR) return lexer.raw() === operator ? lexer.end : -1;
  if (lexer.kind !== WORD || lexer.raw().toLowerCase() !== 'operator') return -1;
  for (const part of ['(', operator, ')']) {
    lexer.next();
    if (lexer.raw() !== part) return -1;
  }
  return lexer.end;
}
