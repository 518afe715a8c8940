/**
 * Does what SQL functions ask for outside of their callers' transactions (sql/013_launch.sql has the protocol, and why
 * a request can be believed).
 *
 * A request's states:
 * - *come*: read from the notice. It is taken on the desk, where it is proven, or dropped without a word: its caller,
 *   if there is one, hears nothing and says so himself.
 * - *waiting*: for a slot, first come, first served; at most `slots` launches are under way in all proxies together.
 *   Ends with a slot, with the time-out, or when the caller no longer waits.
 * - *running*: in a session of the caller's role. The transaction commits only if the caller still waits.
 * - *answered*: the answer lies ready until the caller has read it, or a second has passed.
 * - *settled*.
 *
 * When the desk's connection is lost, all requests are lost with it.
 */
import type pg from 'pg';
import type { Logger } from 'pino';
import type { PrivateNotice } from '../proxy/private-notice.js';
import {
  type Given,
  giveAnswer,
  NO_SLOT,
  NOBODY_WAITS,
  type Slot,
  settleAnswers,
  type Taken,
  takeRequest,
  takeSlot,
} from '../state/launch.js';
import type { SessionPool } from '../upstream/pool.js';
import { Desk, type DeskConnection } from './desk.js';
import { errands } from './errands.js';
import { type LaunchRequest, readRequest } from './request.js';
import { GONE, runErrand } from './run.js';

/** They may change at any time. */
export interface LaunchSettings {
  /** Launches at the same time, in all proxies of the database. */
  slots: number;
  /** How long a launch waits for a slot, milliseconds. */
  slotTimeoutMs: number;
}

export interface LauncherOptions {
  /** Connection settings of the admin role. */
  readonly admin: pg.ClientConfig;
  /** Sessions as callers' roles; as many as there are slots. */
  readonly sessions: SessionPool;
  readonly controlDatabase: string;
  readonly settings: LaunchSettings;
  /** Something was committed. */
  onCommitted(): void;
  readonly log: Logger;
}

/** Between two looks for a slot that another proxy has given back. */
const SLOT_POLL_MS = 100;
const BUSY_MS = 2;
/** Twice as long as a request can be taken after it was made, which `_df.launch_take` sees to. */
const FORGET_MS = 120_000;
/** A caller reads his answer at once; this is for one that is stopped. */
const UNREAD_MS = 1000;
const SETTLE_EVERY_MS = 5;
/** Requests that have not been taken yet: what comes beyond is dropped. */
const MAX_COME = 10_000;
/** Contents of all requests that are not settled, in bytes: likewise. Anybody can send some. */
const MAX_HELD_BYTES = 256 * 1024 * 1024;
/** What goes through the locks: one of them for two bytes. */
const MAX_ANSWER_BYTES = 1000;
/** Answers that lie ready at the same time, in bytes: locks are memory that all sessions of the server share. */
const MAX_READY_BYTES = 3000;

type Proven = Extract<Taken, { state: 'taken' }>;

interface Waiter {
  readonly waiting: string;
  readonly resolve: (slot: Slot) => void;
  readonly timer: NodeJS.Timeout;
  /** A slot is being taken for it: should its time be over meanwhile, what is found still counts. */
  served: boolean;
  over: boolean;
}

interface Answered {
  readonly seal: string;
  readonly waiting: string;
  readonly bytes: number;
  /** performance.now() */
  readonly until: number;
}

/** What hangs on one connection of the desk. */
class Round {
  readonly connection: DeskConnection;
  readonly held = new Set<Slot>();
  readonly answered = new Map<string, Answered>();
  waiters: Waiter[] = [];
  /** Room for answers, to be waited for. */
  blocked: Array<() => void> = [];
  readyBytes = 0;
  settling = false;
  poll: NodeJS.Timeout | undefined;
  lost = false;

  constructor(connection: DeskConnection) {
    this.connection = connection;
  }
}

export class Launcher {
  readonly #options: LauncherOptions;
  readonly #desk: Desk;
  #round: Round | null = null;
  #come = 0;
  #heldBytes = 0;
  /** Seals of requests that are not answered yet. */
  readonly #active = new Set<string>();
  readonly #used = new Used();
  readonly #running = new Set<Promise<void>>();
  #closed = false;

  constructor(options: LauncherOptions) {
    this.#options = options;
    this.#desk = new Desk(options.admin, options.log, () => this.#lose());
  }

  /** Resolves when requests can be taken, or cannot yet. */
  start(): Promise<void> {
    return this.#desk.start();
  }

  /** Takes no more requests, lets those end that run, and closes the connection on which callers see their answers. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const waiter of this.#round?.waiters.splice(0) ?? []) {
      clearTimeout(waiter.timer);
      waiter.resolve(NOBODY_WAITS);
    }
    await Promise.all(this.#running);
    await this.#desk.close();
    this.#lose();
  }

  /** A SQL function has asked for something, as anybody can: nothing of it is believed yet. */
  ask(notice: PrivateNotice): void {
    const request = readRequest(notice);
    const round = this.#currentRound();
    if (
      request === undefined ||
      round === null ||
      this.#closed ||
      this.#come >= MAX_COME ||
      this.#heldBytes + request.body.length > MAX_HELD_BYTES ||
      this.#active.has(request.seal) ||
      this.#used.has(request.seal)
    ) {
      this.#options.log.debug('a request was dropped');
      return;
    }
    this.#active.add(request.seal);
    this.#heldBytes += request.body.length;
    const running = this.#handle(request, round)
      .catch((error: unknown) => {
        this.#options.log.warn({ err: error }, 'a request was not answered');
        // what the session holds of it is not known
        round.connection.giveUp();
      })
      .finally(() => {
        this.#active.delete(request.seal);
        this.#heldBytes -= request.body.length;
        this.#running.delete(running);
      });
    this.#running.add(running);
  }

  #currentRound(): Round | null {
    const { connection } = this.#desk;
    if (connection === null) return null;
    if (this.#round?.connection !== connection) this.#round = new Round(connection);
    return this.#round;
  }

  #lose(): void {
    const round = this.#round;
    this.#round = null;
    if (round === null) return;
    round.lost = true;
    clearTimeout(round.poll);
    for (const waiter of round.waiters.splice(0)) {
      clearTimeout(waiter.timer);
      waiter.resolve(NOBODY_WAITS);
    }
    for (const go of round.blocked.splice(0)) go();
  }

  async #handle(request: LaunchRequest, round: Round): Promise<void> {
    const taken = await this.#take(request, round);
    if (taken.state !== 'taken') {
      this.#options.log.debug({ state: taken.state, pid: request.pid }, 'a request was dropped');
      return;
    }
    this.#used.add(request.seal);
    const slot = taken.slot === NO_SLOT ? await this.#wait(taken.waiting, round) : taken.slot;
    if (round.lost) return;
    const answer = slot === NOBODY_WAITS ? '-' : await this.#run(request, taken, slot);
    await this.#answer(round, { seal: request.seal, waiting: taken.waiting }, answer, slot);
  }

  async #take(request: LaunchRequest, round: Round): Promise<Taken> {
    this.#come += 1;
    try {
      const began = performance.now();
      for (;;) {
        const taken = await round.connection.inTurn(async (client) => {
          // who waits already goes first
          const slots = round.waiters.length > 0 ? 0 : this.#options.settings.slots;
          const answer = await takeRequest(client, request, slots, [...round.held]);
          if (answer.state === 'taken' && answer.slot >= 0) round.held.add(answer.slot);
          return answer;
        });
        if (taken.state !== 'busy' || performance.now() - began > UNREAD_MS) return taken;
        await new Promise((resolve) => setTimeout(resolve, BUSY_MS));
      }
    } finally {
      this.#come -= 1;
    }
  }

  /** @returns a slot; NO_SLOT when none became free in time; NOBODY_WAITS */
  #wait(waiting: string, round: Round): Promise<Slot> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        waiter.over = true;
        if (waiter.served) return;
        round.waiters = round.waiters.filter((one) => one !== waiter);
        resolve(NO_SLOT);
      }, this.#options.settings.slotTimeoutMs);
      const waiter: Waiter = { waiting, resolve, timer, served: false, over: false };
      round.waiters.push(waiter);
      this.#pollSlots(round);
    });
  }

  #pollSlots(round: Round): void {
    if (round.waiters.length === 0 || round.poll !== undefined || round.lost) return;
    round.poll = setTimeout(() => {
      round.poll = undefined;
      this.#serve(round);
    }, SLOT_POLL_MS);
  }

  /** Gives slots to those who wait, in order. */
  #serve(round: Round): void {
    void round.connection
      .inTurn(async (client) => {
        for (;;) {
          const [next] = round.waiters;
          if (next === undefined || round.lost) return;
          next.served = true;
          const slot = await takeSlot(client, next.waiting, this.#options.settings.slots, [...round.held]);
          next.served = false;
          if (slot === NO_SLOT && !next.over) return;
          if (slot >= 0) round.held.add(slot);
          if (round.waiters[0] === next) round.waiters.shift();
          clearTimeout(next.timer);
          next.resolve(slot);
        }
      })
      .catch(() => round.connection.giveUp())
      .finally(() => this.#pollSlots(round));
  }

  /** @returns `+` and what was asked for, or `-` and why there is none */
  async #run(request: LaunchRequest, { role, kind }: Proven, slot: Slot): Promise<string> {
    const { sessions, controlDatabase, settings, log } = this.#options;
    const errand = errands.get(kind);
    if (errand === undefined) return `-this proxy does not know how to ${kind}`;
    if (slot === NO_SLOT) {
      return errand.refused(
        `pg_durable: transaction_mode => 'new' launch limit reached (max_new_transaction_starts=${settings.slots}). Timed out after ${settings.slotTimeoutMs / 1000}s waiting for a launch slot before opening the loopback session.`,
      );
    }
    const outcome = await runErrand(sessions, {
      errand,
      role: { name: role, id: request.role },
      database: controlDatabase,
      body: request.body,
      about: request.about,
    });
    if (outcome === GONE) return '-';
    if (outcome.startsWith('+')) this.#options.onCommitted();
    else log.debug({ role, kind }, 'a launch failed');
    return outcome;
  }

  async #answer(
    round: Round,
    { seal, waiting }: { seal: string; waiting: string },
    text: string,
    slot: Slot,
  ): Promise<void> {
    const cut = atMost(text, MAX_ANSWER_BYTES);
    const bytes = Buffer.byteLength(cut);
    while (round.readyBytes + bytes > MAX_READY_BYTES && !round.lost) {
      await new Promise<void>((resolve) => round.blocked.push(resolve));
    }
    if (round.lost) return;
    round.readyBytes += bytes;
    await round.connection.inTurn((client) => giveAnswer(client, seal, cut, slot));
    round.held.delete(slot);
    round.answered.set(seal, { seal, waiting, bytes, until: performance.now() + UNREAD_MS });
    if (round.waiters.length > 0) this.#serve(round);
    this.#settle(round);
  }

  #settle(round: Round): void {
    if (round.settling) return;
    round.settling = true;
    setTimeout(() => {
      void this.#settleNow(round)
        .catch(() => round.connection.giveUp())
        .finally(() => {
          round.settling = false;
          if (round.answered.size > 0 && !round.lost) this.#settle(round);
        });
    }, SETTLE_EVERY_MS);
  }

  async #settleNow(round: Round): Promise<void> {
    if (round.lost) return;
    const now = performance.now();
    const given: Given[] = [...round.answered.values()].map(({ seal, waiting, until }) => {
      return { seal, waiting, late: until <= now };
    });
    for (const seal of await round.connection.inTurn((client) => settleAnswers(client, given))) {
      round.readyBytes -= round.answered.get(seal)?.bytes ?? 0;
      round.answered.delete(seal);
    }
    for (const go of round.blocked.splice(0)) go();
  }
}

/** Seals of requests that were genuine: each counts once. Those that are forgotten are too old to be taken again. */
class Used {
  #recent = new Set<string>();
  #older = new Set<string>();
  #since = performance.now();

  has(seal: string): boolean {
    return this.#recent.has(seal) || this.#older.has(seal);
  }

  add(seal: string): void {
    if (performance.now() - this.#since > FORGET_MS) {
      this.#older = this.#recent;
      this.#recent = new Set();
      this.#since = performance.now();
    }
    this.#recent.add(seal);
  }
}

/** The text, cut between two characters if it is longer. */
function atMost(text: string, bytes: number): string {
  const all = Buffer.from(text);
  if (all.length <= bytes) return text;
  let end = bytes - 3;
  while ((all[end]! & 0xc0) === 0x80) end -= 1;
  return `${all.toString('utf8', 0, end)}…`;
}
