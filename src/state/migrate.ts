/**
 * Installs and upgrades the schemas df and _df: applies sql/NNN_name.sql in order, each once and in a transaction of
 * its own, and records it in _df.migrations.
 *
 * Every transaction takes the same advisory lock first and then looks at what is recorded, so proxies that start at
 * once take turns file by file and none applies a file twice. A file never changes after it has been released; an
 * improvement is a new file. A database that has files which this program does not know belongs to a newer one.
 *
 * The role needs CREATE on the database and nothing more; it owns all that is made.
 */

import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { ClientBase } from 'pg';

/** sql/ beside src/ and dist/. */
const sqlDirectory = fileURLToPath(new URL('../../sql/', import.meta.url));

/** The schema of the engine's state with the table of what has been applied. */
export const CREATE_REGISTRY = `CREATE SCHEMA _df;
  CREATE TABLE _df.migrations (
      number     int         PRIMARY KEY,
      name       text        NOT NULL,
      checksum   text        NOT NULL,
      applied_at timestamptz NOT NULL DEFAULT pg_catalog.now()
  )`;

const fileName = /^(\d{3})_([a-z0-9_]+)\.sql$/;
const oldestServer = 140_000;
/** Messages and drawings have characters that others lack. SQL_ASCII takes any bytes: they should be UTF-8. */
const encodings = ['UTF8', 'SQL_ASCII'];

/** The database cannot be brought to this program's schema; the message says why and what to do, in one line. */
export class MigrationError extends Error {
  override name = 'MigrationError';
}

/** There is nothing to bring up to date, and nothing was to be installed. */
export class NotInstalled extends Error {
  override name = 'NotInstalled';
}

export interface MigrationReport {
  /** Names of the files applied by this call, in order; empty when the schema was up to date. */
  readonly applied: string[];
  /** Number of the last file: the version of the schema. */
  readonly version: number;
}

export interface Migration {
  readonly number: number;
  readonly name: string;
  readonly text: string;
  readonly checksum: string;
}

/**
 * Brings the database of `client` to the schema of this program.
 *
 * @param client a connection of the admin role, outside a transaction
 * @param directory where the files are
 * @param onlyIfInstalled nothing is installed where nothing is
 * @throws NotInstalled in that case; MigrationError on a server older than 14, a database in another encoding than UTF8, a schema df or _df that is not ours, a changed or unknown migration,
 * missing rights; what pg throws otherwise. What was applied before the error stays.
 */
export async function migrate(
  client: ClientBase,
  directory = sqlDirectory,
  { onlyIfInstalled = false } = {},
): Promise<MigrationReport> {
  const migrations = await readMigrations(directory);
  const applied: string[] = [];
  const isCurrent = await transaction(
    client,
    async () => (await isInstalled(client)) && (await countApplied(client, migrations)) === migrations.length,
  ).catch((error: unknown) => {
    if (sqlState(error) !== undefinedTable) throw error;
    return false; // dropped between the two
  });
  // anybody could hold the lock: a proxy that has nothing to install does not ask for it
  if (isCurrent) return { applied, version: migrations.length };
  for (;;) {
    const next = await locked(client, async () => {
      if (onlyIfInstalled && !(await isInstalled(client))) throw new NotInstalled();
      const number = (await checkRecorded(client, migrations)) + 1;
      const migration = migrations[number - 1];
      if (migration !== undefined) await apply(client, migration);
      return migration;
    });
    if (next === undefined) return { applied, version: migrations.length };
    applied.push(next.name);
  }
}

/**
 * Drops the schemas df and _df with every durable function in them, and what users have built on them.
 *
 * @returns false when nothing was installed
 * @throws MigrationError when the schemas are not ours
 */
export async function uninstall(client: ClientBase): Promise<boolean> {
  return await locked(client, async () => {
    if (!(await isInstalled(client))) return false;
    await client.query('DROP SCHEMA df CASCADE');
    await client.query('DROP SCHEMA _df CASCADE');
    return true;
  });
}

/** The files, in order. @throws MigrationError for files that are misnamed */
export async function readMigrations(directory = sqlDirectory): Promise<Migration[]> {
  const names = (await readdir(directory)).filter((name) => name.endsWith('.sql')).sort();
  return await Promise.all(
    names.map(async (name, index) => {
      const number = Number(fileName.exec(name)?.[1]);
      if (number !== index + 1)
        throw new MigrationError(
          `${name}: migrations are named NNN_name.sql and numbered from 001 without gaps`,
        );
      const text = (await readFile(`${directory}/${name}`, 'utf8')).replaceAll('\r\n', '\n');
      const checksum = createHash('sha256').update(text).digest('hex');
      return { number, name: name.slice(0, -'.sql'.length), text, checksum };
    }),
  );
}

/** Runs `work` in a transaction that holds the migration lock of the database. */
function locked<T>(client: ClientBase, work: () => Promise<T>): Promise<T> {
  return transaction(client, async () => {
    await client.query('SELECT pg_catalog.pg_advisory_xact_lock(1146504275, 2)');
    return await work();
  });
}

async function transaction<T>(client: ClientBase, work: () => Promise<T>): Promise<T> {
  await client.query('BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE');
  try {
    // The files mean the same whatever the role's own settings are.
    await client.query(
      `SET LOCAL search_path = pg_catalog, pg_temp;
       SET LOCAL standard_conforming_strings = on;
       SET LOCAL client_min_messages = warning;
       SET LOCAL statement_timeout = 0;
       SET LOCAL lock_timeout = 0`,
    );
    const result = await work();
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {}); // the error that counts is the first
    throw explained(error);
  }
}

/** Checks what the database has against the files; begins where it has nothing. @returns the number of the last one applied, 0 for none */
async function checkRecorded(client: ClientBase, migrations: readonly Migration[]): Promise<number> {
  if (!(await isInstalled(client))) {
    await client.query(CREATE_REGISTRY);
    return 0;
  }
  return await countApplied(client, migrations);
}

async function countApplied(client: ClientBase, migrations: readonly Migration[]): Promise<number> {
  const { rows } = await client.query<{ number: number; name: string; checksum: string }>(
    'SELECT number, name, checksum FROM _df.migrations ORDER BY number',
  );
  for (const [index, recorded] of rows.entries()) {
    const migration = migrations[index];
    if (migration === undefined)
      throw new MigrationError(
        `the schema in this database is newer (version ${rows.length}, ${rows.at(-1)?.name}) than this program ` +
          `(version ${migrations.length}): use a newer pg-durable-proxy`,
      );
    if (recorded.number !== migration.number || recorded.checksum !== migration.checksum)
      throw new MigrationError(
        `migration ${recorded.name} in this database differs from the ${migration.name} of this program: ` +
          'a migration must not change after it has been applied',
      );
  }
  return rows.length;
}

/** Whether our schemas are there. @throws MigrationError when schemas of these names are somebody else's */
async function isInstalled(client: ClientBase): Promise<boolean> {
  const { rows } = await client.query<{
    version: number;
    version_text: string;
    encoding: string;
    df: boolean;
    _df: boolean;
    migrations: boolean;
    extension: boolean;
    owner: string | null;
    owned: boolean | null;
  }>(
    `SELECT current_setting('server_version_num')::int AS version,
            current_setting('server_version') AS version_text,
            current_setting('server_encoding') AS encoding,
            d.df IS NOT NULL AS df,
            d._df IS NOT NULL AS _df,
            m.oid IS NOT NULL AS migrations,
            EXISTS (SELECT FROM pg_extension AS e WHERE e.extname = 'pg_durable') AS extension,
            pg_get_userbyid(CASE WHEN m.relowner = r.oid THEN n.nspowner ELSE m.relowner END) AS owner,
            m.relowner = r.oid AND n.nspowner = r.oid AS owned
     FROM (SELECT (SELECT oid FROM pg_namespace WHERE nspname = 'df') AS df,
                  (SELECT oid FROM pg_namespace WHERE nspname = '_df') AS _df) AS d
     -- itself, not a role that it is a member of: before PostgreSQL 15 anybody can make others members of himself
     JOIN pg_roles AS r ON r.rolname = current_user
     LEFT JOIN pg_namespace AS n ON n.oid = d._df
     LEFT JOIN pg_class AS m ON m.relnamespace = d._df AND m.relname = 'migrations'`,
  );
  const found = rows[0];
  if (found === undefined) throw new MigrationError('the server did not answer');
  if (found.version < oldestServer)
    throw new MigrationError(`PostgreSQL ${found.version_text} is too old: 14 or later is needed`);
  if (!encodings.includes(found.encoding))
    throw new MigrationError(
      `the encoding of this database is ${found.encoding}: durable functions need UTF8; what they work on may be in others (df.start, database => ...)`,
    );
  if (found.extension)
    throw new MigrationError(
      'the extension pg_durable is installed in this database: drop it first, or use another database',
    );
  if (found.migrations) {
    if (found.owned) return true;
    throw new MigrationError(`the schemas df and _df belong to role "${found.owner}": connect as that role`);
  }
  if (found.df || found._df)
    throw new MigrationError(
      `a schema ${found.df ? 'df' : '_df'} that pg-durable-proxy did not make is in this database: ` +
        'rename or drop it, or use another database',
    );
  return false;
}

async function apply(client: ClientBase, migration: Migration): Promise<void> {
  try {
    await client.query(migration.text);
  } catch (error) {
    if (sqlState(error) === insufficientPrivilege) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new MigrationError(`migration ${migration.name} failed: ${reason}`, { cause: error });
  }
  await client.query('INSERT INTO _df.migrations (number, name, checksum) VALUES ($1, $2, $3)', [
    migration.number,
    migration.name,
    migration.checksum,
  ]);
}

const insufficientPrivilege = '42501';
const undefinedTable = '42P01';

function sqlState(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

/** Missing rights get the remedy; other errors are passed on. */
function explained(error: unknown): unknown {
  if (sqlState(error) !== insufficientPrivilege || !(error instanceof Error)) return error;
  return new MigrationError(
    `${error.message}: installing needs CREATE on the database (GRANT CREATE ON DATABASE … TO the admin role)`,
    { cause: error },
  );
}
