import type { Socket } from 'node:net';
import type { Framer } from '../wire/framer.js';

/**
 * Slices on their way into a socket. A chunk mostly gives one slice, which is one write; the slices of a chunk that
 * was cut go out in one system call.
 */
export class Outgoing {
  readonly #socket: Socket;
  #single: Buffer | null = null;
  #corked = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  readonly pass = (bytes: Buffer): void => {
    if (this.#corked) {
      this.#socket.write(bytes);
    } else if (this.#single === null) {
      this.#single = bytes;
    } else {
      this.#socket.cork();
      this.#corked = true;
      this.#socket.write(this.#single);
      this.#single = null;
      this.#socket.write(bytes);
    }
  };

  /** Sends what has been passed. */
  flush(): void {
    if (this.#corked) {
      this.#corked = false;
      this.#socket.uncork();
    } else if (this.#single !== null) {
      const single = this.#single;
      this.#single = null;
      this.#socket.write(single);
    }
  }
}

/**
 * Carries one direction of a session through a framer, and holds the source back while the destination is full or a
 * statement is being rewritten elsewhere.
 */
export class Pump {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #framer: Framer;
  readonly #out: Outgoing;
  readonly #onFault: (error: unknown) => void;
  #waiting = false;
  /** The source has ended, and what came before that is still to be sent. */
  #endDue = false;
  #stopped = false;

  /**
   * @param out what the framer's reader passes its slices to; writes to `to`
   * @param onFault called with what the framer's reader throws: a fault of ours, which must end this session only
   */
  constructor(from: Socket, to: Socket, framer: Framer, out: Outgoing, onFault: (error: unknown) => void) {
    this.#from = from;
    this.#to = to;
    this.#framer = framer;
    this.#out = out;
    this.#onFault = onFault;
  }

  /** Takes the socket's data from now on. @param first bytes that came before */
  start(first: Buffer): void {
    this.#from.on('data', this.#onData);
    this.#to.on('drain', this.#onDrain);
    if (first.length > 0) this.#onData(first);
    this.#go();
  }

  /** The source has ended: so does the destination, behind all that came before. */
  end(): void {
    if (this.#waiting) this.#endDue = true;
    else this.#to.end();
  }

  /** Drops whatever else comes. */
  stop(): void {
    this.#stopped = true;
    this.#from.off('data', this.#onData);
    this.#to.off('drain', this.#onDrain);
  }

  readonly #onData = (chunk: Buffer): void => {
    let wait: Promise<void> | undefined;
    try {
      wait = this.#framer.push(chunk);
    } catch (error) {
      this.#onFault(error);
      return;
    }
    this.#out.flush();
    if (wait !== undefined) {
      this.#waiting = true;
      this.#from.pause();
      wait.then(this.#onWaited, this.#onFault);
    } else if (this.#to.writableNeedDrain) {
      this.#from.pause();
    }
  };

  readonly #onWaited = (): void => {
    this.#waiting = false;
    if (this.#stopped) return;
    this.#out.flush();
    if (this.#endDue) this.#to.end();
    else this.#go();
  };

  readonly #onDrain = (): void => this.#go();

  #go(): void {
    if (!this.#waiting && !this.#stopped && !this.#to.writableNeedDrain) this.#from.resume();
  }
}
