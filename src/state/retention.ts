/** `_df.begin_pass`, `_df.outdated`, `_df.remove`: finished instances do not stay for ever. */
import type { Pool } from 'pg';
import { answer } from './answer.js';

/** Whether a pass is due, in which case it is this caller's: the last one began `interval` seconds ago or earlier. */
export async function beginPass(pool: Pool, interval: number, withinMs: number): Promise<boolean> {
  const sql = 'SELECT _df.begin_pass($1) AS begun';
  const [row] = await answer<{ begun: boolean }>(pool, sql, [interval], withinMs);
  return row?.begun === true;
}

/** Ids of finished instances older than `days`, or beyond the newest `keep`; at most `limit`. */
export async function outdated(
  pool: Pool,
  { days, keep, limit }: { days: number; keep: number; limit: number },
  withinMs: number,
): Promise<string[]> {
  const sql = 'SELECT _df.outdated($1, $2, $3) AS ids';
  const [row] = await answer<{ ids: string[] }>(pool, sql, [days, keep, limit], withinMs);
  return row?.ids ?? [];
}

/**
 * Removes the first of the given instances, until about `rows` rows are gone.
 * @returns how many were dealt with, and how many of those removed: what somebody has locked stays
 */
export async function remove(
  pool: Pool,
  ids: readonly string[],
  rows: number,
  withinMs: number,
): Promise<{ done: number; removed: number }> {
  const sql = 'SELECT r.done, r.removed FROM _df.remove($1, $2) AS r';
  const [row] = await answer<{ done: number; removed: number }>(pool, sql, [ids, rows], withinMs);
  return row as { done: number; removed: number };
}
