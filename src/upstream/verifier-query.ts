import type pg from 'pg';
import { parseScramVerifier } from '../wire/scram-verifier.js';
import { VerifierError, type VerifierSource } from './verifiers.js';

/**
 * Verifiers from the server, by a query of the operator's (`auth_query`). The role's name is its only parameter, bound,
 * never part of the text. It gives at most one row, of one column, the verifier, or of two, the role's name and the
 * verifier, as PgBouncer's does.
 * @param pool connections of the admin role with a pinned search_path, for this alone: clients that are not logged in
 * yet must not use up those that keep the leases
 */
export function verifierQuery(pool: Pick<pg.Pool, 'query' | 'end'>, sql: string): VerifierSource {
  return {
    async find(role) {
      let rows: (string | null)[][];
      try {
        ({ rows } = await pool.query<(string | null)[]>({ text: sql, values: [role], rowMode: 'array' }));
      } catch (error) {
        throw new VerifierError(`auth_query failed: ${reasonOf(error as Error & { code?: string })}`);
      }
      if (rows.length > 1) throw new VerifierError('auth_query gave more than one row');
      const [row] = rows;
      if (row === undefined) return undefined;
      if (row.length > 2) throw new VerifierError('auth_query gave more than two columns');
      if (row.length === 2 && row[0] !== role) return undefined;
      const verifier = row.at(-1);
      return typeof verifier === 'string' ? parseScramVerifier(verifier) : undefined;
    },
    refresh: async () => {},
    close: async () => {
      await pool.end();
    },
  };
}

/**
 * The server's message and SQLSTATE; of errors that quote what the query has worked on (data exceptions, what a function
 * raises) the SQLSTATE only. Neither detail nor hint.
 */
function reasonOf({ code, message }: Error & { code?: string }): string {
  if (code === undefined) return message;
  return /^(?:22|23|38|P0)/.test(code) ? `SQLSTATE ${code}` : `${message} (${code})`;
}
