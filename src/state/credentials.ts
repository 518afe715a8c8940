/** Statements on `_df.credentials`: sealed credentials, as rows. Nothing here can open them. */
import type { ClientBase, Pool } from 'pg';
import type { Sealed } from '../upstream/credentials/seal.js';
import { answer } from './answer.js';
import { isMissing } from './missing.js';

export interface SealedRow extends Sealed {
  readonly role: string;
  readonly upstream: string;
}

interface Row {
  role: string;
  upstream: string;
  key_id: string;
  nonce: Buffer;
  ciphertext: Buffer;
}

const sealedRow = ({ role, upstream, key_id, nonce, ciphertext }: Row): SealedRow => ({
  role,
  upstream,
  keyId: key_id,
  nonce,
  ciphertext,
});

/** The row of a role, if there is one, and a table for it. */
export async function loadCredential(
  pool: Pool,
  role: string,
  upstream: string,
): Promise<SealedRow | undefined> {
  const { rows } = await pool
    .query<Row>(
      `SELECT c.role, c.upstream, c.key_id, c.nonce, c.ciphertext FROM _df.credentials AS c
     WHERE c.role OPERATOR(pg_catalog.=) $1 AND c.upstream OPERATOR(pg_catalog.=) $2`,
      [role, upstream],
    )
    .catch((error: unknown) => {
      if (isMissing(error)) return { rows: [] };
      throw error;
    });
  return rows[0] && sealedRow(rows[0]);
}

/** Writes the row of a role over the one that is there. */
export async function saveCredential(pool: Pool, row: SealedRow): Promise<void> {
  await pool.query(
    `INSERT INTO _df.credentials AS c (role, upstream, key_id, nonce, ciphertext) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (role, upstream) DO UPDATE
     SET key_id = excluded.key_id, nonce = excluded.nonce, ciphertext = excluded.ciphertext,
         captured_at = pg_catalog.clock_timestamp()`,
    [row.role, row.upstream, row.keyId, row.nonce, row.ciphertext],
  );
}

/** Removes the row of a role. */
export async function deleteCredential(pool: Pool, role: string, upstream: string): Promise<void> {
  await pool.query(
    `DELETE FROM _df.credentials AS c
     WHERE c.role OPERATOR(pg_catalog.=) $1 AND c.upstream OPERATOR(pg_catalog.=) $2`,
    [role, upstream],
  );
}

/** Every row, locked until the transaction of the client ends. */
export async function lockCredentials(client: ClientBase): Promise<SealedRow[]> {
  const { rows } = await client.query<Row>(
    `SELECT c.role, c.upstream, c.key_id, c.nonce, c.ciphertext FROM _df.credentials AS c
     ORDER BY c.role, c.upstream FOR UPDATE`,
  );
  return rows.map(sealedRow);
}

/** The same credential under another key: when it was captured stays. */
export async function replaceCredential(client: ClientBase, row: SealedRow): Promise<void> {
  await client.query(
    `UPDATE _df.credentials AS c SET key_id = $3, nonce = $4, ciphertext = $5
     WHERE c.role OPERATOR(pg_catalog.=) $1 AND c.upstream OPERATOR(pg_catalog.=) $2`,
    [row.role, row.upstream, row.keyId, row.nonce, row.ciphertext],
  );
}

/** Removes what belongs to roles that are no more. @returns how many rows */
export async function sweepCredentials(client: ClientBase | Pool): Promise<number> {
  const { rowCount } = await client.query(
    `DELETE FROM _df.credentials AS c
     WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname::text OPERATOR(pg_catalog.=) c.role)`,
  );
  return rowCount ?? 0;
}

/** A role with instances that wait for something from outside, and what is sealed for it. */
export interface WaitingRole {
  readonly role: string;
  /** Another one after each write; null: there is no row. */
  readonly sealed: string | null;
}

/**
 * Roles of waiting instances, each once. The walk over the index costs a step per role, however many wait.
 * @param withinMs how long the database may take to answer
 */
export async function waitingRoles(pool: Pool, upstream: string, withinMs: number): Promise<WaitingRole[]> {
  return await answer<{ role: string; sealed: string | null }>(
    pool,
    `WITH RECURSIVE w AS (
         (SELECT i.role FROM _df.instances AS i
          WHERE i.waiting IS NOT NULL AND i.finished_at IS NULL ORDER BY i.role LIMIT 1)
         UNION ALL
         SELECT (SELECT i.role FROM _df.instances AS i
                 WHERE i.waiting IS NOT NULL AND i.finished_at IS NULL AND i.role OPERATOR(pg_catalog.>) w.role
                 ORDER BY i.role LIMIT 1)
         FROM w WHERE w.role IS NOT NULL
     )
     SELECT r.rolname::text AS role, pg_catalog.encode(c.nonce, 'hex') AS sealed
     FROM w
     JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) w.role
     LEFT JOIN _df.credentials AS c
            ON c.role OPERATOR(pg_catalog.=) r.rolname::text AND c.upstream OPERATOR(pg_catalog.=) $1`,
    [upstream],
    withinMs,
  );
}
