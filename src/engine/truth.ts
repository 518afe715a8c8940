/** Truthiness of a condition's result: IF and while conditions. Source: df-api §6, user guide "Condition Evaluation". */
import { type Json, JsonNumber, tryParseJson } from './json.js';
import { rowsOf } from './reference.js';

// each digit can be read in one way only: texts may have millions
const DECIMAL = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/;
const NAMED_NUMBER = /^[+-]?(?:nan|inf|infinity)$/i;

/** Judges a step's result, given as JSON text (or any text: then as a string). */
export function isTruthy(result: string): boolean {
  const value = tryParseJson(result);
  if (value === undefined) return isTrueText(result);
  const rows = rowsOf(value);
  if (rows === null) return isTrueValue(value);
  const first = rows[0];
  if (first === undefined) return false;
  if (!(first instanceof Map)) return isTrueValue(first);
  for (const column of first.values()) return isTrueValue(column);
  return isTrueValue(value);
}

/** Judges one JSON value. */
export function isTrueValue(value: Json): boolean {
  if (value === null) return false;
  if (typeof value === 'boolean') return value;
  if (typeof value === 'string') return isTrueText(value);
  if (value instanceof JsonNumber) return !isZero(value.text);
  return Array.isArray(value) ? value.length > 0 : value.size > 0;
}

function isTrueText(text: string): boolean {
  const word = text.trim().toLowerCase();
  switch (word) {
    case '':
    case 'false':
    case 'f':
    case 'no':
      return false;
    case 'true':
    case 't':
    case 'yes':
      return true;
    default:
      if (NAMED_NUMBER.test(word)) return true;
      return DECIMAL.test(word) ? !isZero(word) : true;
  }
}

/** Exact where a double would round to zero (1e-400 is not zero). */
function isZero(digits: string): boolean {
  return !/[1-9]/.test(digits.split(/[eE]/, 1)[0] as string);
}
