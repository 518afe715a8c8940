import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import type { Reached } from './reach.js';

/**
 * A stream for `pg` (its option `stream`) whose connection is made by our own dial: the same hosts, the same
 * encryption and verification as those of sessions. `pg` sees a socket that connects.
 */
export class DialledStream extends Duplex {
  readonly #dial: () => Promise<Reached>;
  #socket: Socket | undefined;
  /** Once connected. */
  reached: Reached | undefined;

  constructor(dial: () => Promise<Reached>) {
    super({ allowHalfOpen: false });
    this.#dial = dial;
  }

  /** Called by pg, which attaches its listeners afterwards. Where to is the business of the dial. */
  connect(): this {
    this.#dial().then(
      (reached) => this.#connected(reached),
      (error: Error) => this.destroy(error),
    );
    return this;
  }

  #connected(reached: Reached): void {
    const { socket } = reached;
    if (this.destroyed) {
      socket.destroy();
      return;
    }
    this.#socket = socket;
    this.reached = reached;
    socket.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) socket.pause();
    });
    socket.on('end', () => this.push(null));
    socket.on('error', (error) => this.destroy(error));
    socket.on('close', () => this.destroy());
    this.emit('connect');
  }

  override _read(): void {
    this.#socket?.resume();
  }

  override _write(chunk: Buffer, _: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#socket!.write(chunk, done);
  }

  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.#socket!.write(Buffer.concat(chunks.map(({ chunk }) => chunk)), done);
  }

  override _final(done: (error?: Error | null) => void): void {
    if (this.#socket === undefined) done();
    else this.#socket.end(() => done());
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#socket?.destroy();
    done(error);
  }

  /** As of net.Socket; dial has seen to it. */
  setNoDelay(): this {
    return this;
  }

  /** As of net.Socket; dial has seen to it. */
  setKeepAlive(): this {
    return this;
  }

  ref(): this {
    this.#socket?.ref();
    return this;
  }

  unref(): this {
    this.#socket?.unref();
    return this;
  }
}
