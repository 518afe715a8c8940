import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import pg from 'pg';
import { reachable, serverBinaries, stateDirectory } from './binaries.js';
import { type EmbeddedServer, startEmbedded } from './embedded.js';

/** What the demo's server has: one database, an admin role without special rights, an application's role. */
export const database = 'demo';
export const adminRole = 'durable_admin';
export const appRole = 'app';

/** Made at random at the first start and kept beside the data, readable by the owner only. */
export interface Passwords {
  readonly superuser: string;
  readonly admin: string;
  readonly app: string;
}

export interface DemoCluster {
  readonly server: EmbeddedServer;
  readonly passwords: Passwords;
  /** Where data and passwords are kept. */
  readonly directory: string;
  /** For the executor, so that a second start goes on with the work of the first by itself. */
  readonly credentialsFile: string;
}

/**
 * Starts the demo's server on the data of an earlier start if there is any, and sees to it that roles and database
 * are there. `wanted`: the directory; by default `.demo` in the working directory, or below /var/lib where the
 * account that runs Postgres for root cannot enter that.
 */
export async function startCluster(wanted: string | undefined): Promise<DemoCluster> {
  const { user } = await serverBinaries();
  let directory = resolve(wanted ?? '.demo');
  if (!(await reachable(directory, user))) {
    if (wanted !== undefined) {
      throw new Error(
        `${directory} cannot be reached by the user "${user?.name}", who runs Postgres for root: choose another --data`,
      );
    }
    directory = join(stateDirectory(user), 'demo');
  }
  await mkdir(dirname(directory), { recursive: true });
  await mkdir(directory, { recursive: true, mode: user === undefined ? 0o700 : 0o711 });
  const dataDir = join(directory, 'data');
  const passwords = await readPasswords(directory, dataDir);
  const credentialsFile = join(directory, 'credentials');
  await writeFile(credentialsFile, `*:*:${database}:${appRole}:${passwords.app}\n`, { mode: 0o600 });
  const server = await startEmbedded({ dataDir, password: passwords.superuser });
  try {
    await prepare(server, passwords);
  } catch (error) {
    await server.stop();
    throw error;
  }
  return { server, passwords, directory, credentialsFile };
}

async function readPasswords(directory: string, dataDir: string): Promise<Passwords> {
  const file = join(directory, 'passwords.json');
  const found = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (found !== undefined) return JSON.parse(found) as Passwords;
  if ((await stat(join(dataDir, 'PG_VERSION')).catch(() => undefined)) !== undefined) {
    throw new Error(`${directory} holds data of a server but not its passwords.json: choose another --data`);
  }
  const make = () => randomBytes(12).toString('base64url');
  const passwords = { superuser: make(), admin: make(), app: make() };
  await writeFile(`${file}.new`, `${JSON.stringify(passwords, null, 2)}\n`, { mode: 0o600 });
  await rename(`${file}.new`, file);
  return passwords;
}

async function prepare(server: EmbeddedServer, passwords: Passwords): Promise<void> {
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  try {
    for (const [role, password] of [
      [adminRole, passwords.admin],
      [appRole, passwords.app],
    ] as const) {
      const { rowCount } = await client.query('SELECT FROM pg_catalog.pg_roles WHERE rolname = $1', [role]);
      if (rowCount === 0) {
        await client.query(
          `CREATE ROLE ${role} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE PASSWORD ${pg.escapeLiteral(password)}`,
        );
      }
    }
    const { rowCount } = await client.query('SELECT FROM pg_catalog.pg_database WHERE datname = $1', [
      database,
    ]);
    if (rowCount === 0) await client.query(`CREATE DATABASE ${database} OWNER ${adminRole}`);
    // The application keeps its tables in a schema of its own.
    await client.query(`GRANT CREATE ON DATABASE ${database} TO ${appRole}`);
  } finally {
    await client.end();
  }
}
