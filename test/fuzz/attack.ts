import type { Socket } from 'node:net';
import { Dice } from '../chaos/dice.js';
import { query } from '../support/frontend.js';
import { open, RawClient } from '../support/raw-client.js';
import { afterLogin, beforeLogin, type Identity } from './inputs.js';

/** Where the proxy is, and who may log in there. */
export interface Target extends Identity {
  readonly host: string;
  readonly port: number;
}

/** What happened in a batch. */
export interface Tally {
  /** Malformed inputs: one for a connection that is not logged in, one a message after the login. */
  inputs: number;
  connections: number;
  /** What was written, in hexadecimal, by clients for whom nothing ended the connection within PATIENCE_MS. */
  patient: string[];
}

/** After its last byte a client waits this long for the end, milliseconds. */
const PATIENCE_MS = 3_000;
/** How long a client waits for an answer before it sends on, milliseconds. */
const NEXT_MS = 5;

/** Connections side by side. */
const WIDTH = 8;

/** Sends malformed inputs until there have been as many, or the time is over. */
export async function batch(
  target: Target,
  seed: number,
  inputs: number,
  deadline = Number.POSITIVE_INFINITY,
): Promise<Tally> {
  const tally: Tally = { inputs: 0, connections: 0, patient: [] };
  const dice = new Dice(seed);
  const lane = async () => {
    while (tally.inputs < inputs && Date.now() < deadline) {
      tally.connections++;
      const own = dice.fork();
      if (own.once(4)) await talkNonsense(target, own, seed, tally);
      else await openBadly(target, own, tally);
    }
  };
  await Promise.all(Array.from({ length: WIDTH }, lane));
  return tally;
}

async function openBadly(target: Target, dice: Dice, tally: Tally): Promise<void> {
  const writes = beforeLogin(dice, target);
  tally.inputs++;
  const socket = await open(target.host, target.port);
  for (const bytes of writes) {
    if (socket.destroyed) break;
    await write(socket, bytes, dice);
    await answerOr(socket, NEXT_MS);
  }
  await leave(socket, writes, dice, tally);
}

async function talkNonsense(target: Target, dice: Dice, seed: number, tally: Tally): Promise<void> {
  const client = await RawClient.login(target);
  client.counting = true;
  const said: Buffer[] = [];
  for (const bytes of afterLogin(dice, seed)) {
    if (client.closed || client.ended) break;
    tally.inputs++;
    said.push(bytes);
    await write(client.socket, bytes, dice);
  }
  await leave(client.socket, said, dice, tally);
}

async function write(socket: Socket, bytes: Buffer, dice: Dice): Promise<void> {
  const size = dice.once(5) ? Math.ceil(bytes.length / dice.between(2, 30)) : bytes.length;
  for (let at = 0; at < bytes.length && !socket.destroyed; at += size) {
    socket.write(bytes.subarray(at, at + size));
    if (size < bytes.length) await new Promise((resolve) => setImmediate(resolve));
  }
}

/**
 * Ends the connection in one of the ways in which clients do: without a look at what comes (which resets it if
 * anything does), or politely. resetAndDestroy is no third: a socket whose write fails meanwhile stays open for ever
 * (seen with Node 20), which would be counted as the proxy's.
 */
async function leave(socket: Socket, said: Buffer[], dice: Dice, tally: Tally): Promise<void> {
  if (dice.once(2)) {
    socket.destroy();
  } else {
    socket.resume();
    socket.end();
  }
  if (!(await closedWithin(socket, PATIENCE_MS))) {
    tally.patient.push(
      said
        .map((each) => each.toString('hex'))
        .join(' ')
        .slice(0, 4_000),
    );
    socket.destroy();
    await closedWithin(socket, PATIENCE_MS);
  }
}

function closedWithin(socket: Socket, ms: number): Promise<boolean> {
  if (socket.closed) return Promise.resolve(true);
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), ms);
    socket.once('close', () => {
      clearTimeout(timer);
      resolve(true);
    });
  });
}

function answerOr(socket: Socket, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      socket.off('data', done);
      socket.off('close', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    socket.once('data', done);
    socket.once('close', done);
  });
}

/** An ordinary session, with and without an operator of df. @throws if anything is not as always */
export async function ordinarySession(target: Target): Promise<void> {
  const client = await RawClient.login(target);
  client.forget();
  client.send(query("SELECT 41 + 1, 'a' ~> 'b'"));
  await client.ready();
  if (client.types() !== 'TDCZ' || client.value() !== '42') {
    throw new Error(`an ordinary session got ${client.types()} ${client.error().message ?? ''}`);
  }
  await client.end();
}
