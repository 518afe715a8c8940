/** Whether a role may make HTTP requests: EXECUTE on the builders, now. */
import type { Pool } from 'pg';
import { answer } from './answer.js';

export type HttpPrivilege =
  | { readonly kind: 'granted' }
  | { readonly kind: 'refused'; readonly role: string }
  /** There is no such role any more. */
  | { readonly kind: 'dropped' };

export const HTTP_FUNCTIONS = {
  HTTP: 'df.http(text,text,text,jsonb,integer)',
  HTTP_MULTIPART: 'df.http_multipart(text,text,jsonb,jsonb,integer)',
} as const;

/** By OID: no name has to be quoted, and none can have passed to another role. Superusers may. */
export async function httpPrivilege(
  pool: Pool,
  roleId: string,
  kind: 'HTTP' | 'HTTP_MULTIPART',
  withinMs: number,
): Promise<HttpPrivilege> {
  const [row] = await answer<{ role: string; granted: boolean }>(
    pool,
    `SELECT r.rolname::text AS role,
            coalesce(pg_catalog.has_function_privilege(r.oid, pg_catalog.to_regprocedure($2)::oid, 'EXECUTE'), false)
                AS granted
     FROM pg_catalog.pg_roles AS r WHERE r.oid OPERATOR(pg_catalog.=) $1::oid`,
    [roleId, HTTP_FUNCTIONS[kind]],
    withinMs,
  );
  if (row === undefined) return { kind: 'dropped' };
  return row.granted ? { kind: 'granted' } : { kind: 'refused', role: row.role };
}
