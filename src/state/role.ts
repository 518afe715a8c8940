/** What the catalogue says of a role, and instances that wait for its credential. */
import type { Pool } from 'pg';

/** Whether the role exists and may log in. */
export async function canLogIn(pool: Pool, role: string): Promise<boolean> {
  const answer = await pool.query(
    'SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) $1 AND r.rolcanlogin',
    [role],
  );
  return answer.rows.length > 0;
}

/** Makes the role's waiting instances due. @returns how many */
export async function resumeRole(pool: Pool, role: string): Promise<number> {
  const answer = await pool.query<{ count: string }>('SELECT _df.resume_role($1) AS count', [role]);
  return Number(answer.rows[0]?.count ?? 0);
}
