import type { Checkpoint } from './checkpoint.js';

/** Entries of one written checkpoint at most. */
const LIMIT = 1000;

/**
 * Puts checkpoints of one lease together where nothing ends between them: the branches of a wide join end at the same
 * time, and a row lock in a subtransaction of its own for each of them would cost the square of their number.
 */
export function mergeCheckpoints(checkpoints: readonly Checkpoint[]): Checkpoint[] {
  const merged: Checkpoint[] = [];
  const open = new Map<string, number>();
  for (const checkpoint of checkpoints) {
    const at = open.get(checkpoint.token);
    const before = at === undefined ? undefined : merged[at];
    if (at !== undefined && before !== undefined && canTake(before, checkpoint)) {
      merged[at] = {
        ...before,
        entries: [...before.entries, ...checkpoint.entries],
        events: checkpoint.events ?? before.events,
      };
    } else {
      open.set(checkpoint.token, merged.push(checkpoint) - 1);
    }
  }
  return merged;
}

function canTake(before: Checkpoint, next: Checkpoint): boolean {
  return (
    before.end === null &&
    next.end === null &&
    before.generation === null &&
    next.generation === null &&
    before.inbox === undefined &&
    next.inbox === undefined &&
    before.entries.length + next.entries.length <= LIMIT &&
    // a detail is of the only leaf in its checkpoint
    !hasDetail(before) &&
    !hasDetail(next)
  );
}

function hasDetail(checkpoint: Checkpoint): boolean {
  return checkpoint.entries.some((entry) => entry.detail !== undefined);
}
