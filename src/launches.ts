/** What is done outside of callers' transactions, as configured. */
import type { Logger } from 'pino';
import { adminClientConfig } from './admin-connection.js';
import type { Config } from './config/config.js';
import { Launcher } from './launch/launcher.js';
import { launchParameters } from './launch/run.js';
import type { PrivateNotice } from './proxy/private-notice.js';
import type { CredentialStore } from './upstream/credentials.js';
import type { Servers } from './upstream/dial.js';
import { SessionPool } from './upstream/pool.js';

export interface Launches {
  /** A SQL function asks for something. */
  ask(notice: PrivateNotice): void;
  /** Takes over what can change without a restart. */
  reload(config: Config): void;
  /** Resolves when requests can be taken, or the first attempt to get there has failed. */
  start(): Promise<void>;
  close(): Promise<void>;
}

/** @param onCommitted called when something has been committed that an executor may have to do with */
export function createLaunches(
  config: Config,
  servers: Servers,
  credentials: CredentialStore,
  onCommitted: () => void,
  log: Logger,
): Launches {
  const sessions = new SessionPool({
    address: servers,
    credentials,
    connectTimeoutMs: config.upstreamConnectTimeoutMs,
    controlDatabase: config.upstream.database,
    ...limits(config),
  });
  credentials.onCapture((role) => sessions.logins.reopen(role));
  const settings = launchSettings(config);
  const launcher = new Launcher({
    admin: adminClientConfig(config, servers, 'pg_durable:backend:launches'),
    sessions,
    controlDatabase: config.upstream.database,
    settings,
    onCommitted,
    log,
  });
  return {
    ask: (notice) => launcher.ask(notice),
    reload: (next) => {
      Object.assign(settings, launchSettings(next));
      sessions.change(limits(next));
    },
    start: () => launcher.start(),
    close: async () => {
      await launcher.close();
      await sessions.close();
    },
  };
}

function limits(config: Config) {
  return {
    limit: config.maxNewTransactionStarts,
    idleTimeoutMs: config.sessionIdleTimeoutMs,
    parameters: launchParameters,
  };
}

function launchSettings(config: Config) {
  return { slots: config.maxNewTransactionStarts, slotTimeoutMs: config.newTransactionStartTimeoutMs };
}
