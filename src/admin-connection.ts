import pg from 'pg';
import type { Config } from './config/config.js';
import { configuredServers } from './upstream/configured.js';
import { DialError, dial, type Reached, type Servers } from './upstream/dial.js';
import { DialledStream } from './upstream/dialled-stream.js';

/**
 * Settings for connections of the admin role to the control database: by the same dial as sessions, so with the same
 * choice of host and the same encryption and verification. A connection to a host that stops being the chosen one is
 * ended.
 * @param onReached told of each connection that is made
 */
export function adminClientConfig(
  config: Config,
  servers: Servers,
  applicationName: string,
  onReached: (reached: Reached) => void = () => {},
): pg.ClientConfig {
  const { host, port, user, password, database, hosts } = config.upstream;
  const stream = () => {
    const made: DialledStream = new DialledStream(async () => {
      const reached = await dial(servers, config.upstreamConnectTimeoutMs);
      onReached(reached);
      return reached;
    }, config.upstream);
    const onLeft = (left: unknown) => {
      if (made.reached?.address === left)
        made.destroy(new Error('the server is no longer the one to work with'));
    };
    servers.on('left', onLeft);
    made.once('close', () => servers.off('left', onLeft));
    return made;
  };
  return {
    // Host and port are for .pgpass only; encryption is the business of the stream.
    ...{ stream, host, port, ssl: false, user, database },
    ...(password === undefined ? {} : { password }),
    // Each host has its own time-out in the dial; this one is for a server that answers no more.
    connectionTimeoutMillis: config.upstreamConnectTimeoutMs * (1 + hosts.length),
    application_name: applicationName,
    options: '-c search_path=pg_catalog,pg_temp',
  };
}

/**
 * Runs `work` on one connection of the admin role to the control database and closes it.
 * Throws DialError and what pg throws; `oneLine` makes that fit for people.
 */
export async function withAdminConnection<T>(
  config: Config,
  work: (client: pg.Client, reached: Reached) => Promise<T>,
): Promise<T> {
  const servers = configuredServers(config.upstream);
  let reached: Reached | undefined;
  const client = new pg.Client(
    adminClientConfig(config, servers.engine, 'pg_durable:admin', (made) => {
      reached = made;
    }),
  );
  client.on('error', () => {}); // a connection that breaks while idle; the next statement says so
  try {
    await client.connect();
    return await work(client, reached!);
  } finally {
    await client.end().catch(() => {});
    servers.close();
  }
}

/** What the operating system, the server or pg calls the failure of a connection; undefined without a name. */
export function failureCode(error: unknown): string | undefined {
  if (error instanceof DialError) return error.reasonCode;
  if (error instanceof AggregateError) return failureCode(error.errors[0]);
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? code : undefined;
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
