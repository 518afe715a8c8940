/**
 * References to named results: `$name`, `$name?`, `$name.col`, `$name.col?`, `$name.*`. Source: df-api §5.4, §5.5;
 * decisions #12 and #14. Pure.
 */
import { type Json, JsonNumber, type JsonObject, printJson, tryParseJson } from './json.js';

/** A named result: its JSON text, and the columns where an empty row set would otherwise lose them. */
export interface NamedResult {
  readonly text: string;
  readonly columns?: ReadonlyArray<readonly [name: string, type: string]> | undefined;
}

/** What results have been parsed to, while one text is substituted: it may refer to a large one many times. */
let parsed: WeakMap<NamedResult, Json> | null = null;

/** Runs `substitution`; a result that it looks into more than once is parsed once. */
export function parsingOnce<T>(substitution: () => T): T {
  parsed = new WeakMap();
  try {
    return substitution();
  } finally {
    parsed = null;
  }
}

/** undefined when it is not JSON. */
function parsedText(result: NamedResult): Json | undefined {
  const before = parsed?.get(result);
  if (before !== undefined) return before;
  const value = tryParseJson(result.text);
  if (value !== undefined) parsed?.set(result, value);
  return value;
}

export type Names = ReadonlyMap<string, NamedResult>;

/** How a value is written into the text: quoted as SQL, or as it is. */
export type Mode = 'sql' | 'raw';

/** A substitution that cannot be made: the node fails with this message. */
export class SubstitutionError extends Error {}

/** A float's zero with a sign, which a numeric literal cannot have. */
export const NEGATIVE_ZERO = /^-0(?:\.0+)?$/;

export const MAX_EXPANDED_ROWS = 10_000;

/** The rows, when the value is a row set: an object with an array `rows`. */
export function rowsOf(value: Json): Json[] | null {
  if (!(value instanceof Map)) return null;
  const rows = value.get('rows');
  return Array.isArray(rows) ? rows : null;
}

/** The whole result as it is written into a text: first column of the first row, or the JSON itself. */
export function wholeValue(name: string, result: NamedResult, nullSafe: boolean, mode: Mode): string {
  const value = parsedText(result);
  const rows = value === undefined ? null : rowsOf(value);
  if (rows !== null) return formatNullable(firstOfRows(name, rows, nullSafe), mode);
  if (mode === 'sql') return quoteLiteral(result.text);
  return typeof value === 'string' ? value : result.text;
}

/** The whole result as a value: first column of the first row, the JSON itself, or text that is no JSON. */
export function wholeJson(name: string, result: NamedResult, nullSafe: boolean): Json {
  const value = parsedText(result);
  if (value === undefined) return result.text;
  const rows = rowsOf(value);
  return rows === null ? value : firstOfRows(name, rows, nullSafe);
}

/** One column or field as it is written into a text; undefined when the reference must stay as it is. */
export function columnValue(
  name: string,
  column: string,
  result: NamedResult,
  nullSafe: boolean,
  mode: Mode,
): string | undefined {
  const found = columnJson(name, column, result, nullSafe, mode);
  return found === undefined ? undefined : formatNullable(found, mode);
}

/**
 * One column of the first row, or one field of an object; null only for a null-safe reference, undefined when it does
 * not exist and the reference must stay as it is.
 */
export function columnJson(
  name: string,
  column: string,
  result: NamedResult,
  nullSafe: boolean,
  mode: Mode,
): Json | undefined {
  const value = parsedText(result);
  if (value === undefined) throw new SubstitutionError(`$${name}.${column}: result is not valid JSON`);
  const rows = rowsOf(value);
  let holder: Json;
  if (rows !== null) {
    if (rows.length === 0) {
      if (nullSafe) return null;
      throw new SubstitutionError(`$${name} has no rows — query returned zero results`);
    }
    holder = rows[0] as Json;
  } else {
    holder = value;
  }
  if (!(holder instanceof Map)) {
    throw new SubstitutionError(`$${name}.${column}: result is neither a row set nor a JSON object`);
  }
  const own = holder.get(column);
  const found = own === undefined && rows !== null ? fieldOfOnlyColumn(holder, column) : own;
  if (found === undefined) {
    if (mode === 'sql' || nullSafe) return undefined;
    const available = [...holder.keys()].sort().join(', ');
    throw new SubstitutionError(
      `$${name}.${column}: result has no field '${column}' (available: ${available})`,
    );
  }
  if (found === null && !nullSafe) throw new SubstitutionError(`$${name}.${column} is NULL`);
  return found;
}

/** `SELECT f()` of a function with several results is one column, named after it: its fields are meant then. */
function fieldOfOnlyColumn(row: JsonObject, field: string): Json | undefined {
  if (row.size !== 1 || row.has(field)) return undefined;
  const [only] = row.values();
  return only instanceof Map ? only.get(field) : undefined;
}

function firstOfRows(name: string, rows: readonly Json[], nullSafe: boolean): Json {
  const first = rows[0];
  if (first === undefined) {
    if (nullSafe) return null;
    throw new SubstitutionError(`$${name} has no rows — query returned zero results`);
  }
  const column = firstColumn(first);
  if (column === null && !nullSafe) {
    throw new SubstitutionError(`$${name} is NULL — first column of first row is NULL`);
  }
  return column;
}

/** The row set as an inline relation (SQL) or as a JSON array (raw). */
export function rowSet(name: string, result: NamedResult, mode: Mode): string {
  const value = parsedText(result);
  if (value === undefined) throw new SubstitutionError(`$${name}.* — invalid result JSON: not valid JSON`);
  const rows = rowsOf(value);
  if (rows === null) throw new SubstitutionError(`$${name}.* — invalid result format`);
  if (rows.length > MAX_EXPANDED_ROWS) {
    throw new SubstitutionError(
      `$${name}.* — result has ${rows.length} rows, exceeding the maximum of ${MAX_EXPANDED_ROWS} for row-set expansion. Use pagination or intermediate tables for large result sets.`,
    );
  }
  if (mode === 'raw') return printJson(rows);
  const alias = quoteIdentifier(name);
  const first = rows[0];
  if (!(first instanceof Map)) return `${emptyRelation(result)} AS ${alias}`;
  const columns = [...first.keys()];
  const tuples = rows.map((row) => {
    const cells = columns.map((column) =>
      relationCell((row instanceof Map ? row.get(column) : null) ?? null),
    );
    return `(${cells.join(',')})`;
  });
  return `(VALUES ${tuples.join(', ')}) AS ${alias}(${columns.map(quoteIdentifier).join(', ')})`;
}

/** No rows: an empty relation that still has its columns, where they are known. */
function emptyRelation(result: NamedResult): string {
  if (result.columns === undefined || result.columns.length === 0) return '(SELECT NULL WHERE false)';
  const columns = result.columns.map(([column, type]) => `NULL::${type} AS ${quoteIdentifier(column)}`);
  return `(SELECT ${columns.join(', ')} WHERE false)`;
}

function relationCell(value: Json): string {
  if (value === null) return 'NULL';
  // as a bare number it would lose its sign
  if (value instanceof JsonNumber && NEGATIVE_ZERO.test(value.text)) return `'-0'::float8`;
  if (typeof value === 'boolean' || value instanceof JsonNumber) return format(value, 'sql');
  return `${format(value, 'sql')}::text`;
}

function firstColumn(row: Json): Json {
  if (!(row instanceof Map)) return row;
  for (const column of row.values()) return column;
  return null;
}

/** A null-safe miss is the bare word NULL, in either mode. */
function formatNullable(value: Json, mode: Mode): string {
  return value === null ? 'NULL' : format(value, mode);
}

function format(value: Json, mode: Mode): string {
  if (typeof value === 'boolean') return value ? 'true' : 'false';
  if (value instanceof JsonNumber) return value.text;
  const text = typeof value === 'string' ? value : printJson(value);
  return mode === 'sql' ? quoteLiteral(text) : text;
}

/** A literal for a session with standard_conforming_strings on (the executor's sessions are). */
function quoteLiteral(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
