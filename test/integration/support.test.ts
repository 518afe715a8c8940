import { describe, expect, it } from 'vitest';
import { asSuperuser, createTestDatabase, withClient } from '../support/postgres.js';

describe('the test server', () => {
  it('gives a database whose owner has no special right, and takes everything away again', async () => {
    const database = await createTestDatabase();
    const app = await database.createRole('app');
    const flags = await withClient(database.adminUrl, (client) =>
      client.query('SELECT rolsuper, rolbypassrls, rolcreaterole FROM pg_roles WHERE rolname = current_user'),
    );
    expect(flags.rows).toEqual([{ rolsuper: false, rolbypassrls: false, rolcreaterole: false }]);
    await withClient(database.adminUrl, (client) =>
      client.query(`CREATE SCHEMA s; GRANT ALL ON SCHEMA s TO ${app.name}`),
    );
    expect(
      (await withClient(app.url, (client) => client.query('SELECT current_user::text u'))).rows[0].u,
    ).toBe(app.name);

    await database.drop();
    const left = await asSuperuser('postgres', (client) =>
      client.query('SELECT rolname FROM pg_roles WHERE rolname = ANY ($1)', [[app.name, database.adminRole]]),
    );
    expect(left.rows).toEqual([]);
  });

  it('asks for passwords', async () => {
    const database = await createTestDatabase();
    const url = new URL(database.adminUrl);
    url.password = 'wrong';
    await expect(withClient(url.href, (client) => client.query('SELECT 1'))).rejects.toMatchObject({
      code: '28P01',
    });
    await database.drop();
  });
});
