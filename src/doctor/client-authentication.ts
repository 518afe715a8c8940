import type pg from 'pg';
import { pino } from 'pino';
import type { Config } from '../config/config.js';
import { verifierFile } from '../upstream/verifier-file.js';
import { verifierQuery } from '../upstream/verifier-query.js';
import { VerifierError } from '../upstream/verifiers.js';
import type { Finding } from './doctor.js';

/** Whether clients can be authenticated in the way that `client_auth` says. */
export async function clientAuthentication(client: pg.Client, config: Config): Promise<Finding[]> {
  switch (config.clientAuth) {
    case 'password':
      return [{ state: 'ok', text: 'clients are asked for their password (client_auth = password)' }];
    case 'relay':
      return [{ state: 'ok', text: 'clients authenticate with the server itself (client_auth = relay)' }];
    case 'trust':
      return [
        {
          state: 'warn',
          text: 'every process of this machine that reaches the proxy is any role that it names (client_auth = trust)',
          mend: 'listen on a Unix socket in a directory that only the right accounts can enter',
        },
      ];
    case 'scram':
      return [...(await fileFindings(config)), ...(await queryFindings(client, config))];
  }
}

async function fileFindings({ authFile, upstream }: Config): Promise<Finding[]> {
  if (authFile === undefined) return [];
  return await finding(`auth_file ${authFile} can be read`, 'correct the file, or its mode', async () => {
    const source = await verifierFile(authFile, pino({ level: 'silent' }));
    await source.find(upstream.user);
  });
}

async function queryFindings(client: pg.Client, { authQuery, upstream }: Config): Promise<Finding[]> {
  if (authQuery === undefined) return [];
  const mend = 'see docs/authentication.md for a function that gives the admin role what it needs';
  return await finding('auth_query works', mend, async () => {
    const connection = { query: client.query.bind(client), end: async () => {} };
    await verifierQuery(connection as Pick<pg.Pool, 'query' | 'end'>, authQuery).find(upstream.user);
  });
}

async function finding(text: string, mend: string, look: () => Promise<void>): Promise<Finding[]> {
  try {
    await look();
    return [{ state: 'ok', text: `${text} (client_auth = scram)` }];
  } catch (error) {
    if (!(error instanceof VerifierError)) throw error;
    return [{ state: 'fail', text: error.message, mend }];
  }
}
