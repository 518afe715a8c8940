/**
 * A statement of the engine that must be answered in time. A network can swallow a question or its answer without a
 * word; whoever waits for it waits for ever, and with him everything that is done one at a time: claims, heartbeats,
 * checkpoints. The connection is given up then. Whether the statement took effect is unknown, as after any lost
 * connection: what is asked this way must be safe to ask again.
 */
import type { Pool, QueryConfig, QueryResultRow } from 'pg';

/**
 * @param withinMs how long to wait for the answer; what the server does meanwhile goes on
 * @throws what the server says; an error without a code when there was no answer
 */
export async function answer<Row extends QueryResultRow>(
  pool: Pool,
  text: string,
  values: readonly unknown[],
  withinMs: number,
): Promise<Row[]> {
  // of pg, per statement too, though its types know it for connections only
  const query: QueryConfig & { query_timeout: number } = {
    text,
    values: [...values],
    query_timeout: withinMs,
  };
  return (await pool.query<Row>(query)).rows;
}
