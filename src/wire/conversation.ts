import { Backend, Frontend } from './codes.js';

/**
 * More messages than this cannot wait for an answer: together with those answers they fill the buffers of sockets many
 * times over. Only Syncs to a COPY FROM STDIN, which are neither answered nor refused, come to as many.
 */
const MAX_UNANSWERED = 1 << 22;

/**
 * Which of the client's messages the server is answering.
 *
 * Every message of the client that can be answered, or that decides how others are answered, is noted in order when
 * it is sent (`sent`), and taken off the head when the server has answered it (`answered`):
 *
 *   Parse 1 · Bind 2 · Close 3 · Describe T or n · Execute C, I or s · Query, FunctionCall and Sync Z
 *
 * Beside these, three rules of the server's loop (src/backend/tcop/postgres.c, copyfromparse.c; protocol chapters
 * "Extended Query" and "COPY Operations"):
 * - after an error in Parse, Bind, Close, Describe or Execute it reads on to the next Sync and answers nothing
 *   before it, not even a Query;
 * - during COPY FROM STDIN it ignores Sync and Flush, up to CopyDone, CopyFail or the error that ends the copy;
 * - outside a copy it ignores CopyData, CopyDone and CopyFail (a copy that failed before it began).
 *
 * What the server is known to ignore is not kept: a client can send it without end.
 *
 * A copy that failed leaves a doubt: whether the server had read a Sync between its data before it failed, and so
 * ignored it, shows only in what comes next. An answer that cannot belong to a Sync at the head shows that it was
 * ignored; so does an error or a notice behind a ReadyForQuery, where a Sync has nothing to fail.
 *
 * Each noted message may carry a tag, which `done` gets when the server has done what the message asked for. Nothing
 * is allocated for a message.
 */
export class Conversation<Tag> {
  #kinds = new Uint8Array(64);
  #tags: (Tag | undefined)[] = new Array(64);
  #first = 0;
  #size = 0;
  /** An error in an extended-protocol message: everything up to the next Sync is not answered. */
  #skipping = false;
  /** The same, and that Sync has not been sent yet. */
  #discarding = false;
  #copying = false;
  /** A copy has failed, and Syncs that it may have ignored may be noted. */
  #doubtful = false;
  /** The last answer was a ReadyForQuery. */
  #settled = false;
  /** Something was asked for since what the last ReadyForQuery answered. */
  #unsynced = false;
  #tagged = 0;
  readonly #done: (tag: Tag) => void;

  /**
   * @param done called in the order of the answers: for a message that succeeded, and also for a Query or an Execute
   *   that failed, as what it did before may have been committed
   */
  constructor(done: (tag: Tag) => void = () => {}) {
    this.#done = done;
  }

  /**
   * True when the server owes no answer, and nothing is under way: what was asked for without a Sync (with Flush, say)
   * is a transaction that is open until the Sync comes, although all of it may have been answered.
   */
  get idle(): boolean {
    return this.#size === 0 && !this.#unsynced;
  }

  /** Number of noted messages, for tests. */
  get size(): number {
    return this.#size;
  }

  /** Whether a message with a tag has not been answered yet. */
  get tagged(): boolean {
    return this.#tagged > 0;
  }

  /** The tag of the message that is being answered. */
  get tag(): Tag | undefined {
    this.#dropSilent();
    this.#dropDoubtful();
    return this.#size === 0 || this.#skipping ? undefined : this.#tags[this.#first];
  }

  /**
   * Notes a message of the client; types that are never answered are not kept.
   * @throws Error when more have no answer than there can be
   */
  sent(type: number, tag?: Tag): void {
    if (this.#discarding) {
      if (type !== Frontend.Sync) return;
      this.#discarding = false;
    }
    switch (type) {
      case Frontend.CopyData:
      case Frontend.CopyDone:
      case Frontend.CopyFail:
        // There is no copy that it could belong to.
        if (this.#size === 0) return;
        // Only the first of a run of data matters: it ends the Syncs that the copy ignores.
        if (type === Frontend.CopyData && this.#kindAt(this.#size - 1) === type) return;
        break;
      case Frontend.Query:
      case Frontend.Parse:
      case Frontend.Bind:
      case Frontend.Describe:
      case Frontend.Execute:
      case Frontend.Close:
      case Frontend.Sync:
      case Frontend.FunctionCall:
        break;
      default:
        return;
    }
    if (this.#size >= MAX_UNANSWERED) throw new Error('too many messages without an answer');
    this.#unsynced = true;
    if (this.#size === this.#kinds.length) this.#grow();
    const slot = (this.#first + this.#size) & (this.#kinds.length - 1);
    this.#kinds[slot] = type;
    this.#tags[slot] = tag;
    this.#size++;
    if (tag !== undefined) this.#tagged++;
  }

  /** Notes a message of the server, by its type; types that answer nothing are ignored. */
  answered(type: number): void {
    switch (type) {
      case Backend.ParseComplete:
        this.#complete(Frontend.Parse);
        break;
      case Backend.BindComplete:
        this.#complete(Frontend.Bind);
        break;
      case Backend.CloseComplete:
        this.#complete(Frontend.Close);
        break;
      case Backend.RowDescription:
      case Backend.NoData:
        this.#complete(Frontend.Describe);
        break;
      case Backend.CommandComplete:
      case Backend.EmptyQueryResponse:
      case Backend.PortalSuspended:
        if (this.#copying) this.#copyEnded();
        this.#complete(Frontend.Execute);
        break;
      case Backend.CopyInResponse:
      case Backend.CopyBothResponse:
        this.#dropSilent();
        this.#dropDoubtful();
        this.#settled = false;
        this.#copying = true;
        break;
      case Backend.ErrorResponse:
        this.#failed();
        break;
      case Backend.ReadyForQuery:
        this.#ready();
        break;
      default:
    }
  }

  #kindAt(index: number): number {
    return this.#kinds[(this.#first + index) & (this.#kinds.length - 1)]!;
  }

  #pop(): Tag | undefined {
    const slot = this.#first;
    const tag = this.#tags[slot];
    this.#tags[slot] = undefined;
    if (tag !== undefined) this.#tagged--;
    this.#first = (slot + 1) & (this.#kinds.length - 1);
    this.#size--;
    return tag;
  }

  /** Takes off what stands behind the head; never called for a message with a tag. */
  #popSecond(): void {
    const slot = this.#first;
    const next = (slot + 1) & (this.#kinds.length - 1);
    this.#kinds[next] = this.#kinds[slot]!;
    this.#tags[next] = this.#tags[slot];
    this.#tags[slot] = undefined;
    this.#first = next;
    this.#size--;
  }

  #popDone(): void {
    const tag = this.#pop();
    if (tag !== undefined) this.#done(tag);
  }

  /** Copy messages outside a copy have no answer. */
  #dropSilent(): void {
    while (this.#size > 0 && isCopyMessage(this.#kindAt(0))) this.#pop();
  }

  /** Something other than a ReadyForQuery comes behind one: it answers no Sync. */
  #dropDoubtful(): void {
    if (!this.#doubtful || !this.#settled) return;
    this.#doubtful = false;
    while (this.#size > 0 && this.#kindAt(0) === Frontend.Sync) {
      this.#pop();
      this.#dropSilent();
    }
  }

  #complete(kind: number): void {
    this.#settled = false;
    for (;;) {
      this.#dropSilent();
      if (this.#size === 0) return;
      const head = this.#kindAt(0);
      if (head === kind) {
        this.#popDone();
        return;
      }
      // A Sync answers with nothing but Z, so this one was ignored. Within a Query these are its own answers.
      if (head !== Frontend.Sync) return;
      this.#pop();
    }
  }

  /** The copy of the head (a Query or an Execute) is complete: what the server read during it is answered with it. */
  #copyEnded(): void {
    this.#copying = false;
    while (this.#size > 1) {
      const kind = this.#kindAt(1);
      if (!isCopyMessage(kind) && kind !== Frontend.Sync) return;
      this.#popSecond();
      if (kind === Frontend.CopyDone || kind === Frontend.CopyFail) return;
    }
  }

  #failed(): void {
    this.#dropSilent();
    this.#dropDoubtful();
    this.#settled = false;
    if (this.#copying) {
      // What the copy had surely read of Syncs when it failed: those before its first data.
      this.#copying = false;
      this.#doubtful = true;
      while (this.#size > 1 && this.#kindAt(1) === Frontend.Sync) this.#popSecond();
    }
    if (this.#size === 0) return;
    switch (this.#kindAt(0)) {
      case Frontend.Query:
      case Frontend.FunctionCall:
      case Frontend.Sync:
        return;
      case Frontend.Execute:
        this.#popDone();
    }
    this.#skipping = true;
    while (this.#size > 0 && this.#kindAt(0) !== Frontend.Sync) this.#pop();
    this.#discarding = this.#size === 0;
  }

  #ready(): void {
    this.#copying = false;
    this.#settled = true;
    while (this.#size > 0) {
      const kind = this.#kindAt(0);
      const ends = !this.#skipping && (kind === Frontend.Query || kind === Frontend.FunctionCall);
      if (ends) this.#popDone();
      else this.#pop();
      if (ends || kind === Frontend.Sync) break;
    }
    this.#skipping = false;
    this.#discarding = false;
    this.#unsynced = this.#size > 0;
  }

  #grow(): void {
    const length = this.#kinds.length;
    const kinds = new Uint8Array(length * 2);
    const tags: (Tag | undefined)[] = new Array(length * 2);
    for (let i = 0; i < length; i++) {
      const slot = (this.#first + i) & (length - 1);
      kinds[i] = this.#kinds[slot]!;
      tags[i] = this.#tags[slot];
    }
    this.#kinds = kinds;
    this.#tags = tags;
    this.#first = 0;
  }
}

function isCopyMessage(kind: number): boolean {
  return kind === Frontend.CopyData || kind === Frontend.CopyDone || kind === Frontend.CopyFail;
}
