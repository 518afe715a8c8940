/** The proxy's settings as SQL functions see them, and the mark that it has finished starting. */
import type { Pool } from 'pg';

/** Version of the engine's contract with df.start; 1 since the first release. */
const READY_VERSION = 1;

/** Writes the settings that SQL functions read; others that are there stay. */
export async function writeSettings(pool: Pool, settings: ReadonlyMap<string, string>): Promise<void> {
  await pool.query(
    `INSERT INTO _df.settings AS s (name, value)
     SELECT n.name, n.value FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) AS n (name, value)
     ON CONFLICT (name) DO UPDATE SET value = excluded.value
     WHERE s.value OPERATOR(pg_catalog.<>) excluded.value`,
    [[...settings.keys()], [...settings.values()]],
  );
}

/** Writes what SHOW answers, by name; null: not to be shown. Settings that are no more go. */
export async function writeConfiguration(
  pool: Pool,
  shown: ReadonlyMap<string, string | null>,
): Promise<void> {
  await pool.query(
    `WITH written AS (
         INSERT INTO _df.configuration AS c (name, value)
         SELECT n.name, n.value
         FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) AS n (name, value)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value
         WHERE c.value IS DISTINCT FROM excluded.value
     )
     DELETE FROM _df.configuration AS c WHERE NOT c.name OPERATOR(pg_catalog.=) ANY ($1::text[])`,
    [[...shown.keys()], [...shown.values()]],
  );
}

/** From now on df.start accepts work. Once written it stays: a proxy that is down makes work wait, not fail. */
export async function markReady(pool: Pool): Promise<void> {
  await pool.query(
    `INSERT INTO _df._worker_ready (schema_version) VALUES ($1) ON CONFLICT (sentinel) DO NOTHING`,
    [READY_VERSION],
  );
}
