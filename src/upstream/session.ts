/**
 * A session of the executor: logged in as a role, statements sent in flights.
 *
 * A flight is a run of commands that ends in one Sync: one round trip, and after an error the server skips the rest of
 * the flight, so a statement that follows a COMMIT never runs when the COMMIT failed.
 *
 * States: idle → flying (run() until ReadyForQuery) → idle …; any → closed, by close(), by an error of the socket or by
 * a FATAL from the server. A flight that is under way when the session closes rejects with ConnectionLost: whether a
 * COMMIT in it took effect is then unknown, and only the database can tell.
 */
import type { Socket } from 'node:net';
import type { UpstreamAddress } from './address.js';
import { type Command, type CommandResult, encodeCommand, type Field, SYNC, TERMINATE } from './command.js';
import type { Reached } from './reach.js';

/** What the server said of an error. */
export interface ServerError {
  readonly severity: string;
  readonly code: string;
  readonly message: string;
  readonly detail: string | undefined;
  readonly hint: string | undefined;
  readonly position: string | undefined;
  readonly where: string | undefined;
}

export interface FlightResult {
  /** Results of the commands that succeeded, in order: the one that failed is commands[results.length]. */
  readonly results: CommandResult[];
  readonly error: ServerError | null;
  /** Transaction status after the flight: I idle, T in a transaction, E in a failed one. */
  readonly status: 'I' | 'T' | 'E';
}

/** The connection ended with a flight under way. */
export class ConnectionLost extends Error {
  /** What the server said last, if it said anything. */
  readonly server: ServerError | null;
  /** Commands of the flight that had certainly succeeded. */
  readonly completed: number;
  constructor(message: string, server: ServerError | null = null, completed = 0) {
    super(message);
    this.server = server;
    this.completed = completed;
  }
}

/** Commands left by a former holder of the session, to go with the next flight. */
interface Debt {
  readonly commands: readonly Command[];
  readonly resolve: (result: FlightResult) => void;
  readonly reject: (error: ConnectionLost) => void;
}

/** Of one step's result, as the server sends it. */
const MAX_RESULT_BYTES = 64 * 1024 * 1024;

const ROLLBACK: Command = { sql: 'ROLLBACK' };

interface Flight {
  readonly commands: readonly Command[];
  readonly results: CommandResult[];
  error: ServerError | null;
  fields: Field[] | null;
  rows: Array<Array<string | null>>;
  /** Of the rows kept so far. */
  bytes: number;
  readonly resolve: (result: FlightResult) => void;
  readonly reject: (error: ConnectionLost) => void;
}

export class Session {
  /** OID of the role that it is logged in as: a name can pass to another role. */
  readonly roleId: string;
  readonly database: string;
  /** The host that it is on, as configured. */
  readonly address: UpstreamAddress;
  /** The very server: where a CancelRequest goes. */
  readonly exact: UpstreamAddress;
  /** performance.now() */
  readonly openedAt = performance.now();
  /** BackendKeyData as the server sent it, for a CancelRequest; null until it has come. */
  cancelKey: Buffer | null = null;
  /** Whether a user's statement ran since the last reset. */
  dirty = false;
  /** Whether it has a statement_timeout from the beginning: of the proxy's configuration, the role or the database. */
  timeLimited = false;
  /** client_encoding, as the server reports it. What is sent and read here is UTF-8. */
  encoding = 'UTF8';
  closed = false;

  readonly #socket: Socket;
  #parts: Buffer[] = [];
  #length = 0;
  #needed = 5;
  #flight: Flight | null = null;
  #debt: Debt | null = null;
  #fatal: ServerError | null = null;
  #ready: { resolve: () => void; reject: (error: Error) => void } | null = null;
  #onClose: (() => void) | null = null;

  /** Takes over a connection on which the login has just succeeded; `rest` is what was read behind it. */
  constructor({ socket, address, exact }: Reached, roleId: string, database: string, rest: Buffer) {
    this.#socket = socket;
    this.roleId = roleId;
    this.database = database;
    this.address = address;
    this.exact = exact;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', (error) => this.#end(error.message));
    socket.on('close', () => this.#end('the connection was closed'));
    if (rest.length > 0) queueMicrotask(() => this.#receive(rest));
    socket.resume();
  }

  /** Resolves when the server is ready for the first flight. */
  ready(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#ready = { resolve, reject };
      if (this.closed) this.#end('the connection was closed');
    });
  }

  /** Whether a flight is under way. */
  get flying(): boolean {
    return this.#flight !== null;
  }

  /** Called once when the session has closed. */
  onClose(listener: () => void): void {
    this.#onClose = listener;
  }

  /**
   * Sends a flight and resolves with what came of it. One at a time. What the former holder left goes first, in the
   * same round trip; if that fails, it is undone and the flight is sent again by itself.
   * @throws ConnectionLost when the session ends before the server is ready again.
   */
  run(commands: readonly Command[]): Promise<FlightResult> {
    return this.#debt === null ? this.#send(commands) : this.#runBehind(this.#debt, commands);
  }

  /**
   * Leaves commands that go to the server with the next flight of whoever has the session then, and resolves with what
   * comes of them as if they had been a flight of their own. The last of them ends the transaction.
   */
  owe(commands: readonly Command[]): Promise<FlightResult> {
    return new Promise((resolve, reject) => {
      this.#debt = { commands, resolve, reject };
    });
  }

  /** Whether commands of a former holder have not been sent yet. */
  get indebted(): boolean {
    return this.#debt !== null;
  }

  async #runBehind(debt: Debt, own: readonly Command[]): Promise<FlightResult> {
    this.#debt = null;
    const count = debt.commands.length;
    let result: FlightResult;
    try {
      result = await this.#send([...debt.commands, ...own]);
    } catch (error) {
      const { message, server, completed } = error as ConnectionLost;
      if (completed >= count) debt.resolve({ results: [], error: null, status: 'I' });
      else debt.reject(new ConnectionLost(message, server, completed));
      throw new ConnectionLost(message, server, Math.max(0, completed - count));
    }
    if (result.error === null || result.results.length >= count) {
      debt.resolve({ results: result.results.slice(0, count), error: null, status: 'I' });
      return { ...result, results: result.results.slice(count) };
    }
    debt.resolve(result);
    if (result.status === 'I') return await this.#send(own);
    const again = await this.#send([ROLLBACK, ...own]);
    return { ...again, results: again.results.slice(1) };
  }

  #send(commands: readonly Command[]): Promise<FlightResult> {
    return new Promise((resolve, reject) => {
      if (this.closed) {
        reject(new ConnectionLost('the connection was closed', this.#fatal));
        return;
      }
      if (this.#flight !== null) throw new Error('a flight is under way in this session');
      this.#flight = {
        commands,
        results: [],
        error: null,
        fields: null,
        rows: [],
        bytes: 0,
        resolve,
        reject,
      };
      const buffers = commands.map(encodeCommand);
      buffers.push(SYNC);
      this.#socket.write(Buffer.concat(buffers));
    });
  }

  /** Ends the session: politely when idle, at once otherwise. */
  close(): void {
    if (this.closed) return;
    if (this.#flight === null) {
      this.#socket.end(TERMINATE);
      this.#end('the session was closed');
      setTimeout(() => this.#socket.destroy(), 1000).unref();
    } else {
      this.#socket.destroy();
      this.#end('the session was closed');
    }
  }

  #end(reason: string): void {
    this.closed = true;
    const completed = this.#flight?.results.length ?? 0;
    const lost = new ConnectionLost(this.#fatal?.message ?? reason, this.#fatal, completed);
    this.#ready?.reject(lost);
    this.#ready = null;
    const flight = this.#flight;
    this.#flight = null;
    flight?.reject(lost);
    this.#debt?.reject(lost);
    this.#debt = null;
    const listener = this.#onClose;
    this.#onClose = null;
    listener?.();
  }

  /** Collects whole messages; a long one is put together once, when all of it is there. */
  #receive(chunk: Buffer): void {
    let buffer = chunk;
    if (this.#length > 0) {
      this.#parts.push(chunk);
      this.#length += chunk.length;
      if (this.#length < this.#needed) return;
      buffer = Buffer.concat(this.#parts, this.#length);
      this.#parts = [];
      this.#length = 0;
    }
    let at = 0;
    while (buffer.length - at >= 5 && !this.closed) {
      const end = at + 1 + buffer.readInt32BE(at + 1);
      if (!this.#withinLimit(end - at)) return;
      if (end > buffer.length) break;
      this.#message(buffer[at] as number, buffer, at + 5, end);
      at = end;
    }
    if (at < buffer.length && !this.closed) {
      const left = at === 0 ? buffer : buffer.subarray(at);
      this.#parts = [left];
      this.#length = left.length;
      this.#needed = left.length >= 5 ? 1 + left.readInt32BE(1) : 5;
    }
  }

  /** A result is kept in memory, in a column and in what refers to it: it must not take the process with it. */
  #withinLimit(messageBytes: number): boolean {
    if (messageBytes + (this.#flight?.bytes ?? 0) <= MAX_RESULT_BYTES) return true;
    this.#refuse({
      severity: 'ERROR',
      code: '54000',
      message: `the result of a durable step is larger than ${MAX_RESULT_BYTES / 1024 / 1024} MiB`,
      detail: undefined,
      hint: 'Keep large results in a table, or return less: a LIMIT, fewer columns, an aggregate.',
      position: undefined,
      where: undefined,
    });
    return false;
  }

  #message(type: number, buffer: Buffer, start: number, end: number): void {
    const flight = this.#flight;
    switch (type) {
      case 0x44: // D: DataRow
        if (flight !== null && flight.commands[flight.results.length]?.rows === true) {
          flight.rows.push(dataRow(buffer, start));
          flight.bytes += end - start;
        }
        return;
      case 0x54: // T: RowDescription
        if (flight !== null) flight.fields = rowDescription(buffer, start);
        return;
      case 0x43: // C: CommandComplete
        this.#complete(buffer.toString('utf8', start, end - 1));
        return;
      case 0x49: // I: EmptyQueryResponse
        this.#complete('');
        return;
      case 0x45: // E: ErrorResponse
        this.#error(serverError(buffer, start, end));
        return;
      case 0x5a: // Z: ReadyForQuery
        if (this.#ready !== null) {
          this.#ready.resolve();
          this.#ready = null;
        } else if (flight !== null) {
          this.#flight = null;
          flight.resolve({
            results: flight.results,
            error: flight.error,
            status: String.fromCharCode(buffer[start] as number) as 'I' | 'T' | 'E',
          });
        }
        return;
      case 0x4b: // K: BackendKeyData
        this.cancelKey = Buffer.from(buffer.subarray(start, end));
        return;
      case 0x53: // S: ParameterStatus
        this.#parameter(buffer, start, end);
        return;
      case 0x47: // G: CopyInResponse. The Sync behind it is swallowed by the copy: only a new session is clean again
        this.#refuse(copyRefused('COPY FROM STDIN'));
        return;
      case 0x48: // H: CopyOutResponse. There is nobody to read it
        this.#refuse(copyRefused('COPY TO STDOUT'));
        return;
      default:
        return; // ParseComplete, BindComplete, NoData, notices, notifications
    }
  }

  /** Ends the session at once: what else has come, be it in the same chunk, counts no more. */
  #refuse(error: ServerError): void {
    this.#fatal = error;
    this.#socket.destroy();
    this.#end(error.message);
  }

  #parameter(buffer: Buffer, start: number, end: number): void {
    const [name, value] = buffer.toString('latin1', start, end).split('\0');
    if (name === 'client_encoding') this.encoding = value as string;
  }

  #complete(tag: string): void {
    const flight = this.#flight;
    if (flight === null) return;
    flight.results.push({ fields: flight.fields, rows: flight.rows, tag });
    flight.fields = null;
    flight.rows = [];
  }

  #error(error: ServerError): void {
    if (error.severity === 'FATAL' || error.severity === 'PANIC') this.#fatal = error;
    else if (this.#flight !== null) this.#flight.error ??= error;
  }
}

function copyRefused(what: string): ServerError {
  return {
    severity: 'ERROR',
    code: '0A000',
    message: `${what} is not possible in a durable step`,
    detail: undefined,
    hint: 'A step has no client to copy from or to: use INSERT, SELECT, or COPY with a file on the server.',
    position: undefined,
    where: undefined,
  };
}

function dataRow(buffer: Buffer, start: number): Array<string | null> {
  const count = buffer.readUInt16BE(start);
  const row: Array<string | null> = new Array(count);
  let at = start + 2;
  for (let i = 0; i < count; i += 1) {
    const length = buffer.readInt32BE(at);
    at += 4;
    if (length < 0) {
      row[i] = null;
    } else {
      row[i] = buffer.toString('utf8', at, at + length);
      at += length;
    }
  }
  return row;
}

function rowDescription(buffer: Buffer, start: number): Field[] {
  const count = buffer.readUInt16BE(start);
  const fields: Field[] = [];
  let at = start + 2;
  for (let i = 0; i < count; i += 1) {
    const stop = buffer.indexOf(0, at);
    fields.push({
      name: buffer.toString('utf8', at, stop),
      type: buffer.readUInt32BE(stop + 7),
      modifier: buffer.readInt32BE(stop + 13),
    });
    at = stop + 19;
  }
  return fields;
}

/** The fields of an ErrorResponse. Source: protocol chapter "Error and Notice Message Fields". */
export function serverError(buffer: Buffer, start: number, end: number): ServerError {
  const fields = new Map<string, string>();
  for (let at = start; at < end && buffer[at] !== 0; ) {
    const stop = buffer.indexOf(0, at + 1);
    fields.set(String.fromCharCode(buffer[at] as number), buffer.toString('utf8', at + 1, stop));
    at = stop + 1;
  }
  return {
    severity: fields.get('V') ?? fields.get('S') ?? 'ERROR',
    code: fields.get('C') ?? 'XX000',
    message: fields.get('M') ?? 'unknown error',
    detail: fields.get('D'),
    hint: fields.get('H'),
    position: fields.get('P'),
    where: fields.get('W'),
  };
}
