/** `_df.enlist`, `_df.heartbeat`, `_df.resign`: the life of an executor in the database. */
import type { Pool } from 'pg';
import { answer } from './answer.js';

export interface Heartbeat {
  /** false: this executor had been declared dead; everything that it held is lost. */
  readonly alive: boolean;
  /** Instances freed from dead executors, now due. */
  readonly taken: number;
  /** Of the instances named, those not held any more under their token. */
  readonly lost: readonly string[];
  /** Held in the database by this executor, but not named. */
  readonly stray: ReadonlyArray<{ readonly id: string; readonly token: string }>;
}

/** A new executor whose lease ends in `lease` seconds unless extended. */
export async function enlist(pool: Pool, owner: string, lease: number): Promise<void> {
  await pool.query('SELECT _df.enlist($1, $2)', [owner, lease]);
}

/** Extends the lease by `lease` seconds from now. */
export async function heartbeat(
  pool: Pool,
  owner: string,
  lease: number,
  held: ReadonlyArray<{ readonly id: string; readonly token: string }>,
  withinMs: number,
): Promise<Heartbeat> {
  const rows = await answer<{ beat: Heartbeat }>(
    pool,
    'SELECT _df.heartbeat($1, $2, $3::text[], $4::uuid[]) AS beat',
    [owner, lease, held.map((one) => one.id), held.map((one) => one.token)],
    withinMs,
  );
  return (rows[0] as { beat: Heartbeat }).beat;
}

/** Leaves in order: what is still held can be claimed by others at once. */
export async function resign(pool: Pool, owner: string): Promise<void> {
  await pool.query('SELECT _df.resign($1)', [owner]);
}
