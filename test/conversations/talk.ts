import type pg from 'pg';
import { LoginError } from '../../src/upstream/login.js';
import { Backend } from '../../src/wire/codes.js';
import { FieldCode, fieldText, readFields, writeFields } from '../../src/wire/fields.js';
import { readParameterStatus } from '../../src/wire/parameter-status.js';
import { cancelPacket } from '../../src/wire/startup.js';
import { Dice } from '../chaos/dice.js';
import { close, describe, parse, query, sync, terminate } from '../support/frontend.js';
import { open, RawClient, readToEnd, type ServerMessage } from '../support/raw-client.js';
import type { Conversation, Step } from './conversation.js';

/** Where a conversation is held. */
export interface Side {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  /** Another session in the same database, for notifications. */
  readonly other: pg.Client;
  /** Longest wait for anything, milliseconds. */
  readonly patienceMs?: number;
}

/** What the server said, turn by turn; the first entry is the login. */
export type Transcript = ServerMessage[][];

/** Longest wait for anything, milliseconds, unless a side has its own: what takes longer hangs. */
const PATIENCE_MS = 10_000;

/**
 * Answered by `31tnZ` in every state of a session, also in a failed transaction, behind an error and after a copy;
 * no generated message is answered like that. The empty query takes the error XX000 that the server has for the first
 * message behind an Execute, a Query and a Sync.
 */
const FENCE = [sync, query(''), close('S', 'fence'), parse('', 'fence'), describe('S', 'fence'), sync];
const FENCE_ANSWER = '31tnZ';
/** Come when they like. */
const ASYNCHRONOUS = new Set(['A', 'N', 'S']);

/** Holds the conversation and writes down what the server says. */
export async function talk(side: Side, conversation: Conversation): Promise<Transcript> {
  const client = await RawClient.authenticate({
    host: side.host,
    port: side.port,
    user: side.user,
    password: side.password,
    database: side.database,
    parameters: { ...conversation.startup },
    protocol: conversation.protocol,
  }).catch(refusal);
  if (!(client instanceof RawClient)) return [[client]];
  const reached = (condition: () => boolean, what: string) =>
    patiently(client, condition, what, side.patienceMs ?? PATIENCE_MS);
  const transcript: Transcript = [];
  const dice = new Dice(conversation.number);
  try {
    await reached(() => client.count('Z') > 0 || client.closed, 'the end of the login');
    transcript.push(client.messages.map(normalised));
    if (client.closed) return transcript;
    const key = client.key();
    for (const turn of conversation.turns) {
      client.forget();
      for (const step of turn.steps) {
        if (client.closed) break;
        const from = client.messages.length;
        await send(client, step, conversation.pieces, dice);
        if (step.wait !== undefined) await answered(client, step.wait, from, reached);
        if (step.act === 'cancel') await cancel(side, key);
        if (step.act === 'notify') await notify(side, client, from, reached);
      }
      await fence(client, reached);
      transcript.push(client.messages.map(normalised));
      if (client.closed) return transcript;
    }
    client.forget();
    client.socket.end(terminate);
    await reached(() => client.closed, 'the close');
    transcript.push(client.messages.map(normalised));
    return transcript;
  } catch (error) {
    // A difference like any other: what came is compared, and shows where it stopped.
    transcript.push([
      ...client.messages.map(normalised),
      { type: '!', body: Buffer.from((error as Error).message) },
    ]);
    return transcript;
  } finally {
    client.socket.destroy();
  }
}

/** The error with which the server has ended a login. @throws what is none */
function refusal(error: unknown): ServerMessage {
  if (!(error instanceof LoginError) || error.raw === undefined) throw error;
  return { type: String.fromCharCode(error.raw[0]!), body: error.raw.subarray(5) };
}

async function send(client: RawClient, step: Step, pieces: number, dice: Dice): Promise<void> {
  const bytes = Buffer.concat(step.send);
  if (bytes.length === 0) return;
  // Large bytes in tiny pieces are slow and show nothing more.
  const size = Math.max(pieces, Math.ceil(bytes.length / 400));
  if (pieces === 0) client.send(bytes);
  else await client.sendInChunks(bytes, () => dice.between(1, size));
}

async function answered(client: RawClient, wait: string, from: number, reached: Reached): Promise<void> {
  if (client.count('E') > 0) return;
  const due = () => client.messages.slice(from).some((each) => each.type === 'E' || wait.includes(each.type));
  await reached(() => due() || client.closed, `one of ${wait}`);
}

async function fence(client: RawClient, reached: Reached): Promise<void> {
  if (client.closed) return;
  const from = client.messages.length;
  client.send(...FENCE);
  const passed = () => {
    if (client.messages.at(-1)?.type !== 'Z' && client.messages.at(-1)?.type !== 'A') return false;
    const types = client.messages
      .slice(from)
      .map((each) => each.type)
      .filter((type) => !ASYNCHRONOUS.has(type))
      .join('');
    return types.endsWith(FENCE_ANSWER);
  };
  await reached(() => passed() || client.closed, 'the fence');
}

/** Settled when the server has closed, so that the signal has been sent. */
async function cancel(side: Side, key: Buffer): Promise<void> {
  const socket = await open(side.host, side.port);
  socket.write(cancelPacket(key));
  await readToEnd(socket, PATIENCE_MS);
  socket.destroy();
}

async function notify(side: Side, client: RawClient, from: number, reached: Reached): Promise<void> {
  const known = client.count('A');
  await side.other.query("NOTIFY outside, 'from another session'");
  // A session in a transaction hears of it at the end of that.
  const said = client.messages.slice(from);
  const idle = said.findLast((each) => each.type === 'Z')?.body[0] === 0x49;
  const listens = said.some((each) => each.type === 'C' && each.body.toString() === 'LISTEN\0');
  if (idle && listens) await reached(() => client.count('A') > known || client.closed, 'A');
}

/** Waits for a condition that only the arrival of bytes or the close can make true. */
type Reached = (condition: () => boolean, what: string) => Promise<void>;

function patiently(
  client: RawClient,
  condition: () => boolean,
  what: string,
  patienceMs: number,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (error?: Error) => {
      clearTimeout(timer);
      client.socket.off('data', look);
      client.socket.off('close', look);
      if (error === undefined) resolve();
      else reject(error);
    };
    // The client's own listeners are older and have run when ours does.
    const look = () => {
      if (condition()) settle();
    };
    const timer = setTimeout(
      () => settle(new Error(`hung: waited ${patienceMs} ms for ${what}`)),
      patienceMs,
    );
    client.socket.on('data', look);
    client.socket.on('close', look);
    look();
  });
}

/**
 * Leaves out what must differ: process ids and cancel keys; search_path, which makes the operators known to the
 * session that has no proxy; and of a cancelled statement the place where it was.
 */
function normalised(message: ServerMessage): ServerMessage {
  const { type, body } = message;
  switch (type.charCodeAt(0)) {
    case Backend.BackendKeyData:
      return { type, body: Buffer.alloc(body.length) };
    case Backend.NotificationResponse:
      return { type, body: body.subarray(4) };
    case Backend.ParameterStatus: {
      const whole = Buffer.concat([Buffer.alloc(5), body]);
      const status = readParameterStatus(whole, 0, whole.length);
      return status?.name === 'search_path' ? { type, body: Buffer.from('search_path\0\0') } : message;
    }
    case Backend.ErrorResponse: {
      const fields = readFields(body);
      if (fieldText(fields, FieldCode.Code) !== '57014') return message;
      return { type, body: writeFields(fields.filter((each) => each.code !== FieldCode.Where)) };
    }
    default:
      return message;
  }
}
