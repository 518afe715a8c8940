/** What a step's error means, and how it is told: texts of df-api §4.2, details of decision #7. Pure. */
import { CANCELLED, DONE_ALREADY, LEASE_LOST, READ_ONLY, ROLE_GONE } from '../state/checkpoint.js';
import { isMissing } from '../state/missing.js';
import type { ServerError } from '../upstream/session.js';

export type CommitVerdict =
  /** It is the step's own error. */
  | 'step'
  /** The submitter cannot log in any more: as if there had been no connection. */
  | 'no role'
  /** Nothing can be written for this instance under this lease. */
  | 'lost'
  /** The step could change nothing and has not: its checkpoint may be written by itself. */
  | 'checkpoint may follow'
  /** Not the step's fault: run it again, in so many seconds. */
  | { readonly retryIn: number; readonly counts: boolean };

/** Why the commit of a step failed, at its checkpoint or at COMMIT itself. */
export function judgeCommitFailure(error: ServerError, stage: 'checkpoint' | 'commit'): CommitVerdict {
  if (stage === 'commit') return 'step';
  if (isMissing(error)) return 'lost';
  switch (error.code) {
    case LEASE_LOST:
    case CANCELLED:
      return 'lost';
    case ROLE_GONE:
      return 'no role';
    case READ_ONLY:
      return 'checkpoint may follow';
    case DONE_ALREADY:
    case '40001': // serialization failure and deadlock, with our own rows
    case '40P01':
      return { retryIn: 0, counts: true };
    case '57014': // a time limit that a function of the step has set: it must not cut the checkpoint
      return { retryIn: 0, counts: true };
    case '55P03': // whoever has cancelled the instance has not committed yet
      return { retryIn: 1, counts: false };
    default:
      return 'step';
  }
}

/** SQLSTATEs of a step that could not be begun: its role may not log in, or there was no slot. */
export const NO_LOGIN = '28000';
export const NO_SLOT = '53300';

/** The text of a failed SQL node. */
export function sqlFailure(message: string): string {
  return `SQL execution failed: error returned from database: ${message}`;
}

const RECORDED_STATEMENT_BYTES = 8192;

/** What status_details shows of it besides; the statement's first 8 kB where it is given. */
export function failureDetail(error: ServerError, statement?: string): string {
  return JSON.stringify({
    sqlstate: error.code,
    detail: error.detail,
    hint: error.hint,
    context: error.where,
    position: error.position,
    statement: statement === undefined ? undefined : head(statement, RECORDED_STATEMENT_BYTES),
  });
}

/** The same of a failure that is known by its SQLSTATE alone; undefined for a code that is none. */
export function codeDetail(code: string): string | undefined {
  return /^[0-9A-Z]{5}$/.test(code) ? JSON.stringify({ sqlstate: code }) : undefined;
}

/** The error of one of a text's statements, its position counted from the beginning of the text. */
export function inWholeText(
  error: ServerError,
  sql: string,
  statements: readonly string[],
  failing: number,
): ServerError {
  if (error.position === undefined || failing === 0) return error;
  let end = 0;
  let start = 0;
  for (const statement of statements.slice(0, failing + 1)) {
    start = sql.indexOf(statement, end);
    // not in a comment that stands between two statements
    while (start > 0 && sql[start - 1] !== ';') start = sql.indexOf(statement, start + 1);
    if (start < 0) return { ...error, position: undefined };
    end = start + statement.length;
  }
  const before = [...sql.slice(0, start)].length;
  return { ...error, position: String(before + Number(error.position)) };
}

/** The first bytes of a text, no character cut. */
function head(text: string, bytes: number): string {
  const start = Buffer.from(text.slice(0, bytes).replace(/[\ud800-\udbff]$/, ''));
  if (start.length <= bytes) return start.toString();
  let end = bytes;
  while (((start[end] as number) & 0xc0) === 0x80) end -= 1;
  return start.toString('utf8', 0, end);
}

/** Text as jsonb takes it. */
export function storable(text: string): string {
  return text.replace(/\0|\p{Surrogate}/gu, '\ufffd');
}
