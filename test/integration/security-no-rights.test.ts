import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { failure, installSchema, type Schema, value } from './schema.js';

/**
 * What a role without any grant can do with each function and relation of df and _df. The tests take the list from the
 * catalogue: what is not named here fails them, so that nothing new comes in unseen.
 */

/**
 * df        USAGE on schema df is the gate
 * granted   EXECUTE is given by df.grant_usage only
 * text      anybody: text in, text out; reads no table, writes nothing
 * caller    anybody, with the caller's rights: without rights on df it ends in 42501
 * guarded   anybody, with the owner's rights: what it does for whom is tested one by one
 * owner     EXECUTE is the owner's alone
 */
type Access = 'df' | 'granted' | 'text' | 'caller' | 'guarded' | 'owner';

const FUNCTIONS: Record<string, Access> = {
  'df."as"': 'df',
  'df.if': 'df',
  'df."join"': 'df',
  'df.as_op': 'df',
  'df.await_instance': 'df',
  'df.break': 'df',
  'df.cancel': 'df',
  'df.clearvars': 'df',
  'df.duroxide_schema': 'df',
  'df.explain': 'df',
  'df.getvar': 'df',
  'df.grant_usage': 'granted',
  'df.http': 'granted',
  'df.http_multipart': 'granted',
  'df.if_else_op': 'df',
  'df.if_rows': 'df',
  'df.if_then_op': 'df',
  'df.instance_executions': 'df',
  'df.instance_info': 'df',
  'df.instance_nodes': 'df',
  'df.join3': 'df',
  'df.list_instances': 'df',
  'df.loop': 'df',
  'df.loop_prefix_op': 'df',
  'df.metrics': 'granted',
  'df.race': 'df',
  'df.result': 'df',
  'df.revoke_usage': 'granted',
  'df.run': 'df',
  'df.seq': 'df',
  'df.setvar': 'df',
  'df.signal': 'df',
  'df.sleep': 'df',
  'df.sql': 'df',
  'df.start': 'df',
  'df.status': 'df',
  'df.target_database': 'df',
  'df.unsetvar': 'df',
  'df.version': 'df',
  'df.wait_for_completion': 'df',
  'df.wait_for_schedule': 'df',
  'df.wait_for_signal': 'df',

  '_df.apply': 'owner',
  '_df.as_object': 'text',
  '_df.begin_pass': 'owner',
  '_df.check_limit': 'text',
  '_df.change_setting': 'text', // refused for all but the owner
  '_df.check_http_scheme': 'text',
  '_df.checkpoint': 'guarded',
  '_df.claim': 'owner',
  '_df.compact': 'text',
  '_df.config_nodes': 'text',
  '_df.close_tables': 'owner',
  '_df.cron_field': 'text',
  '_df.cron_valid': 'text',
  '_df.cron_value': 'text',
  '_df.current_setting': 'text',
  '_df.enlist': 'owner',
  '_df.envelope': 'text',
  '_df.envelope_fields': 'text',
  '_df.explain_envelope': 'text',
  '_df.explain_instance': 'caller',
  '_df.explain_text': 'caller',
  '_df.explain_value': 'text',
  '_df.failure': 'caller',
  '_df.flatten': 'text',
  '_df.hear': 'owner',
  '_df.heartbeat': 'owner',
  '_df.infer': 'caller',
  '_df.is_older': 'owner',
  '_df.keep_inbox': 'owner',
  '_df.control_leaves': 'text',
  '_df.launch': 'text', // it asks the proxy, which asks the server as the caller: security-launch.test.ts
  '_df.launch_answer': 'owner',
  '_df.launch_cover': 'owner',
  '_df.launch_keys': 'text',
  '_df.launch_mac': 'owner',
  '_df.launch_read': 'guarded',
  '_df.launch_renew': 'owner',
  '_df.launch_settle': 'owner',
  '_df.launch_slot': 'owner',
  '_df.launch_take': 'owner',
  '_df.launch_wanted': 'text',
  '_df.lock_in_turn': 'owner',
  '_df.mark_helper': 'text',
  '_df.marker': 'text',
  '_df.must_grant': 'text',
  '_df.node_text': 'text',
  '_df.node_types': 'text',
  '_df.now': 'owner',
  '_df.number': 'owner',
  '_df.on_cancel': 'owner',
  '_df.on_delete': 'owner',
  '_df.on_start': 'owner',
  '_df.payload': 'text',
  '_df.outdated': 'owner',
  '_df.read_cursor': 'text',
  '_df.read_signal': 'owner',
  '_df.record': 'owner',
  '_df.refuse_helper': 'text',
  '_df.refuse_in_workflow': 'text',
  '_df.render': 'text',
  '_df.remove': 'owner',
  '_df.resign': 'owner',
  '_df.resume_role': 'owner',
  '_df.rouse': 'owner',
  '_df.set_config': 'text', // as change_setting
  '_df.setting': 'guarded',
  '_df.shorten': 'text',
  '_df.start_new': 'text',
  '_df.shown': 'owner',
  '_df.shown_setting': 'guarded',
  '_df.step': 'text',
};

/** Rights of PUBLIC; what is not named has none. */
const PUBLIC_RIGHTS: Record<string, string[]> = {
  '_df._worker_ready': ['SELECT'],
  '_df.inbox': ['INSERT'],
  '_df.launch_seal': ['SELECT'],
  '_df.visible_executions': ['SELECT'],
  '_df.visible_instances': ['SELECT'],
};

/** Functions that run under the search_path of their caller, and say why where they are. */
const UNPINNED = ['_df.is_older', '_df.lock_in_turn', '_df.record', '_df.shown', 'df.explain'];
const WITH_DF = ['df.as_op', 'df.loop_prefix_op'];

interface Routine {
  name: string;
  signature: string;
  types: string[];
  definer: boolean;
  trigger: boolean;
  path: string | null;
  everybody: boolean;
  owner: boolean;
}

let schema: Schema;
let stranger: pg.Client;
let routines: Routine[];
let relations: Array<{ name: string; kind: string; secured: boolean }>;

beforeAll(async () => {
  schema = await installSchema();
  stranger = await schema.connect((await schema.database.createRole('stranger')).url);
  const { rows } = await schema.admin.query<Routine>(
    `SELECT quote_ident(n.nspname) || '.' || quote_ident(p.proname) AS name, p.oid::regprocedure::text AS signature,
            ARRAY(SELECT t::regtype::text FROM unnest(p.proargtypes) AS t) AS types,
            p.prosecdef AS definer, p.prorettype = 'trigger'::regtype AS trigger,
            (SELECT substr(c, 13) FROM unnest(p.proconfig) AS c WHERE c LIKE 'search_path=%') AS path,
            EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
                    WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE') AS everybody,
            p.proowner = current_user::regrole AS owner
     FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
     WHERE n.nspname IN ('df', '_df')
     ORDER BY 1, 2`,
  );
  routines = rows;
  relations = (
    await schema.admin.query(
      `SELECT n.nspname || '.' || c.relname AS name, c.relkind AS kind, c.relrowsecurity AS secured
       FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
       WHERE n.nspname IN ('df', '_df') AND c.relkind NOT IN ('i', 'I', 't')
       ORDER BY 1`,
    )
  ).rows;
  // something to see for whoever can see more than he should
  await value(schema.app, "SELECT df.start('SELECT 1', 'foreign')");
  await value(schema.app, "SELECT df.setvar('foreign', 'secret')");
});
afterAll(() => schema?.drop());

/** A call with arguments that every type takes. */
const call = ({ name, types }: Routine) => {
  const plausible = (type: string) =>
    type.endsWith('[]')
      ? `ARRAY[]::${type}`
      : type === 'uuid'
        ? 'gen_random_uuid()'
        : type.startsWith('json')
          ? `'{"node_type":"SQL","query":"SELECT 1"}'::${type}`
          : type === 'boolean'
            ? 'true'
            : /^(text|character|name|"char")/.test(type)
              ? `'00000000'::${type}`
              : `1::text::${type}`;
  return `SELECT ${name}(${types.map(plausible).join(', ')})`;
};

it('every function has its place in the table above', () => {
  expect(
    [...new Set(routines.map((one) => one.name))].filter((name) => FUNCTIONS[name] === undefined),
  ).toEqual([]);
});

describe('functions', () => {
  it('are open to everybody only where the table says so', () => {
    const wrong = routines.filter((one) => {
      const access = FUNCTIONS[one.name];
      return one.everybody !== (access !== 'granted' && access !== 'owner');
    });
    expect(wrong.map((one) => one.signature)).toEqual([]);
  });

  it('run with the owner’s rights only where that is guarded, and belong to the owner', () => {
    const definers = routines.filter((one) => one.definer).map((one) => one.name);
    expect(definers.filter((name) => FUNCTIONS[name] !== 'guarded' && !/^_df\.on_/.test(name))).toEqual([
      'df.metrics', // counts only, and a right of its own
    ]);
    expect(routines.filter((one) => FUNCTIONS[one.name] === 'guarded' && !one.definer)).toEqual([]);
    expect(routines.filter((one) => !one.owner)).toEqual([]);
  });

  it('pin their search_path', () => {
    const unpinned = routines.filter((one) => one.path !== 'pg_catalog, pg_temp');
    expect(unpinned.filter((one) => one.path === null).map((one) => one.name)).toEqual(UNPINNED);
    expect(unpinned.filter((one) => one.path !== null).map((one) => [one.name, one.path])).toEqual(
      WITH_DF.map((name) => [name, 'pg_catalog, df, pg_temp']),
    );
  });

  it('of df: a role without USAGE calls none of them', async () => {
    for (const one of routines.filter(({ name }) => name.startsWith('df.'))) {
      expect([one.name, await failure(stranger, call(one))]).toEqual([
        one.name,
        '42501: permission denied for schema df',
      ]);
    }
  });

  it('of _df: those of the owner are refused, those with the caller’s rights come to nothing', async () => {
    for (const one of routines.filter(
      ({ name }) => name.startsWith('_df.') && FUNCTIONS[name] !== undefined,
    )) {
      const access = FUNCTIONS[one.name];
      const said = await stranger.query(call(one)).then(
        ({ rows }) => JSON.stringify(rows),
        (error: pg.DatabaseError) => `${error.code}: ${error.message}`,
      );
      if (one.trigger || access === 'owner') {
        expect([one.name, said]).toEqual([
          one.name,
          `42501: permission denied for function ${one.name.replace(/^_df\./, '')}`,
        ]);
      } else if (access === 'caller') {
        expect([one.name, said]).toEqual([one.name, '42501: permission denied for schema df']);
      } else {
        expect([one.name, said]).not.toEqual([one.name, expect.stringMatching(/foreign|secret/)]);
      }
    }
  });

  it('a trigger of ours cannot be put on somebody’s own table', async () => {
    await schema.admin.query('GRANT CREATE ON SCHEMA public TO PUBLIC');
    await stranger.query('CREATE TABLE public.mine (id text, status text)');
    for (const one of routines.filter(({ trigger }) => trigger)) {
      expect(
        await failure(
          stranger,
          `CREATE TRIGGER t AFTER DELETE ON public.mine FOR EACH ROW EXECUTE FUNCTION ${one.name}()`,
        ),
      ).toContain('42501: permission denied for function');
    }
  });
});

describe('tables, views and sequences', () => {
  const rights = ['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER'];

  it('give nobody any right but those of the table above', async () => {
    for (const { name, kind } of relations) {
      const held: string[] = [];
      for (const right of kind === 'S' ? ['USAGE', 'SELECT', 'UPDATE'] : rights) {
        const test =
          kind === 'S'
            ? `has_sequence_privilege($1, $2, '${right}')`
            : ['SELECT', 'INSERT', 'UPDATE', 'REFERENCES'].includes(right)
              ? `has_any_column_privilege($1, $2, '${right}') OR has_table_privilege($1, $2, '${right}')`
              : `has_table_privilege($1, $2, '${right}')`;
        if (await value<boolean>(schema.admin, `SELECT ${test}`, [stranger.user, name])) held.push(right);
      }
      expect([name, held]).toEqual([name, PUBLIC_RIGHTS[name] ?? []]);
    }
  });

  it('show nothing of anybody', async () => {
    for (const { name } of relations) {
      const seen = await stranger.query(`SELECT * FROM ${name}`).then(
        ({ rows }) => rows,
        (error: pg.DatabaseError) => error.code,
      );
      // the one says that there is a proxy, the other who asks
      if (name === '_df._worker_ready' || name === '_df.launch_seal') expect(seen).toHaveLength(1);
      else expect([name, seen]).toEqual([name, PUBLIC_RIGHTS[name]?.includes('SELECT') ? [] : '42501']);
    }
  });

  it('of _df show nothing to members of pg_read_all_data, who would read the tokens of leases there', async () => {
    const open = relations.filter(
      ({ name, kind, secured }) => name.startsWith('_df.') && kind === 'r' && !secured,
    );
    expect(open.map(({ name }) => name)).toEqual(['_df._worker_ready']);
    const reader = await schema.database.createRole('reader');
    const root = await schema.connect(schema.database.superUrl);
    await root.query(`GRANT pg_read_all_data TO ${reader.name}`);
    const client = await schema.connect(reader.url);
    for (const table of [
      'df.instances',
      'df.nodes',
      'df.vars',
      '_df.instances',
      '_df.settings',
      '_df.credentials',
    ])
      expect((await client.query(`SELECT * FROM ${table}`)).rows).toEqual([]);
    for (const { name, kind } of relations.filter(({ name }) => name.startsWith('_df.')))
      if (kind === 'r' && name !== '_df._worker_ready')
        expect((await client.query(`SELECT * FROM ${name}`)).rows).toEqual([]);
    // his rights on df are those of a reader: his own rows, of which there are none
    expect((await client.query('SELECT * FROM _df.visible_instances')).rows).toEqual([]);
  });

  it('keep their statistics to themselves', async () => {
    await schema.admin.query('ANALYZE df.instances, df.nodes, df.vars, _df.instances');
    expect(
      (await stranger.query(`SELECT * FROM pg_stats WHERE schemaname IN ('df', '_df')`)).rows.filter(
        (row) => row.tablename !== '_worker_ready',
      ),
    ).toEqual([]);
    const user = await schema.createUser('curious');
    expect(
      (await user.client.query(`SELECT * FROM pg_stats WHERE schemaname IN ('df', '_df')`)).rows.filter(
        (row) => row.tablename !== '_worker_ready',
      ),
    ).toEqual([]);
  });

  it('are all there is: no type, domain or sequence besides that somebody could use', async () => {
    const { rows } = await schema.admin.query(
      `SELECT t.typname FROM pg_type AS t LEFT JOIN pg_class AS c ON c.oid = t.typrelid
       WHERE t.typnamespace IN ('df'::regnamespace, '_df'::regnamespace) AND t.typelem = 0
         AND (c.oid IS NULL OR c.relkind = 'c')`,
    );
    expect(rows).toEqual([]);
  });

  it('nobody creates anything in the schemas', async () => {
    for (const name of ['df', '_df']) {
      expect(await failure(stranger, `CREATE TABLE ${name}.x (n int)`)).toBe(
        `42501: permission denied for schema ${name}`,
      );
      expect(
        await failure(schema.app, `CREATE FUNCTION ${name}.x() RETURNS int LANGUAGE sql AS 'SELECT 1'`),
      ).toBe(`42501: permission denied for schema ${name}`);
    }
  });
});

describe('the owner’s default privileges', () => {
  it('neither open what is private nor close what is not', async () => {
    const other = await installSchema(async (admin, database) => {
      const reader = await database.createRole('defaulted');
      await admin.query(
        `ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO ${reader.name};
         ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO PUBLIC;
         ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC`,
      );
      return reader;
    });
    try {
      const id = await value(other.app, "SELECT df.start(df.seq('SELECT 1', df.sleep(1)))");
      expect(await value(other.app, 'SELECT df.explain($1)', [id])).toContain('SLEEP 1s');
      const { rows } = await other.admin.query(
        `SELECT c.relname, a.privilege_type, a.grantee::regrole::text
         FROM pg_class AS c, aclexplode(c.relacl) AS a
         WHERE c.relnamespace = '_df'::regnamespace AND a.grantee <> c.relowner
           AND NOT (a.grantee = 0 AND a.privilege_type = 'SELECT'
                    AND c.relname = ANY ($1))
           AND NOT (a.grantee = 0 AND a.privilege_type = 'INSERT' AND c.relname = 'inbox')`,
        [Object.keys(PUBLIC_RIGHTS).map((name) => name.replace('_df.', ''))],
      );
      expect(rows).toEqual([]);
    } finally {
      await other.drop();
    }
  });
});

it('the statements of docs/security.md are ones that run', async () => {
  const page = readFileSync(join(import.meta.dirname, '../../docs/security.md'), 'utf8');
  const checks = /## Checks[\s\S]*?```sql\n([\s\S]*?)```/
    .exec(page)![1]!
    .split(';')
    .filter((sql) => sql.trim() !== '');
  expect(checks.length).toBe(3);
  const [users, above, owners] = checks as [string, string, string];
  const column = async (sql: string) =>
    (await schema.admin.query<unknown[]>({ text: sql, rowMode: 'array' })).rows.map((row) => row[0]);
  expect(await column(users)).toContain(schema.appRole.name);
  expect(await column(above)).not.toContain(schema.appRole.name);
  expect(await column(owners)).toEqual([]);
});
