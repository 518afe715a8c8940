/** Captured credentials in the database, sealed: see `sql/011_credentials.sql`. */
import type { Pool } from 'pg';
import { deleteCredential, loadCredential, saveCredential } from '../../state/credentials.js';
import { type Credential, isSame, wipe } from './credential.js';
import { isSealable, type SealingKey, seal, unseal } from './seal.js';

export interface VaultOptions {
  readonly database: Pool;
  /** Which servers the credentials are for: `upstreamName`. */
  readonly upstream: string;
  /** The first seals, all open; at least one. */
  readonly keys: readonly SealingKey[];
  readonly warn: (fields: { readonly role: string; readonly key: string }, text: string) => void;
}

export interface Unsealed {
  /** null: there is none that opens. */
  readonly credential: Credential | null;
  /** Of the row: another one after each write; '' when there is none. */
  readonly stamp: string;
}

export class Vault {
  readonly #options: VaultOptions;
  /** By role the stamp of the row that did not open, so that each is said once. */
  readonly #unusable = new Map<string, string>();

  constructor(options: VaultOptions) {
    this.#options = options;
  }

  /** What is sealed for the role. A row that does not open is as if absent, with a warning. */
  async load(role: string): Promise<Unsealed> {
    const { database, upstream, keys, warn } = this.#options;
    const row = await loadCredential(database, role, upstream);
    if (row === undefined) return { credential: null, stamp: '' };
    const stamp = row.nonce.toString('hex');
    const credential = unseal(row, { role, upstream }, keys);
    if (credential === null && this.#unusable.get(role) !== stamp) {
      this.#unusable.set(role, stamp);
      warn(
        { role, key: row.keyId },
        keys.some(({ id }) => id === row.keyId)
          ? 'sealed credential does not open: it was changed, or belongs to another role or server'
          : 'sealed credential does not open: its key is not among the keys given',
      );
    }
    return { credential, stamp };
  }

  /** Seals and writes it, unless what is there is the same under the first key already. @returns the row's stamp */
  async save(role: string, credential: Credential): Promise<string> {
    const { database, upstream, keys } = this.#options;
    const owner = { role, upstream };
    const row = await loadCredential(database, role, upstream);
    if (row !== undefined && row.keyId === keys[0]!.id) {
      const there = unseal(row, owner, keys);
      const same = there !== null && isSame(there, credential);
      if (there !== null) wipe(there);
      if (same) return row.nonce.toString('hex');
    }
    const sealed = seal(credential, owner, keys[0]!);
    await saveCredential(database, { ...owner, ...sealed });
    return sealed.nonce.toString('hex');
  }

  async remove(role: string): Promise<void> {
    await deleteCredential(this.#options.database, role, this.#options.upstream);
  }

  holds(credential: Credential): boolean {
    return isSealable(credential);
  }
}
