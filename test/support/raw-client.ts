import { connect, type Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { login } from '../../src/upstream/login.js';
import { Authentication, Backend } from '../../src/wire/codes.js';
import { FieldCode, fieldText, readFields } from '../../src/wire/fields.js';
import { int32, message } from '../../src/wire/message.js';
import { startupPacket } from '../../src/wire/startup.js';
import { until } from './wait.js';

export interface RawOptions {
  host: string;
  port: number;
  user: string;
  password?: string;
  database: string;
  /** Further start-up parameters. */
  parameters?: Record<string, string>;
  /** Protocol version number, 3.0 unless given. */
  protocol?: number;
  /** Takes the place of host and port: connected, encrypted if it is to be, with nothing of the protocol sent. */
  socket?: Socket;
}

/** A message of the server. */
export interface ServerMessage {
  type: string;
  body: Buffer;
}

/** Sends bytes, keeps messages: a client that hides nothing of the protocol. */
export class RawClient {
  readonly socket: Socket;
  readonly messages: ServerMessage[] = [];
  /** Bytes that the server has sent since the login. */
  received = 0;
  ended = false;
  closed = false;
  /** Do not keep the messages, only count them. */
  counting = false;
  #partial: Buffer[] = [];
  #partialBytes = 0;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => {});
    socket.on('end', () => {
      this.ended = true;
    });
    socket.on('close', () => {
      this.closed = true;
    });
  }

  /** Connects, logs in and waits for ReadyForQuery; the first messages kept are those behind AuthenticationOk. */
  static async login(options: RawOptions): Promise<RawClient> {
    const client = await RawClient.authenticate(options);
    await client.ready();
    return client;
  }

  /** The same without the wait: behind AuthenticationOk the server may still refuse. */
  static async authenticate(options: RawOptions): Promise<RawClient> {
    const client = new RawClient(options.socket ?? (await open(options.host, options.port)));
    const { rest } = await login({
      socket: client.socket,
      startup: startupPacket(
        { user: options.user, database: options.database, ...options.parameters },
        options.protocol,
      ),
      user: options.user,
      answer: async () => ({ password: options.password ?? '' }),
      passOn: (raw) => client.#take(raw),
    });
    client.read(rest);
    return client;
  }

  /** Keeps what comes from now on. @param first bytes that came before */
  read(first: Buffer = Buffer.alloc(0)): void {
    if (first.length > 0) this.#take(first);
    this.socket.on('data', (chunk) => this.#take(chunk as Buffer));
    this.socket.resume();
  }

  /** Sends all at once. */
  send(...parts: Buffer[]): void {
    this.socket.write(Buffer.concat(parts));
  }

  /** Sends pieces of the given size, each in a write of its own. */
  async sendInChunks(bytes: Buffer, size: () => number): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const stop = Math.min(bytes.length, at + size());
      this.socket.write(bytes.subarray(at, stop));
      at = stop;
      await nextTurn();
    }
  }

  /** Waits for the ReadyForQuery that is the count-th since the login or the last `forget`. */
  async ready(count = 1): Promise<void> {
    await this.waitFor('Z', count);
  }

  async waitFor(type: string, count = 1, timeoutMs = 20_000): Promise<void> {
    await until(() => this.count(type) >= count || this.closed, {
      timeoutMs,
      everyMs: 2,
      what: `${count} × ${type}, got ${this.types()}`,
    });
    if (this.count(type) < count)
      throw new Error(`connection closed before ${count} × ${type}: ${this.types()}`);
  }

  count(type: string): number {
    let count = 0;
    for (const each of this.messages) if (each.type === type) count++;
    return count;
  }

  /** The types received, in order. */
  types(): string {
    return this.messages.map((each) => each.type).join('');
  }

  forget(): void {
    this.messages.length = 0;
  }

  /** Field texts of the last ErrorResponse. */
  error(): { code: string | undefined; message: string | undefined; position: string | undefined } {
    const last = this.messages.findLast((each) => each.type === 'E');
    const fields = last === undefined ? [] : readFields(last.body);
    return {
      code: fieldText(fields, FieldCode.Code),
      message: fieldText(fields, FieldCode.Message),
      position: fieldText(fields, FieldCode.Position),
    };
  }

  /** First column of the first row as text. */
  value(): string | null | undefined {
    const row = this.messages.find((each) => each.type === 'D');
    if (row === undefined) return undefined;
    const length = row.body.readInt32BE(2);
    return length < 0 ? null : row.body.toString('utf8', 6, 6 + length);
  }

  /** pid and secret of the session. */
  key(): Buffer {
    const found = this.messages.find((each) => each.type === 'K');
    if (found === undefined) throw new Error('no BackendKeyData');
    return found.body;
  }

  /** Ends politely and waits for the close. */
  async end(): Promise<void> {
    this.socket.end(message(0x58, Buffer.alloc(0)));
    this.socket.resume();
    await until(() => this.closed, { what: 'the close of a client' });
  }

  #take(chunk: Buffer): void {
    this.received += chunk.length;
    this.#partial.push(chunk);
    this.#partialBytes += chunk.length;
    if (this.#partialBytes < 5) return;
    let bytes = this.#partial.length === 1 ? chunk : undefined;
    // A large message is joined once, when it is whole.
    const first = bytes ?? (this.#partial[0]!.length >= 5 ? this.#partial[0]! : undefined);
    if (first !== undefined && this.#partialBytes < 1 + first.readUInt32BE(1)) return;
    bytes ??= Buffer.concat(this.#partial);
    let at = 0;
    while (bytes.length - at >= 5) {
      const total = 1 + bytes.readUInt32BE(at + 1);
      if (bytes.length - at < total) break;
      const type = String.fromCharCode(bytes[at]!);
      this.messages.push({
        type,
        body: this.counting ? Buffer.alloc(0) : Buffer.from(bytes.subarray(at + 5, at + total)),
      });
      at += total;
    }
    this.#partial = at < bytes.length ? [bytes.subarray(at)] : [];
    this.#partialBytes = bytes.length - at;
  }
}

/** A connected socket; nothing has been sent. */
export function open(host: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true });
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      socket.on('error', () => {});
      resolve(socket);
    });
  });
}

/** Everything that comes until the other side closes. */
export async function readToEnd(socket: Socket, timeoutMs = 10_000): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let ended = false;
  socket.on('data', (chunk) => chunks.push(chunk as Buffer));
  socket.once('end', () => {
    ended = true;
  });
  socket.once('close', () => {
    ended = true;
  });
  await until(() => ended, { timeoutMs, what: 'the other side to close' });
  return Buffer.concat(chunks);
}

/** AuthenticationOk, for servers that a test plays itself. */
export const authenticationOk: Buffer = message(Backend.Authentication, int32(Authentication.Ok));
