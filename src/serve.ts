/** Puts the parts together: schema, sessions, executor, proxy. Starting and stopping are here, in order. */
import { readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import type { Logger } from 'pino';
import { adminClientConfig } from './admin-connection.js';
import { clientAuthentication } from './client-authentication.js';
import type { Config } from './config/config.js';
import type { ListenAddress } from './config/kinds.js';
import { createCredentials, sealingKeys } from './credentials.js';
import type { EngineSettings } from './engine/context.js';
import { Executor } from './engine/executor.js';
import { Retention } from './engine/retention.js';
import { StepOperators } from './engine/step-operators.js';
import { RESET } from './engine/strand.js';
import type { Network } from './http/connect.js';
import { Outbound } from './http/outbound.js';
import { Installation, type WrittenSettings } from './installation.js';
import { createLaunches } from './launches.js';
import { readClientTls } from './proxy/client-tls-files.js';
import { createSessions } from './sessions.js';
import { listenForCancellations } from './state/cancellations.js';
import { migrate } from './state/migrate.js';
import { configuredServers, logChanges } from './upstream/configured.js';
import { SessionPool, type SessionPoolLimits } from './upstream/pool.js';
import { createWorkers } from './workers/workers.js';

export interface Running {
  /** Where clients connect, in the order of the configuration; never empty. */
  readonly addresses: readonly ListenAddress[];
  /**
   * Stops accepting, lets transactions and steps end within `graceMs` (by default the drain time-out), and gives back
   * what is held.
   */
  stop(graceMs?: number): Promise<void>;
  /** Ends at once what the end of this process would not: nothing of the proxy's works any more. */
  abort(): void;
  /** Takes over what can change without a restart (config/changes.ts). */
  reload(config: Config): Promise<void>;
}

/** How long a statement of the admin role may wait for a lock. */
const LOCK_TIMEOUT_MS = 4500;

/** For connections to say goodbye. */
const FAREWELL_MS = 1000;

/**
 * Installs or upgrades the schema, starts executor and proxy, and resolves when clients can connect.
 * @param network where the names of HTTP nodes lead to, for tests
 * @throws ConfigError for files that cannot be used, MigrationError, what pg throws when the admin role cannot connect, the error of listen()
 */
export async function serve(config: Config, log: Logger, network?: Network): Promise<Running> {
  const { upstream } = config;
  let clientTls = config.clientTls && readClientTls(config.clientTls);
  const outbound = new Outbound(config.http, version(), network);
  const keys = await sealingKeys(config);
  let graceMs = config.drainTimeoutMs;
  const servers = configuredServers(upstream);
  logChanges(servers, log);
  const admin = adminClientConfig(config, servers.engine, 'pg_durable:worker:management');
  // Shorter than the executor waits for an answer: what a DROP EXTENSION that is not committed holds up must not pile up.
  const options = `${admin.options} -c lock_timeout=${LOCK_TIMEOUT_MS}`;
  const database = new pg.Pool({ ...admin, options, max: config.maxManagementConnections });
  database.on('error', (err) => log.warn({ err }, 'idle management connection lost'));
  const closers: Array<() => Promise<unknown>> = [
    async () => servers.close(),
    () => atMost(FAREWELL_MS, database.end()),
  ];
  const closeAll = async (): Promise<void> => {
    for (const close of closers.reverse())
      await close().catch((err: unknown) => log.warn({ err }, 'closing failed'));
  };

  try {
    if (config.installOnStart) {
      const client = await database.connect();
      try {
        const { applied } = await migrate(client);
        if (applied.length > 0) log.info({ applied }, 'schema brought up to date');
      } finally {
        client.release();
      }
    }

    const credentials = createCredentials(config, keys, database, log);
    const sessions = new SessionPool({
      address: servers.engine,
      credentials,
      connectTimeoutMs: config.upstreamConnectTimeoutMs,
      controlDatabase: upstream.database,
      reset: RESET,
      ...poolLimits(config),
    });
    closers.push(() => sessions.close());
    const settings = engineSettings(config);
    const installation = new Installation({ database, credentials, settings: writtenSettings(config), log });
    const operators = new StepOperators(config.maxRewriteBytes);
    closers.push(() => operators.close());
    const executor = new Executor({
      database,
      sessions,
      credentials,
      settings,
      outbound,
      operators,
      leaseMs: config.leaseDurationMs,
      pollMs: config.pollIntervalMs,
      onMissing: () => installation.look(),
      log,
    });
    const launches = createLaunches(config, servers.engine, credentials, () => executor.wake(), log);
    // the callers have gone: what still runs for one of them is rolled back
    closers.push(() => atMost(FAREWELL_MS, launches.close()));
    await launches.start();
    const clientAuth = await clientAuthentication(config, admin, log);
    if (clientAuth.mode === 'scram') {
      closers.push(() => atMost(FAREWELL_MS, clientAuth.verifiers.close()));
    }
    const around = {
      servers: servers.clients,
      credentials,
      clientAuth,
      clientTls,
      onWorkCommitted: () => {
        executor.wake();
        installation.worked();
      },
      onPrivateNotice: launches.ask,
      log,
    };
    const proxy = config.workers === 1 ? await createSessions(config, around) : createWorkers(config, around);
    const addresses = await proxy.listen();
    // both at once: neither needs the other to end what it has begun
    closers.push(() => Promise.all([proxy.close(graceMs), executor.stop(graceMs)]));
    closers.push(() => atMost(FAREWELL_MS, installation.close()));
    await installation.begin(executor, config.installOnStart);
    const cancellations = listenForCancellations(admin, log, (of) => executor.verify(of));
    closers.push(() => atMost(FAREWELL_MS, cancellations.close()));
    const retention = new Retention(database, config, log);
    retention.start();
    closers.push(() => atMost(FAREWELL_MS, retention.stop()));
    return {
      addresses,
      stop: (withinMs = graceMs) => {
        graceMs = withinMs;
        return closeAll();
      },
      abort: () => proxy.abort(),
      reload: async (next) => {
        log.level = next.logLevel;
        graceMs = next.drainTimeoutMs;
        Object.assign(settings, engineSettings(next));
        retention.reload(next);
        sessions.change(poolLimits(next));
        executor.wake();
        launches.reload(next);
        // Where the server is needs a restart, and what it takes to get there cannot go to another process.
        const { upstream: _, ...others } = next;
        try {
          outbound.configure(next.http);
        } catch (err) {
          log.error({ err }, 'http.ca_file not reloaded: the old settings http.* stay');
        }
        try {
          clientTls = next.clientTls && readClientTls(next.clientTls);
        } catch (err) {
          log.error({ err }, 'files for TLS not reloaded: the old ones stay');
        }
        proxy.reload(others, clientTls);
        if (clientAuth.mode === 'scram') await clientAuth.verifiers.refresh();
        await installation.change(writtenSettings(next)).catch((err: unknown) => {
          log.error(
            { err },
            'the server has not taken the settings of SQL functions: they go with the next SIGHUP',
          );
        });
      },
    };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

/** Waits for the end of something, but not for ever: a server that says nothing any more must not keep us. */
async function atMost(milliseconds: number, end: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, milliseconds);
  });
  await Promise.race([end, over]).finally(() => clearTimeout(timer));
}

function poolLimits(config: Config): SessionPoolLimits {
  return {
    limit: config.maxUserConnections,
    idleTimeoutMs: config.sessionIdleTimeoutMs,
    parameters: stepParameters(config),
  };
}

function engineSettings(config: Config): EngineSettings {
  return {
    controlDatabase: config.upstream.database,
    acquireTimeoutMs: config.executionAcquireTimeoutMs,
    maxLoopIterations: config.maxLoopIterations,
    recordStatements: config.recordStatements,
    enableSuperuserInstances: config.enableSuperuserInstances,
  };
}

function version(): string {
  const file = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(file) as { version: string }).version;
}

function writtenSettings(config: Config): WrittenSettings {
  return { read: sqlSettings(config), shown: config.shown };
}

/** What SQL functions need to know of the configuration (`_df.setting`). */
function sqlSettings(config: Config): Map<string, string> {
  return new Map([
    ['version', version()],
    [
      'built_at',
      statSync(fileURLToPath(import.meta.url))
        .mtime.toISOString()
        .replace(/\.\d+/, ''),
    ],
    ['database', config.upstream.database],
    ['enable_superuser_instances', config.enableSuperuserInstances ? 'on' : 'off'],
    ['signal_transaction_mode', config.signalTransactionMode],
    ['new_transaction_start_timeout', String(config.newTransactionStartTimeoutMs)],
    ['list_instances_max_limit', String(config.listInstancesMaxLimit)],
  ]);
}

/**
 * Start-up parameters of a step's session: they survive DISCARD ALL. The forms that results are read from, and a limit
 * on idling in a transaction, so that the server frees the locks of a proxy that it cannot see dying.
 */
function stepParameters(config: Config): Record<string, string> {
  return {
    application_name: 'pg_durable:worker:workflow-sql',
    client_encoding: 'UTF8',
    DateStyle: 'ISO, MDY',
    TimeZone: 'UTC',
    extra_float_digits: '2',
    bytea_output: 'hex',
    standard_conforming_strings: 'on',
    idle_in_transaction_session_timeout: String(config.stepIdleTimeoutMs),
    // not sent when 0: then the role's own setting counts
    ...(config.stepStatementTimeoutMs > 0 && { statement_timeout: String(config.stepStatementTimeoutMs) }),
    options: '-c df.in_workflow=true',
  };
}
