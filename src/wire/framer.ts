import { MAX_MESSAGE_LENGTH } from './codes.js';

/** An answer to the first bytes of a message: they do not tell enough, all of it is wanted. */
export const WHOLE = Symbol('whole');

type Answer = Buffer | undefined | Promise<Buffer | undefined>;

/** What a framer tells of the messages it walks over. All calls come in the order of the stream. */
export interface FrameReader {
  /**
   * A header has been read.
   * @param type the type byte
   * @param total bytes of the whole message, header included
   * @returns how many bytes of it (header included) `message` is to see before any of them pass; 0 for none: it
   *   passes unread, however long it is
   */
  header(type: number, total: number): number;
  /**
   * The bytes that `header` asked for are at buf[start, end).
   * @returns undefined: they pass as they are; a buffer: it passes in their place (only for whole messages; an empty
   *   one takes the message out); a promise: the stream waits for it; WHOLE: it is asked again with the whole message
   */
  message(type: number, buf: Buffer, start: number, end: number): Answer | typeof WHOLE;
  /** Bytes for the other side. They must not be changed, and are not changed by the framer, after the call. */
  pass(bytes: Buffer): void;
}

const HEADER = 5;
/** A gathered message begins with a buffer of at most this size and grows with what really arrives. */
const FIRST_GATHER = 64 * 1024;

/**
 * Finds the messages in one direction of a stream. What nobody asks to see passes as slices of the chunks in which it
 * came: no copy, no joining, one slice for any number of messages.
 *
 * States, by what the next byte is:
 * - *boundary*: the first of a header.
 * - *header*: a later byte of a header that was split between chunks (`#headBytes` > 0). Up to four bytes are held.
 * - *gathering*: a byte of a message that the reader wants to see and that is not whole yet (`#held`). Ends at
 *   `#need` bytes, in *passing* or *boundary*.
 * - *passing*: a byte of a message (or of its rest) that passes unread (`#skip` > 0).
 * - *opaque*: a length was impossible, so there are no more messages to find: everything passes, and the receiver
 *   says what is wrong with it. Never left.
 */
export class Framer {
  readonly #reader: FrameReader;
  #skip = 0;
  #opaque = false;
  #head: Buffer | null = null;
  #headBytes = 0;
  #held: Buffer | null = null;
  #heldBytes = 0;
  #need = 0;
  #total = 0;

  constructor(reader: FrameReader) {
    this.#reader = reader;
  }

  /** True between two messages. */
  get atBoundary(): boolean {
    return this.#skip === 0 && this.#headBytes === 0 && this.#held === null && !this.#opaque;
  }

  /**
   * Walks over a chunk.
   * @returns a promise when a message of the chunk has to be waited for; until it is settled no other chunk may be
   *   pushed
   */
  push(chunk: Buffer): Promise<void> | undefined {
    return this.#walk(chunk, 0);
  }

  #walk(chunk: Buffer, start: number): Promise<void> | undefined {
    const reader = this.#reader;
    const end = chunk.length;
    let at = start;
    /** The first byte of the chunk that has not been passed or taken yet. */
    let from = start;
    for (;;) {
      if (this.#held !== null && this.#heldBytes === this.#need) {
        const held = this.#held;
        const answer = reader.message(held[0]!, held, 0, this.#heldBytes);
        if (answer === WHOLE && this.#need < this.#total) {
          this.#need = this.#total;
          continue;
        }
        this.#held = null;
        this.#skip = this.#total - this.#need;
        if (answer === undefined || answer === WHOLE) reader.pass(held);
        else if (!Buffer.isBuffer(answer)) return this.#wait(answer, held, chunk, at);
        else if (answer.length > 0) reader.pass(answer);
      }
      if (at >= end) break;
      if (this.#skip > 0) {
        const n = Math.min(this.#skip, end - at);
        this.#skip -= n;
        at += n;
        continue;
      }
      if (this.#opaque) {
        at = end;
        break;
      }
      if (this.#held !== null) {
        at = from = this.#gather(chunk, at);
        continue;
      }
      if (this.#headBytes > 0 || end - at < HEADER) {
        if (at > from) reader.pass(chunk.subarray(from, at));
        at = from = this.#splitHeader(chunk, at);
        continue;
      }
      const length =
        chunk[at + 1]! * 0x1000000 + ((chunk[at + 2]! << 16) | (chunk[at + 3]! << 8) | chunk[at + 4]!);
      if (length < 4 || length > MAX_MESSAGE_LENGTH) {
        this.#opaque = true;
        continue;
      }
      const type = chunk[at]!;
      const total = length + 1;
      let need = Math.min(reader.header(type, total), total);
      if (need === 0) {
        if (total <= end - at) at += total;
        else {
          this.#skip = total - (end - at);
          at = end;
        }
        continue;
      }
      if (need > end - at) {
        if (at > from) reader.pass(chunk.subarray(from, at));
        this.#beginGather(need, total);
        from = at;
        continue;
      }
      let answer = reader.message(type, chunk, at, at + need);
      if (answer === WHOLE && need < total) {
        need = total;
        if (need > end - at) {
          if (at > from) reader.pass(chunk.subarray(from, at));
          this.#beginGather(need, total);
          from = at;
          continue;
        }
        answer = reader.message(type, chunk, at, at + need);
      }
      if (answer === undefined || answer === WHOLE) {
        at += need;
        this.#skip = total - need;
        continue;
      }
      if (at > from) reader.pass(chunk.subarray(from, at));
      const original = chunk.subarray(at, at + need);
      at += need;
      from = at;
      this.#skip = total - need;
      if (!Buffer.isBuffer(answer)) return this.#wait(answer, original, chunk, at);
      if (answer.length > 0) reader.pass(answer);
    }
    if (end > from) reader.pass(from === 0 ? chunk : chunk.subarray(from, end));
    return undefined;
  }

  async #wait(
    answer: Promise<Buffer | undefined>,
    original: Buffer,
    chunk: Buffer,
    at: number,
  ): Promise<void> {
    this.#reader.pass((await answer) ?? original);
    await this.#walk(chunk, at);
  }

  #beginGather(need: number, total: number): void {
    this.#need = need;
    this.#total = total;
    this.#held = Buffer.allocUnsafe(Math.min(need, FIRST_GATHER));
    this.#heldBytes = 0;
  }

  /** Adds what the chunk has of the gathered message; gives the place behind it. */
  #gather(chunk: Buffer, at: number): number {
    const stop = Math.min(chunk.length, at + this.#need - this.#heldBytes);
    const size = this.#heldBytes + (stop - at);
    let held = this.#held!;
    if (size > held.length) {
      const grown = Buffer.allocUnsafe(Math.min(this.#need, Math.max(size, held.length * 2)));
      held.copy(grown, 0, 0, this.#heldBytes);
      held = this.#held = grown;
    }
    chunk.copy(held, this.#heldBytes, at, stop);
    this.#heldBytes = size;
    return stop;
  }

  /** Takes bytes of a header that does not lie whole in one chunk; gives the place behind them. */
  #splitHeader(chunk: Buffer, at: number): number {
    // A new one each time: a passed buffer may still be on its way out.
    if (this.#headBytes === 0) this.#head = Buffer.allocUnsafe(HEADER);
    const head = this.#head!;
    while (this.#headBytes < HEADER && at < chunk.length) head[this.#headBytes++] = chunk[at++]!;
    if (this.#headBytes < HEADER) return at;
    this.#headBytes = 0;
    this.#head = null;
    const length = head.readUInt32BE(1);
    if (length < 4 || length > MAX_MESSAGE_LENGTH) {
      this.#opaque = true;
      this.#reader.pass(head);
      return at;
    }
    const total = length + 1;
    const need = Math.min(this.#reader.header(head[0]!, total), total);
    if (need === 0) {
      this.#skip = total - HEADER;
      this.#reader.pass(head);
      return at;
    }
    this.#beginGather(Math.max(need, HEADER), total);
    head.copy(this.#held!, 0);
    this.#heldBytes = HEADER;
    return at;
  }
}
