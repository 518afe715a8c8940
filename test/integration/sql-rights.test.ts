import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TestRole } from '../support/postgres.js';
import { failure, installSchema, type Schema, value } from './schema.js';

let schema: Schema;
let alice: { role: TestRole; client: pg.Client };
let bob: { role: TestRole; client: pg.Client };
let superuser: pg.Client;
let hers: string;
beforeAll(async () => {
  schema = await installSchema();
  alice = await schema.createUser('alice');
  bob = await schema.createUser('Bob "B"');
  superuser = await schema.connect(schema.database.superUrl);
  hers = await value(alice.client, "SELECT df.start('SELECT 1', 'hers')");
});
afterAll(() => schema?.drop());

const affected = async (client: pg.Client, sql: string, values: unknown[] = []) =>
  (await client.query(sql, values)).rowCount;

describe('a role sees and touches only its own', () => {
  it('instances and nodes', async () => {
    for (const table of ['df.instances', 'df.nodes']) {
      expect(await value(alice.client, `SELECT count(*)::int FROM ${table}`)).toBe(1);
      expect(await value(bob.client, `SELECT count(*)::int FROM ${table}`)).toBe(0);
      expect(await value(superuser, `SELECT count(*)::int FROM ${table}`)).toBe(1);
    }
  });

  it('through every function', async () => {
    const none = async (sql: string) => (await bob.client.query(sql, [hers])).rows;
    expect(await value(bob.client, 'SELECT df.status($1)', [hers])).toBeNull();
    expect(await value(bob.client, 'SELECT df.result($1)', [hers])).toBeNull();
    expect(await failure(bob.client, 'SELECT df.cancel($1)', [hers])).toBe(
      `XX000: Instance not found or access denied: ${hers}`,
    );
    expect(await none('SELECT * FROM df.instance_info($1)')).toEqual([]);
    expect(await none('SELECT * FROM df.instance_nodes($1)')).toEqual([]);
    expect(await none('SELECT * FROM df.instance_nodes($1, 5)')).toEqual([]);
    expect(await none('SELECT * FROM df.instance_executions($1)')).toEqual([]);
    expect(await none('SELECT * FROM _df.visible_instances WHERE id = $1')).toEqual([]);
    expect((await bob.client.query('SELECT * FROM df.list_instances()')).rows).toEqual([]);
    expect((await bob.client.query('SELECT * FROM df.list_instances(NULL, 10, NULL)')).rows).toEqual([]);
    expect(await value(bob.client, 'SELECT df.explain($1)', [hers])).toBe(`Instance '${hers}' not found`);
    expect(await value(superuser, 'SELECT df.status($1)', [hers])).toBe('pending');
    expect((await superuser.query('SELECT * FROM df.instance_info($1)', [hers])).rows).toHaveLength(1);
  });

  it('also as the definer of a function', async () => {
    await schema.admin.query('GRANT CREATE ON SCHEMA public TO PUBLIC');
    await bob.client.query(
      `CREATE FUNCTION public.look() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM df.list_instances()';
       CREATE FUNCTION public.begin_as_bob() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$SELECT df.start('SELECT 1')$$`,
    );
    expect(await value(alice.client, 'SELECT public.look()')).toBe('0');
    const id = await value(alice.client, 'SELECT public.begin_as_bob()');
    expect(await value(alice.client, 'SELECT df.status($1)', [id])).toBeNull();
    expect(await value(bob.client, 'SELECT df.status($1)', [id])).toBe('pending');
    expect(
      await value(
        schema.admin,
        'SELECT r.rolname FROM df.instances AS u JOIN pg_roles AS r ON r.oid = u.submitted_by WHERE id = $1',
        [id],
      ),
    ).toBe(bob.role.name);
  });

  it('and cannot see more with a leaky function or row_security off', async () => {
    await bob.client.query(
      `CREATE FUNCTION public.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
       $$BEGIN IF $1 IS NOT NULL THEN RAISE WARNING 'seen %', $1; END IF; RETURN true; END$$`,
    );
    const seen: string[] = [];
    const listener = (notice: { message?: string | undefined }) => seen.push(notice.message ?? '');
    bob.client.on('notice', listener);
    await bob.client.query('SELECT * FROM _df.visible_instances WHERE public.leak(id)');
    await bob.client.query('SELECT * FROM df.instances WHERE public.leak(label)');
    bob.client.off('notice', listener);
    expect(seen.filter((text) => text.includes(hers) || text.includes('hers'))).toEqual([]);
    await bob.client.query('SET row_security = off');
    expect(
      (await bob.client.query('SELECT * FROM _df.visible_instances WHERE id = $1', [hers])).rows,
    ).toEqual([]);
    await bob.client.query('RESET row_security');
  });

  it('a role with BYPASSRLS sees everything', async () => {
    const auditor = await schema.createUser('auditor');
    await superuser.query(`ALTER ROLE ${auditor.role.name} BYPASSRLS`);
    expect(
      await value(auditor.client, 'SELECT count(*) FROM df.list_instances() WHERE instance_id = $1', [hers]),
    ).toBe('1');
  });
});

describe('direct writes', () => {
  it('status and updated_at of own instances only', async () => {
    const id = await value(alice.client, "SELECT df.start('SELECT 1')");
    expect(
      await affected(
        alice.client,
        "UPDATE df.instances SET status = 'running', updated_at = now() WHERE id = $1",
        [id],
      ),
    ).toBe(1);
    expect(await affected(bob.client, "UPDATE df.instances SET status = 'running' WHERE id = $1", [id])).toBe(
      0,
    );
    expect(
      await failure(alice.client, "UPDATE df.instances SET status = 'odd' WHERE id = $1", [id]),
    ).toContain('23514: ');
  });

  it.each([
    ['DELETE FROM df.instances', 'instances'],
    ['DELETE FROM df.nodes', 'nodes'],
    ["UPDATE df.instances SET submitted_by = 'postgres'::regrole", 'instances'],
    ["UPDATE df.instances SET label = 'x'", 'instances'],
    ["UPDATE df.nodes SET status = 'completed'", 'nodes'],
    [
      "INSERT INTO df.instances (id, root_node, submitted_by, status) VALUES ('00000001', '00000002', current_user::regrole, 'completed')",
      'instances',
    ],
    ['TRUNCATE df.nodes', 'nodes'],
    ['SELECT * FROM df._worker_epoch', '_worker_epoch'],
    ['SELECT * FROM _df.instances', 'instances'],
    ['SELECT * FROM _df.journal', 'journal'],
    ['SELECT * FROM _df.settings', 'settings'],
    ['UPDATE _df._worker_ready SET schema_version = 0', '_worker_ready'],
    ['SELECT * FROM _df.migrations', 'migrations'],
  ])('%s: permission denied', async (sql, table) => {
    expect(await failure(alice.client, sql)).toBe(`42501: permission denied for table ${table}`);
  });

  it("rows shaped like a start can be inserted, start nothing, and must be one's own", async () => {
    const insert = (id: string, role: string) =>
      `INSERT INTO df.instances (id, root_node, submitted_by) VALUES ('${id}', '0000000b', '"${role.replaceAll('"', '""')}"'::regrole);
       INSERT INTO df.nodes (id, instance_id, node_type, query, submitted_by)
       VALUES ('0000000b', '${id}', 'SQL', 'SELECT 1', '"${role.replaceAll('"', '""')}"'::regrole)`;
    await alice.client.query(insert('0000000a', alice.role.name));
    expect(await value(schema.admin, "SELECT count(*)::int FROM _df.instances WHERE id = '0000000a'")).toBe(
      0,
    );
    expect(await value(alice.client, "SELECT df.status('0000000a')")).toBe('pending');
    expect(
      await value(
        alice.client,
        "SELECT count(*)::int FROM df.list_instances() WHERE instance_id = '0000000a'",
      ),
    ).toBe(0);
    expect(await failure(alice.client, insert('0000000c', bob.role.name))).toBe(
      '42501: new row violates row-level security policy for table "instances"',
    );
    expect(await failure(alice.client, insert('0000000X', alice.role.name))).toContain(
      'instances_id_format_chk',
    );
    expect(
      await failure(
        alice.client,
        "INSERT INTO df.instances (id, root_node, submitted_by) VALUES ('0000000d', '0000000b', current_user::regrole)",
      ),
    ).toContain('instances_root_node_same_instance_fkey');
  });
});

describe('grants', () => {
  it('nothing works without USAGE on df, and nothing is granted to PUBLIC', async () => {
    const stranger = await schema.database.createRole('stranger');
    const client = await schema.connect(stranger.url);
    expect(await failure(client, "SELECT df.start('SELECT 1')")).toBe(
      '42501: permission denied for schema df',
    );
    expect(await failure(client, 'SELECT * FROM df.instances')).toBe(
      '42501: permission denied for schema df',
    );
  });

  it('USAGE on the schema without the tables: builders work, the rest is refused', async () => {
    const reader = await schema.database.createRole('reader');
    await schema.admin.query(`GRANT USAGE ON SCHEMA df TO ${reader.name}`);
    const client = await schema.connect(reader.url);
    expect(await value(client, "SELECT df.seq('a', 'b')")).toContain('THEN');
    expect(await failure(client, "SELECT df.start('SELECT 1')")).toBe(
      '42501: permission denied for table instances',
    );
    expect(await failure(client, 'SELECT * FROM df.list_instances()')).toBe(
      '42501: permission denied for table instances',
    );
    expect(await failure(client, "SELECT df.setvar('a', 'b')")).toBe(
      '42501: permission denied for table vars',
    );
    expect(await failure(client, 'SELECT df.status($1)', [hers])).toBe(
      '42501: permission denied for table instances',
    );
  });

  it('HTTP builders and the helpers themselves need a grant', async () => {
    expect(await failure(alice.client, "SELECT df.http('https://h')")).toBe(
      '42501: permission denied for function http',
    );
    expect(await failure(alice.client, "SELECT df.http_multipart('https://h')")).toBe(
      '42501: permission denied for function http_multipart',
    );
    expect(await failure(alice.client, "SELECT df.grant_usage('x')")).toBe(
      '42501: permission denied for function grant_usage',
    );
    expect(await failure(alice.client, "SELECT df.revoke_usage('x')")).toBe(
      '42501: permission denied for function revoke_usage',
    );
    await schema.admin.query('SELECT df.grant_usage($1, include_http => true)', [alice.role.name]);
    expect(await value(alice.client, "SELECT df.http('https://h')")).toContain('HTTP');
    await schema.admin.query('SELECT df.grant_usage($1)', [alice.role.name]); // additive: takes nothing away
    expect(await value(alice.client, "SELECT df.http('https://h')")).toContain('HTTP');
  });

  it('with_grant makes an administrator of what he holds', async () => {
    const chief = await schema.database.createRole('chief');
    const user = await schema.database.createRole('user');
    await schema.admin.query('SELECT df.grant_usage($1, with_grant => true)', [chief.name]);
    const client = await schema.connect(chief.url);
    const notices: string[] = [];
    client.on('notice', (notice) => notices.push(notice.message ?? ''));
    await client.query('SELECT df.grant_usage($1)', [user.name]);
    expect(notices).toContain(`pg_durable: granted df usage privileges to "${user.name}"`);
    const userClient = await schema.connect(user.url);
    expect(await value(userClient, "SELECT df.start('SELECT 1')")).toMatch(/^[0-9a-f]{8}$/);
    expect(await failure(client, 'SELECT df.grant_usage($1, include_http => true)', [user.name])).toContain(
      '42501: ',
    );

    await client.query('SELECT df.revoke_usage($1)', [chief.name]); // not his own grants: changes nothing
    expect(await value(client, "SELECT df.start('SELECT 1')")).toMatch(/^[0-9a-f]{8}$/);
    await client.query('SELECT df.revoke_usage($1)', [user.name]);
    expect(notices).toContain(
      `pg_durable: revoked df usage privileges granted by "${chief.name}" from "${user.name}"`,
    );
    expect(await failure(userClient, "SELECT df.start('SELECT 1')")).toBe(
      '42501: permission denied for schema df',
    );

    await schema.admin.query('SELECT df.revoke_usage($1)', [chief.name]);
    expect(await failure(client, 'SELECT df.version()')).toBe('42501: permission denied for schema df');
  });

  it('a role name is an identifier; public is everybody', async () => {
    expect(await failure(schema.admin, "SELECT df.grant_usage('PUBLIC')")).toBe(
      '42704: role "PUBLIC" does not exist',
    );
    expect(await failure(schema.admin, "SELECT df.grant_usage('x; DROP TABLE y')")).toContain('42704: ');
    await schema.admin.query("SELECT df.grant_usage('public')");
    const anyone = await schema.connect((await schema.database.createRole('anyone')).url);
    expect(await value(anyone, "SELECT df.start('SELECT 1')")).toMatch(/^[0-9a-f]{8}$/);
    await schema.admin.query("SELECT df.revoke_usage('PUBLIC')");
    expect(await failure(anyone, "SELECT df.start('SELECT 1')")).toContain('42501: ');
  });

  it('what df.grant_usage gives is what the contract lists', async () => {
    const plain = await schema.database.createRole('plain');
    await schema.admin.query('SELECT df.grant_usage($1)', [plain.name]);
    const { rows } = await schema.admin.query(
      `SELECT * FROM (
         SELECT c.relname || ': ' || a.privilege_type AS right
         FROM pg_class AS c, aclexplode(c.relacl) AS a
         WHERE c.relnamespace = 'df'::regnamespace AND a.grantee = $1::regrole
         UNION ALL
         SELECT c.relname || '.' || t.attname || ': ' || a.privilege_type
         FROM pg_class AS c JOIN pg_attribute AS t ON t.attrelid = c.oid, aclexplode(t.attacl) AS a
         WHERE c.relnamespace = 'df'::regnamespace AND a.grantee = $1::regrole
         UNION ALL
         SELECT 'schema ' || n.nspname || ': ' || a.privilege_type
         FROM pg_namespace AS n, aclexplode(n.nspacl) AS a WHERE a.grantee = $1::regrole) AS r
       ORDER BY r.right COLLATE "C"`,
      [plain.name],
    );
    expect(rows.map((row) => row.right)).toEqual([
      'instances.database: INSERT',
      'instances.id: INSERT',
      'instances.label: INSERT',
      'instances.root_node: INSERT',
      'instances.status: UPDATE',
      'instances.submitted_by: INSERT',
      'instances.updated_at: UPDATE',
      'instances: SELECT',
      'nodes.database: INSERT',
      'nodes.id: INSERT',
      'nodes.instance_id: INSERT',
      'nodes.left_node: INSERT',
      'nodes.node_type: INSERT',
      'nodes.query: INSERT',
      'nodes.result_name: INSERT',
      'nodes.right_node: INSERT',
      'nodes.submitted_by: INSERT',
      'nodes: SELECT',
      'schema df: USAGE',
      'vars: DELETE',
      'vars: INSERT',
      'vars: SELECT',
      'vars: UPDATE',
    ]);
  });
});

describe('a hostile search_path', () => {
  it("changes nothing that runs with the owner's or the victim's rights", async () => {
    await superuser.query(`CREATE SCHEMA trap AUTHORIZATION "${bob.role.name.replaceAll('"', '""')}"`);
    await bob.client.query(
      `CREATE FUNCTION trap.sprung(text, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'trap'; END$$;
       CREATE FUNCTION trap.lower(text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'trap'; END$$;
       CREATE FUNCTION trap.now() RETURNS timestamptz LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'trap'; END$$;
       CREATE FUNCTION trap.quote_ident(text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'trap'; END$$;
       CREATE FUNCTION trap.length(text) RETURNS int LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'trap'; END$$;
       CREATE FUNCTION trap.same_int(int, int) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'trap'; END$$;
       CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.sprung);
       CREATE OPERATOR trap.~ (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.sprung);
       CREATE OPERATOR trap.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.sprung);
       CREATE OPERATOR trap.= (LEFTARG = int, RIGHTARG = int, FUNCTION = trap.same_int);
       GRANT USAGE ON SCHEMA trap TO PUBLIC`,
    );
    await alice.client.query('SET search_path = trap, pg_catalog');
    const id = await value(alice.client, "SELECT df.start(df.seq('a', df.as('b', 'n')))");
    await value(alice.client, 'SELECT df.explain($1)', [id]);
    await value(alice.client, 'SELECT df.explain($1)', ['df.sleep(1)']);
    await value(alice.client, 'SELECT df.setvar($1, $1)', ['a']);
    await alice.client.query('SELECT * FROM df.list_instances(NULL, 10, NULL)');
    await alice.client.query('SELECT * FROM df.instance_nodes($1)', [id]);
    await value(alice.client, 'SELECT df.cancel($1)', [id]);
    await alice.client.query('RESET search_path');
  });
});
