import { isDeepStrictEqual } from 'node:util';
import { type SettingName, type SettingValues, settingNames } from './settings.js';

/** What a running proxy takes over when it reads its configuration again. Everything else needs a restart. */
const changeable: ReadonlySet<SettingName> = new Set<SettingName>([
  'client_tls',
  'client_tls_cert_file',
  'client_tls_key_file',
  'client_tls_ca_file',
  'client_tls_client_cert',
  'proxy_protocol_from',
  'max_client_connections',
  'max_failed_logins',
  'failed_login_window',
  'login_timeout',
  'drain_timeout',
  'max_user_connections',
  'execution_acquire_timeout',
  'session_idle_timeout',
  'step_idle_timeout',
  'step_statement_timeout',
  'max_new_transaction_starts',
  'new_transaction_start_timeout',
  'signal_transaction_mode',
  'max_loop_iterations',
  'record_statements',
  'enable_superuser_instances',
  'list_instances_max_limit',
  'retention_days',
  'reconcile_interval',
  'http.mode',
  'http.allow',
  'http.block_private',
  'http.max_response_bytes',
  'http.max_concurrent_requests',
  'http.ca_file',
  'log_level',
]);

export interface Changes {
  /** What the proxy has from now on: the old values, with those new ones that can change. */
  readonly values: SettingValues;
  /** Names of settings that have changed. */
  readonly applied: readonly SettingName[];
  /** Names of settings that have changed and keep their old value until a restart. */
  readonly needRestart: readonly SettingName[];
}

/** What is different between the configuration of the running proxy and the one that was read now. */
export function changes(before: SettingValues, now: SettingValues): Changes {
  const changed = settingNames.filter((name) => !isDeepStrictEqual(before[name], now[name]));
  const applied = changed.filter((name) => changeable.has(name));
  const values: Record<string, unknown> = { ...before };
  for (const name of applied) values[name] = now[name];
  return {
    values: values as SettingValues,
    applied,
    needRestart: changed.filter((name) => !changeable.has(name)),
  };
}
