/**
 * Who waits for a session, and whose turn is next. Pure but for the time, which the caller gives.
 *
 * Each role has a queue of its own, first come, first served. Between roles the next session goes to the one that has
 * the fewest; so a role gets a session as soon as any other has two more than it, however long the other's queue is.
 * Of roles that have the same number, the one whose session became free keeps it while no other has waited for long:
 * a session of another role costs a login. Else it is the one that has waited longest.
 */

/** How long a role waits before it goes before one that has no more sessions than itself. */
const TURN_MS = 20;

interface Queue<T> {
  readonly role: string;
  waiters: Array<T | null>;
  /** Waiters before this have had their turn, or have left. */
  head: number;
  count: number;
  /** When somebody of the role got a session last, or when the first began to wait, if that is later. */
  since: number;
}

export interface Waiting {
  /** OID of the role. */
  readonly roleId: string;
  /** Where it stands in the queue of its role; written by `add`. */
  place: number;
}

export class Turns<T extends Waiting> {
  readonly #queues = new Map<string, Queue<T>>();
  readonly #used = new Map<string, number>();
  #waiting = 0;

  /** How many wait. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Counts a session that the role has taken (1) or given back (-1). */
  count(roleId: string, change: 1 | -1): void {
    const now = this.used(roleId) + change;
    if (now > 0) this.#used.set(roleId, now);
    else this.#used.delete(roleId);
  }

  /** Sessions that the role has. */
  used(roleId: string): number {
    return this.#used.get(roleId) ?? 0;
  }

  add(waiter: T, now: number): void {
    let queue = this.#queues.get(waiter.roleId);
    if (queue === undefined) {
      queue = { role: waiter.roleId, waiters: [], head: 0, count: 0, since: now };
      this.#queues.set(waiter.roleId, queue);
    }
    waiter.place = queue.waiters.push(waiter) - 1;
    queue.count += 1;
    this.#waiting += 1;
  }

  /** The waiter gives up. */
  remove(waiter: T): void {
    const queue = this.#queues.get(waiter.roleId);
    if (queue === undefined || queue.waiters[waiter.place] !== waiter) return;
    queue.waiters[waiter.place] = null;
    this.#left(queue);
  }

  /**
   * Who is next when a session becomes free; he goes on waiting until `take`.
   * @param freedBy the role whose session it was; it counts as given back already
   */
  next(now: number, freedBy?: string): T | undefined {
    const queue = this.#nextQueue(now, freedBy);
    return queue === undefined ? undefined : first(queue);
  }

  /** The waiter has his turn. */
  take(waiter: T, now: number): void {
    const queue = this.#queues.get(waiter.roleId);
    if (queue !== undefined) queue.since = now;
    this.remove(waiter);
  }

  /** Whether somebody of another role would be next, if the role gave back a session. */
  owed(roleId: string, now: number): boolean {
    if (this.#waiting === (this.#queues.get(roleId)?.count ?? 0)) return false;
    const mine = this.used(roleId) - 1;
    for (const queue of this.#queues.values()) {
      if (queue.role === roleId) continue;
      const used = this.used(queue.role);
      if (used < mine || (used === mine && now - queue.since >= TURN_MS)) return true;
    }
    return false;
  }

  /** Everybody who waits; nobody waits any more. */
  clear(): T[] {
    const all = [...this.#queues.values()].flatMap((queue) => queue.waiters.filter((one) => one !== null));
    this.#queues.clear();
    this.#waiting = 0;
    return all;
  }

  #nextQueue(now: number, freedBy: string | undefined): Queue<T> | undefined {
    let best: Queue<T> | undefined;
    let fewest = 0;
    for (const queue of this.#queues.values()) {
      if (queue.role === freedBy) continue;
      const used = this.used(queue.role);
      if (best === undefined || used < fewest || (used === fewest && queue.since < best.since)) {
        best = queue;
        fewest = used;
      }
    }
    const own = freedBy === undefined ? undefined : this.#queues.get(freedBy);
    if (own === undefined || best === undefined) return own ?? best;
    const mine = this.used(own.role);
    if (mine !== fewest) return mine < fewest ? own : best;
    return now - best.since < TURN_MS ? own : best;
  }

  #left(queue: Queue<T>): void {
    queue.count -= 1;
    this.#waiting -= 1;
    if (queue.count === 0) {
      this.#queues.delete(queue.role);
      return;
    }
    while (queue.waiters[queue.head] === null) queue.head += 1;
    if (queue.head < 1024 || queue.head * 2 < queue.waiters.length) return;
    queue.waiters = queue.waiters.slice(queue.head);
    queue.head = 0;
    queue.waiters.forEach((waiter, place) => {
      if (waiter !== null) waiter.place = place;
    });
  }
}

function first<T>(queue: Queue<T>): T | undefined {
  return queue.waiters[queue.head] ?? undefined;
}
