/**
 * What the executor logs in with as the roles that submit work. Sources, in this order; the first that knows a role
 * counts, and the others are not asked:
 *
 * 1. `credentials_file`, 2. `credential_command`, 3. the environment: put there by an operator;
 * 4. captured: what the role's own login through a proxy gave, in memory, and sealed in the database where a key is set;
 * 5. none: the server lets the role in unasked (`trust`, `peer`), so that nothing of this is needed.
 */
import { inspect } from 'node:util';
import { addressText, isUnixSocket, type UpstreamAddress } from './address.js';
import { type Credential, copyOf, isSame, redacted, wipe } from './credentials/credential.js';
import type { PasswordSource, Wanted } from './credentials/source.js';
import type { Vault } from './credentials/vault.js';

export { type Credential, redacted } from './credentials/credential.js';

/** A credential and where it is from. It is the caller's: to be wiped when the login is over. */
export interface Found {
  readonly credential: Credential;
  /** `captured`, or the source's name. */
  readonly source: string;
  readonly from: { readonly source: PasswordSource; readonly wanted: Wanted } | null;
}

export interface CredentialStoreOptions {
  /** In the order in which they are asked. */
  readonly sources?: readonly PasswordSource[];
  /** Without one, what is captured stays in memory. */
  readonly vault?: Vault | undefined;
  /** A captured credential could not be written; it is kept in memory. */
  readonly onUnsaved?: (role: string, error: unknown) => void;
}

/** @param changed false: the same login as before has worked once more */
export type CaptureListener = (role: string, changed: boolean) => void;

interface Captured {
  readonly credential: Credential;
  /** Of the sealed row that says the same; '' when there is none yet. */
  stamp: string;
  saving: boolean;
}

/**
 * A store belongs to one upstream: a key derived for a role of one server is never offered to another, nor is what was
 * captured for one role offered for another.
 */
export class CredentialStore {
  /** The servers by name, as sealed credentials are bound to them. */
  readonly upstream: string;
  readonly addresses: readonly UpstreamAddress[];
  readonly #sources: readonly PasswordSource[];
  readonly #vault: Vault | undefined;
  readonly #onUnsaved: (role: string, error: unknown) => void;
  readonly #captured = new Map<string, Captured>();
  readonly #captures = new Map<string, number>();
  /** Writes under way. */
  readonly #saves = new Map<string, Promise<void>>();
  readonly #listeners: CaptureListener[] = [];

  /** @param addresses of the servers, at least one */
  constructor(addresses: readonly UpstreamAddress[], options: CredentialStoreOptions = {}) {
    this.upstream = upstreamName(addresses);
    this.addresses = addresses;
    this.#sources = options.sources ?? [];
    this.#vault = options.vault;
    this.#onUnsaved = options.onUnsaved ?? (() => {});
  }

  /**
   * Keeps a copy of a credential that the server has just accepted. The last one counts, but `trust` replaces nothing:
   * from another address the same role may be asked for its password. Returns at once; listeners hear of it when it
   * has been sealed as well, so that another proxy that they wake finds it. A name that no role can have is passed over.
   */
  capture(role: string, credential: Credential): void {
    if (!isRoleName(role)) return;
    const before = this.#captured.get(role);
    if (credential.kind === 'trust' && before !== undefined) return;
    this.#captures.set(role, this.captures(role) + 1);
    if (before !== undefined && isSame(before.credential, credential)) {
      if (before.stamp !== '' || before.saving || !this.#seals(credential)) this.#tell(role, false);
      else void this.#save(role, before, false);
      return;
    }
    if (before !== undefined) wipe(before.credential);
    const entry: Captured = { credential: copyOf(credential), stamp: '', saving: false };
    this.#captured.set(role, entry);
    if (this.#seals(credential)) void this.#save(role, entry, true);
    else this.#tell(role, true);
  }

  /** How often a login of the role was captured. */
  captures(role: string): number {
    return this.#captures.get(role) ?? 0;
  }

  /**
   * What the role would log in with.
   * @param address the server that has been reached
   * @throws SourceFailure when a source that should know it does not work; what the database says when it does not
   */
  async find(role: string, database: string, address: UpstreamAddress): Promise<Found | undefined> {
    const wanted = { role, database, address };
    for (const source of this.#sources) {
      const password = await source.find(wanted);
      if (password === undefined) continue;
      const credential = redacted({ kind: 'password', password });
      return { credential, source: source.name, from: { source, wanted } };
    }
    let captured = this.#captured.get(role);
    if (captured === undefined && (await this.#load(role))) captured = this.#captured.get(role);
    if (captured === undefined) return undefined;
    return { credential: copyOf(captured.credential), source: 'captured', from: null };
  }

  /** As `find`, the credential only. */
  async get(
    role: string,
    database: string = role,
    address: UpstreamAddress = this.addresses[0]!,
  ): Promise<Credential | undefined> {
    return (await this.find(role, database, address))?.credential;
  }

  /** As `refused`, for whoever has called `get`. */
  notTaken(role: string, database: string, address: UpstreamAddress): void {
    for (const source of this.#sources) source.refused({ role, database, address });
    this.#load(role).catch(() => {}); // what is sealed cannot be read now: the next refusal tries again
  }

  /**
   * The server did not take what was found (or nothing was). @returns whether `find` gives something else now: another
   * proxy has captured a newer one, or a kept password has run out
   */
  async refused(role: string, found: Found | undefined): Promise<boolean> {
    if (found !== undefined && found.from !== null) return found.from.source.refused(found.from.wanted);
    return await this.#load(role);
  }

  /**
   * Says whether a login that failed could work now: another text, another try.
   * @param sealed the stamp of the row in the database, '' for none; undefined: it is asked for
   */
  async version(role: string, sealed?: string): Promise<string> {
    const stamps = await Promise.all(this.#sources.map((source) => source.stamp()));
    let row = '';
    if (this.#vault !== undefined) row = sealed ?? (await this.#vault.load(role)).stamp;
    return [...stamps, this.captures(role), row].join('/');
  }

  /** Whether there may be something to log in with. @param sealed as above */
  mayHave(role: string, sealed: string): boolean {
    return (
      this.#captured.has(role) ||
      (this.#vault !== undefined && sealed !== '') ||
      this.#sources.some((source) => source.mayHave(role))
    );
  }

  /** Drops what was captured for the role, here and in the database. @param only if it is still this */
  forget(role: string, only?: Credential): void {
    const entry = this.#captured.get(role);
    if (only !== undefined && (entry === undefined || !isSame(entry.credential, only))) return;
    if (entry !== undefined) wipe(entry.credential);
    this.#captured.delete(role);
    this.#vault?.remove(role).catch((error: unknown) => this.#onUnsaved(role, error));
  }

  /** Seals what was captured once more: what was written is gone. */
  saveAgain(): void {
    for (const [role, entry] of this.#captured) {
      entry.stamp = '';
      if (this.#seals(entry.credential)) void this.#save(role, entry, false);
    }
  }

  /** Calls the listener after each capture. */
  onCapture(listener: CaptureListener): void {
    this.#listeners.push(listener);
  }

  toJSON(): string {
    return `[credentials: ${this.#captured.size} roles]`;
  }

  [inspect.custom](): string {
    return this.toJSON();
  }

  #seals(credential: Credential): boolean {
    return this.#vault?.holds(credential) === true;
  }

  /** One after the other for each role, so that the last login is what stays written. */
  async #save(role: string, entry: Captured, changed: boolean): Promise<void> {
    entry.saving = true;
    const before = this.#saves.get(role) ?? Promise.resolve();
    const mine = before.then(() => this.#saveNow(role, entry, changed));
    this.#saves.set(role, mine);
    await mine;
    if (this.#saves.get(role) === mine) this.#saves.delete(role);
  }

  async #saveNow(role: string, entry: Captured, changed: boolean): Promise<void> {
    if (this.#captured.get(role) !== entry) return; // replaced and wiped: what has replaced it is saved next
    const copy = copyOf(entry.credential); // the entry may be replaced, and wiped, meanwhile
    try {
      entry.stamp = await this.#vault!.save(role, copy);
    } catch (error) {
      this.#onUnsaved(role, error);
    } finally {
      entry.saving = false;
      wipe(copy);
      this.#tell(role, changed);
    }
  }

  /** Takes what is sealed for the role, if it is not what is known already. @returns whether it took it */
  async #load(role: string): Promise<boolean> {
    if (this.#vault === undefined) return false;
    const before = this.#captured.get(role);
    const { credential, stamp } = await this.#vault.load(role);
    if (credential === null) return false;
    const now = this.#captured.get(role);
    // A login that came in between, or is not written yet, counts more.
    if (now !== before || (now !== undefined && (now.saving || now.stamp === stamp))) {
      wipe(credential);
      return now !== before;
    }
    const same = now !== undefined && isSame(now.credential, credential);
    if (now !== undefined) wipe(now.credential);
    this.#captured.set(role, { credential, stamp, saving: false });
    return !same;
  }

  #tell(role: string, changed: boolean): void {
    for (const listener of this.#listeners) listener(role, changed);
  }
}

/**
 * Whether a role can have this very name. The server cuts longer ones, and those that are not UTF-8 look alike here: what
 * such a login gives must not be taken for another role's.
 */
function isRoleName(name: string): boolean {
  return name !== '' && Buffer.byteLength(name) < 64 && !name.includes('\ufffd');
}

/** The servers of an upstream as one text, whatever the order in which they are named, and the case of host names. */
export function upstreamName(addresses: readonly UpstreamAddress[]): string {
  return addresses
    .map((address) => (isUnixSocket(address) ? addressText(address) : addressText(address).toLowerCase()))
    .sort()
    .join(',');
}
