/**
 * Stage one: could this text matter to us? A scan of the raw bytes of a Query or Parse message, before any
 * lexing, run on every statement that passes. It is an over-approximation: it may say yes for text that turns
 * out not to be ours (a `'|'` in a literal), it must not say no for text that the later stages would change.
 *
 * What it looks at are the bytes as they stand, also inside literals, because the bodies of DO and CREATE
 * FUNCTION are literals. An operator that is itself spelled with escapes (E'\x7e>') is therefore not seen.
 */

/** The text may hold one of the seven operators in a place that could be ours. */
export const OPERATORS = 1;
/** The text names schema `df` or `pg_durable`. */
export const MENTIONS_DF = 2;
/** The text names `pg_durable`: it may be about the extension or one of its settings. */
export const PRODUCT = 4;

/** Up to this size one loop over the bytes is faster than a native search per needle. */
const SMALL = 2048;
/**
 * Above this size only single bytes are searched for: the native search for a longer needle takes ten times as
 * long on text made of the needle's first byte, and 16 MB of that would stop every session for a while. Such a
 * text is taken to name df; whether it calls its functions is seen from the dots.
 */
const HUGE = 256 * 1024;
/** In large texts, no more hits of one needle than this are looked at one by one; beyond it the answer is yes. */
const MAX_HITS = 4096;
const MAX_DOTS = 50_000;
const MAX_UNDERSCORES = 50_000;

const TILDE = 0x7e;
const EQUALS = 0x3d;
const QUESTION = 0x3f;
const BANG = 0x21;
const AT = 0x40;
const PIPE = 0x7c;
const QUOTE = 0x27;
const DOUBLE_QUOTE = 0x22;
const BACKSLASH = 0x5c;
const DOLLAR = 0x24;
const SLASH = 0x2f;
const STAR = 0x2a;
const MINUS = 0x2d;
const COLON = 0x3a;

const NOTHING = 0;
const GREATER = 1;
const AMP_OR_PIPE = 2;
const LETTER_D = 3;
const LETTER_U = 4;
const LETTER_P = 5;

/** What the small loop does at each byte value. */
const CLASS = new Uint8Array(256);
CLASS[0x3e] = GREATER;
CLASS[0x26] = AMP_OR_PIPE;
CLASS[PIPE] = AMP_OR_PIPE;
CLASS[0x64] = CLASS[0x44] = LETTER_D;
CLASS[0x75] = CLASS[0x55] = LETTER_U;
CLASS[0x70] = CLASS[0x50] = LETTER_P;

const OPERATOR_BYTE = new Uint8Array(256);
for (const c of '~!@#^&|`?+-*/%<>=') OPERATOR_BYTE[c.charCodeAt(0)] = 1;
const WORD_BYTE = new Uint8Array(256);
for (let c = 0; c < 256; c++) {
  const letter = (c >= 0x41 && c <= 0x5a) || (c >= 0x61 && c <= 0x7a);
  if (letter || (c >= 0x30 && c <= 0x39) || c === 0x5f || c >= 0x80) WORD_BYTE[c] = 1;
}
const BLANK = new Uint8Array(256);
for (const c of ' \t\n\r\f\v') BLANK[c.charCodeAt(0)] = 1;

/** Words after which an expression begins, so that an `@>` behind them is a prefix operator. */
const BEFORE_EXPRESSION = new Set(
  (
    'select all distinct then else when case return and or not default where having on by between like ilike to ' +
    'from limit offset returning using values set in is if while perform elsif elseif execute query next some any ' +
    'as raise assert exit continue union except intersect call variadic begin loop into with'
  ).split(' '),
);

const NO = 0;
/** Ours only if the text has something to do with df. */
const WEAK = 1;
const YES = 2;

/**
 * Scans `buf[start, end)`; returns those of OPERATORS, MENTIONS_DF and PRODUCT that are true of it. Allocates nothing for texts up to 2 kB;
 * larger ones are searched natively.
 */
export function scan(buf: Buffer, start: number, end: number): number {
  return end - start > SMALL ? scanLarge(buf.subarray(start, end)) : scanSmall(buf, start, end);
}

function scanSmall(buf: Buffer, start: number, end: number): number {
  let operators = NO;
  let mentions = 0;
  for (let i = start; i < end; i++) {
    const kind = CLASS[buf[i]!];
    if (kind === NOTHING) continue;
    switch (kind) {
      case GREATER: {
        const found = atGreater(buf, i, start, end);
        if (found > operators) operators = found;
        break;
      }
      case AMP_OR_PIPE: {
        const found = atAmpOrPipe(buf, i, start, end);
        if (found > operators) operators = found;
        break;
      }
      case LETTER_D:
        if (mentions === 0 && namesDf(buf, i, start, end)) mentions = MENTIONS_DF;
        break;
      case LETTER_U:
        if (buf[i + 1] === 0x26 && buf[i + 2] === DOUBLE_QUOTE && i + 2 < end) mentions |= MENTIONS_DF;
        break;
      default:
        if ((mentions & PRODUCT) === 0 && namesPgDurable(buf, i, end)) mentions |= MENTIONS_DF | PRODUCT;
    }
  }
  return verdict(operators, mentions);
}

function verdict(operators: number, mentions: number): number {
  if (operators === YES || (operators === WEAK && mentions !== 0)) return mentions | OPERATORS;
  return mentions;
}

const CERTAIN = ['~>', '|=>', '?>', '!>'];
const ESCAPED = ['U&"', 'u&"'];
const DF = ['df', 'DF', 'Df', 'dF'];

function scanLarge(text: Buffer): number {
  const end = text.length;
  const huge = end > HUGE;
  const product = namesProduct(text) ? PRODUCT : 0;
  const mentions = (huge || product !== 0 || mentionsDf(text) ? MENTIONS_DF : 0) | product;
  if (!huge && CERTAIN.some((needle) => text.includes(needle, 0, 'latin1'))) return mentions | OPERATORS;
  let weak = false;
  const weigh = (found: number): boolean => {
    if (found === WEAK) weak = true;
    return found === YES;
  };
  if (
    atEach(text, huge ? '>' : '@>', MAX_HITS, (i) => weigh(atGreater(text, huge ? i : i + 1, 0, end))) ||
    atEach(text, '&', MAX_HITS, (i) => weigh(atAmpOrPipe(text, i, 0, end))) ||
    atEach(text, '|', MAX_HITS, (i) => weigh(atAmpOrPipe(text, i, 0, end)))
  ) {
    return mentions | OPERATORS;
  }
  const ofDf = huge ? weak && atEach(text, '.', MAX_DOTS, (i) => namesDfBefore(text, i)) : mentions !== 0;
  return weak && ofDf ? mentions | OPERATORS : mentions;
}

function mentionsDf(text: Buffer): boolean {
  if (ESCAPED.some((needle) => text.includes(needle, 0, 'latin1'))) return true;
  return DF.some((needle) => atEach(text, needle, MAX_HITS, (i) => namesDf(text, i, 0, text.length)));
}

/** Looks at so many underscores at most: a statement about the extension is not behind thousands of them. */
function namesProduct(text: Buffer): boolean {
  let hits = 0;
  for (let i = text.indexOf(0x5f); i >= 0 && hits < MAX_UNDERSCORES; i = text.indexOf(0x5f, i + 1), hits++) {
    if (i >= 2 && (text[i - 2]! | 0x20) === 0x70 && namesPgDurable(text, i - 2, text.length)) return true;
  }
  return false;
}

/** Dot at i: what stands before it is df, or something that may hide it (a quoted name, a comment). */
function namesDfBefore(text: Buffer, i: number): boolean {
  let p = i - 1;
  while (p >= 0 && BLANK[text[p]!] === 1) p--;
  if (p < 1) return false;
  if (text[p] === DOUBLE_QUOTE || text[p] === SLASH) return true;
  return (text[p]! | 0x20) === 0x66 && (text[p - 1]! | 0x20) === 0x64;
}

/** True if `holds` is true at one of the places of the needle, or there are more than `limit` of them. */
function atEach(text: Buffer, needle: string, limit: number, holds: (i: number) => boolean): boolean {
  const what = needle.length === 1 ? needle.charCodeAt(0) : needle;
  let hits = 0;
  for (let i = text.indexOf(what, 0, 'latin1'); i >= 0; i = text.indexOf(what, i + 1, 'latin1')) {
    if (++hits > limit || holds(i)) return true;
  }
  return false;
}

/** `>` at i: the end of `~>`, `|=>`, `?>`, `!>` (ours), or of `@>` (ours where it stands as a prefix). */
function atGreater(buf: Buffer, i: number, start: number, end: number): number {
  if (i === start) return NO;
  switch (buf[i - 1]) {
    case TILDE:
    case QUESTION:
    case BANG:
      return YES;
    case EQUALS:
      return i - 2 >= start && buf[i - 2] === PIPE ? YES : NO;
    case AT:
      return atLoop(buf, i - 1, start, end);
    default:
      return NO;
  }
}

/** `@>` at i. */
function atLoop(buf: Buffer, i: number, start: number, end: number): number {
  if (!endsOperator(buf, i + 2, end) || !startsOperator(buf, i, start)) return NO;
  let p = i - 1;
  while (p >= start && BLANK[buf[p]!] === 1) {
    // What stands on the line before may be a comment: not worth finding out.
    if (buf[p] === 0x0a || buf[p] === 0x0d) return YES;
    p--;
  }
  if (p < start) return YES;
  const before = buf[p]!;
  if (WORD_BYTE[before] === 0) {
    return before === 0x29 || before === 0x5d || before === DOUBLE_QUOTE || before === QUOTE ? NO : YES;
  }
  let w = p;
  while (w > start && p - w < 12 && WORD_BYTE[buf[w - 1]!] === 1) w--;
  // Inside an escape string a blank may be spelled \n or \t, which glues its letter to the word.
  if (w > start && buf[w - 1] === BACKSLASH) return YES;
  return BEFORE_EXPRESSION.has(buf.toString('latin1', w, p + 1).toLowerCase()) ? YES : WEAK;
}

/** `&` or `|` at i. */
function atAmpOrPipe(buf: Buffer, i: number, start: number, end: number): number {
  if (!endsOperator(buf, i + 1, end) || !startsOperator(buf, i, start)) return NO;
  let n = i + 1;
  while (n < end && BLANK[buf[n]!] === 1) n++;
  if (n >= end) return NO;
  switch (buf[n]) {
    case QUOTE:
    case DOLLAR:
    case 0x28: // (
    case MINUS:
    case SLASH:
    case AT:
    case BACKSLASH:
      return YES;
    case 0x45: // E'…'
    case 0x65:
    case 0x4e: // N'…'
    case 0x6e:
      return buf[n + 1] === QUOTE || buf[n + 1] === BACKSLASH ? YES : WEAK;
    case 0x55: // U&'…'
    case 0x75:
      return buf[n + 1] === 0x26 ? YES : WEAK;
    default:
      return WEAK;
  }
}

/** True if no operator that began earlier reaches i: nothing, another kind of byte, the end of a comment, `:=`. */
function startsOperator(buf: Buffer, i: number, start: number): boolean {
  if (i === start || OPERATOR_BYTE[buf[i - 1]!] === 0) return true;
  if (i - 2 < start) return false;
  return (buf[i - 1] === SLASH && buf[i - 2] === STAR) || (buf[i - 1] === EQUALS && buf[i - 2] === COLON);
}

/** True if an operator cannot go on at i: nothing, another kind of byte, or the start of a comment. */
function endsOperator(buf: Buffer, i: number, end: number): boolean {
  if (i >= end || OPERATOR_BYTE[buf[i]!] === 0) return true;
  if (i + 1 >= end) return false;
  return (buf[i] === SLASH && buf[i + 1] === STAR) || (buf[i] === MINUS && buf[i + 1] === MINUS);
}

/** `d` at i: the word df, quoted or not, followed by a dot (or something that may hide one). */
function namesDf(buf: Buffer, i: number, start: number, end: number): boolean {
  if (i + 2 >= end || (buf[i + 1]! | 0x20) !== 0x66) return false;
  let n = i + 2;
  if (WORD_BYTE[buf[n]!] === 1) return false;
  if (i > start && WORD_BYTE[buf[i - 1]!] === 1 && !(i - 2 >= start && buf[i - 2] === BACKSLASH))
    return false;
  while (n < end && BLANK[buf[n]!] === 1) n++;
  if (n >= end) return false;
  const next = buf[n]!;
  return next === 0x2e || next === DOUBLE_QUOTE || next === SLASH || next === MINUS || next === BACKSLASH;
}

const PG_DURABLE = Buffer.from('pg_durable', 'latin1');

function namesPgDurable(buf: Buffer, i: number, end: number): boolean {
  if (i + PG_DURABLE.length > end) return false;
  for (let k = 1; k < PG_DURABLE.length; k++) {
    const want = PG_DURABLE[k]!;
    const got = buf[i + k]!;
    if (got !== want && (got | 0x20) !== want) return false;
  }
  return true;
}
