/**
 * Names to addresses, by the system's resolver (/etc/hosts, search domains). That one blocks a thread of the pool that
 * logins and files need as well, for as long as a name's servers like to take, so that only a few lookups run at a time.
 * Those of one name for one role are shared. No role has both, so that a role's names whose servers do not answer hold up no other's; and a
 * lookup that waits for its turn goes when nobody waits for it any more.
 */
import dns from 'node:dns/promises';

/** Half of the threads that the pool has by default. */
const AT_A_TIME = 2;

interface Lookup {
  readonly name: string;
  readonly role: string;
  /** Who waits for it. */
  wanted: number;
  readonly found: Promise<readonly string[]>;
  begin(): void;
  /** Its turn will not come. */
  drop(): void;
}

/** Every address of a name, in the order of preference. @throws what the system says, with a code as ENOTFOUND */
export type LookUp = (name: string) => Promise<readonly string[]>;

const lookUp: LookUp = async (name) =>
  (await dns.lookup(name, { all: true, verbatim: true })).map(({ address }) => address);

export class SystemResolver {
  readonly #lookUp: LookUp;
  readonly #lookups = new Map<string, Lookup>();
  #waiting: Lookup[] = [];
  /** By role, the number of lookups that run. */
  readonly #running = new Map<string, number>();
  #free = AT_A_TIME;

  constructor(how: LookUp = lookUp) {
    this.#lookUp = how;
  }

  /** Lookups that wait for their turn. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /**
   * Every address of the name.
   * @param role on whose behalf
   * @throws what the system says, with a code as ENOTFOUND; the reason of the signal
   */
  resolve(name: string, role: string, signal: AbortSignal): Promise<readonly string[]> {
    if (signal.aborted) return Promise.reject(signal.reason);
    // another role's may have to wait for its turn
    const key = `${role}\n${name}`;
    const lookup = this.#lookups.get(key) ?? this.#begin(key, name, role);
    lookup.wanted += 1;
    return new Promise((resolve, reject) => {
      const aborted = (): void => {
        lookup.wanted -= 1;
        if (lookup.wanted === 0 && this.#waiting.includes(lookup)) {
          this.#waiting = this.#waiting.filter((one) => one !== lookup);
          this.#lookups.delete(key);
          lookup.drop();
        }
        reject(signal.reason);
      };
      signal.addEventListener('abort', aborted, { once: true });
      lookup.found.then(resolve, reject).finally(() => signal.removeEventListener('abort', aborted));
    });
  }

  #begin(key: string, name: string, role: string): Lookup {
    let begin: () => void = () => {};
    let drop: () => void = () => {};
    const turn = new Promise<boolean>((resolve) => {
      begin = () => resolve(true);
      drop = () => resolve(false);
    });
    const found = turn.then(async (comes) => {
      if (!comes) return [];
      try {
        return await this.#lookUp(name);
      } finally {
        this.#end(key, role);
      }
    });
    found.catch(() => {}); // everybody who waited may have gone
    const lookup: Lookup = { name, role, wanted: 0, found, begin, drop };
    this.#lookups.set(key, lookup);
    this.#waiting.push(lookup);
    this.#admit();
    return lookup;
  }

  #end(key: string, role: string): void {
    this.#lookups.delete(key);
    this.#free += 1;
    const left = (this.#running.get(role) ?? 1) - 1;
    if (left === 0) this.#running.delete(role);
    else this.#running.set(role, left);
    this.#admit();
  }

  /** The first of those whose role has none under way. */
  #admit(): void {
    while (this.#free > 0) {
      const at = this.#waiting.findIndex(({ role }) => !this.#running.has(role));
      const next = this.#waiting[at];
      if (next === undefined) return;
      this.#waiting.splice(at, 1);
      this.#free -= 1;
      this.#running.set(next.role, 1);
      next.begin();
    }
  }
}
