/** What becomes of a walk when a step's connection, its session or its commit fails. */
import type { Entry } from '../state/checkpoint.js';
import type { ConnectionLost, ServerError } from '../upstream/session.js';
import { isSsiConflict } from './conflict.js';
import { codeDetail, failureDetail, judgeCommitFailure, NO_LOGIN, sqlFailure } from './failure.js';
import type { Strand } from './strand.js';
import type { Walk } from './walk.js';

/** Attempts at a serializable step; fewer than the lost connections that a step survives. */
const MAX_CONFLICTS = 8;

/** The connection was lost while something of a step was under way: the journal knows what was committed. */
export function connectionLost(walk: Walk, lost: ConnectionLost): never {
  const { id, attempts } = walk.instance;
  walk.context.log.warn({ instance: id, code: lost.server?.code }, 'the connection of a step was lost');
  const counts = !walk.progressed;
  return walk.haltHere({ retryIn: counts ? Math.min(5, 0.1 * 2 ** attempts) : 0, counts });
}

/**
 * A serializable step was given up by the server: run it again, unless that has been tried too often in a row; then
 * it goes back to the caller as the step's error.
 */
export function conflict(walk: Walk, error: ServerError): void {
  const { id, attempts } = walk.instance;
  if (!walk.progressed && attempts >= MAX_CONFLICTS) return;
  walk.context.log.debug({ instance: id, code: error.code }, 'a serializable step is run again');
  walk.haltHere({
    retryIn: Math.random() * 0.02 * 2 ** (walk.progressed ? 0 : attempts),
    counts: !walk.progressed,
  });
}

/** BEGIN, ROLLBACK or DISCARD ALL failed: the session is of no use. */
export function sessionFailed(walk: Walk, error: ServerError): never {
  walk.context.log.warn({ instance: walk.instance.id, code: error.code }, 'a session could not be reset');
  return walk.haltHere({ retryIn: 0.1, counts: true });
}

/**
 * The commit of a step failed: it is the step's error, unless it was ours. Nothing of the step has taken effect. The
 * strand has already gone on as if it had, so the walk starts again from the journal.
 */
export async function commitFailed(
  walk: Walk,
  strand: Strand,
  error: ServerError,
  stage: 'checkpoint' | 'commit',
): Promise<never> {
  if (isSsiConflict(error)) conflict(walk, error);
  const entries = strand.pending;
  const at = entries.findLastIndex((entry) => entry.step === true);
  const step = entries[at];
  const verdict = judgeCommitFailure(error, stage);
  if (verdict === 'lost') return walk.haltHere('lost');
  if (typeof verdict === 'object') return walk.haltHere(verdict);
  if (verdict === 'checkpoint may follow') {
    await walk.send({ ...walk.checkpoint(strand, null) });
    walk.confirm(entries);
    return again(walk);
  }
  if (step === undefined) return walk.haltHere({ retryIn: 0.1, counts: true });
  const text = verdict === 'no role' ? walk.sessions.noConnection(error.message) : sqlFailure(error.message);
  // the context of a failed checkpoint is ours, and with log_parameter_max_length_on_error it would show the token
  const told = stage === 'checkpoint' ? { ...error, where: undefined } : error;
  const detail = verdict === 'no role' ? codeDetail(NO_LOGIN) : failureDetail(told, step.statement);
  const failure: Entry = { ...step, kind: 'f', value: text, detail };
  const written = [...entries.slice(0, at), failure];
  await walk.send({ ...walk.checkpoint(strand, null), entries: written, generation: null, events: null });
  walk.confirm(written);
  return again(walk);
}

/**
 * From the journal anew. With other strands under way under a new token: what they have sent and we have given up may
 * still reach the server.
 */
function again(walk: Walk): never {
  return walk.haltHere(walk.hasOneStrand ? 'again' : { retryIn: 0, counts: false });
}
