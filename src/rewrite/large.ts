import { Worker } from 'node:worker_threads';
import type { Edited } from './edit.js';
import type { ExtensionBodies } from './extension.js';
import type { SessionSyntax } from './text.js';

/**
 * Large statements are analysed in one worker thread, so that no session waits for another's.
 *
 * The thread is started with the first of them and gets one at a time; the others wait here. States: `none` (no
 * thread), `idle`, `busy` (with a time limit). A thread that fails, runs out of memory or exceeds the limit is
 * terminated: its statement passes unread, the next one gets a new thread. When too many wait, or too many
 * bytes, further ones pass unread.
 */

const MAX_WAITING = 64;
const MAX_WAITING_BYTES = 64 * 1024 * 1024;

/** The thread may take this much for its trees; beyond it the thread dies, not the process. */
const RESOURCE_LIMITS = { maxOldGenerationSizeMb: 1024 };

export interface LargeRequest {
  sql: Uint8Array;
  syntax: SessionSyntax;
  /** The session is in another database than the control database. */
  elsewhere: boolean;
}

/** As Edited (a Buffer arrives as a plain array); null if there is nothing to do. */
export type LargeReply = (Omit<Edited, 'sql'> & { sql: Uint8Array }) | null;

/** What the thread has from its beginning. */
export interface LargeThreadData {
  readonly extension: ExtensionBodies | null;
}

interface Job extends LargeRequest {
  done(edited: Edited | null | undefined): void;
}

export class LargeStatements {
  private readonly timeoutMs: number;
  private readonly data: LargeThreadData;
  private worker: Worker | null = null;
  private current: Job | null = null;
  private timer: NodeJS.Timeout | undefined;
  private readonly waiting: Job[] = [];
  private waitingBytes = 0;
  private closed = false;

  constructor(timeoutMs: number, extension: ExtensionBodies | null = null) {
    this.timeoutMs = timeoutMs;
    this.data = { extension };
  }

  /** The rewritten text; null if nothing is to be done, undefined if it was not read. Never rejects. */
  analyse(sql: Buffer, syntax: SessionSyntax, elsewhere = false): Promise<Edited | null | undefined> {
    if (
      this.closed ||
      this.waiting.length >= MAX_WAITING ||
      this.waitingBytes + sql.length > MAX_WAITING_BYTES
    ) {
      return Promise.resolve(undefined);
    }
    return new Promise((done) => {
      this.waiting.push({ sql, syntax, elsewhere, done });
      this.waitingBytes += sql.length;
      this.next();
    });
  }

  /** Ends the thread; what still waits passes unread. */
  async close(): Promise<void> {
    this.closed = true;
    for (const job of this.waiting.splice(0)) job.done(undefined);
    this.waitingBytes = 0;
    const { worker } = this;
    this.abandon();
    await worker?.terminate();
  }

  private next(): void {
    if (this.current !== null || this.closed) return;
    const job = this.waiting.shift();
    if (job === undefined) return;
    this.waitingBytes -= job.sql.length;
    this.current = job;
    try {
      this.worker ??= this.start();
      this.worker.ref();
      const request: LargeRequest = { sql: job.sql, syntax: job.syntax, elsewhere: job.elsewhere };
      this.worker.postMessage(request);
      this.timer = setTimeout(() => this.abandon(), this.timeoutMs);
    } catch {
      this.abandon();
    }
  }

  private start(): Worker {
    const worker = startThread(this.data);
    worker.on('message', (edited: LargeReply) => {
      if (worker !== this.worker) return;
      if (edited === null) return this.finish(null);
      const { buffer, byteOffset, byteLength } = edited.sql;
      this.finish({ ...edited, sql: Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength) });
    });
    const lost = () => {
      if (worker === this.worker) this.abandon();
    };
    worker.on('error', lost);
    worker.on('exit', lost);
    return worker;
  }

  /** Gives up the thread and the statement it has, if any. */
  private abandon(): void {
    const { worker } = this;
    this.worker = null;
    worker?.terminate().catch(() => {});
    this.finish(undefined);
  }

  private finish(edited: Edited | null | undefined): void {
    clearTimeout(this.timer);
    this.worker?.unref();
    const job = this.current;
    this.current = null;
    job?.done(edited);
    this.next();
  }
}

/**
 * The thread's file lies beside this one, compiled or not. Where it is not (tests, development), the thread
 * has to register the TypeScript loader for itself: a worker thread does not inherit it from vitest.
 */
function startThread(workerData: LargeThreadData): Worker {
  const compiled = import.meta.url.endsWith('.js');
  const url = new URL(compiled ? './large-thread.js' : './large-thread.ts', import.meta.url);
  if (compiled) return new Worker(url, { resourceLimits: RESOURCE_LIMITS, workerData });
  const load = `import('tsx/esm/api').then((tsx) => { tsx.register(); return import(${JSON.stringify(url.href)}); })`;
  return new Worker(load, { eval: true, resourceLimits: RESOURCE_LIMITS, workerData });
}
