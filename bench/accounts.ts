/** pgbench's tables, also where pgbench is not: its own initialisation if it is here, the same in SQL if not. */
import type { TestDatabase, TestRole } from '../test/support/postgres.js';
import { asSuperuser } from '../test/support/postgres.js';
import { pgbench, pgbenchIsHere } from './pgbench.js';

export const SELECT_ACCOUNT = 'SELECT abalance FROM pgbench_accounts WHERE aid = $1';

const SCALE = 10;
const roles = new Map<TestDatabase, Promise<TestRole>>();

/** Once per database. @returns a role that may use the tables */
export function prepareAccounts(database: TestDatabase): Promise<TestRole> {
  let role = roles.get(database);
  if (role === undefined) {
    role = prepare(database);
    roles.set(database, role);
  }
  return role;
}

async function prepare(database: TestDatabase): Promise<TestRole> {
  const role = await database.createRole('bencher');
  if (pgbenchIsHere) await pgbench(database.superUrl, ['-i', '-q', '-s', String(SCALE)]);
  await asSuperuser(database.name, async (client) => {
    if (!pgbenchIsHere) {
      await client.query(
        `CREATE TABLE pgbench_accounts AS
           SELECT i AS aid, 0 AS abalance FROM generate_series(1, 100000) AS g (i);
         ALTER TABLE pgbench_accounts ADD PRIMARY KEY (aid);
         VACUUM ANALYZE pgbench_accounts`,
      );
    }
    await client.query(
      `CREATE TABLE sink (x text); GRANT ALL ON ALL TABLES IN SCHEMA public TO ${role.name}`,
    );
  });
  return role;
}
