/**
 * What has been done of an instance, in memory: the rows of `_df.journal`, and since the claim the entries whose commit
 * is certain. Never what is still uncommitted: a walk that starts again starts from here.
 */

import type { Entry } from '../state/checkpoint.js';
import type { JournalRow } from '../state/claim.js';

export interface JournalRecord {
  readonly stamp: string;
  readonly kind: JournalRow[2];
  readonly value: string | null;
  readonly columns: string | null;
  /** On this process's monotonic clock (performance.now), in milliseconds; null without a time. */
  readonly dueAt: number | null;
  /** Position of the signal that a SIGNAL has taken. */
  readonly pos: number | null;
}

export class Journal {
  readonly #records = new Map<string, JournalRecord>();
  #size = 0;

  constructor(rows: readonly JournalRow[]) {
    for (const [node, stamp, kind, value, due, columns, pos] of rows) {
      this.#set(node, { stamp, kind, value, columns, dueAt: dueAt(due), pos });
    }
  }

  get isEmpty(): boolean {
    return this.#records.size === 0;
  }

  /** Characters of all values. */
  get size(): number {
    return this.#size;
  }

  /** The node's record, if it was made under this stamp. */
  find(node: string, stamp: string): JournalRecord | undefined {
    const record = this.#records.get(node);
    return record?.stamp === stamp ? record : undefined;
  }

  /** The record of a loop in this scope, whatever its generation. */
  loop(node: string, scopePath: string): (JournalRecord & { readonly generation: number }) | undefined {
    const record = this.#records.get(node);
    if (record?.kind !== 'l' || !record.stamp.startsWith(`${scopePath}::`)) return undefined;
    const generation = record.stamp.slice(scopePath.length + 2);
    return /^\d+$/.test(generation) ? { ...record, generation: Number(generation) } : undefined;
  }

  /** Entries whose commit is certain. */
  confirm(entries: readonly Entry[]): void {
    for (const { node, stamp, kind, value, due, detail } of entries) {
      if (kind === 'C' || kind === 'F' || kind === 'r' || kind === 's' || kind === 'n') continue;
      const [columns, at, pos] = kind === 'c' ? [detail ?? null, null, due] : [null, dueAt(due), null];
      this.#set(node, { stamp, kind, value, columns, dueAt: at, pos });
    }
  }

  #set(node: string, record: JournalRecord): void {
    this.#size += (record.value?.length ?? 0) - (this.#records.get(node)?.value?.length ?? 0);
    this.#records.set(node, record);
  }
}

function dueAt(seconds: number | null): number | null {
  return seconds === null ? null : performance.now() + seconds * 1000;
}
