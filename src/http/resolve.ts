/**
 * Names to addresses, by the system's resolver (/etc/hosts, search domains). That one blocks a thread of the pool that
 * logins and files need as well, so that only a few lookups run at a time and those of one name are shared.
 */
import dns from 'node:dns/promises';

/** Half of the threads that the pool has by default. */
const AT_A_TIME = 2;

export class SystemResolver {
  readonly #running = new Map<string, Promise<readonly string[]>>();
  readonly #waiting: Array<() => void> = [];
  #free = AT_A_TIME;

  /** Every address of the name, in the order of preference. @throws what the system says, with a code as ENOTFOUND */
  resolve(name: string): Promise<readonly string[]> {
    const shared = this.#running.get(name);
    if (shared !== undefined) return shared;
    const lookup = this.#lookUp(name).finally(() => this.#running.delete(name));
    this.#running.set(name, lookup);
    return lookup;
  }

  async #lookUp(name: string): Promise<readonly string[]> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      const found = await dns.lookup(name, { all: true, verbatim: true });
      return found.map(({ address }) => address);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}
