import { LRUCache } from 'lru-cache';
import { type LoginError, ServerRefusal } from '../upstream/login.js';

/** Addresses that are remembered; of more, those that failed longest ago are forgotten. */
const MAX_ADDRESSES = 10_000;

export interface FailedLoginLimit {
  /** Refused logins from one address within the window, after which it may not try; 0: no limit. */
  readonly count: number;
  /** Milliseconds, from the first of them. */
  readonly windowMs: number;
}

/**
 * Whether somebody has failed to show who it is. What the proxy refuses for another reason (a connection that is not
 * encrypted, channel binding that cannot pass) is a matter of set-up: counted, it would shut out who can do nothing for it.
 */
export function isFailedLogin(error: LoginError): boolean {
  return error instanceof ServerRefusal ? error.code.startsWith('28') : error.code === '28P01';
}

interface Failures {
  count: number;
  /** When the window ends. */
  readonly until: number;
}

/**
 * Counts refused logins by address, so that passwords cannot be tried without end. An address that has failed too
 * often waits until the window that began with its first failure has ended; a login that succeeds changes nothing, as
 * it would let somebody who has one password try others'. Of IPv6 the first 64 bits count, which one host has to itself.
 */
export class FailedLogins {
  readonly #now: () => number;
  readonly #byAddress = new LRUCache<string, Failures>({ max: MAX_ADDRESSES });

  /** @param now a clock in milliseconds that never goes back */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** A login from the address was refused. @returns whether that was the one too many */
  add(address: string, { count, windowMs }: FailedLoginLimit): boolean {
    if (count === 0) return false;
    const key = keyOf(address);
    let known = this.#byAddress.get(key);
    if (known === undefined || known.until <= this.#now()) {
      known = { count: 0, until: this.#now() + windowMs };
      this.#byAddress.set(key, known);
    }
    known.count++;
    return known.count === count;
  }

  /** Milliseconds until the address may try again; 0: now. */
  wait(address: string, { count }: FailedLoginLimit): number {
    const known = this.#byAddress.get(keyOf(address));
    if (count === 0 || known === undefined || known.count < count) return 0;
    return Math.max(0, known.until - this.#now());
  }
}

/** An IPv4 address as it is, of an IPv6 address its network. */
function keyOf(address: string): string {
  if (!address.includes(':')) return address;
  const [head = '', tail] = address.split('%')[0]!.split('::');
  const first = head === '' ? [] : head.split(':');
  const last = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : 8 - first.length - last.length;
  const words = [...first, ...new Array<string>(Math.max(0, zeros)).fill('0'), ...last];
  return words.slice(0, 4).join(':');
}
