import type { Socket } from 'node:net';
import { Dice } from '../chaos/dice.js';
import { query, terminate } from '../support/frontend.js';
import { ipv4Header } from '../support/proxy-header.js';
import { RawClient } from '../support/raw-client.js';
import { badEntrance, type Door, enter, goodHeader, isProxied, reach, someWay } from './entrance.js';
import { afterLogin, beforeLogin, type Identity } from './inputs.js';

/** Where the proxy is, and who may log in there. */
export interface Target extends Identity, Door {
  /** login_timeout of the proxy, milliseconds. */
  readonly loginTimeoutMs: number;
  /**
   * The longest that a connection may stay once its client has closed its side, or once the login has taken all of its
   * time, milliseconds: statements that are under way (their time-out), two seconds for the last words, and a slow machine.
   */
  readonly patienceMs: number;
}

/** What happened in a batch. */
export interface Tally {
  /** Malformed inputs: one for a connection that is not logged in, otherwise each message with something wrong. */
  inputs: number;
  connections: number;
  /** Connections that were encrypted, came with a PROXY header, were left open by the client. */
  encrypted: number;
  proxied: number;
  left: number;
  /** What was written, in hexadecimal, by clients for whom nothing ended the connection within its time. */
  hung: string[];
}

/** How long a client waits for an answer before it sends on, milliseconds. */
const NEXT_MS = 5;
/** The same where what it sends next depends on the answer. */
const ANSWER_MS = 1_000;

/** Connections side by side. */
const WIDTH = 8;
/** One in so many clients that have not logged in keeps its connection open and says no more. */
const STAYS = 20;

/** Sends malformed inputs until there have been as many, the time is over, or a connection has hung. */
export async function batch(
  target: Target,
  seed: number,
  inputs: number,
  deadline = Number.POSITIVE_INFINITY,
): Promise<Tally> {
  const tally: Tally = { inputs: 0, connections: 0, encrypted: 0, proxied: 0, left: 0, hung: [] };
  const dice = new Dice(seed);
  const staying: Promise<void>[] = [];
  const lane = async () => {
    while (tally.inputs < inputs && Date.now() < deadline && tally.hung.length === 0) {
      tally.connections++;
      const own = dice.fork();
      const stage = own.between(0, 15);
      if (stage < 4) await talkNonsense(target, own, seed, tally);
      else if (stage < 7) await enterBadly(target, own, tally, staying);
      else await openBadly(target, own, tally, staying);
    }
  };
  await Promise.all(Array.from({ length: WIDTH }, lane));
  await Promise.all(staying);
  return tally;
}

/** Something wrong before the first start-up packet. */
async function enterBadly(target: Target, dice: Dice, tally: Tally, staying: Promise<void>[]): Promise<void> {
  const proxied = isProxied(dice, target);
  const writes = await badEntrance(dice, proxied);
  tally.inputs++;
  if (proxied) tally.proxied++;
  const client = new Listener(await reach(target, proxied));
  for (const bytes of writes) {
    await write(client.socket, bytes, dice);
    await client.answer(NEXT_MS);
  }
  await part(target, client, writes, dice, tally, staying);
}

/** Something wrong between the first start-up packet and the end of the login. */
async function openBadly(target: Target, dice: Dice, tally: Tally, staying: Promise<void>[]): Promise<void> {
  const writes = beforeLogin(dice, target);
  tally.inputs++;
  const socket = await entered(target, dice, tally, goodHeader);
  if (socket === undefined) return;
  const client = new Listener(socket);
  const said: Buffer[] = [];
  for (const [i, each] of writes.entries()) {
    if (client.socket.destroyed) break;
    const bytes = Buffer.isBuffer(each) ? each : await each(client.all());
    said.push(bytes);
    client.forgetAnswer();
    await write(client.socket, bytes, dice);
    await client.answer(typeof writes[i + 1] === 'function' ? ANSWER_MS : NEXT_MS);
  }
  await part(target, client, said, dice, tally, staying);
}

/** A good login, and then nonsense. */
async function talkNonsense(target: Target, dice: Dice, seed: number, tally: Tally): Promise<void> {
  // No password is asked for behind an address that is not the machine's own, unless there is TLS.
  const socket = await entered(target, dice, tally, () => ipv4Header('127.0.0.1'));
  if (socket === undefined) return;
  const client = await loggedIn(target, socket);
  if (client === undefined) {
    tally.hung.push('(a good login)');
    return;
  }
  client.counting = true;
  const said: Buffer[] = [];
  for (const { bytes, malformed } of afterLogin(dice, seed)) {
    if (client.closed || client.ended) break;
    if (malformed) tally.inputs++;
    said.push(bytes);
    await write(client.socket, bytes, dice);
  }
  await leave(target, client.socket, said, dice, tally);
}

/** Undefined where the login does not come to its end. @throws where it is refused */
async function loggedIn(target: Target, socket: Socket): Promise<RawClient | undefined> {
  let hung = false;
  const timer = setTimeout(() => {
    hung = true;
    socket.destroy();
  }, target.loginTimeoutMs + target.patienceMs);
  try {
    return await RawClient.login({ ...target, socket });
  } catch (error) {
    if (hung) return undefined;
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** As far as a start-up packet; undefined, and noted, where that hangs. */
async function entered(
  target: Target,
  dice: Dice,
  tally: Tally,
  makeHeader: (dice: Dice) => Buffer,
): Promise<Socket | undefined> {
  const way = someWay(dice, target);
  const header = isProxied(dice, target) ? makeHeader(dice) : undefined;
  if (way !== 'plain') tally.encrypted++;
  if (header !== undefined) tally.proxied++;
  const socket = await enter(target, way, header, target.loginTimeoutMs + target.patienceMs);
  if (socket === undefined) tally.hung.push(`(${way})`);
  return socket;
}

/** Keeps what the proxy says before a login. */
class Listener {
  readonly socket: Socket;
  readonly #said: Buffer[] = [];
  #answered = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#said.push(chunk);
      this.#answered = true;
    });
  }

  all(): Buffer {
    return Buffer.concat(this.#said);
  }

  /** What comes from now on is an answer. */
  forgetAnswer(): void {
    this.#answered = false;
  }

  /** Waits for something to come, the close, or the time. */
  answer(ms: number): Promise<void> {
    if (this.#answered || this.socket.closed) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.socket.off('data', done);
        this.socket.off('close', done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.socket.on('data', done);
      this.socket.on('close', done);
    });
  }

  /** The login has come to its end: this is a session. */
  loggedIn(): boolean {
    return this.all().includes(READY);
  }
}

/** ReadyForQuery, idle. */
const READY = Buffer.from('5a0000000549', 'hex');

async function write(socket: Socket, bytes: Buffer, dice: Dice): Promise<void> {
  const size = dice.once(5) ? Math.ceil(bytes.length / dice.between(2, 30)) : bytes.length;
  for (let at = 0; at < bytes.length && !socket.destroyed; at += size) {
    socket.write(bytes.subarray(at, at + size));
    if (size < bytes.length) await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Leaves, or stays beside those that come later. */
async function part(
  target: Target,
  client: Listener,
  said: Buffer[],
  dice: Dice,
  tally: Tally,
  staying: Promise<void>[],
): Promise<void> {
  if (!dice.once(STAYS)) return await leave(target, client.socket, said, dice, tally);
  tally.left++;
  staying.push(stay(target, client, said, tally));
}

/** Says no more and closes nothing: the proxy ends it, unless it has become a session. */
async function stay(target: Target, client: Listener, said: Buffer[], tally: Tally): Promise<void> {
  if (
    !(await closedWithin(client.socket, target.loginTimeoutMs + target.patienceMs, () => client.loggedIn()))
  ) {
    tally.hung.push(`(stayed open) ${shown(said)}`);
  }
  if (client.socket.closed) return;
  client.socket.end(terminate);
  if (!(await closedWithin(client.socket, target.patienceMs))) client.socket.destroy();
}

/**
 * Ends the connection in one of the ways in which clients do: without a look at what comes (which resets it if
 * anything does), or politely. resetAndDestroy is no third: a socket whose write fails meanwhile stays open for ever
 * (seen with Node 20), which would be counted as the proxy's.
 */
async function leave(
  target: Target,
  socket: Socket,
  said: Buffer[],
  dice: Dice,
  tally: Tally,
): Promise<void> {
  if (dice.once(2)) {
    socket.destroy();
  } else {
    socket.resume();
    socket.end();
  }
  if (!(await closedWithin(socket, target.patienceMs))) {
    tally.hung.push(shown(said));
    socket.destroy();
    await closedWithin(socket, target.patienceMs);
  }
}

function shown(said: readonly Buffer[]): string {
  return said
    .map((each) => each.toString('hex'))
    .join(' ')
    .slice(0, 4_000);
}

/** @param or what ends the wait as well, asked again and again */
function closedWithin(socket: Socket, ms: number, or: () => boolean = () => false): Promise<boolean> {
  if (socket.closed) return Promise.resolve(true);
  return new Promise((resolve) => {
    const settle = (closed: boolean) => {
      clearTimeout(timer);
      clearInterval(asking);
      resolve(closed);
    };
    const timer = setTimeout(() => settle(false), ms);
    const asking = setInterval(() => or() && settle(true), 100);
    socket.once('close', () => settle(true));
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
