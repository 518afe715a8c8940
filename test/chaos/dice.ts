/** Random choices that can be repeated: the same seed gives the same sequence (mulberry32). */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 (included) to 1 (excluded). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  /** An integer from `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  /** One of the elements; undefined when there is none. */
  pick<T>(elements: readonly T[]): T | undefined {
    return elements[Math.floor(this.next() * elements.length)];
  }

  /** True once in `n` times. */
  once(n: number): boolean {
    return this.next() * n < 1;
  }

  /** A sequence of its own, so that what one actor does leaves the choices of the others alone. */
  fork(): Dice {
    return new Dice(Math.floor(this.next() * 4294967296));
  }
}
