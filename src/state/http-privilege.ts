/** Whether roles may make HTTP requests: EXECUTE on the builders, now. */
import type { Pool } from 'pg';
import { answer } from './answer.js';

export type HttpKind = 'HTTP' | 'HTTP_MULTIPART';

export type HttpPrivilege =
  | { readonly kind: 'granted' }
  | { readonly kind: 'refused'; readonly role: string }
  /** There is no such role any more. */
  | { readonly kind: 'dropped' };

export const HTTP_FUNCTIONS = {
  HTTP: 'df.http(text,text,text,jsonb,integer)',
  HTTP_MULTIPART: 'df.http_multipart(text,text,jsonb,jsonb,integer)',
} as const;

/**
 * By OID: no name has to be quoted, and none can have passed to another role. Superusers may.
 * @returns the privilege of each, in their order
 */
export async function httpPrivileges(
  pool: Pool,
  asked: ReadonlyArray<{ readonly roleId: string; readonly kind: HttpKind }>,
  withinMs: number,
): Promise<HttpPrivilege[]> {
  const rows = await answer<{ role: string | null; granted: boolean | null }>(
    pool,
    `SELECT r.rolname::text AS role,
            coalesce(pg_catalog.has_function_privilege(r.oid, pg_catalog.to_regprocedure(a.function)::oid, 'EXECUTE'),
                     false) AS granted
     FROM ROWS FROM (pg_catalog.unnest($1::oid[]), pg_catalog.unnest($2::text[])) WITH ORDINALITY AS a (role, function, n)
     LEFT JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) a.role
     ORDER BY a.n`,
    [asked.map(({ roleId }) => roleId), asked.map(({ kind }) => HTTP_FUNCTIONS[kind])],
    withinMs,
  );
  return rows.map(({ role, granted }) => {
    if (role === null) return { kind: 'dropped' };
    return granted === true ? { kind: 'granted' } : { kind: 'refused', role };
  });
}
