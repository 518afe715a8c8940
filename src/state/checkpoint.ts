/** `_df.checkpoint` and `_df.apply`: what an executor writes of an instance, under the token of its lease. */
import type { Pool } from 'pg';
import { type Command, floatArray, textArray } from '../upstream/command.js';
import { answer } from './answer.js';
import { mergeCheckpoints } from './merge.js';

/**
 * What happened to a node. c completed, f failed (leaves, journaled); C, F the same of composites and of leaves whose
 * end follows from the journal; t a timer or a wait begins; l a loop's next iteration; w a race is decided; r it runs; s the
 * instance shows as running; n nothing of it is in the journal.
 */
export type EntryKind = 'c' | 'C' | 'f' | 'F' | 't' | 'l' | 'w' | 'r' | 's' | 'n';

export interface Entry {
  readonly node: string;
  /** `<scope>::<generation>` in which it happened. */
  readonly stamp: string;
  readonly kind: EntryKind;
  /**
   * Result as JSON text, error message, names of a loop, number of the winning branch, or the time of a timer that is
   * due at a time of day, in seconds since 1970.
   */
  readonly value: string | null;
  /** Seconds from now (t, l); of a SIGNAL's c the position of the signal that it has taken. */
  readonly due: number | null;
  /** f: JSON object added to status_details; c: JSON list of the columns of an empty result. */
  readonly detail?: string | undefined;
  /** A SQL step that committed or commits with this entry, as opposed to what follows from others. */
  readonly step?: true;
  /** Its SQL, for the detail of a failure at COMMIT; it is not written otherwise. */
  readonly statement?: string | undefined;
}

/** How the executor's hold on the instance ends with this checkpoint. */
export type End =
  | { readonly kind: 'completed' | 'failed'; readonly output: string }
  /** Nothing to do before `wake` seconds have passed. */
  | { readonly kind: 'parked'; readonly wake: number | null }
  /** Something outside is missing; `why` is shown to the user. */
  | { readonly kind: 'waiting'; readonly why: string; readonly wake: number | null }
  /** The connection was lost under a step: counted, and tried again. */
  | { readonly kind: 'retry'; readonly wake: number };

/** What changes in the inbox. Never in a step's transaction, which may have a snapshot from before. */
export interface InboxChange {
  readonly numbered?: ReadonlyArray<readonly [seq: number, pos: number]>;
  /** seq of signals that nobody can take any more. */
  readonly gone?: readonly number[];
  /** Nobody can take any. */
  readonly all?: true;
}

export interface Checkpoint {
  readonly instance: string;
  readonly token: string;
  readonly entries: readonly Entry[];
  readonly end: End | null;
  /** The root loop's new execution number, when it has advanced. */
  readonly generation: number | null;
  /** Things that have happened in this execution, for df.instance_executions; null: as it was. */
  readonly events: number | null;
  /** For `applyCheckpoints` only. */
  readonly inbox?: InboxChange | undefined;
}

/** SQLSTATEs of `_df.record` and `_df.checkpoint`. */
export const LEASE_LOST = 'DF001';
export const CANCELLED = 'DF002';
export const ROLE_GONE = 'DF003';
export const DONE_ALREADY = 'DF004';
/** The step's transaction is read-only and has changed nothing: its checkpoint may follow it. */
export const READ_ONLY = 'DF005';

const CHECKPOINT = 'SELECT _df.checkpoint($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)';

/** The checkpoint as a command for the step's own session. */
export function checkpointCommand(checkpoint: Checkpoint): Command {
  const columns = columnsOf(checkpoint);
  return {
    sql: CHECKPOINT,
    parameters: [
      checkpoint.instance,
      checkpoint.token,
      textArray(columns.nodes),
      textArray(columns.stamps),
      columns.kinds,
      textArray(columns.values),
      floatArray(columns.dues),
      columns.detail,
      columns.end,
      columns.output,
      columns.wake === null ? null : String(columns.wake),
      checkpoint.generation === null ? null : String(checkpoint.generation),
      checkpoint.events === null ? null : String(checkpoint.events),
    ],
  };
}

export interface Applied {
  /** Instances that are no longer held under their token: nothing was written for them. */
  readonly lost: readonly string[];
  /** Instances that somebody has locked: nothing was written, and it may be tried again. */
  readonly busy: readonly string[];
}

/** Writes checkpoints that belong to no step, in one transaction. */
export async function applyCheckpoints(
  pool: Pool,
  checkpoints: readonly Checkpoint[],
  withinMs: number,
): Promise<Applied> {
  const rows = mergeCheckpoints(checkpoints).map((checkpoint) => ({
    id: checkpoint.instance,
    token: checkpoint.token,
    ...columnsOf(checkpoint),
    generation: checkpoint.generation,
    events: checkpoint.events,
    inbox: checkpoint.inbox,
  }));
  const [row] = await answer<{ applied: Applied }>(
    pool,
    'SELECT _df.apply($1::json) AS applied',
    [JSON.stringify(rows)],
    withinMs,
  );
  return (row as { applied: Applied }).applied;
}

function columnsOf(checkpoint: Checkpoint) {
  const { end } = checkpoint;
  const entries = lastOfEach(checkpoint.entries);
  const values = entries.map((entry, i) => {
    const before = entries[i - 1];
    const repeated =
      before !== undefined &&
      (entry.kind === 'c' || entry.kind === 'C') &&
      (before.kind === 'c' || before.kind === 'C') &&
      before.value === entry.value;
    return repeated ? null : entry.value;
  });
  const last = entries.at(-1);
  return {
    nodes: entries.map((entry) => entry.node),
    stamps: entries.map((entry) => entry.stamp),
    kinds: entries.map((entry) => entry.kind).join(''),
    values,
    dues: entries.map((entry) => entry.due),
    detail: detailOf(entries),
    end: end === null ? null : end.kind,
    output: outputOf(end, last),
    wake: end !== null && 'wake' in end ? end.wake : null,
  };
}

/** At most one step failed, and it is the last; else there is at most one whose empty result has columns to keep. */
function detailOf(entries: readonly Entry[]): string | null {
  const failed = entries.find((entry) => entry.kind === 'f');
  const of = failed ?? entries.findLast((entry) => entry.detail !== undefined);
  return of?.detail ?? null;
}

/** Of what happened to one node since the last commit only the last counts; what is for the journal only, by itself. */
function lastOfEach(entries: readonly Entry[]): readonly Entry[] {
  if (entries.length < 2) return entries;
  const last = new Map<string, Entry>();
  for (const entry of entries) {
    const key = entry.kind === 'l' || entry.kind === 'w' ? `${entry.node}j` : entry.node;
    // that a node runs says less than what is known of it already
    if (entry.kind === 'r' && last.get(key)?.stamp === entry.stamp) continue;
    last.delete(key);
    last.set(key, entry);
  }
  return last.size === entries.length ? entries : [...last.values()];
}

/** The output is left out where it is the last entry's value: a large result goes over the wire once. */
function outputOf(end: End | null, last: Entry | undefined): string | null {
  if (end === null) return null;
  if (end.kind === 'waiting') return end.why;
  if (end.kind !== 'completed' && end.kind !== 'failed') return null;
  const same =
    last !== undefined &&
    last.value === end.output &&
    (end.kind === 'completed'
      ? last.kind === 'c' || last.kind === 'C'
      : last.kind === 'f' || last.kind === 'F');
  return same ? null : end.output;
}
