/** A client that costs next to nothing: fixed bytes out, ReadyForQuery counted in. So the server and the proxy are measured, not the client. */
import { encodeCommand, SYNC } from '../src/upstream/command.js';
import { dial } from '../src/upstream/dial.js';
import { login } from '../src/upstream/login.js';
import { startupPacket } from '../src/wire/startup.js';

export interface LeanClient {
  /** Sends the bytes and resolves when the server is ready again. */
  ask(bytes: Buffer): Promise<void>;
  /** Sends the bytes; resolves at once, or when there is room for more. */
  send(bytes: Buffer): Promise<void> | undefined;
  close(): void;
}

export async function leanClient(url: string): Promise<LeanClient> {
  const { hostname, port, username, password, pathname } = new URL(url);
  const { socket } = await dial({ host: hostname, port: Number(port) }, 10_000);
  const user = decodeURIComponent(username);
  const { rest } = await login({
    socket,
    startup: startupPacket({ user, database: decodeURIComponent(pathname.slice(1)) }),
    user,
    answer: async () => ({ password: decodeURIComponent(password) }),
  });
  let ready: () => void = () => {};
  const first = new Promise<void>((resolve) => {
    ready = resolve;
  });
  // an answer is complete when what has come ends in ReadyForQuery; every request here has exactly one
  const seen = (chunk: Buffer): void => {
    const at = chunk.length - 6;
    if (at >= 0 && chunk[at] === 0x5a && chunk.readInt32BE(at + 1) === 5) ready();
  };
  socket.on('data', seen);
  socket.resume();
  if (rest.length > 0) seen(rest);
  await first;
  return {
    ask: (bytes) =>
      new Promise((resolve) => {
        ready = resolve;
        socket.write(bytes);
      }),
    send: (bytes) => {
      if (socket.write(bytes)) return undefined;
      return new Promise((resolve) => {
        socket.once('drain', resolve);
      });
    },
    close: () => socket.destroy(),
  };
}

/** COPY FROM STDIN of so many equal lines, a message each, as libpq sends them. */
export async function copyIn(client: LeanClient, sql: string, line: Buffer, lines: number): Promise<void> {
  const data = Buffer.alloc(5 + line.length);
  data[0] = 0x64;
  data.writeInt32BE(line.length + 4, 1);
  line.copy(data, 5);
  const perBatch = 64;
  const batch = Buffer.concat(Array.from({ length: perBatch }, () => data));
  await client.send(query(sql));
  for (let sent = 0; sent < lines; sent += perBatch) await client.send(batch);
  await client.ask(Buffer.from([0x63, 0, 0, 0, 4]));
}

/** A Query message. */
export function query(sql: string): Buffer {
  const bytes = Buffer.alloc(1 + 4 + Buffer.byteLength(sql) + 1);
  bytes[0] = 0x51;
  bytes.writeInt32BE(bytes.length - 1, 1);
  bytes.write(sql, 5);
  return bytes;
}

/** Parse of a named statement, and the Bind, Describe, Execute and Sync that run it, as drivers do. */
export function prepared(sql: string, parameter: string): { readonly parse: Buffer; readonly run: Buffer } {
  const name = Buffer.from('bench\0');
  const parse = Buffer.from(encodeCommand({ sql, parameters: [] }));
  const body = Buffer.concat([name, Buffer.from(`${sql}\0`), Buffer.from([0, 0])]);
  const head = Buffer.alloc(5);
  head[0] = parse[0] as number;
  head.writeInt32BE(body.length + 4, 1);
  const value = Buffer.from(parameter);
  const length = Buffer.alloc(4);
  length.writeInt32BE(value.length);
  const bind = Buffer.concat([
    Buffer.from([0]),
    name,
    Buffer.from([0, 0, 0, 1]),
    length,
    value,
    Buffer.from([0, 0]),
  ]);
  const bindHead = Buffer.alloc(5);
  bindHead[0] = 0x42;
  bindHead.writeInt32BE(bind.length + 4, 1);
  const describe = Buffer.from([0x44, 0, 0, 0, 6, 0x50, 0]);
  const execute = Buffer.from([0x45, 0, 0, 0, 9, 0, 0, 0, 0, 0]);
  return {
    parse: Buffer.concat([head, body, SYNC]),
    run: Buffer.concat([bindHead, bind, describe, execute, SYNC]),
  };
}
