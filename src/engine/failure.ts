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

/** The text of a failed SQL node. */
export function sqlFailure(message: string): string {
  return `SQL execution failed: error returned from database: ${message}`;
}

const RECORDED_STATEMENT_LENGTH = 8192;

/** What status_details shows of it besides; the statement's first 8 kB where it is given. */
export function failureDetail(error: ServerError, statement?: string): string {
  return JSON.stringify({
    sqlstate: error.code,
    detail: error.detail,
    hint: error.hint,
    context: error.where,
    position: error.position,
    statement: statement === undefined ? undefined : head(statement, RECORDED_STATEMENT_LENGTH),
  });
}

/** The first characters, none of them cut in half. */
function head(text: string, length: number): string {
  const cut = text.slice(0, length);
  return /[\ud800-\udbff]$/.test(cut) ? cut.slice(0, -1) : cut;
}
