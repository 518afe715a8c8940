import { Frontend } from '../../src/wire/codes.js';
import { cstring, int32, message } from '../../src/wire/message.js';

/** Messages of a client, as bytes. */

function int16(value: number): Buffer {
  const out = Buffer.alloc(2);
  out.writeInt16BE(value);
  return out;
}

const empty = Buffer.alloc(0);

export const query = (sql: string | Buffer): Buffer =>
  message(Frontend.Query, Buffer.concat([typeof sql === 'string' ? Buffer.from(sql) : sql, Buffer.alloc(1)]));

export const parse = (sql: string, name = '', types: number[] = []): Buffer =>
  message(
    Frontend.Parse,
    Buffer.concat([cstring(name), cstring(sql), int16(types.length), ...types.map(int32)]),
  );

/** @param values text as string, binary as Buffer */
export const bind = (
  values: (string | Buffer | null)[] = [],
  { portal = '', statement = '', binaryResult = false } = {},
): Buffer =>
  message(
    Frontend.Bind,
    Buffer.concat([
      cstring(portal),
      cstring(statement),
      int16(values.length),
      ...values.map((value) => int16(Buffer.isBuffer(value) ? 1 : 0)),
      int16(values.length),
      ...values.flatMap((value) => {
        if (value === null) return [int32(-1)];
        const bytes = Buffer.from(value as string);
        return [int32(bytes.length), bytes];
      }),
      int16(1),
      int16(binaryResult ? 1 : 0),
    ]),
  );

export const describe = (kind: 'S' | 'P', name = ''): Buffer =>
  message(Frontend.Describe, Buffer.concat([Buffer.from(kind), cstring(name)]));

export const execute = (portal = '', rows = 0): Buffer =>
  message(Frontend.Execute, Buffer.concat([cstring(portal), int32(rows)]));

export const close = (kind: 'S' | 'P', name = ''): Buffer =>
  message(Frontend.Close, Buffer.concat([Buffer.from(kind), cstring(name)]));

export const flush = message(Frontend.Flush, empty);
export const sync = message(Frontend.Sync, empty);
export const terminate = message(Frontend.Terminate, empty);
export const copyDone = message(Frontend.CopyDone, empty);
export const copyData = (data: string | Buffer): Buffer =>
  message(Frontend.CopyData, Buffer.from(data as string));
export const copyFail = (reason: string): Buffer => message(Frontend.CopyFail, cstring(reason));

/** Fast-path call with binary arguments. */
export const functionCall = (oid: number, args: Buffer[]): Buffer =>
  message(
    Frontend.FunctionCall,
    Buffer.concat([
      int32(oid),
      int16(1),
      int16(1),
      int16(args.length),
      ...args.flatMap((arg) => [int32(arg.length), arg]),
      int16(1),
    ]),
  );
