import { randomBytes } from 'node:crypto';
import pg from 'pg';
import type { Logger } from 'pino';
import { type Config, ConfigError } from './config/config.js';
import type { ClientAuth } from './proxy/authentication/authenticate.js';
import { verifierFile } from './upstream/verifier-file.js';
import { verifierQuery } from './upstream/verifier-query.js';
import { firstOf, VerifierError, type VerifierSource } from './upstream/verifiers.js';

const AUTH_QUERY_CONNECTIONS = 2;
const AUTH_QUERY_TIMEOUT_MS = 5000;

/**
 * What the setting `client_auth` needs: for scram, the sources of verifiers.
 * @param admin how the admin role connects, search_path pinned
 * @throws ConfigError when `auth_file` cannot be used
 */
export async function clientAuthentication(
  config: Config,
  admin: pg.PoolConfig,
  log: Logger,
): Promise<ClientAuth> {
  if (config.clientAuth !== 'scram') return { mode: config.clientAuth };
  const sources: VerifierSource[] = [];
  if (config.authFile !== undefined) {
    const file = verifierFile(config.authFile, log).catch((error: unknown) => {
      throw error instanceof VerifierError ? new ConfigError(`setting "auth_file": ${error.message}`) : error;
    });
    sources.push(await file);
  }
  if (config.authQuery !== undefined) {
    const pool = new pg.Pool({
      ...admin,
      max: AUTH_QUERY_CONNECTIONS,
      application_name: 'pg_durable:auth_query',
      statement_timeout: AUTH_QUERY_TIMEOUT_MS,
    });
    pool.on('error', (err) => log.warn({ err }, 'idle connection of auth_query lost'));
    sources.push(verifierQuery(pool, config.authQuery));
  }
  return { mode: 'scram', verifiers: firstOf(sources), mockSecret: randomBytes(32) };
}
