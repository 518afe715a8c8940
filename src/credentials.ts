/** Puts the sources of the executor's credentials together, as the configuration names them. */
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import type { Config } from './config/config.js';
import { isMissing } from './state/missing.js';
import { rolesNamedLike } from './state/role.js';
import { EnvironmentPasswords } from './upstream/credentials/environment.js';
import { loadSealingKeys } from './upstream/credentials/keys.js';
import { PasswordCommand } from './upstream/credentials/password-command.js';
import { PasswordFile } from './upstream/credentials/password-file.js';
import type { SealingKey } from './upstream/credentials/seal.js';
import type { PasswordSource } from './upstream/credentials/source.js';
import { Vault } from './upstream/credentials/vault.js';
import { CredentialStore, upstreamName } from './upstream/credentials.js';

/** The keys of the configuration; none: nothing is sealed. @throws ConfigError */
export async function sealingKeys(config: Config): Promise<SealingKey[]> {
  return await loadSealingKeys({
    file: config.credentialKeyFile,
    environment: config.environment.credentialKey,
    command: config.credentialKeyCommand,
    oldFile: config.credentialOldKeyFile,
    commandTimeoutMs: config.credentialCommandTimeoutMs,
  });
}

/** @param keys from `sealingKeys` */
export function createCredentials(
  config: Config,
  keys: readonly SealingKey[],
  database: Pool,
  log: Logger,
): CredentialStore {
  const warn = (text: string) => log.warn(text);
  const sources: PasswordSource[] = [];
  if (config.credentialsFile !== undefined) sources.push(new PasswordFile(config.credentialsFile, warn));
  if (config.credentialCommand !== undefined) {
    const { credentialCommand: command, credentialCommandTimeoutMs: timeoutMs } = config;
    sources.push(new PasswordCommand({ command, timeoutMs, ttlMs: config.credentialCommandTtlMs }));
  }
  if (config.environment.passwords.size > 0) {
    const others = (role: string) => rolesNamedLike(database, role);
    sources.push(new EnvironmentPasswords(config.environment.passwords, others, warn));
  }
  if (keys.length === 0) {
    // who has given passwords in another way has thought of it
    log[sources.length === 0 ? 'warn' : 'info'](
      'no credential_key_file: credentials of roles are kept in memory only; after a restart the work of a role waits ' +
        'until it has logged in through the proxy once',
    );
  }
  const vault =
    keys.length === 0
      ? undefined
      : new Vault({
          ...{ database, keys, upstream: upstreamName(config.upstream.hosts) },
          warn: (fields, text) => log.warn(fields, text),
        });
  return new CredentialStore(config.upstream.hosts, {
    sources,
    vault,
    onUnsaved: (role, err) =>
      log[isMissing(err) ? 'debug' : 'warn'](
        { role, err },
        'credential of a role not sealed, kept in memory',
      ),
  });
}
