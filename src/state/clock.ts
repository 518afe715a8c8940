/** The engine's clock, which is the database's. */
import type { Pool } from 'pg';
import { answer } from './answer.js';

/** What `_df.now()` says, in milliseconds since 1970. */
export async function databaseTime(pool: Pool, withinMs: number): Promise<number> {
  const rows = await answer<{ now: number }>(
    pool,
    "SELECT (pg_catalog.date_part('epoch', _df.now()) OPERATOR(pg_catalog.*) 1000)::float8 AS now",
    [],
    withinMs,
  );
  return (rows[0] as { now: number }).now;
}
