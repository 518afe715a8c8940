/** Who is turned away comes again after this time at the earliest … */
const COME_BACK_MS = 500;
/** … and so long after the one before. */
const LEAST_APART_MS = 0.5;
const MOST_APART_MS = 10;

interface Waiter {
  readonly role: string;
  readonly begin: () => void;
}

/**
 * Requests at the same time: a limit for all, and fairness between roles. When one ends, the next is of the role that
 * has the fewest under way, of equals the one that has waited longest: a role with slow endpoints keeps others waiting
 * for a request, not for all of its own. A request may be slow for years, though: of ten slots and more no role has the
 * last tenth, nor of the places to wait.
 */
export class Slots {
  /** A lower one takes effect as requests end. */
  limit: number;
  #taken = 0;
  #nextComesAt = 0;
  /** Between the ends of two requests, of late. */
  #apartMs = MOST_APART_MS;
  #lastEnd = 0;
  readonly #byRole = new Map<string, number>();
  #waiting: Waiter[] = [];

  constructor(limit: number) {
    this.limit = limit;
  }

  /** Whether a role can have one at once. Whoever waits, waits for his own role's to end. */
  isFree(role: string): boolean {
    if (this.#taken >= this.limit || (this.#byRole.get(role) ?? 0) >= this.#most) return false;
    return this.#waiting.every((one) => (this.#byRole.get(one.role) ?? 0) >= this.#most);
  }

  /** Whether a role can have one, or a place among those that wait: so many for each slot. */
  hasRoom(role: string, waitingPerSlot: number): boolean {
    if (this.isFree(role)) return true;
    const places = this.limit * waitingPerSlot;
    if (this.#waiting.length < places - Math.floor(places / 10)) return true;
    const own = this.#waiting.filter((one) => one.role === role).length;
    return this.#waiting.length < places && own < places / 10;
  }

  /** Of one role at the same time. */
  get #most(): number {
    return this.limit - Math.floor(this.limit / 10);
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Resolves when the slot is taken; `leave` gives it back. @throws the reason of the signal */
  enter(role: string, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.reject(signal.reason);
    if (this.isFree(role)) {
      this.#take(role);
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const aborted = (): void => {
        this.#waiting = this.#waiting.filter((one) => one !== waiter);
        reject(signal.reason);
      };
      const begin = (): void => {
        signal.removeEventListener('abort', aborted);
        resolve();
      };
      const waiter = { role, begin };
      this.#waiting.push(waiter);
      signal.addEventListener('abort', aborted, { once: true });
    });
  }

  leave(role: string): void {
    this.#taken -= 1;
    const now = performance.now();
    const apart = Math.min(Math.max(now - this.#lastEnd, LEAST_APART_MS), MOST_APART_MS);
    this.#apartMs += (apart - this.#apartMs) / 16;
    this.#lastEnd = now;
    const left = (this.#byRole.get(role) ?? 1) - 1;
    if (left === 0) this.#byRole.delete(role);
    else this.#byRole.set(role, left);
    this.admit();
  }

  /**
   * For those for whom there is not even room to wait: when to come again, in milliseconds from now. One after the
   * other, as requests end of late, so that they find room, and cost little where they find none.
   */
  turnAway(): number {
    const now = performance.now();
    this.#nextComesAt = Math.max(now + COME_BACK_MS, this.#nextComesAt + this.#apartMs);
    return this.#nextComesAt - now;
  }

  /** Lets in who may come in now, after the limit was raised. */
  admit(): void {
    while (this.#taken < this.limit && this.#waiting.length > 0) {
      let at = 0;
      for (let i = 1; i < this.#waiting.length; i += 1) {
        if (this.#underWay(i) < this.#underWay(at)) at = i;
      }
      if (this.#underWay(at) >= this.#most) return;
      const next = this.#waiting.splice(at, 1)[0] as Waiter;
      this.#take(next.role);
      next.begin();
    }
  }

  #underWay(at: number): number {
    return this.#byRole.get((this.#waiting[at] as Waiter).role) ?? 0;
  }

  #take(role: string): void {
    this.#taken += 1;
    this.#byRole.set(role, (this.#byRole.get(role) ?? 0) + 1);
  }
}
