/**
 * Checkpoints that belong to no step, gathered while a write is under way and sent together: one transaction for all of
 * them. A write that fails because the database cannot be reached is tried again until it succeeds or the executor is
 * closed; the token keeps a late one from doing harm. So is one whose instance somebody has locked (a transaction that
 * has called df.cancel and is still open): the others do not wait for it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import { type Applied, applyCheckpoints, type Checkpoint } from '../state/checkpoint.js';
import { isMissing } from '../state/missing.js';

interface Waiting {
  readonly checkpoint: Checkpoint;
  readonly resolve: (lost: boolean) => void;
  readonly reject: (error: unknown) => void;
}

const RETRY_MS = 250;
const BUSY_MS = 200;
const BATCH = 200;

export class Outbox {
  readonly #pool: Pool;
  readonly #log: Logger;
  readonly #withinMs: number;
  #waiting: Waiting[] = [];
  #writing: Promise<void> | null = null;
  #closed = false;

  /** @param withinMs how long the database may take to answer before a write counts as lost */
  constructor(pool: Pool, log: Logger, withinMs: number) {
    this.#pool = pool;
    this.#log = log;
    this.#withinMs = withinMs;
  }

  /**
   * Resolves when the checkpoint is committed: false; or true when nothing was written because the lease was lost.
   * @throws what the server said of the checkpoint's content
   */
  send(checkpoint: Checkpoint): Promise<boolean> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ checkpoint, resolve, reject });
      this.#writing ??= this.#write();
    });
  }

  /** Resolves when everything that was sent so far has been answered; nothing is tried again after it. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#writing;
  }

  async #write(): Promise<void> {
    await Promise.resolve(); // one turn, so that what is sent together goes together
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, BATCH);
      try {
        const checkpoints = batch.map((one) => one.checkpoint);
        this.#answered(batch, await applyCheckpoints(this.#pool, checkpoints, this.#withinMs));
      } catch (error) {
        await this.#failed(batch, error);
      }
    }
    this.#writing = null;
  }

  #answered(batch: readonly Waiting[], { lost, busy }: Applied): void {
    const locked: Waiting[] = [];
    for (const one of batch) {
      if (busy.includes(one.checkpoint.instance) && !this.#closed) locked.push(one);
      else one.resolve(lost.includes(one.checkpoint.instance) || busy.includes(one.checkpoint.instance));
    }
    if (locked.length === 0) return;
    setTimeout(() => {
      this.#waiting.push(...locked);
      this.#writing ??= this.#write();
    }, BUSY_MS);
  }

  async #failed(batch: Waiting[], error: unknown): Promise<void> {
    // Dropped with all that it was about.
    if (isMissing(error)) {
      for (const one of batch) one.resolve(true);
      return;
    }
    if (isAboutContent(error)) {
      const [one, ...others] = batch as [Waiting, ...Waiting[]];
      if (others.length === 0) {
        one.reject(error);
        return;
      }
      // one of them is at fault: find it by writing each alone
      for (const single of batch) {
        try {
          this.#answered([single], await applyCheckpoints(this.#pool, [single.checkpoint], this.#withinMs));
        } catch (own) {
          if (isAboutContent(own)) single.reject(own);
          else this.#waiting.push(single);
        }
      }
      return;
    }
    if (this.#closed) {
      for (const one of batch) one.resolve(true);
      return;
    }
    this.#log.warn(
      { code: codeOf(error), checkpoints: batch.length },
      'checkpoints could not be written, trying again',
    );
    this.#waiting.unshift(...batch);
    await sleep(RETRY_MS);
  }
}

function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** Data exceptions and the like, a text too long for this process or the server: the same write would fail again. */
function isAboutContent(error: unknown): boolean {
  if (error instanceof RangeError) return true;
  const code = codeOf(error);
  return code !== undefined && /^(?:22|23|42|54|XX)[0-9A-Z]{3}$/.test(code);
}
