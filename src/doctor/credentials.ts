/** What the executor can log in with: its sources, its key, what is sealed, and who waits. */
import pg from 'pg';
import { type Config, ConfigError } from '../config/config.js';
import { sealingKeys } from '../credentials.js';
import { parsePasswordLines } from '../upstream/credentials/password-file.js';
import { PrivateFileError, readPrivateFile } from '../upstream/credentials/private-file.js';
import { unseal } from '../upstream/credentials/seal.js';
import { upstreamName } from '../upstream/credentials.js';
import type { Finding } from './doctor.js';

/** The sources, in the order in which they are asked, and the key. Needs no server. */
export async function credentialSources(config: Config): Promise<Finding[]> {
  const findings: Finding[] = [];
  if (config.credentialsFile !== undefined) findings.push(await passwordFile(config.credentialsFile));
  if (config.credentialCommand !== undefined) {
    findings.push({ state: 'ok', text: `credential_command: ${config.credentialCommand[0]} (not run now)` });
  }
  const variables = [...config.environment.passwords.keys()].sort();
  if (variables.length > 0) findings.push({ state: 'ok', text: `passwords in ${variables.join(', ')}` });
  return findings;
}

async function passwordFile(path: string): Promise<Finding> {
  try {
    const file = await readPrivateFile(path);
    const count = parsePasswordLines(file?.content.toString('utf8') ?? '').length;
    file?.content.fill(0);
    return { state: 'ok', text: `credentials_file ${path}: ${count} passwords` };
  } catch (error) {
    if (!(error instanceof PrivateFileError)) throw error;
    const mend =
      error.code === 'mode' ? `chmod 600 ${path}` : 'correct the setting credentials_file, or make the file';
    return { state: 'fail', text: `credentials_file is not used: ${error.message}`, mend };
  }
}

/** The key, and what it opens of what is stored. */
export async function sealedCredentials(client: pg.Client, config: Config): Promise<Finding[]> {
  const findings = await credentialSources(config);
  const keys = await sealingKeys(config).catch((error: unknown) => {
    if (!(error instanceof ConfigError)) throw error;
    findings.push({ state: 'fail', text: error.message, mend: 'the proxy does not start like this' });
    return null;
  });
  const { rows: there } = await client.query("SELECT pg_catalog.to_regclass('_df.credentials') AS it");
  if (keys === null || there[0]!.it === null) return findings;
  const { rows } = await client.query<{
    role: string;
    upstream: string;
    keyId: string;
    nonce: Buffer;
    ciphertext: Buffer;
  }>(
    `SELECT role, upstream, key_id AS "keyId", nonce, ciphertext FROM _df.credentials ORDER BY role, upstream`,
  );
  const mine = rows.filter(({ upstream }) => upstream === upstreamName(config.upstream.hosts));
  if (keys.length === 0) {
    findings.push({
      state: 'warn',
      text: `captured credentials are kept in memory only${rows.length > 0 ? ` (${rows.length} are stored, sealed with a key that is not given)` : ''}`,
      mend: 'openssl rand -hex 32 > FILE, chmod 600 FILE, and credential_key_file: FILE, for every proxy of this database',
    });
  } else {
    const closed = mine.filter((row) => unseal(row, row, keys) === null);
    const old = mine.filter((row) => row.keyId !== keys[0]!.id).length - closed.length;
    findings.push({
      state: 'ok',
      text: `${mine.length - closed.length} credentials sealed for this server, key ${keys[0]!.id}`,
    });
    if (old > 0) {
      findings.push({
        state: 'warn',
        text: `${old} of them are sealed with an older key`,
        mend: 'pg-durable-proxy rekey; then the older key can go',
      });
    }
    for (const { role, keyId } of closed.slice(0, 20)) {
      findings.push({
        state: 'warn',
        text: `the sealed credential of role ${pg.escapeIdentifier(role)} does not open (key ${keyId})`,
        mend: 'give that key in credential_old_key_file, or log in through the proxy once as that role',
      });
    }
  }
  findings.push(...(await readers(client)));
  return findings;
}

/** Nobody but the owner has any business in that table. */
async function readers(client: pg.Client): Promise<Finding[]> {
  const { rows } = await client.query<{ grantee: string }>(
    `SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END AS grantee
     FROM pg_catalog.pg_class AS c, pg_catalog.aclexplode(c.relacl) AS a
     WHERE c.oid = '_df.credentials'::regclass AND a.grantee <> c.relowner`,
  );
  return rows.map(({ grantee }) => ({
    state: 'fail',
    text: `${grantee} has rights on _df.credentials`,
    mend: `REVOKE ALL ON _df.credentials FROM ${grantee}`,
  }));
}
