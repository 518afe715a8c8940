import pg from 'pg';
import type { Config } from './config/config.js';

/**
 * Runs `work` on one connection of the admin role to the control database and closes it.
 * Throws what pg throws; `oneLine` makes that fit for people.
 */
export async function withAdminConnection<T>(
  config: Config,
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const { host, port, user, password, database } = config.upstream;
  const client = new pg.Client({
    ...{ host, port, user, database },
    ...(password === undefined ? {} : { password }),
    connectionTimeoutMillis: config.upstreamConnectTimeoutMs,
    application_name: 'pg_durable:admin',
  });
  client.on('error', () => {}); // a connection that breaks while idle; the next statement says so
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end().catch(() => {});
  }
}

/** The reason of an error in one line, without a stack. */
export function oneLine(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return oneLine(error.errors[0]);
  const text =
    error instanceof Error
      ? error.message || (error as NodeJS.ErrnoException).code || error.name
      : String(error);
  return text.replace(/\s*\n\s*/g, ' ').trim();
}
