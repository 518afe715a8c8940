import { END, Lexer, STRING, WORD } from './lexer.js';
import { literalContent } from './literal.js';
import type { Text } from './text.js';
import { as, listOf, stringOf, type Tree } from './tree.js';

/** The body of a DO block or of a function or procedure, given as a literal. */
export interface Body {
  language: 'sql' | 'plpgsql';
  /** What is in the literal. */
  content: Text;
  /** Where the literal stands in the text that holds the statement. */
  literal: Span;
}

export interface Span {
  start: number;
  end: number;
}

/** A statement's body with the language and place that its options name; `find` turns a place into the literal. */
interface Declared {
  language: string;
  value: string;
  location: number;
}

/** What the tree says of a body, if the statement has one in a language that we read. */
export function declaredBody(statement: unknown): Declared | null {
  const block = as(statement, 'DoStmt');
  const options = listOf(block?.args ?? as(statement, 'CreateFunctionStmt')?.options);
  // DO is plpgsql unless it says otherwise.
  let language = block === undefined ? '' : 'plpgsql';
  let value: string | undefined;
  let location = 0;
  for (const option of options) {
    const { defname, arg, location: at } = as(option, 'DefElem') ?? ({} as Tree);
    if (defname === 'language') language = (stringOf(arg) ?? '').toLowerCase();
    else if (defname === 'as') {
      const items = listOf(as(arg, 'List')?.items);
      value = block === undefined ? (items.length === 1 ? stringOf(items[0]) : undefined) : stringOf(arg);
      location = Number(at ?? 0);
    }
  }
  if (value === undefined || (language !== 'sql' && language !== 'plpgsql')) return null;
  return { language, value, location };
}

/** The body of a statement of `text`; null if there is none that can be edited in place. */
export function bodyOf(statement: unknown, text: Text): Body | null {
  const declared = declaredBody(statement);
  if (declared === null) return null;
  // The place is that of the literal in DO, and that of the word AS in CREATE FUNCTION.
  const lexer = new Lexer(text.bytes);
  lexer.end = declared.location;
  if (lexer.next() === WORD && lexer.raw().toLowerCase() === 'as') lexer.next();
  if (lexer.kind !== STRING) return null;
  const literal = { start: lexer.start, end: lexer.end };
  const content = literalContent(text, literal.start);
  if (content === null || content.bytes.toString('utf8') !== declared.value) return null;
  return { language: declared.language as Body['language'], content, literal };
}

/** The literals of `text` whose content is exactly `value`. */
export function literalsWith(text: Text, value: string): Text[] {
  const lexer = new Lexer(text.bytes);
  const found: Text[] = [];
  while (lexer.next() !== END) {
    if (lexer.kind !== STRING) continue;
    const { start, end } = lexer;
    const content = literalContent(text, start);
    lexer.end = end;
    if (content?.bytes.toString('utf8') === value) found.push(content);
  }
  return found;
}
