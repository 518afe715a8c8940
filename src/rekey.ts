/** `pg-durable-proxy rekey`: seals every stored credential with the first key. */
import type { ClientBase } from 'pg';
import { lockCredentials, replaceCredential, sweepCredentials } from './state/credentials.js';
import { wipe } from './upstream/credentials/credential.js';
import { type SealingKey, seal, unseal } from './upstream/credentials/seal.js';

export interface RekeyReport {
  /** Sealed anew with the first key. */
  readonly resealed: number;
  /** Under the first key already. */
  readonly current: number;
  /** Removed, as their role is no more. */
  readonly removed: number;
  /** Which no key given opens; left as they were. */
  readonly closed: ReadonlyArray<{ readonly role: string; readonly keyId: string }>;
}

/**
 * In one transaction: all or none. Proxies go on meanwhile; one that seals a credential at the same time waits.
 * @param keys the first seals, all open; at least one
 */
export async function rekey(client: ClientBase, keys: readonly SealingKey[]): Promise<RekeyReport> {
  const first = keys[0]!;
  await client.query('BEGIN');
  try {
    const removed = await sweepCredentials(client);
    let resealed = 0;
    let current = 0;
    const closed: Array<{ role: string; keyId: string }> = [];
    for (const row of await lockCredentials(client)) {
      const credential = unseal(row, row, keys);
      if (credential === null) {
        closed.push({ role: row.role, keyId: row.keyId });
      } else if (row.keyId === first.id) {
        current += 1;
      } else {
        await replaceCredential(client, { ...row, ...seal(credential, row, first) });
        resealed += 1;
      }
      if (credential !== null) wipe(credential);
    }
    await client.query('COMMIT');
    return { resealed, current, removed, closed };
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {});
    throw error;
  }
}
