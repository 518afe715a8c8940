import { inspect } from 'node:util';
import type { ScramKeys } from '../wire/scram.js';
import type { UpstreamAddress } from './dial.js';

/**
 * What a login as a role needs, by the way in which the server asked. Each is as good as the password for logins of
 * its kind, so none of them shows in logs: see `redacted`.
 */
export type Credential =
  /** The server let the role in unasked. */
  | { readonly kind: 'trust' }
  /** The server asked for clear text (LDAP, PAM, RADIUS, `password`). */
  | { readonly kind: 'password'; readonly password: string }
  /** md5(password ‖ role) in hex. */
  | { readonly kind: 'md5'; readonly hash: string }
  | { readonly kind: 'scram'; readonly keys: ScramKeys };

/** The same credential, printed as its kind only by JSON.stringify, console.log and util.inspect. */
export function redacted(credential: Credential): Credential {
  const shown = `[credential: ${credential.kind}]`;
  const copy = { ...credential };
  Object.defineProperty(copy, 'toJSON', { value: () => shown, enumerable: false });
  Object.defineProperty(copy, inspect.custom, { value: () => shown, enumerable: false });
  return copy;
}

/**
 * The credentials that were proved against one server, by role, in memory. A store belongs to one address: a key
 * derived for a role of one server is never offered to another.
 */
export class CredentialStore {
  readonly address: UpstreamAddress;
  readonly #byRole = new Map<string, Credential>();
  readonly #listeners: ((role: string) => void)[] = [];

  constructor(address: UpstreamAddress) {
    this.address = address;
  }

  /**
   * Keeps a credential that the server has just accepted. The last one counts, but `trust` replaces nothing: from
   * another address the same role may be asked for its password.
   */
  capture(role: string, credential: Credential): void {
    if (credential.kind === 'trust' && this.#byRole.has(role)) return;
    this.#byRole.set(role, redacted(credential));
    for (const listener of this.#listeners) listener(role);
  }

  get(role: string): Credential | undefined {
    return this.#byRole.get(role);
  }

  forget(role: string): void {
    this.#byRole.delete(role);
  }

  /** Calls the listener with the role after each capture. */
  onCapture(listener: (role: string) => void): void {
    this.#listeners.push(listener);
  }

  toJSON(): string {
    return `[credentials: ${this.#byRole.size} roles]`;
  }

  [inspect.custom](): string {
    return this.toJSON();
  }
}
