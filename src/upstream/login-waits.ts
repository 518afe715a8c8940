/**
 * Logins that the server refuses, by role and database. After a refusal nobody tries again before a time that doubles
 * with each further one: a thousand instances of a role whose password was changed are one attempt, not a thousand,
 * which some servers answer by locking the role.
 *
 * open → closed for a time (failed) → open for one attempt when it is over → open (succeeded) | closed for longer.
 * A capture, or whatever else makes another outcome likely, opens at once (`reopen`).
 */

import type { OpenFailure } from './open.js';

/** Why a login is not tried now. */
export interface Refusal {
  readonly failure: OpenFailure;
  /** When it is tried again, in milliseconds from now. */
  readonly retryInMs: number;
}

interface Entry {
  readonly role: string;
  failure: OpenFailure;
  count: number;
  failedAt: number;
  until: number;
  version: string;
}

export interface Delays {
  readonly firstMs: number;
  readonly mostMs: number;
}

export class LoginWaits {
  readonly #entries = new Map<string, Entry>();
  #onRecovered: (role: string) => void = () => {};
  #onRefused: (role: string, failure: OpenFailure) => void = () => {};

  /** The last refusal, while it is too early for another attempt. */
  closed(role: string, database: string): Refusal | undefined {
    const entry = this.#entries.get(keyOf(role, database));
    const left = entry === undefined ? 0 : entry.until - performance.now();
    return entry === undefined || left <= 0 ? undefined : { failure: entry.failure, retryInMs: left };
  }

  /**
   * @param began when the attempt began (performance.now): of several at the same time one counts
   * @param version of what was tried
   * @returns when it is tried again, in milliseconds from now
   */
  failed(
    role: string,
    database: string,
    failure: OpenFailure,
    began: number,
    version: string,
    { firstMs, mostMs }: Delays,
  ): number {
    const now = performance.now();
    const key = keyOf(role, database);
    const entry = this.#entries.get(key) ?? { role, failure, count: 0, failedAt: 0, until: 0, version };
    entry.failure = failure;
    entry.version = version;
    if (entry.failedAt <= began) {
      if (entry.count++ === 0) this.#onRefused(role, failure);
      entry.failedAt = now;
      entry.until = now + Math.min(mostMs, firstMs * 2 ** (entry.count - 1));
    }
    this.#entries.set(key, entry);
    return Math.max(0, entry.until - now);
  }

  succeeded(role: string, database: string): void {
    if (this.#entries.delete(keyOf(role, database))) this.#onRecovered(role);
  }

  /** The role's logins are tried again at once. */
  reopen(role: string): void {
    for (const [key, entry] of this.#entries) if (entry.role === role) this.#entries.delete(key);
  }

  /** With what the role's logins were refused: the versions of `CredentialStore.version`. */
  refusedWith(role: string): string[] {
    return [...this.#entries.values()].filter((entry) => entry.role === role).map(({ version }) => version);
  }

  /** Calls the listener when a role's login works that was refused before. */
  onRecovered(listener: (role: string) => void): void {
    this.#onRecovered = listener;
  }

  /** Calls the listener at the first of refusals in a row. */
  onRefused(listener: (role: string, failure: OpenFailure) => void): void {
    this.#onRefused = listener;
  }
}

function keyOf(role: string, database: string): string {
  return `${role}\0${database}`;
}
