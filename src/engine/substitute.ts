/**
 * Substitution in a node's text when it executes: first `{variable}`, then `$result` over the outcome. Source: df-api
 * §5; decision #12 (a variable is recognised wherever its name stands alone in braces, also inside JSON). Pure.
 */
import type { Json } from './json.js';
import { quotedPlaces } from './quoted.js';
import {
  columnJson,
  columnValue,
  type Mode,
  type Names,
  NEGATIVE_ZERO,
  parsingOnce,
  rowSet,
  SubstitutionError,
  wholeJson,
  wholeValue,
} from './reference.js';

/** What a node's text may refer to. */
export interface Bindings {
  readonly instanceId: string;
  readonly label: string | null;
  readonly variables: ReadonlyMap<string, string>;
  readonly names: Names;
}

/** Characters of a text with all that is put in: somebody may put in something large many times. */
const LONGEST_TEXT = 64 * 1024 * 1024;
const IDENTIFIER = /[A-Za-z_][A-Za-z0-9_]*/y;
const VARIABLE = /\{([A-Za-z_][A-Za-z0-9_]*)\}/g;
const WORD_CHARACTER = /[A-Za-z0-9_]/;
const LONE_REFERENCE = /^\s*\$([A-Za-z_][A-Za-z0-9_]*)(?:\.([A-Za-z_][A-Za-z0-9_]*))?(\?)?\s*$/;

/**
 * Replaces variables and results in a text.
 * @throws SubstitutionError when a referenced result has no rows, is NULL or has the wrong shape, and for a text of more
 * than 64 Mi characters.
 */
export function substitute(template: string, bindings: Bindings, mode: Mode): string {
  const text = template.includes('{') ? replaceVariables(template, bindings) : template;
  if (bindings.names.size === 0 || !text.includes('$')) return text;
  return parsingOnce(() => replaceResults(text, bindings.names, mode));
}

/**
 * The value of a text that is nothing but one reference to a result, for a condition (decision #10); undefined when the
 * text is more than that, or when the name is not bound. A lone `{variable}` is none: variables may hold whole statements.
 * @throws SubstitutionError as `substitute`.
 */
export function loneReference(text: string, bindings: Bindings): Json | undefined {
  const found = LONE_REFERENCE.exec(text);
  if (found === null) return undefined;
  const [, name, column, question] = found;
  const result = bindings.names.get(name as string);
  if (result === undefined) return undefined;
  const nullSafe = question !== undefined;
  return column === undefined
    ? wholeJson(name as string, result, nullSafe)
    : columnJson(name as string, column, result, nullSafe, 'raw');
}

function replaceVariables(template: string, bindings: Bindings): string {
  let length = template.length;
  return template.replace(VARIABLE, (whole, name: string) => {
    const value = variableValue(name, bindings) ?? whole;
    length += value.length - whole.length;
    limit(length);
    return value;
  });
}

function variableValue(name: string, bindings: Bindings): string | undefined {
  if (name === 'sys_instance_id') return bindings.instanceId;
  if (name === 'sys_label') return bindings.label ?? '';
  return bindings.variables.get(name);
}

function replaceResults(text: string, names: Names, mode: Mode): string {
  const lengths = [...new Set([...names.keys()].map((name) => name.length))].sort((a, b) => a - b);
  let out = '';
  let from = 0;
  let quoting: ((at: number) => boolean) | undefined;
  const isQuoted = (at: number): boolean => {
    quoting ??= quotedPlaces(text);
    return quoting(at);
  };
  for (let dollar = text.indexOf('$'); dollar >= 0; dollar = text.indexOf('$', from)) {
    out += text.slice(from, dollar);
    from = dollar + 1;
    let replacement = '$';
    IDENTIFIER.lastIndex = dollar + 1;
    const word = IDENTIFIER.exec(text)?.[0] ?? '';
    let possible = 0;
    while ((lengths[possible] ?? Number.POSITIVE_INFINITY) <= word.length) possible += 1;
    // the longest name first
    while (possible > 0) {
      possible -= 1;
      const found = referenceAt(text, dollar, word.slice(0, lengths[possible]), names, mode);
      if (found !== null) {
        replacement =
          mode === 'sql' ? guardSign(found.value, text, dollar, found.end, isQuoted) : found.value;
        from = found.end;
        break;
      }
    }
    out += replacement;
    limit(out.length);
  }
  return out + text.slice(from);
}

function limit(length: number): void {
  if (length > LONGEST_TEXT)
    throw new SubstitutionError(
      'the text of the node is larger than 64 MiB with variables and results put in',
    );
}

const CAST_FOLLOWS = /\s*::/y;
const OPERATOR_CHARACTER = /[-+*/<>=~!@#%^&|`?]/;

/**
 * A negative number is written bare, but where its sign would be taken for something else: `-5::int8` is the negative
 * of `5::int8` (an error for the smallest, and for `::text`), `1 -$n` would begin a comment, `a @$n` be the operator @-.
 */
function guardSign(
  value: string,
  text: string,
  start: number,
  end: number,
  isQuoted: (at: number) => boolean,
): string {
  if (!value.startsWith('-')) return value;
  CAST_FOLLOWS.lastIndex = end;
  const cast = CAST_FOLLOWS.test(text);
  if (!cast && !OPERATOR_CHARACTER.test(text[start - 1] ?? '')) return value;
  if (isQuoted(start)) return value;
  return cast && NEGATIVE_ZERO.test(value) ? "'-0'" : `(${value})`;
}

/** The forms in their order: row set, column, null-safe whole, whole. null when none applies to this name. */
function referenceAt(
  text: string,
  dollar: number,
  name: string,
  names: Names,
  mode: Mode,
): { value: string; end: number } | null {
  const result = names.get(name);
  if (result === undefined) return null;
  const after = dollar + 1 + name.length;
  if (text[after] === '.') {
    if (text[after + 1] === '*') return { value: rowSet(name, result, mode), end: after + 2 };
    IDENTIFIER.lastIndex = after + 1;
    const column = IDENTIFIER.exec(text)?.[0];
    if (column !== undefined) {
      const stop = after + 1 + column.length;
      const nullSafe = text[stop] === '?';
      const end = nullSafe ? stop + 1 : stop;
      const value = columnValue(name, column, result, nullSafe, mode);
      return { value: value ?? text.slice(dollar, end), end };
    }
  }
  if (text[after] === '?') return { value: wholeValue(name, result, true, mode), end: after + 1 };
  const next = text[after];
  if (next !== undefined && WORD_CHARACTER.test(next)) return null;
  return { value: wholeValue(name, result, false, mode), end: after };
}
