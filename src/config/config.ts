import type { HostPattern } from './host-pattern.js';
import type { ListenAddress, Network } from './kinds.js';
import type { SettingValues } from './settings.js';
import { shownSettings } from './shown.js';
import { type Upstream, upstream } from './upstream.js';
import { parseUpstream, UpstreamUrlError } from './upstream-url.js';

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

/** How clients show who they are. */
export type ClientAuthMode = 'password' | 'scram' | 'relay' | 'trust';

/** Encryption of clients' connections, where there is any. */
export interface ClientTlsConfig {
  readonly mode: 'allow' | 'require';
  readonly certFile: string;
  readonly keyFile: string;
  readonly caFile: string | undefined;
  readonly clientCertificate: 'none' | 'request' | 'require';
}

/** Requests of durable functions. */
export interface HttpConfig {
  readonly mode: 'off' | 'allowlist' | 'all';
  readonly allow: readonly HostPattern[];
  readonly blockPrivate: boolean;
  readonly maxResponseBytes: number;
  readonly maxConcurrentRequests: number;
  readonly caFile: string | undefined;
}

/** Everything that can be set, checked and in one unit: times in milliseconds, sizes in bytes. */
export interface Config {
  readonly listen: readonly ListenAddress[];
  /** Permissions of the files of Unix sockets. */
  readonly unixSocketMode: number;
  /** Undefined: off. */
  readonly clientTls: ClientTlsConfig | undefined;
  /** Who sends headers of the PROXY protocol. */
  readonly proxyProtocolFrom: readonly Network[];
  /** 0: no limit. */
  readonly maxClientConnections: number;
  /** 0: no limit. */
  readonly maxFailedLogins: number;
  readonly failedLoginWindowMs: number;
  readonly upstream: Upstream;
  readonly upstreamConnectTimeoutMs: number;
  readonly loginTimeoutMs: number;
  readonly clientAuth: ClientAuthMode;
  /** Processes that serve clients. 1: this one does. */
  readonly workers: number;
  readonly authFile: string | undefined;
  readonly authQuery: string | undefined;
  readonly maxRewriteBytes: number;
  readonly drainTimeoutMs: number;

  /** Whether missing schemas are installed at the start. */
  readonly installOnStart: boolean;
  /** Connections of the admin role. */
  readonly maxManagementConnections: number;
  /** SQL steps at the same time. */
  readonly maxUserConnections: number;
  readonly executionAcquireTimeoutMs: number;
  readonly maxNewTransactionStarts: number;
  readonly newTransactionStartTimeoutMs: number;
  readonly signalTransactionMode: 'caller' | 'new';
  readonly leaseDurationMs: number;
  readonly pollIntervalMs: number;
  /** 0: a session is closed when its step is done. */
  readonly sessionIdleTimeoutMs: number;
  /** 0: none. */
  readonly stepIdleTimeoutMs: number;
  /** 0: the role's own. */
  readonly stepStatementTimeoutMs: number;
  /** 0: no limit. */
  readonly maxLoopIterations: number;
  readonly recordStatements: boolean;
  readonly http: HttpConfig;

  readonly credentialsFile: string | undefined;
  readonly credentialCommand: readonly string[] | undefined;
  readonly credentialCommandTtlMs: number;
  readonly credentialCommandTimeoutMs: number;
  readonly credentialKeyFile: string | undefined;
  readonly credentialOldKeyFile: string | undefined;
  readonly credentialKeyCommand: readonly string[] | undefined;
  /** Not enumerable, so that no log, JSON or message to another process has it by accident. */
  readonly environment: EnvironmentSecrets;

  readonly enableSuperuserInstances: boolean;
  readonly listInstancesMaxLimit: number;
  readonly retentionDays: number;
  /** 0: never. */
  readonly reconcileIntervalMs: number;

  readonly logLevel: LogLevel;
  /** All settings as SHOW answers them, by name; null: not to be shown. */
  readonly shown: ReadonlyMap<string, string | null>;
  /** Said once in the log: settings that were given and have no effect. */
  readonly notes: readonly string[];
}

/** What is secret and given in the environment only, where no list of processes shows it. */
export interface EnvironmentSecrets {
  /** PG_DURABLE_CREDENTIAL_KEY */
  readonly credentialKey: string | undefined;
  /** PG_DURABLE_PASSWORD_..., by the name of the variable. */
  readonly passwords: ReadonlyMap<string, string>;
}

/** A setting that is unknown, bad or missing; the message is one line and holds no secret. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/** Names as in the files to names as in the program. Throws ConfigError if there is no server to work with. */
export function toConfig(
  values: SettingValues,
  environment: EnvironmentSecrets,
  notes: readonly string[],
): Config {
  const config: Omit<Config, 'environment' | 'shown'> = {
    listen: values.listen!,
    unixSocketMode: values.unix_socket_permissions!,
    clientTls: toClientTls(values),
    proxyProtocolFrom: values.proxy_protocol_from ?? [],
    maxClientConnections: values.max_client_connections!,
    maxFailedLogins: values.max_failed_logins!,
    failedLoginWindowMs: values.failed_login_window!,
    upstream: toUpstream(values),
    upstreamConnectTimeoutMs: connectTimeoutOf(values) ?? values.upstream_connect_timeout!,
    loginTimeoutMs: values.login_timeout!,
    workers: values.workers!,
    clientAuth: toClientAuth(values),
    authFile: values.auth_file,
    authQuery: values.auth_query,
    maxRewriteBytes: values.max_rewrite_bytes!,
    drainTimeoutMs: values.drain_timeout!,
    installOnStart: values.install_on_start!,
    maxManagementConnections: values.max_management_connections!,
    maxUserConnections: values.max_user_connections!,
    executionAcquireTimeoutMs: values.execution_acquire_timeout!,
    maxNewTransactionStarts: values.max_new_transaction_starts!,
    newTransactionStartTimeoutMs: values.new_transaction_start_timeout!,
    signalTransactionMode: values.signal_transaction_mode!,
    leaseDurationMs: values.lease_duration!,
    pollIntervalMs: values.poll_interval!,
    sessionIdleTimeoutMs: values.session_idle_timeout!,
    stepIdleTimeoutMs: values.step_idle_timeout!,
    stepStatementTimeoutMs: values.step_statement_timeout!,
    maxLoopIterations: values.max_loop_iterations!,
    recordStatements: values.record_statements!,
    http: {
      mode: values['http.mode']!,
      allow: values['http.allow'] ?? [],
      blockPrivate: values['http.block_private']!,
      maxResponseBytes: values['http.max_response_bytes']!,
      maxConcurrentRequests: values['http.max_concurrent_requests']!,
      caFile: values['http.ca_file'],
    },
    credentialsFile: values.credentials_file,
    credentialCommand: values.credential_command,
    credentialCommandTtlMs: values.credential_command_ttl!,
    credentialCommandTimeoutMs: values.credential_command_timeout!,
    credentialKeyFile: values.credential_key_file,
    credentialOldKeyFile: values.credential_old_key_file,
    credentialKeyCommand: values.credential_key_command,
    enableSuperuserInstances: values.enable_superuser_instances!,
    listInstancesMaxLimit: values.list_instances_max_limit!,
    retentionDays: values.retention_days!,
    reconcileIntervalMs: values.reconcile_interval!,
    logLevel: values.log_level!,
    notes,
  };
  const whole: Omit<Config, 'environment'> = { ...config, shown: shownSettings(values, config.upstream) };
  return Object.defineProperty(whole, 'environment', {
    value: environment,
    enumerable: false,
  }) as Config;
}

function toClientTls(values: SettingValues): ClientTlsConfig | undefined {
  const { client_tls_cert_file: certFile, client_tls_key_file: keyFile, client_tls_ca_file: caFile } = values;
  const mode = values.client_tls ?? (certFile === undefined ? 'off' : 'allow');
  const clientCertificate = values.client_tls_client_cert!;
  if (mode === 'off') return undefined;
  const missing = (name: string, why: string) => new ConfigError(`setting "${name}" is missing: ${why}`);
  if (certFile === undefined) throw missing('client_tls_cert_file', `client_tls is ${mode}`);
  if (keyFile === undefined) throw missing('client_tls_key_file', 'client_tls_cert_file needs its key');
  if (clientCertificate !== 'none' && caFile === undefined) {
    throw missing('client_tls_ca_file', `client_tls_client_cert is ${clientCertificate}`);
  }
  if (clientCertificate === 'none' && caFile !== undefined) {
    throw new ConfigError(
      'setting "client_tls_ca_file" is given, but client_tls_client_cert is none: allowed with it are request and require',
    );
  }
  return { mode, certFile, keyFile, caFile, clientCertificate };
}

function toClientAuth(values: SettingValues): ClientAuthMode {
  const mode = values.client_auth!;
  if (mode === 'scram' && values.auth_file === undefined && values.auth_query === undefined) {
    throw new ConfigError(
      'setting "client_auth" is scram, which needs verifiers: give "auth_file" or "auth_query"',
    );
  }
  return mode;
}

function toUpstream(values: SettingValues): Upstream {
  if (values.upstream === undefined) {
    throw new ConfigError(
      'setting "upstream" is missing: give --upstream postgresql://ROLE:PASSWORD@HOST:PORT/DATABASE ' +
        '(or PG_DURABLE_UPSTREAM, or upstream in the configuration file)',
    );
  }
  const parts = parseUpstream(values.upstream);
  const user = parts.user ?? values.worker_role;
  if (user === undefined) {
    throw new ConfigError(
      'setting "upstream" names no role: write postgresql://ROLE:PASSWORD@HOST:PORT/DATABASE',
    );
  }
  const database = parts.database ?? values.database ?? 'postgres';
  if (values.database !== undefined && values.database !== database) {
    throw new ConfigError(
      `setting "database" is ${JSON.stringify(values.database)}, but the upstream URL names ` +
        `${JSON.stringify(database)}: allowed is one control database`,
    );
  }
  try {
    return upstream({ ...parts, user, database });
  } catch (error) {
    if (!(error instanceof UpstreamUrlError)) throw error;
    throw new ConfigError(`bad value for setting "upstream": ${error.message}`);
  }
}

function connectTimeoutOf(values: SettingValues): number | undefined {
  return values.upstream === undefined ? undefined : parseUpstream(values.upstream).connectTimeoutMs;
}
