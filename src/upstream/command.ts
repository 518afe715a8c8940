/** One statement of a flight, and what comes of it. Source: protocol chapter "Extended Query". */

/** A bound parameter: text, binary (a Buffer), or NULL. */
export type Parameter = string | Buffer | null;

export interface Command {
  readonly sql: string;
  readonly parameters?: readonly Parameter[];
  /** Whether its rows and their description are wanted. */
  readonly rows?: boolean;
}

export interface Field {
  readonly name: string;
  /** OID of the type; a domain's is its base type's. */
  readonly type: number;
  /** Type modifier, -1 without one. */
  readonly modifier: number;
}

export interface CommandResult {
  /** null when rows were not wanted or the statement returns none. */
  readonly fields: readonly Field[] | null;
  readonly rows: ReadonlyArray<ReadonlyArray<string | null>>;
  /** Command tag, such as `INSERT 0 1`. */
  readonly tag: string;
}

const encoded = new Map<string, Buffer>();

/** The messages of one command: Parse, Bind, Describe where rows are wanted, Execute. Fixed texts are kept encoded. */
export function encodeCommand(command: Command): Buffer {
  if (command.parameters === undefined && command.rows !== true) {
    let bytes = encoded.get(command.sql);
    if (bytes === undefined) {
      bytes = encode(command);
      if (encoded.size < 64 && command.sql.length < 256) encoded.set(command.sql, bytes);
    }
    return bytes;
  }
  return encode(command);
}

/** Sync: ends a flight. */
export const SYNC = Buffer.from([0x53, 0, 0, 0, 4]);
/** Terminate: ends a session. */
export const TERMINATE = Buffer.from([0x58, 0, 0, 0, 4]);

function encode(command: Command): Buffer {
  const parameters = command.parameters ?? [];
  const sqlLength = Buffer.byteLength(command.sql);
  const parseLength = 4 + 1 + sqlLength + 1 + 2;
  let bindLength = 4 + 1 + 1 + 2 + parameters.length * 2 + 2 + 2;
  const lengths: number[] = [];
  for (const parameter of parameters) {
    const length =
      parameter === null
        ? -1
        : typeof parameter === 'string'
          ? Buffer.byteLength(parameter)
          : parameter.length;
    lengths.push(length);
    bindLength += 4 + Math.max(length, 0);
  }
  const describeLength = command.rows === true ? 7 : 0;
  const buffer = Buffer.allocUnsafe(1 + parseLength + 1 + bindLength + describeLength + 10);

  let at = header(buffer, 0, 0x50, parseLength);
  buffer[at] = 0;
  at += 1;
  at += buffer.write(command.sql, at, 'utf8');
  buffer[at] = 0;
  at = buffer.writeUInt16BE(0, at + 1);

  at = header(buffer, at, 0x42, bindLength);
  buffer[at] = 0;
  buffer[at + 1] = 0;
  at = buffer.writeUInt16BE(parameters.length, at + 2);
  for (const parameter of parameters) at = buffer.writeUInt16BE(Buffer.isBuffer(parameter) ? 1 : 0, at);
  at = buffer.writeUInt16BE(parameters.length, at);
  parameters.forEach((parameter, i) => {
    at = buffer.writeInt32BE(lengths[i] as number, at);
    if (typeof parameter === 'string') at += buffer.write(parameter, at, 'utf8');
    else if (parameter !== null) at += parameter.copy(buffer, at);
  });
  at = buffer.writeUInt16BE(0, at);

  if (command.rows === true) {
    at = header(buffer, at, 0x44, 6);
    buffer[at] = 0x50;
    buffer[at + 1] = 0;
    at += 2;
  }
  at = header(buffer, at, 0x45, 9);
  buffer[at] = 0;
  buffer.writeInt32BE(0, at + 1);
  return buffer;
}

function header(buffer: Buffer, at: number, type: number, length: number): number {
  buffer[at] = type;
  return buffer.writeInt32BE(length, at + 1);
}

const TEXT_OID = 25;
const FLOAT8_OID = 701;

/** A one-dimensional text[] in binary: nothing to escape, whatever the elements hold. */
export function textArray(elements: ReadonlyArray<string | null>): Buffer {
  let length = 20;
  for (const element of elements) length += 4 + (element === null ? 0 : Buffer.byteLength(element));
  const buffer = Buffer.allocUnsafe(elements.length === 0 ? 12 : length);
  let at = arrayHeader(buffer, elements, TEXT_OID);
  for (const element of elements) {
    if (element === null) {
      at = buffer.writeInt32BE(-1, at);
    } else {
      const written = buffer.write(element, at + 4, 'utf8');
      buffer.writeInt32BE(written, at);
      at += 4 + written;
    }
  }
  return buffer;
}

/** A one-dimensional float8[] in binary. */
export function floatArray(elements: ReadonlyArray<number | null>): Buffer {
  let length = 20;
  for (const element of elements) length += element === null ? 4 : 12;
  const buffer = Buffer.allocUnsafe(elements.length === 0 ? 12 : length);
  let at = arrayHeader(buffer, elements, FLOAT8_OID);
  for (const element of elements) {
    if (element === null) {
      at = buffer.writeInt32BE(-1, at);
    } else {
      at = buffer.writeInt32BE(8, at);
      at = buffer.writeDoubleBE(element, at);
    }
  }
  return buffer;
}

function arrayHeader(buffer: Buffer, elements: readonly unknown[], oid: number): number {
  let at = buffer.writeInt32BE(elements.length === 0 ? 0 : 1, 0);
  at = buffer.writeInt32BE(elements.includes(null) ? 1 : 0, at);
  at = buffer.writeInt32BE(oid, at);
  if (elements.length === 0) return at;
  at = buffer.writeInt32BE(elements.length, at);
  return buffer.writeInt32BE(1, at);
}
