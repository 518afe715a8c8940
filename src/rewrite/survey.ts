import { END, Lexer, NUMBER, OPERATOR, PARAMETER, PUNCTUATION, QUOTED_NAME, STRING, WORD } from './lexer.js';
import { isOperator } from './operators.js';

/**
 * Between the scan of the bytes and the parse: a look at the tokens, some fifty times cheaper than a parse. It
 * sorts out what the scan had to let through (a `|` inside a literal, an infix `@>`), and says how much work a
 * parse would be.
 */
export interface Survey {
  /** There is an operator that could be ours, or a body that could hold one. */
  worthParsing: boolean;
  /** Number of tokens; the content of a body is guessed from its length. A parse costs about 1 µs for each. */
  tokens: number;
}

/** Reserved words (they are no names) and the like, behind which an operand begins: an `@>` is then a prefix. */
const BEFORE_OPERAND = new Set(
  (
    'select all distinct then else when case return and or not default where having on by between like ilike to ' +
    'from limit offset returning using values in is some any as except union intersect variadic with check'
  ).split(' '),
);
/** Words of statements about the extension or a setting. */
const PRODUCT_WORDS = new Set(['extension', 'show', 'set', 'reset', 'set_config', 'current_setting']);
const BODY_WORDS = new Set(['do', 'function', 'procedure']);
const BYTES_PER_TOKEN = 4;
/** The grammar's scanner takes quadratic time for nested comments; nobody writes such ones. */
const MAX_COMMENT_DEPTH = 100;

/** `text` is UTF-8 that is read with standard_conforming_strings on. */
export function survey(text: Buffer): Survey {
  const lexer = new Lexer(text);
  let worthParsing = false;
  let bodies = false;
  let tokens = 0;
  let product = false;
  let productWord = false;
  /** The token before can end an operand. */
  let operandBefore = false;
  while (lexer.next() !== END) {
    tokens++;
    switch (lexer.kind) {
      case OPERATOR: {
        if (lexer.end - lexer.start <= 3) {
          const name = lexer.raw();
          if (isOperator(name) && (name !== '@>' || !operandBefore)) worthParsing = true;
        }
        operandBefore = false;
        break;
      }
      case WORD: {
        const length = lexer.end - lexer.start;
        const word = length <= 15 ? lexer.raw().toLowerCase() : '';
        if (word === 'pg_durable') product = true;
        else if (PRODUCT_WORDS.has(word)) productWord = true;
        if (BODY_WORDS.has(word)) bodies = true;
        operandBefore = !BEFORE_OPERAND.has(word);
        break;
      }
      case STRING:
        if (bodies) {
          worthParsing = true;
          tokens += Math.ceil((lexer.end - lexer.start) / BYTES_PER_TOKEN);
        } else if (productWord && !product) product = namesSetting(lexer);
        operandBefore = true;
        break;
      case PUNCTUATION: {
        const c = text[lexer.start];
        operandBefore = c === 0x29 || c === 0x5d;
        break;
      }
      case QUOTED_NAME:
        // "pg_durable", or "pg_durable.x" as pg_dumpall writes it
        if (!product) product = lexer.end - lexer.start < 80 && /^"pg_durable[".]/i.test(lexer.raw());
        operandBefore = true;
        break;
      case NUMBER:
      case PARAMETER:
        operandBefore = true;
        break;
      default:
    }
  }
  if (product && productWord) worthParsing = true;
  // Text that ends inside a literal does not parse either.
  if (lexer.broken || lexer.deepestComment > MAX_COMMENT_DEPTH) worthParsing = false;
  return { worthParsing, tokens };
}

/** A literal that is the name of a setting of ours. */
function namesSetting(lexer: Lexer): boolean {
  return lexer.end - lexer.start < 80 && /pg_durable\./i.test(lexer.raw());
}
