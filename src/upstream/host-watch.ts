import pg from 'pg';
import type { Upstream } from '../config/upstream.js';
import type { UpstreamAddress } from './address.js';
import { DialledStream } from './dialled-stream.js';
import { reach, type Transport } from './reach.js';
import type { HostState, Watch } from './servers.js';

const STATE = `SELECT pg_catalog.pg_is_in_recovery() AS standby,
       pg_catalog.current_setting('transaction_read_only') = 'on' AS read_only`;

/**
 * Opens a connection of the admin role to one host, to the control database, that tells what the host is.
 * @throws NotReached, or what pg throws when the login fails
 */
export async function watchHost(
  upstream: Upstream,
  transport: Transport,
  address: UpstreamAddress,
  timeoutMs: number,
): Promise<Watch> {
  const client = new pg.Client({
    stream: () => new DialledStream(() => reach(address, transport, timeoutMs), upstream),
    host: address.host,
    port: address.port,
    ssl: false, // the stream's business
    user: upstream.user,
    database: upstream.database,
    ...(upstream.password === undefined ? {} : { password: upstream.password }),
    // Several addresses of a name, and the login.
    connectionTimeoutMillis: 2 * timeoutMs,
    query_timeout: timeoutMs,
    application_name: 'pg_durable:watch',
    options: '-c search_path=pg_catalog,pg_temp',
  });
  let ended = false;
  let listener: () => void = () => {};
  const end = () => {
    if (ended) return;
    ended = true;
    listener();
  };
  client.on('error', end);
  client.on('end', end);
  try {
    await client.connect();
  } catch (error) {
    client.end().catch(() => {});
    throw error;
  }
  return {
    ask: async (): Promise<HostState> => {
      const { rows } = await client.query<{ standby: boolean; read_only: boolean }>(STATE);
      return { standby: rows[0]!.standby, readOnly: rows[0]!.read_only };
    },
    onEnd: (then) => {
      listener = then;
      if (ended) then();
    },
    close: () => {
      listener = () => {};
      client.end().catch(() => {});
    },
  };
}
