/**
 * What the strands of a walk wait for, and whether anything of the instance is under way at all.
 *
 * Activity: `active` counts the strands that run a step or compute. When the last of them begins to wait for a timer or
 * a signal, nothing can happen before the earliest timer or a signal: the instance is parked, which is a row with a time
 * and no memory. A signal that has come meanwhile is not numbered yet, and wakes the parked instance by that.
 */
import type { InboxChange } from '../state/checkpoint.js';
import { Stopped, type Strand } from './strand.js';
import type { Walk } from './walk.js';

/** A timer that ends within this time is waited for in memory. */
const HOLD_MS = 50;

/** What a strand waits for: a time, or that `ready` holds, which is looked at when signals come. */
interface Wait {
  readonly dueAt: number;
  readonly ready: (() => boolean) | undefined;
  timer: NodeJS.Timeout | undefined;
  /** Its strand is active from now on. */
  over(): void;
}

export class Waiting {
  /** Whether all that is active waits for something outside the database. */
  isAway = false;
  readonly #walk: Walk;
  #isParking = false;
  #active = 1;
  /** Of these, how many wait for something outside the database. */
  #outside = 0;
  readonly #waits = new Map<Strand, Wait>();

  /** For a walk that begins with one strand. */
  constructor(walk: Walk) {
    this.#walk = walk;
  }

  /** Whether the instance is being given back: nothing that comes now is taken in any more. */
  get isParking(): boolean {
    return this.#isParking;
  }

  /** Whether a strand waits for a signal. */
  get listens(): boolean {
    for (const wait of this.#waits.values()) if (wait.ready !== undefined) return true;
    return false;
  }

  /** So many strands more are active. */
  added(count: number): void {
    this.#active += count;
    this.weigh();
  }

  /** A strand was stopped, and others go on. */
  abandoned(strand: Strand, wasActive: boolean): void {
    if (wasActive) this.#active -= 1;
    clearTimeout(this.#waits.get(strand)?.timer);
    this.#waits.delete(strand);
    this.#comeBack(strand);
    this.weigh();
  }

  /** The walk is halted. */
  end(): void {
    for (const wait of this.#waits.values()) clearTimeout(wait.timer);
    this.#waits.clear();
    this.weigh();
  }

  /**
   * Waits for a time that the journal knows, or until `ready` holds. Parks the instance when nothing else can happen.
   * @param milliseconds may be infinite
   */
  async wait(strand: Strand, milliseconds: number, ready?: () => boolean): Promise<void> {
    const dueAt = performance.now() + Math.max(0, milliseconds);
    if (ready?.()) return;
    const alone = this.#active === 1 && !this.#walk.inbox.busy;
    if (this.#walk.leaving && alone && this.#waits.size === 0) await this.#park(strand, dueAt, ready);
    if (milliseconds <= 0) return;
    if (alone && milliseconds > HOLD_MS) await this.#park(strand, dueAt, ready);
    await strand.flush();
    if (ready?.()) return;
    strand.releaseSession();
    strand.state = 'waiting';
    const over = this.#waitUntil(strand, dueAt, ready);
    // what came while nothing listened has not been asked for
    if (ready !== undefined) this.#walk.context.wake();
    await this.deactivate(strand);
    await over;
    strand.check();
  }

  /** Gives the instance back for this time, if nothing else of it can happen before. */
  async standAside(strand: Strand, milliseconds: number): Promise<void> {
    if (this.#active === 1 && this.#waits.size === 0 && !this.#walk.inbox.busy)
      await this.#park(strand, performance.now() + milliseconds);
  }

  /** Gives way: the whole instance goes to the end of the queue, or, while it has other strands, just this session. */
  async yieldSlot(strand: Strand): Promise<void> {
    if (this.#active === 1 && (this.#walk.leaving || this.#waits.size === 0))
      await this.#park(strand, performance.now());
    await strand.flush();
    strand.releaseSession();
  }

  /** Signals have come into the inbox. */
  heard(): void {
    for (const wait of [...this.#waits.values()]) if (wait.ready?.()) wait.over();
  }

  // ---- outside the database -------------------------------------------------------------------------------------

  /**
   * Does something that needs no session, with everything before it committed. While all that is active does so, the
   * instance takes no room of the executor's.
   * @param work is told by the signal when the strand is stopped
   */
  async outside<T>(strand: Strand, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    await strand.flush();
    strand.releaseSession();
    const controller = new AbortController();
    strand.outside = controller;
    this.#outside += 1;
    this.weigh();
    try {
      return await work(controller.signal);
    } finally {
      if (!strand.stopped) this.#comeBack(strand);
      strand.check();
    }
  }

  /** While the executor is stopping, gives back an instance of which nothing else is under way. */
  leaveNow(): void {
    if (this.#walk.leaving && this.#active === 1 && this.#waits.size === 0)
      this.#walk.haltHere({ retryIn: 0, counts: false });
  }

  #comeBack(strand: Strand): void {
    if (strand.outside === null) return;
    strand.outside = null;
    this.#outside -= 1;
    this.weigh();
  }

  /** Tells the executor when the instance goes away or comes back. */
  weigh(): void {
    const isAway = this.#outside > 0 && this.#active === this.#outside && !this.#walk.isHalted;
    if (isAway === this.isAway) return;
    this.isAway = isAway;
    this.#walk.context.away(isAway ? 1 : -1);
  }

  // ---- parking ----------------------------------------------------------------------------------------------------

  #waitUntil(strand: Strand, dueAt: number, ready: Wait['ready']): Promise<void> {
    return new Promise((resolve) => {
      const wait: Wait = {
        dueAt,
        ready,
        timer: undefined,
        over: () => {
          if (this.#isParking || this.#walk.isHalted) return;
          clearTimeout(wait.timer);
          this.#waits.delete(strand);
          strand.state = 'active';
          this.#active += 1;
          this.weigh();
          resolve();
        },
      };
      this.#waits.set(strand, wait);
      if (dueAt < Number.POSITIVE_INFINITY) setTimer(wait);
    });
  }

  /** A strand waits or has ended: parks the instance when nothing else of it is under way. */
  async deactivate(strand: Strand): Promise<void> {
    if (strand.stopped) return;
    this.#active -= 1;
    this.weigh();
    while (this.#active === 0 && this.#walk.inbox.busy) await this.#walk.inbox.settled();
    // a race may have been lost meanwhile: who goes on parks, if anybody
    if (strand.stopped || this.#active > 0 || this.#walk.isHalted || this.#isParking) return;
    const due = this.#earliest(Number.POSITIVE_INFINITY);
    if (due - performance.now() > HOLD_MS) await this.#park(strand, due);
  }

  #earliest(dueAt: number): number {
    return Math.min(dueAt, ...[...this.#waits.values()].map((wait) => wait.dueAt));
  }

  async #park(strand: Strand, dueAt: number, ready?: Wait['ready']): Promise<never> {
    this.#isParking = true;
    const earliest = this.#earliest(dueAt);
    const listens = ready !== undefined || this.listens;
    strand.pending.unshift(...this.#walk.marks()); // first: a timer that begins shows by itself
    const gone = this.#walk.inbox.gone((name) => this.#walk.floorOf(name, false));
    const inbox: InboxChange | undefined = gone.length > 0 ? { gone } : undefined;
    const seconds = Math.max(0, earliest - performance.now()) / 1000;
    await strand.flush({ kind: 'parked', wake: seconds < Number.POSITIVE_INFINITY ? seconds : null }, inbox);
    strand.releaseSession();
    if (listens) this.#walk.context.wake();
    this.#walk.context.due(Math.max(0, earliest - performance.now()));
    this.#walk.halt('released');
    throw new Stopped();
  }
}

/** In steps, because a timer of Node holds 24 days at most. */
function setTimer(wait: Wait): void {
  const left = wait.dueAt - performance.now();
  wait.timer = setTimeout(
    () => (performance.now() < wait.dueAt ? setTimer(wait) : wait.over()),
    Math.min(Math.max(left, 0), 1e9),
  );
}
