/**
 * Retention: every `reconcileIntervalMs` one of the executors removes finished instances that are too old, or beyond the
 * newest 10 000. Source: df-api §12.
 *
 * Waiting → (a pass is due, and this executor's) passing → waiting. A pass finds what is to go and removes it in small
 * transactions; between two of them it rests for as long as one has taken, so that it never has more than half of a
 * connection's share of the server. One that is broken off is continued by the next.
 */
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import { isMissing } from '../state/missing.js';
import { beginPass, outdated, remove } from '../state/retention.js';

export interface RetentionSettings {
  readonly retentionDays: number;
  /** 0: no passes. */
  readonly reconcileIntervalMs: number;
}

/** Finished instances that are kept however young they are. */
const KEEP = 10_000;
/** Found with one scan. */
const FOUND_AT_ONCE = 20_000;
/** Ids that go with one statement; it stops earlier when this many rows are gone. */
const BATCH = 200;
const BATCH_ROWS = 300;
/** A scan of millions of rows takes seconds, the removal of the largest graphs as well. */
const ANSWER_MS = 10 * 60_000;
/** How often it is looked whether a pass is due. */
const LONGEST_WAIT_MS = 60_000;

export class Retention {
  readonly #database: Pool;
  readonly #log: Logger;
  #settings: RetentionSettings;
  #timer: NodeJS.Timeout | null = null;
  #passing: Promise<void> | null = null;
  #wake: (() => void) | null = null;
  #stopped = false;

  constructor(database: Pool, settings: RetentionSettings, log: Logger) {
    this.#database = database;
    this.#settings = settings;
    this.#log = log;
  }

  start(): void {
    this.#schedule();
  }

  /** Takes over other settings; a pass under way goes on with those it began with. */
  reload(settings: RetentionSettings): void {
    this.#settings = settings;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#passing === null) this.#schedule();
  }

  /** Ends with the statement under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#wake?.();
    await this.#passing;
  }

  #schedule(): void {
    const { reconcileIntervalMs } = this.#settings;
    if (this.#stopped || reconcileIntervalMs === 0) return;
    // the interval is the database's: it is asked more often than that
    const wait = Math.min(Math.max(reconcileIntervalMs / 10, 20), LONGEST_WAIT_MS);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#passing = this.#pass()
        .catch((error: unknown) => {
          // dropped: there is nothing to remove
          if (this.#stopped || isMissing(error)) return;
          this.#log.warn({ code: (error as { code?: string }).code, err: error }, 'retention failed');
        })
        .finally(() => {
          this.#passing = null;
          this.#schedule();
        });
    }, wait);
  }

  async #pass(): Promise<void> {
    const { retentionDays: days, reconcileIntervalMs } = this.#settings;
    if (!(await beginPass(this.#database, reconcileIntervalMs / 1000, ANSWER_MS))) return;
    let removed = 0;
    for (;;) {
      const ids = await outdated(this.#database, { days, keep: KEEP, limit: FOUND_AT_ONCE }, ANSWER_MS);
      const before = removed;
      for (let at = 0; at < ids.length && !this.#stopped; ) {
        const began = performance.now();
        const batch = await remove(this.#database, ids.slice(at, at + BATCH), BATCH_ROWS, ANSWER_MS);
        at += batch.done;
        removed += batch.removed;
        await this.#rest(performance.now() - began);
      }
      if (this.#stopped || ids.length < FOUND_AT_ONCE || removed === before) break;
    }
    if (removed > 0) this.#log.info({ instances: removed }, 'finished instances removed');
  }

  async #rest(milliseconds: number): Promise<void> {
    if (this.#stopped) return;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      setTimeout(resolve, milliseconds);
    });
    this.#wake = null;
  }
}
