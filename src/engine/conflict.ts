import type { ServerError } from '../upstream/session.js';

/**
 * Whether a SERIALIZABLE transaction was given up for the reads and writes of others. The checkpoint is part of a step's
 * transaction, and steps of independent instances share the pages of the engine's indexes: so the conflict may not be
 * one of the user's own tables. Nothing of the step has taken effect; it is run again. A conflict on a row
 * ("concurrent update") is always the user's own, and the step's error. Source: the server's predicate.c, whose detail
 * is never translated.
 */
export function isSsiConflict(error: ServerError): boolean {
  return error.code === '40001' && (error.detail?.startsWith('Reason code: ') ?? false);
}
