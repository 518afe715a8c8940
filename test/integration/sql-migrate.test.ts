import { copyFile, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MigrationError, migrate, uninstall } from '../../src/state/migrate.js';
import { createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { value } from './schema.js';

const source = new URL('../../sql/', import.meta.url);

let database: TestDatabase;
let clients: pg.Client[];
const connect = async (url = database.adminUrl) => {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  clients.push(client);
  return client;
};

beforeEach(async () => {
  database = await createTestDatabase();
  clients = [];
});
afterEach(async () => {
  await Promise.all(clients.map((client) => client.end()));
  await database.drop();
});

const files = async () => (await readdir(source)).filter((name) => name.endsWith('.sql')).sort();

describe('migrate', () => {
  it('installs as a role that owns nothing and may only create in the database', async () => {
    const role = await database.createRole('installer');
    const owner = await connect();
    await owner.query(`GRANT CREATE ON DATABASE ${database.name} TO ${role.name}`);
    const client = await connect(role.url);
    const names = (await files()).map((name) => name.replace('.sql', ''));
    expect(await migrate(client)).toEqual({ applied: names, version: names.length });
    expect(await migrate(client)).toEqual({ applied: [], version: names.length });
    expect(
      await value(
        client,
        `SELECT count(*)::int FROM pg_class AS c
         WHERE c.relnamespace IN ('df'::regnamespace, '_df'::regnamespace) AND c.relowner <> $1::regrole`,
        [role.name],
      ),
    ).toBe(0);
  });

  it('applies each file once when many start at the same time', async () => {
    const admins = await Promise.all(Array.from({ length: 8 }, () => connect()));
    const reports = await Promise.all(admins.map((client) => migrate(client)));
    expect(reports.flatMap((report) => report.applied).sort()).toEqual(
      (await files()).map((name) => name.replace('.sql', '')),
    );
    expect(new Set(reports.map((report) => report.version)).size).toBe(1);
  });

  it('goes on where an older program stopped, and stops where a file fails', async () => {
    const client = await connect();
    const directory = await mkdtemp(join(tmpdir(), 'migrations-'));
    try {
      const names = await files();
      for (const name of names.slice(0, 4)) await copyFile(new URL(name, source), join(directory, name));
      expect((await migrate(client, directory)).version).toBe(4);
      await writeFile(join(directory, '005_broken.sql'), 'CREATE TABLE _df.left_over (); SELECT 1/0');
      await expect(migrate(client, directory)).rejects.toThrow(
        'migration 005_broken failed: division by zero',
      );
      expect(await value(client, "SELECT to_regclass('_df.left_over')")).toBeNull();
      expect((await migrate(client)).applied).toEqual(names.slice(4).map((name) => name.replace('.sql', '')));
      await rm(join(directory, '005_broken.sql'));
      await expect(migrate(client, directory)).rejects.toThrow('is newer (version');
      await writeFile(join(directory, '004_operators.sql'), 'SELECT 1');
      await expect(migrate(client, directory)).rejects.toThrow('004_operators in this database differs');
      await writeFile(join(directory, '006_gap.sql'), 'SELECT 1');
      await expect(migrate(client, directory)).rejects.toThrow('without gaps');
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  it.each(['df', '_df'])('leaves a schema %s of somebody else alone', async (name) => {
    const client = await connect();
    await client.query(`CREATE SCHEMA ${name}; CREATE TABLE ${name}.precious (n int)`);
    await expect(migrate(client)).rejects.toThrow(`a schema ${name} that pg-durable-proxy did not make`);
    await expect(uninstall(client)).rejects.toThrow(MigrationError);
    expect(await value(client, `SELECT count(*)::int FROM ${name}.precious`)).toBe(0);
  });

  it('says which right is missing, and whose the schema is', async () => {
    const role = await database.createRole('nobody');
    const client = await connect(role.url);
    await expect(migrate(client)).rejects.toThrow(
      `permission denied for database ${database.name}: installing needs CREATE on the database`,
    );
    await migrate(await connect());
    await expect(migrate(client)).rejects.toThrow(`belong to role "${database.adminRole}"`);
  });

  it("means the same whatever the role's settings are", async () => {
    const client = await connect();
    await client.query(
      `SET standard_conforming_strings = off; SET search_path = ''; SET statement_timeout = '1s';
       SET default_transaction_isolation = 'serializable'; SET default_transaction_read_only = on`,
    );
    await migrate(client);
    expect(await value(client, "SELECT df.wait_for_schedule('0 9  * * *')")).toContain('WAIT_SCHEDULE');
  });
});

describe('uninstall', () => {
  it('says which encoding is needed, and installs nothing in another', async () => {
    const root = await connect(database.superUrl);
    const name = `${database.name}_latin`;
    await root.query(
      `CREATE DATABASE ${name} OWNER ${database.adminRole} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'`,
    );
    try {
      const url = new URL(database.adminUrl);
      url.pathname = `/${name}`;
      const client = await connect(url.href);
      await expect(migrate(client)).rejects.toThrow(
        new MigrationError(
          'the encoding of this database is LATIN1: durable functions need UTF8; what they work on may be in others (df.start, database => ...)',
        ),
      );
      expect(await value(client, "SELECT to_regnamespace('_df') IS NULL")).toBe(true);
    } finally {
      await root.query(`DROP DATABASE ${name} WITH (FORCE)`);
    }
  });

  it('removes both schemas and can be followed by a new installation', async () => {
    const client = await connect();
    await migrate(client);
    expect(await uninstall(client)).toBe(true);
    expect(await value(client, "SELECT count(*)::int FROM pg_namespace WHERE nspname IN ('df', '_df')")).toBe(
      0,
    );
    expect(await uninstall(client)).toBe(false);
    expect((await migrate(client)).applied).toHaveLength((await files()).length);
  });
});
