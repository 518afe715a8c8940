import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TestRole } from '../support/postgres.js';
import { failure, installSchema, type Schema, value } from './schema.js';

/** df.grant_usage and df.revoke_usage: PostgreSQL's own rules on grant options and grantors (df-api §1.7, §9). */
let schema: Schema;
let root: pg.Client;
beforeAll(async () => {
  schema = await installSchema();
  root = await schema.connect(schema.database.superUrl);
});
afterAll(() => schema?.drop());

interface Person {
  role: TestRole;
  client: pg.Client;
}
const person = async (prefix: string): Promise<Person> => {
  const role = await schema.database.createRole(prefix);
  return { role, client: await schema.connect(role.url) };
};
const grant = (by: pg.Client, to: string, options = '') =>
  by.query(`SELECT df.grant_usage($1${options && `, ${options}`})`, [to]);
const revoke = (by: pg.Client, from: string) => by.query('SELECT df.revoke_usage($1)', [from]);
const works = (client: pg.Client) =>
  client.query("SELECT df.start('SELECT 1')").then(
    () => true,
    (error: pg.DatabaseError) => {
      if (error.code !== '42501') throw error;
      return false;
    },
  );
/** Everything that anybody but the owner has been given on df, and by whom. */
const grants = async () =>
  (
    await schema.admin.query(
      `SELECT string_agg(x::text, E'\\n' ORDER BY x::text) AS all FROM (
         SELECT n.nspname AS what, a.* FROM pg_namespace AS n, aclexplode(n.nspacl) AS a WHERE n.nspname = 'df'
         UNION ALL SELECT c.relname, a.* FROM pg_class AS c, aclexplode(c.relacl) AS a WHERE c.relnamespace = 'df'::regnamespace
         UNION ALL SELECT c.relname || '.' || t.attname, a.* FROM pg_class AS c JOIN pg_attribute AS t ON t.attrelid = c.oid,
                          aclexplode(t.attacl) AS a WHERE c.relnamespace = 'df'::regnamespace
         UNION ALL SELECT p.proname, a.* FROM pg_proc AS p, aclexplode(p.proacl) AS a WHERE p.pronamespace = 'df'::regnamespace
       ) AS x`,
    )
  ).rows[0].all as string;

describe('whoever was given rights with_grant', () => {
  it('passes them on, also with_grant, and what he gave goes with him', async () => {
    const before = await grants();
    const [chief, deputy, user] = [await person('chief'), await person('deputy'), await person('user')];
    await grant(schema.admin, chief.role.name, 'with_grant => true');
    await grant(chief.client, deputy.role.name, 'with_grant => true');
    await grant(deputy.client, user.role.name);
    expect(await works(user.client)).toBe(true);
    expect(await value(deputy.client, 'SELECT total_instances > 0 FROM df.metrics()')).toBe(true);
    expect(await failure(user.client, 'SELECT * FROM df.metrics()')).toBe(
      '42501: permission denied for function metrics',
    );
    // what the deputy gave is not the chief's to take
    await revoke(chief.client, user.role.name);
    expect(await works(user.client)).toBe(true);
    await revoke(schema.admin, chief.role.name);
    for (const one of [chief, deputy, user]) expect(await works(one.client)).toBe(false);
    expect(await grants()).toBe(before);
  });

  it('takes what he gave himself, and nothing of his own by mistake', async () => {
    const [one, two, user] = [await person('one'), await person('two'), await person('user')];
    for (const admin of [one, two]) {
      await grant(schema.admin, admin.role.name, 'with_grant => true');
      await grant(admin.client, user.role.name);
    }
    await revoke(one.client, user.role.name);
    expect(await works(user.client)).toBe(true); // the other's grant stands
    await revoke(two.client, user.role.name);
    expect(await works(user.client)).toBe(false);
    const before = await grants();
    await revoke(one.client, one.role.name);
    await revoke(one.client, two.role.name);
    expect(await grants()).toBe(before);
    await grant(one.client, user.role.name);
    await root.query('SELECT df.revoke_usage($1)', [user.role.name]); // a superuser acts as the owner
    expect(await works(user.client)).toBe(true);
    await revoke(one.client, user.role.name);
  });

  it('gives HTTP only if he was given it so, and otherwise nothing at all', async () => {
    const [chief, user] = [await person('chief'), await person('user')];
    await grant(schema.admin, chief.role.name, 'with_grant => true');
    const before = await grants();
    for (const role of [user.role.name, chief.role.name])
      expect(await failure(chief.client, 'SELECT df.grant_usage($1, include_http => true)', [role])).toBe(
        '42501: permission denied for function http',
      );
    expect(await grants()).toBe(before);
    // with the right itself and not its option it is the same
    await schema.admin.query(
      `GRANT EXECUTE ON FUNCTION df.http(text, text, text, jsonb, integer), df.http_multipart(text, text, jsonb, jsonb, integer)
       TO ${chief.role.name}`,
    );
    expect(
      await failure(chief.client, 'SELECT df.grant_usage($1, include_http => true)', [user.role.name]),
    ).toBe('42501: permission denied for function http');
    await grant(schema.admin, chief.role.name, 'include_http => true, with_grant => true');
    await grant(chief.client, user.role.name, 'include_http => true');
    expect(await value(user.client, "SELECT df.http('https://h')")).toContain('HTTP');
    await revoke(chief.client, user.role.name);
    expect(await failure(user.client, "SELECT df.http('https://h')")).toContain('42501');
  });
});

describe('whoever was not', () => {
  it('cannot call the helpers, nor do anything with them when he is let', async () => {
    const [plain, victim] = [await person('plain'), await person('victim')];
    await grant(schema.admin, plain.role.name);
    await grant(schema.admin, victim.role.name);
    const before = await grants();
    for (const call of ['df.grant_usage($1)', 'df.revoke_usage($1)'])
      expect(await failure(plain.client, `SELECT ${call}`, [victim.role.name])).toMatch(
        /^42501: permission denied for function (grant|revoke)_usage$/,
      );
    await schema.admin.query(
      `GRANT EXECUTE ON FUNCTION df.grant_usage(text, boolean, boolean), df.revoke_usage(text) TO ${plain.role.name}`,
    );
    for (const call of [
      'df.grant_usage($1)',
      'df.grant_usage($1, include_http => true)',
      'df.grant_usage($1, with_grant => true)',
      'df.revoke_usage($1)',
    ])
      expect(await failure(plain.client, `SELECT ${call}`, [victim.role.name])).toBe(
        '42501: permission denied for schema df',
      );
    expect(await works(victim.client)).toBe(true);
    await schema.admin.query(
      `REVOKE EXECUTE ON FUNCTION df.grant_usage(text, boolean, boolean), df.revoke_usage(text) FROM ${plain.role.name}`,
    );
    expect(await grants()).toBe(before);
  });

  it('is the member of a role that was, and acts for it', async () => {
    const group = await schema.database.createRole('admins', { login: false });
    const [member, user] = [await person('member'), await person('user')];
    await grant(schema.admin, group.name, 'with_grant => true');
    await root.query(`GRANT ${group.name} TO ${member.role.name}`);
    await grant(member.client, user.role.name);
    expect(await works(user.client)).toBe(true);
    await revoke(member.client, user.role.name);
    expect(await works(user.client)).toBe(false);
  });
});

describe('names', () => {
  it('are taken as they are: no other role, no statement', async () => {
    const names = [
      'Mixed "Case"',
      "it's",
      'semi; DROP ROLE x',
      'current_user',
      'a%I$1',
      'back\\slash',
      '{x}',
    ];
    for (const prefix of names) {
      const one = await person(prefix);
      await grant(schema.admin, one.role.name);
      expect(await works(one.client)).toBe(true);
      await revoke(schema.admin, one.role.name);
      expect(await works(one.client)).toBe(false);
    }
    for (const name of ['current_user', 'session_user', 'nobody at all', ''])
      expect(await failure(schema.admin, 'SELECT df.grant_usage($1)', [name])).toMatch(
        /^42704: |^42601: |^42939: /,
      );
    expect(await value(schema.admin, 'SELECT df.grant_usage(NULL) IS NULL').catch((e) => e.code)).not.toBe(
      true,
    );
  });

  it('public in lower case is everybody; "PUBLIC" a role, where there is one', async () => {
    const anybody = await person('anybody');
    await grant(schema.admin, 'public');
    expect(await works(anybody.client)).toBe(true);
    await revoke(schema.admin, 'public');
    expect(await works(anybody.client)).toBe(false);
    await root.query('CREATE ROLE "PUBLIC"');
    try {
      await grant(schema.admin, 'public');
      await grant(schema.admin, 'PUBLIC');
      await revoke(schema.admin, 'PUBLIC'); // the role's grants; everybody's stay
      expect(await works(anybody.client)).toBe(true);
      await revoke(schema.admin, 'public');
    } finally {
      await root.query('DROP OWNED BY "PUBLIC"; DROP ROLE "PUBLIC"');
    }
    await grant(schema.admin, 'public');
    await revoke(schema.admin, 'PUBLIC'); // as the guide writes it
    expect(await works(anybody.client)).toBe(false);
    expect(await failure(schema.admin, "SELECT df.grant_usage('public', with_grant => true)")).toMatch(
      /^0LP01: /,
    );
  });
});

describe('a role whose rights are taken', () => {
  it('sees nothing of its own any more, also not past df', async () => {
    const one = await schema.createUser('former');
    const id = await value(one.client, "SELECT df.start('SELECT 1', 'left')");
    expect((await one.client.query('SELECT * FROM _df.visible_instances')).rows).toHaveLength(1);
    await revoke(schema.admin, one.role.name);
    for (const view of ['_df.visible_instances', '_df.visible_executions'])
      expect((await one.client.query(`SELECT * FROM ${view}`)).rows).toEqual([]);
    expect(
      await failure(
        one.client,
        `INSERT INTO _df.inbox (instance_id, name, data) VALUES ('${id}', 'go', '{}')`,
      ),
    ).toMatch(/^44000: new row violates check option/);
    await schema.admin.query(`GRANT USAGE ON SCHEMA df TO ${one.role.name}`); // builders, and no table
    expect((await one.client.query('SELECT * FROM _df.visible_instances')).rows).toEqual([]);
  });
});
