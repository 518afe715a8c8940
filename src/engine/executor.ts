/**
 * The executor: claims instances that are due, runs them, keeps its lease.
 *
 * States: new → running (start) → stopping (stop: claims no more, gives back what it holds) → stopped; running → paused
 * (pause: there is nothing to work on; what it holds is lost) → running (start). While running it
 * has an owner id in `_df.executors`; when a heartbeat finds that it was declared dead, it drops everything that it
 * holds (others have it, under new tokens) and enlists under a new id.
 *
 * What the database says it holds and it does not know of (the answer to a claim was lost, say) it gives back.
 *
 * Claims: at most one is under way. One is made when something may have become due (wake(), the poll, the next timer
 * in the database, an instance that has ended while more were due) and there is room: as many instances as there are
 * slots, and some more so that a slot that becomes free has work at once. Instances that only wait for an answer to a
 * request take no room. While more is due than there is room for, roles are served in turn; and for roles of which
 * nothing is held there is room when there is none for others.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import type { Outbound } from '../http/outbound.js';
import { type Claim, claim, type News, type Turn } from '../state/claim.js';
import { databaseTime } from '../state/clock.js';
import { httpPrivileges } from '../state/http-privilege.js';
import { enlist, heartbeat, resign } from '../state/lease.js';
import { isMissing } from '../state/missing.js';
import { roleState } from '../state/role.js';
import { readSignal } from '../state/signals.js';
import type { CredentialStore } from '../upstream/credentials.js';
import type { SessionPool } from '../upstream/pool.js';
import type { EngineContext, EngineSettings } from './context.js';
import { HttpPrivileges } from './http-privileges.js';
import { Instance } from './instance.js';
import { LoginWatch } from './login-watch.js';
import { Outbox } from './outbox.js';
import type { StepOperators } from './step-operators.js';

export interface ExecutorOptions {
  /** Connections of the admin role. */
  readonly database: Pool;
  readonly sessions: SessionPool;
  readonly credentials: CredentialStore;
  readonly settings: EngineSettings;
  readonly outbound: Outbound;
  readonly operators: StepOperators;
  readonly leaseMs: number;
  readonly pollMs: number;
  /** A statement has found nothing to work on: the schemas may be gone. */
  readonly onMissing?: () => void;
  readonly log: Logger;
}

/** A step that has run for this long shows as running. */
const MARK_AFTER_MS = 250;
const MARK_EVERY_MS = 100;
const MOST_AT_ONCE = 2 ** 20;
/** A claim whose answer was too much for the server, for this process or for the time that it may take is made smaller. */
const TOO_MUCH = /^(?:54|53|XX)/;
/** Between two claims while what is due is locked by others. */
const LOCKED_MS = 100;
/** Beyond the grace of a stop, for giving back what is held. */
const LAST_WRITES_MS = 2000;
/** Instances claimed beyond the slots, per slot. */
const AHEAD = 1;
/** And of roles of which nothing is held. */
const AHEAD_OF_OTHERS = 1;
/** Between two claims for such roles. */
const OTHERS_EVERY_MS = 25;

export class Executor {
  readonly #options: ExecutorOptions;
  readonly #context: EngineContext;
  readonly #outbox: Outbox;
  readonly #held = new Map<string, Instance>();
  #owner = randomUUID();
  #state: 'new' | 'running' | 'paused' | 'stopping' | 'stopped' = 'new';
  #claiming: Promise<void> | null = null;
  /** Tokens of the claim under way. */
  #offered: ReadonlySet<string> = new Set();
  #again = false;
  /** Called when a claim that begins after now has been answered. */
  #looks: Array<(hasLooked: boolean) => void> = [];
  /** More was due than there was room for, when it was last looked. */
  #more = false;
  /** Instances that one claim may bring, whatever room there is. */
  #atMost = MOST_AT_ONCE;
  /** Role (OID) up to which the last claim in turn has looked. */
  #after = 0;
  /** When roles of which nothing is held were looked for (performance.now). */
  #othersAt = 0;
  #timer: NodeJS.Timeout | null = null;
  /** When it goes off (performance.now). */
  #timerAt = Number.POSITIVE_INFINITY;
  #beat: NodeJS.Timeout | null = null;
  #beating: Promise<void> | null = null;
  #beatAgain = false;
  #marks: NodeJS.Timeout | null = null;
  readonly #watch: LoginWatch;
  #idle: (() => void) | null = null;
  /** Of those held, how many do nothing but wait for an answer to a request. */
  #away = 0;

  constructor(options: ExecutorOptions) {
    this.#options = options;
    this.#outbox = new Outbox(options.database, options.log, this.#answerMs);
    this.#watch = new LoginWatch(options, this.#answerMs, () => this.wake());
    this.#context = {
      pool: options.sessions,
      outbox: this.#outbox,
      settings: options.settings,
      log: options.log,
      outbound: options.outbound,
      operators: options.operators,
      httpPrivileges: new HttpPrivileges((asked) => httpPrivileges(options.database, asked, this.#answerMs)),
      roleState: (role) => roleState(options.database, role),
      captures: (role) => options.credentials.captures(role),
      resume: (role) => this.#watch.resume(role),
      now: () => databaseTime(options.database, this.#answerMs),
      leaving: () => this.#state === 'stopping',
      backlog: () => this.#more,
      away: (change) => {
        this.#away += change;
        this.#goOnClaiming();
      },
      wake: () => this.wake(),
      look: () => this.#look(),
      readSignal: (instance, name, after) =>
        readSignal(options.database, instance, name, after, this.#answerMs),
      due: (milliseconds) => this.#claimWithin(milliseconds),
    };
    options.sessions.logins.onRefused((role, { code, forLog }) => {
      options.log.warn({ role, code, reason: forLog }, 'login of a role refused: its instances wait');
    });
  }

  /** Instances that are held now. */
  get held(): number {
    return this.#held.size;
  }

  /** Enlists and begins to claim. @throws what the database says when it cannot enlist */
  async start(): Promise<void> {
    if (this.#state !== 'new' && this.#state !== 'paused') return;
    this.#owner = randomUUID();
    await enlist(this.#options.database, this.#owner, this.#options.leaseMs / 1000);
    this.#state = 'running';
    await this.#heartbeat();
    this.#beat = setInterval(() => this.#startBeat(), Math.min(this.#options.leaseMs / 3, 5000));
    this.#marks = setInterval(() => {
      for (const instance of this.#held.values()) instance.markOverdue(MARK_AFTER_MS);
    }, MARK_EVERY_MS);
    this.#watch.start();
    this.wake();
  }

  /** Stops where it is, without a word to the database: what it held is gone. `start` goes on. */
  pause(): void {
    if (this.#state !== 'running') return;
    this.#state = 'paused';
    this.#endTimers();
    if (this.#beat !== null) clearInterval(this.#beat);
    for (const instance of this.#held.values()) instance.lose();
    this.#endLooks();
    // Others may be in their place already, with something that this executor has taken.
    resign(this.#options.database, this.#owner).catch(() => {});
    this.#more = false;
  }

  #endLooks(): void {
    for (const looked of this.#looks.splice(0)) looked(false);
  }

  #endTimers(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timerAt = Number.POSITIVE_INFINITY;
    if (this.#marks !== null) clearInterval(this.#marks);
    this.#watch.pause();
  }

  /** Something may have become due: claim now. */
  wake(): void {
    // while it stops, it still looks for signals: waits may end meanwhile, and must know what has come
    const ending = this.#state === 'stopping' && this.#looks.length > 0;
    if (this.#state !== 'running' && !ending) return;
    if (this.#claiming !== null) {
      this.#again = true;
      return;
    }
    let room = ending ? 0 : this.#room();
    const full = room <= 0 && !ending;
    if (full) {
      this.#more = true;
      const wait = this.#othersAt + OTHERS_EVERY_MS - performance.now();
      room = wait > 0 ? 0 : this.#room(AHEAD_OF_OTHERS);
      if (room <= 0) {
        this.#claimWithin(Math.max(wait, OTHERS_EVERY_MS));
        // a claim that can take nothing still brings the signals for what is held
        if (this.#looks.length === 0 && !this.#listens) return;
      }
    }
    const looks = this.#looks.splice(0);
    this.#claiming = this.#claim(Math.max(0, room), full).then((isAnswered) => {
      this.#claiming = null;
      // a claim that has failed has not looked: they go with the next, if there is one
      if (!isAnswered && this.#state === 'running') this.#looks.unshift(...looks);
      else for (const looked of looks) looked(isAnswered);
      if (this.#again) {
        this.#again = false;
        this.wake();
      }
    });
  }

  /**
   * Somebody says that an instance of an executor was cancelled. Anybody can say so: the database is asked before
   * anything is stopped.
   */
  verify(executor: string): void {
    if (executor !== this.#owner) return;
    if (this.#beating !== null) this.#beatAgain = true;
    else this.#startBeat();
  }

  /**
   * Stops: no more claims; steps under way may end within `graceMs`, then they are rolled back. An instance is given
   * back when its step has ended, for others to go on with at once. Ends soon after `graceMs` also when the database does
   * not answer: what could not be given back is left to the expiry of the lease.
   */
  async stop(graceMs: number): Promise<void> {
    if (this.#state === 'paused') {
      this.#state = 'stopped';
      this.#watch.end();
      await this.#outbox.close();
    }
    if (this.#state !== 'running') return;
    this.#state = 'stopping';
    this.#endTimers();
    this.#watch.end();
    const timers: NodeJS.Timeout[] = [];
    const after = (ms: number) => new Promise<void>((resolve) => timers.push(setTimeout(resolve, ms)));
    void after(graceMs).then(() => {
      for (const instance of this.#held.values()) instance.release();
      void this.#outbox.close(); // what cannot be written now is not tried again
    });
    await Promise.race([this.#leave(), after(graceMs + LAST_WRITES_MS)]);
    for (const timer of timers) clearTimeout(timer);
    if (this.#beat !== null) clearInterval(this.#beat);
    this.#state = 'stopped';
    this.#endLooks();
  }

  /** Until nothing is held any more and the database knows it. */
  async #leave(): Promise<void> {
    await this.#claiming;
    if (this.#held.size > 0) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
    }
    if (this.#beat !== null) clearInterval(this.#beat);
    await this.#beating;
    await this.#claiming;
    await this.#outbox.close();
    await resign(this.#options.database, this.#owner).catch((error: unknown) => {
      this.#options.log.warn({ err: error }, 'the lease could not be given back; it will expire');
    });
  }

  /** How long the database may take to answer: later than this it has given up on this executor anyway. */
  get #answerMs(): number {
    return Math.max(this.#options.leaseMs, 5000);
  }

  get #listens(): boolean {
    for (const instance of this.#held.values()) if (instance.listens) return true;
    return false;
  }

  #look(): Promise<boolean> {
    return new Promise((resolve) => {
      this.#looks.push(resolve);
      this.wake();
    });
  }

  /** How many more may be held. */
  #room(more = 0): number {
    const slots = this.#options.sessions.limit;
    return slots + Math.ceil(slots * (AHEAD + more)) - (this.#held.size - this.#away);
  }

  /** How the next claim shares among roles; null while there is enough room for everybody. */
  #turn(others: boolean): Turn | null {
    if (!this.#more) return null;
    const held = new Map<string, number>();
    for (const { claimed, isAway } of this.#held.values()) {
      if (claimed.roleId !== null && !isAway) held.set(claimed.roleId, (held.get(claimed.roleId) ?? 0) + 1);
    }
    return { held, others, after: this.#after };
  }

  /**
   * @param full only instances of roles of which nothing is held, if any
   * @returns whether the database has answered
   */
  async #claim(room: number, full: boolean): Promise<boolean> {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timerAt = Number.POSITIVE_INFINITY;
    const { database, log, pollMs } = this.#options;
    const others = full && room > 0;
    if (others) this.#othersAt = performance.now();
    const tokens = Array.from({ length: Math.min(room, this.#atMost) }, newToken);
    this.#offered = new Set(tokens);
    const askedAt = performance.now();
    let answer: Claim;
    try {
      answer = await claim(database, this.#owner, tokens, this.#turn(others), this.#answerMs);
    } catch (error) {
      this.#offered = new Set(); // what it took all the same, the next heartbeat finds
      if (this.#missing(error)) {
        this.#claimWithin(pollMs);
        return false;
      }
      const { code = '' } = error as { code?: string };
      // what comes with one instance is bounded
      if (code === '' || TOO_MUCH.test(code)) this.#atMost = 1;
      // the admin role's password or right to log in: nothing goes on until somebody has put it right
      if (code.startsWith('28'))
        log.error({ code, err: error }, 'claiming failed: the server refuses the admin role');
      else log.warn({ code, err: error }, 'claiming failed');
      this.#claimWithin(pollMs);
      return false;
    }
    if (this.#state === 'stopped' || this.#state === 'paused') return true; // too late: it is left to the expiry of the lease
    if (!answer.alive) {
      this.#offered = new Set();
      this.#claimWithin(pollMs);
      this.#startBeat();
      return true;
    }
    this.#atMost = Math.min(this.#atMost * 2, MOST_AT_ONCE);
    if (room > 0) this.#after = answer.after;
    this.#more = full || answer.after !== 0 || answer.instances.length === tokens.length;
    for (const { id, token, signals } of answer.held ?? []) {
      const instance = this.#held.get(id);
      if (instance?.claimed.token === token) instance.deliver(signals ?? [], askedAt);
    }
    for (const claimed of answer.instances) {
      const instance = new Instance(claimed, signalsOf(claimed.id, answer.claimed), this.#context);
      this.#held.set(claimed.id, instance);
      if (this.#state !== 'running') instance.release();
      void instance.run().then(() => this.#ended(claimed.id, instance));
    }
    this.#offered = new Set();
    this.#claimWithin(this.#untilNext(answer));
    if (tokens.length < room && answer.instances.length === tokens.length) this.#claimWithin(0);
    // there are roles that it has not looked at; what it has found may be locked, though
    if (answer.after !== 0 && this.#room() > 0)
      this.#claimWithin(answer.instances.length > 0 ? 0 : OTHERS_EVERY_MS);
    else if (full && room === 0) this.#claimWithin(OTHERS_EVERY_MS);
    return true;
  }

  /** When the next claim may find something, in milliseconds from now. */
  #untilNext({ next }: Claim): number {
    const { pollMs } = this.#options;
    if (next === null || this.#more) return pollMs;
    // due and not taken: somebody has locked it
    return next <= 0 ? LOCKED_MS : next * 1000;
  }

  /** Claims after this time, or earlier if that was intended already. */
  #claimWithin(wanted: number): void {
    const milliseconds = Math.min(wanted, this.#options.pollMs);
    const at = performance.now() + milliseconds;
    if (this.#state !== 'running' || at >= this.#timerAt) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => {
      this.#timerAt = Number.POSITIVE_INFINITY;
      this.wake();
    }, Math.ceil(milliseconds));
  }

  #ended(id: string, instance: Instance): void {
    if (this.#held.get(id) === instance) this.#held.delete(id);
    if (this.#held.size === 0) this.#idle?.();
    this.#goOnClaiming();
  }

  #goOnClaiming(): void {
    // wait until a few have ended: a claim for each would be a round trip for each
    if (this.#more && this.#room() >= Math.max(1, Math.floor(this.#options.sessions.limit / 2))) this.wake();
  }

  #startBeat(): void {
    this.#beating ??= this.#heartbeat()
      .catch((error: unknown) => {
        if (this.#missing(error)) return;
        this.#options.log.warn({ code: (error as { code?: string }).code }, 'heartbeat failed');
      })
      .finally(() => {
        this.#beating = null;
        if (!this.#beatAgain || this.#state === 'paused') return;
        this.#beatAgain = false;
        this.#startBeat();
      });
  }

  /** Says so where the schemas seem to be gone. */
  #missing(error: unknown): boolean {
    if (!isMissing(error)) return false;
    if (this.#state === 'running') this.#options.onMissing?.();
    return true;
  }

  async #heartbeat(): Promise<void> {
    const { database, leaseMs, log } = this.#options;
    const held = [...this.#held.values()].map((instance) => instance.claimed);
    const beat = await heartbeat(database, this.#owner, leaseMs / 1000, held, this.#answerMs);
    if (this.#state === 'paused') return;
    if (!beat.alive) {
      log.warn('declared dead by another proxy: what was held is lost, beginning anew');
      for (const instance of this.#held.values()) instance.lose();
      this.#owner = randomUUID();
      await enlist(database, this.#owner, leaseMs / 1000);
      this.wake();
      return;
    }
    for (const { id, token } of held) {
      const instance = this.#held.get(id);
      if (instance?.claimed.token === token && beat.lost.includes(id)) instance.lose();
    }
    for (const { id, token } of beat.stray) {
      if (this.#offered.has(token) || this.#held.get(id)?.claimed.token === token) continue;
      const end = { kind: 'parked', wake: 0 } as const;
      const write = { instance: id, token, entries: [], end, generation: null, events: null };
      this.#outbox.send(write).then(
        (lost) => {
          if (lost) return; // it has ended since
          log.warn({ instance: id }, 'held without knowing it: given back');
          this.wake();
        },
        () => {},
      );
    }
    if (beat.taken > 0) {
      log.info({ instances: beat.taken }, 'taken over from a proxy whose lease had expired');
      this.wake();
    }
  }
}

function signalsOf(id: string, news: readonly News[] | null): NonNullable<News['signals']> {
  return news?.find((one) => one.id === id)?.signals ?? [];
}

/** 128 random bits, in the form of a uuid. */
function newToken(): string {
  const hex = randomBytes(16).toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
