/** A database with the schema in it and no proxy: the df functions by themselves, over connections straight to the server. */
import pg from 'pg';
import { migrate } from '../../src/state/migrate.js';
import { createTestDatabase, type TestDatabase, type TestRole } from '../support/postgres.js';

export interface Schema {
  readonly database: TestDatabase;
  /** The owner of everything: NOSUPERUSER. */
  readonly admin: pg.Client;
  /** A role that has been given df.grant_usage. */
  readonly app: pg.Client;
  readonly appRole: TestRole;
  connect(url: string): Promise<pg.Client>;
  /** A further role with df.grant_usage, and its connection. */
  createUser(prefix: string): Promise<{ role: TestRole; client: pg.Client }>;
  drop(): Promise<void>;
}

/**
 * Installs the schema in a fresh database as its NOSUPERUSER owner and marks it ready for starts.
 * @param before what the owner does first
 */
export async function installSchema(
  before: (admin: pg.Client, database: TestDatabase) => Promise<unknown> = () => Promise.resolve(),
): Promise<Schema> {
  const database = await createTestDatabase();
  const clients: pg.Client[] = [];
  const connect = async (url: string): Promise<pg.Client> => {
    const client = new pg.Client({ connectionString: url });
    client.on('error', () => {}); // the server ends connections when the database is dropped
    await client.connect();
    clients.push(client);
    return client;
  };
  const admin = await connect(database.adminUrl);
  await before(admin, database);
  await migrate(admin);
  await admin.query('INSERT INTO _df._worker_ready (schema_version) VALUES (1)');
  const createUser = async (prefix: string) => {
    const role = await database.createRole(prefix);
    await admin.query('SELECT df.grant_usage($1)', [role.name]);
    return { role, client: await connect(role.url) };
  };
  const { role: appRole, client: app } = await createUser('app');
  return {
    database,
    admin,
    app,
    appRole,
    connect,
    createUser,
    drop: async () => {
      await Promise.all(clients.map((client) => client.end().catch(() => {})));
      await database.drop();
    },
  };
}

/** The single value of the single row of a statement. */
export async function value<T = string>(client: pg.Client, sql: string, values: unknown[] = []): Promise<T> {
  const { rows } = await client.query<unknown[]>({ text: sql, values, rowMode: 'array' });
  if (rows.length !== 1) throw new Error(`${rows.length} rows from ${sql}`);
  return rows[0]?.[0] as T;
}

/** The error of a statement that must fail, as `SQLSTATE: message`. */
export async function failure(client: pg.Client, sql: string, values: unknown[] = []): Promise<string> {
  try {
    await client.query(sql, values);
  } catch (error) {
    if (error instanceof pg.DatabaseError) return `${error.code}: ${error.message}`;
    throw error;
  }
  throw new Error(`no error from ${sql}`);
}

/** Writes the operators of the DSL so that a server without a proxy knows them. */
export function dsl(expression: string): string {
  return expression.replace(/'(?:[^']|'')*'|~>|\|=>|\?>|!>|@>|&|\|(?!\|)/g, (token) =>
    token.startsWith("'") ? token : ` OPERATOR(df.${token}) `,
  );
}
