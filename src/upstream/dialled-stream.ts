import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { Authentication, Backend } from '../wire/codes.js';
import { int32, message } from '../wire/message.js';
import { LoginError, login } from './login.js';
import type { Reached } from './reach.js';

/** Whom pg connects as. */
export interface StreamLogin {
  readonly user: string;
  /** Undefined: pg finds one (PGPASSWORD, .pgpass) and logs in itself. */
  readonly password: string | undefined;
}

const AUTHENTICATION_OK = message(Backend.Authentication, int32(Authentication.Ok));

/**
 * A stream for `pg` (its option `stream`) whose connection is made by our own dial and login: the same hosts, the same
 * encryption, verification and channel binding as those of sessions. `pg` sees a socket that connects, and a server
 * that lets it in unasked.
 *
 * States: dialling → connected (its first write is the start-up packet) → logging in → open. With no password to log
 * in with it is open when connected.
 */
export class DialledStream extends Duplex {
  readonly #dial: () => Promise<Reached>;
  readonly #login: StreamLogin;
  #socket: Socket | undefined;
  #open = false;
  /** Once connected. */
  reached: Reached | undefined;

  constructor(dial: () => Promise<Reached>, login: StreamLogin) {
    super({ allowHalfOpen: false });
    this.#dial = dial;
    this.#login = login;
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
    socket.on('error', (error) => this.destroy(error));
    socket.on('close', () => this.destroy());
    if (this.#login.password === undefined) this.#begin(socket);
    this.emit('connect');
  }

  #begin(socket: Socket): void {
    this.#open = true;
    socket.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) socket.pause();
    });
    socket.on('end', () => this.push(null));
  }

  async #logIn(socket: Socket, startup: Buffer, password: string): Promise<void> {
    const { rest } = await login({
      socket,
      startup,
      user: this.#login.user,
      answer: async () => ({ password }),
    });
    this.push(Buffer.concat([AUTHENTICATION_OK, rest]));
    this.#begin(socket);
    socket.resume();
  }

  override _read(): void {
    if (this.#open) this.#socket?.resume();
  }

  override _write(chunk: Buffer, _: BufferEncoding, done: (error?: Error | null) => void): void {
    const socket = this.#socket!;
    const { password } = this.#login;
    if (this.#open || password === undefined) {
      socket.write(chunk, done);
      return;
    }
    this.#logIn(socket, chunk, password).then(
      () => done(),
      (error: unknown) => {
        // The server's own refusal is pg's to read.
        if (error instanceof LoginError && error.raw !== undefined) {
          this.push(error.raw);
          done();
        } else done(error as Error);
      },
    );
  }

  /** What pg has corked goes out in one piece; never the start-up packet, which comes alone. */
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
