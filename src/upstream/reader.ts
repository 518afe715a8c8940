import type { Socket } from 'node:net';

/** One message, whole. */
export interface WholeMessage {
  type: number;
  /** The message as it came, header included. */
  raw: Buffer;
  /** What follows the length. */
  body: Buffer;
}

/** The other side closed, or sent what is not the protocol. */
export class ReadError extends Error {
  readonly closed: boolean;
  constructor(message: string, closed: boolean) {
    super(message);
    this.name = 'ReadError';
    this.closed = closed;
  }
}

/**
 * Reads messages one at a time from a socket, for dialogues of a few small messages (logging in). It owns the
 * socket's data until `release`.
 */
export class MessageReader {
  readonly #socket: Socket;
  readonly #limit: number;
  #bytes: Buffer;
  #failure: ReadError | undefined;
  #wake: (() => void) | undefined;

  /**
   * @param limit the longest message that is taken, bytes
   * @param initial bytes that came before
   */
  constructor(socket: Socket, limit: number, initial: Buffer = Buffer.alloc(0)) {
    this.#socket = socket;
    this.#limit = limit;
    this.#bytes = initial;
    socket.on('data', this.#onData);
    socket.on('end', this.#onClose);
    socket.on('close', this.#onClose);
    socket.on('error', this.#onError);
    // Both events come also while nobody reads, and never again.
    if (socket.readableEnded || socket.destroyed) this.#onClose();
    else socket.resume();
  }

  /** @throws ReadError */
  async next(): Promise<WholeMessage> {
    for (;;) {
      const found = this.#take();
      if (found !== undefined) return found;
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Stops reading; gives what came behind the last message. The socket is paused and has no listener of ours. */
  release(): Buffer {
    const socket = this.#socket;
    socket.pause();
    socket.off('data', this.#onData);
    socket.off('end', this.#onClose);
    socket.off('close', this.#onClose);
    socket.off('error', this.#onError);
    return this.#bytes;
  }

  #take(): WholeMessage | undefined {
    const bytes = this.#bytes;
    if (bytes.length < 5) return undefined;
    const length = bytes.readUInt32BE(1);
    if (length < 4 || length > this.#limit) {
      throw new ReadError(`invalid message length ${length}`, false);
    }
    if (bytes.length <= length) return undefined;
    this.#bytes = bytes.subarray(length + 1);
    return { type: bytes[0]!, raw: bytes.subarray(0, length + 1), body: bytes.subarray(5, length + 1) };
  }

  #signal(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    // Nobody is asking: what comes meanwhile stays in the kernel.
    if (this.#bytes.length > this.#limit) this.#socket.pause();
    this.#signal();
  };

  readonly #onClose = (): void => {
    this.#failure ??= new ReadError('connection closed', true);
    this.#signal();
  };

  readonly #onError = (error: Error): void => {
    this.#failure ??= new ReadError(
      `connection lost (${(error as NodeJS.ErrnoException).code ?? 'error'})`,
      true,
    );
    this.#signal();
  };
}
