import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { serverUrlVariable } from './server.js';

export interface TestRole {
  readonly name: string;
  readonly password: string;
  /** postgresql:// to the test database as this role, straight to the server. */
  readonly url: string;
}

export interface TestDatabase {
  readonly name: string;
  /** As the server's superuser. */
  readonly superUrl: string;
  /** As the owner of the database: NOSUPERUSER NOBYPASSRLS NOCREATEROLE LOGIN. */
  readonly adminUrl: string;
  readonly adminRole: string;
  /** A new role with a unique name that begins with `prefix`. Default: LOGIN with a password, NOSUPERUSER. */
  createRole(prefix: string, options?: { login?: boolean; superuser?: boolean }): Promise<TestRole>;
  /** Ends all sessions of the database, drops it and every role created for it. */
  drop(): Promise<void>;
}

/** Superuser URL (postgresql://user:password@host:port/postgres) of the one real server of this run. */
export function serverUrl(): string {
  const url = process.env[serverUrlVariable];
  if (!url)
    throw new Error('no server: run under vitest with test/support/global.ts, or call startServer() first');
  return url;
}

/** The same server and another database, user and password. */
export function urlFor(database: string, role?: { name: string; password: string }): string {
  const url = new URL(serverUrl());
  url.pathname = `/${encodeURIComponent(database)}`;
  if (role !== undefined) {
    url.username = encodeURIComponent(role.name);
    url.password = encodeURIComponent(role.password);
  }
  return url.href;
}

/** A fresh, empty database owned by a fresh admin role without any special right. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const name = unique('test');
  const admin = newRole(unique('admin'), name);
  const roles = [admin.name];
  await asSuperuser('postgres', async (client) => {
    await client.query(
      `CREATE ROLE ${admin.name} LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD '${admin.password}'`,
    );
    await client.query(`CREATE DATABASE ${name} OWNER ${admin.name}`);
  });
  return {
    name,
    superUrl: urlFor(name),
    adminUrl: admin.url,
    adminRole: admin.name,
    createRole: async (prefix, options = {}) => {
      const role = newRole(unique(prefix), name);
      const login = options.login === false ? 'NOLOGIN' : 'LOGIN';
      const superuser = options.superuser ? 'SUPERUSER' : 'NOSUPERUSER';
      await asSuperuser('postgres', (client) =>
        client.query(
          `CREATE ROLE ${pg.escapeIdentifier(role.name)} ${login} ${superuser} NOBYPASSRLS PASSWORD '${role.password}'`,
        ),
      );
      roles.push(role.name);
      return role;
    },
    drop: async () => {
      await asSuperuser('postgres', async (client) => {
        await client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
        // A role that a test has dropped or renamed itself is no longer ours to drop.
        const { rows } = await client.query<{ rolname: string }>(
          'SELECT rolname FROM pg_roles WHERE rolname = ANY ($1::name[])',
          [roles],
        );
        for (const { rolname } of rows) {
          const role = pg.escapeIdentifier(rolname);
          await client.query(`DROP OWNED BY ${role}`);
          await client.query(`DROP ROLE ${role}`);
        }
      });
    },
  };
}

/** Runs `work` on a superuser connection to `database` and closes it. */
export async function asSuperuser<T>(database: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  return await withClient(urlFor(database), work);
}

/** Runs `work` on a connection to `url` and closes it, whatever happens. */
export async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

function newRole(name: string, database: string): TestRole {
  const password = randomBytes(9).toString('hex');
  return { name, password, url: urlFor(database, { name, password }) };
}

/** Never twice the same, also on a given server that other runs use at the same time. */
function unique(prefix: string): string {
  return `${prefix}_${randomBytes(5).toString('hex')}`;
}
