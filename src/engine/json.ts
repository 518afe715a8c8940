/**
 * JSON without loss: numbers keep their text (an int8 beyond 2^53, `1.0`, `1e308`), objects keep the order of their
 * keys. Results travel through the engine as JSON text and are only taken apart where a reference or a condition
 * looks inside.
 */

/** A number in the digits in which it was written. */
export class JsonNumber {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

export type JsonObject = Map<string, Json>;
export type Json = null | boolean | string | JsonNumber | Json[] | JsonObject;

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const BLANK = /[ \t\r\n]*/y;

/**
 * Parses JSON text (RFC 8259). Of repeated keys the last wins, in the place of the first.
 * @throws SyntaxError when the text is not JSON.
 */
export function parseJson(text: string): Json {
  let at = 0;

  const fail = (): never => {
    throw new SyntaxError(`invalid JSON at character ${at + 1}`);
  };
  const blank = (): void => {
    BLANK.lastIndex = at;
    BLANK.test(text);
    at = BLANK.lastIndex;
  };
  const string = (): string => {
    const start = at;
    for (at += 1; at < text.length; at += 1) {
      const c = text.charCodeAt(at);
      if (c === 0x5c) at += 1;
      else if (c === 0x22) {
        at += 1;
        return JSON.parse(text.slice(start, at)) as string;
      }
    }
    return fail();
  };
  const value = (depth: number): Json => {
    if (depth > 6000) throw new SyntaxError('JSON is nested too deeply');
    blank();
    switch (text[at]) {
      case '{': {
        const object: JsonObject = new Map();
        at += 1;
        blank();
        if (text[at] === '}') {
          at += 1;
          return object;
        }
        for (;;) {
          blank();
          if (text[at] !== '"') fail();
          const key = string();
          blank();
          if (text[at] !== ':') fail();
          at += 1;
          object.set(key, value(depth + 1));
          blank();
          if (text[at] === '}') {
            at += 1;
            return object;
          }
          if (text[at] !== ',') fail();
          at += 1;
        }
      }
      case '[': {
        const array: Json[] = [];
        at += 1;
        blank();
        if (text[at] === ']') {
          at += 1;
          return array;
        }
        for (;;) {
          array.push(value(depth + 1));
          blank();
          if (text[at] === ']') {
            at += 1;
            return array;
          }
          if (text[at] !== ',') fail();
          at += 1;
        }
      }
      case '"':
        return string();
      default: {
        for (const [word, meaning] of WORDS) {
          if (text.startsWith(word, at)) {
            at += word.length;
            return meaning;
          }
        }
        NUMBER.lastIndex = at;
        const found = NUMBER.exec(text);
        if (found === null) return fail();
        at = NUMBER.lastIndex;
        return new JsonNumber(found[0]);
      }
    }
  };

  const result = value(0);
  blank();
  if (at !== text.length) fail();
  return result;
}

const WORDS: ReadonlyArray<readonly [string, boolean | null]> = [
  ['true', true],
  ['false', false],
  ['null', null],
];

/** Parses JSON text; undefined when it is none. */
export function tryParseJson(text: string): Json | undefined {
  try {
    return parseJson(text);
  } catch {
    return undefined;
  }
}

/** Compact JSON text (no blanks), keys in their order, numbers as they were. */
export function printJson(value: Json): string {
  if (value === null) return 'null';
  if (typeof value === 'boolean') return value ? 'true' : 'false';
  if (typeof value === 'string') return JSON.stringify(value);
  if (value instanceof JsonNumber) return value.text;
  if (Array.isArray(value)) return `[${value.map(printJson).join(',')}]`;
  const parts: string[] = [];
  for (const [key, child] of value) parts.push(`${JSON.stringify(key)}:${printJson(child)}`);
  return `{${parts.join(',')}}`;
}

/** JSON text without the blanks between its tokens. Text that is not JSON comes back as a JSON string. */
export function compactJson(text: string): string {
  const value = tryParseJson(text);
  return value === undefined ? JSON.stringify(text) : printJson(value);
}
