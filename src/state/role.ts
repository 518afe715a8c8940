/** What the catalogue says of a role, and instances that wait for a login of it. */
import type { Pool } from 'pg';

export interface RoleState {
  /** It exists and has LOGIN. */
  readonly login: boolean;
  /** The end of its password's time (VALID UNTIL), if that has passed. */
  readonly expired: string | null;
}

export async function roleState(pool: Pool, role: string): Promise<RoleState> {
  const { rows } = await pool.query<RoleState>(
    `SELECT r.rolcanlogin AS login,
            CASE WHEN r.rolvaliduntil OPERATOR(pg_catalog.<) pg_catalog.now() THEN r.rolvaliduntil::text END AS expired
     FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) $1`,
    [role],
  );
  return rows[0] ?? { login: false, expired: null };
}

/** Other roles of the same name but for case and for signs that are neither letters nor digits of ASCII. */
export async function rolesNamedLike(pool: Pool, role: string): Promise<string[]> {
  const { rows } = await pool.query<{ name: string }>(
    `SELECT r.rolname::text AS name
     FROM pg_catalog.pg_roles AS r
     WHERE r.rolname::text OPERATOR(pg_catalog.<>) $1
       AND pg_catalog.upper(pg_catalog.regexp_replace(r.rolname::text, '[^A-Za-z0-9]', '_', 'g') COLLATE "C")
           OPERATOR(pg_catalog.=)
           pg_catalog.upper(pg_catalog.regexp_replace($1, '[^A-Za-z0-9]', '_', 'g') COLLATE "C")
     ORDER BY 1 LIMIT 5`,
    [role],
  );
  return rows.map(({ name }) => name);
}

/** Makes the role's waiting instances due. @returns how many */
export async function resumeRole(pool: Pool, role: string): Promise<number> {
  const answer = await pool.query<{ count: string }>('SELECT _df.resume_role($1) AS count', [role]);
  return Number(answer.rows[0]?.count ?? 0);
}
