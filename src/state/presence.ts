/** Whether the schemas are installed, and whether they are the same as before. */
import type { Pool } from 'pg';
import { answer } from './answer.js';

/**
 * The OID of `_df.migrations`, another one after each installation; null: nothing is installed. Only committed changes
 * count, and it waits for nobody: a DROP under way locks the table, not its row in the catalog.
 * @param withinMs how long the database may take to answer
 */
export async function installedAs(pool: Pool, withinMs: number): Promise<string | null> {
  const rows = await answer<{ oid: string }>(
    pool,
    `SELECT c.oid::text AS oid
     FROM pg_catalog.pg_class AS c
     JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
     WHERE n.nspname OPERATOR(pg_catalog.=) '_df' AND c.relname OPERATOR(pg_catalog.=) 'migrations'`,
    [],
    withinMs,
  );
  return rows[0]?.oid ?? null;
}
