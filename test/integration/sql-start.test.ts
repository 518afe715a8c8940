import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { dsl, failure, installSchema, type Schema, value } from './schema.js';

let schema: Schema;
beforeAll(async () => {
  schema = await installSchema();
});
afterAll(() => schema?.drop());
afterEach(async () => {
  await schema.admin.query('DELETE FROM _df.settings');
});

const start = (expression: string) => value(schema.app, `SELECT df.start(${dsl(expression)})`);
const refused = (text: string) => failure(schema.app, 'SELECT df.start($1)', [text]);

interface NodeRow {
  id: string;
  node_type: string;
  query: string | null;
  result_name: string | null;
  left_node: string | null;
  right_node: string | null;
}

/** The stored graph as a nested expression: TYPE(children…) with the query and name of each node. */
async function stored(instance: string): Promise<string> {
  const { rows } = await schema.admin.query<NodeRow>('SELECT * FROM df.nodes WHERE instance_id = $1', [
    instance,
  ]);
  const byId = new Map(rows.map((row) => [row.id, row]));
  const show = (id: string): string => {
    const node = byId.get(id);
    if (node === undefined) throw new Error(`no node ${id}`);
    const config = node.node_type === 'SQL' || node.query === null ? {} : JSON.parse(node.query);
    const further: string[] = config.extra_nodes ?? (config.condition_node ? [config.condition_node] : []);
    const children = [node.left_node, node.right_node, ...further].filter((child) => child !== null);
    const name = node.result_name === null ? '' : `:${node.result_name}`;
    return children.length === 0
      ? `${node.query}${name}`
      : `${node.node_type}${name}(${children.map(show).join(', ')})`;
  };
  return show(await value(schema.admin, 'SELECT root_node FROM df.instances WHERE id = $1', [instance]));
}

describe('a start', () => {
  it('writes the instance, its node and the row that makes it runnable', async () => {
    const id = await value(schema.app, "SELECT df.start('SELECT 1', 'a label', current_database())");
    expect(id).toMatch(/^[0-9a-f]{8}$/);
    const { rows } = await schema.admin.query(
      `SELECT u.label, u.status, u.submitted_by::text AS role, u.database, u.created_at = u.updated_at AS fresh,
              u.completed_at, n.node_type, n.query, n.status AS node_status, n.submitted_by = u.submitted_by AS same,
              n.database = u.database AS same_database, e.wake_at IS NOT NULL AS runnable, e.label AS engine_label
       FROM df.instances AS u
       JOIN df.nodes AS n ON n.instance_id = u.id AND n.id = u.root_node
       JOIN _df.instances AS e ON e.id = u.id
       WHERE u.id = $1`,
      [id],
    );
    expect(rows).toEqual([
      {
        label: 'a label',
        status: 'pending',
        role: schema.appRole.name,
        database: schema.database.name,
        fresh: true,
        completed_at: null,
        node_type: 'SQL',
        query: 'SELECT 1',
        node_status: 'pending',
        same: true,
        same_database: true,
        runnable: true,
        engine_label: 'a label',
      },
    ]);
  });

  it('that is rolled back leaves nothing', async () => {
    await schema.app.query('BEGIN');
    const id = await start("'SELECT 1' ~> 'SELECT 2'");
    await schema.app.query('ROLLBACK');
    const left = await value(
      schema.admin,
      `SELECT (SELECT count(*) FROM df.instances WHERE id = $1) + (SELECT count(*) FROM df.nodes WHERE instance_id = $1)
              + (SELECT count(*) FROM _df.instances WHERE id = $1)`,
      [id],
    );
    expect(left).toBe('0');
  });

  it('that is rolled back to a savepoint leaves nothing of it and all of the others', async () => {
    await schema.app.query('BEGIN');
    const kept = await start("'SELECT 1'");
    await schema.app.query('SAVEPOINT s');
    const lost = await start("'SELECT 2'");
    await schema.app.query('ROLLBACK TO s');
    const later = await start("'SELECT 3'");
    await schema.app.query('COMMIT');
    const { rows } = await schema.admin.query('SELECT id FROM _df.instances WHERE id = ANY ($1)', [
      [kept, lost, later],
    ]);
    expect(rows.map((row) => row.id).sort()).toEqual([kept, later].sort());
  });

  it('500 times in one INSERT … SELECT gives 500 instances', async () => {
    await schema.app.query('CREATE TEMP TABLE started (id text)');
    await schema.app.query(
      "INSERT INTO started SELECT df.start('SELECT ' || n) FROM generate_series(1, 500) AS n",
    );
    expect(
      await value(
        schema.app,
        'SELECT count(DISTINCT n.query)::int FROM started AS s JOIN df.nodes AS n ON n.instance_id = s.id',
      ),
    ).toBe(500);
  });

  it('works in a DO block, a function and a trigger', async () => {
    await schema.admin.query(
      `CREATE TABLE orders (n int, workflow text);
       CREATE FUNCTION on_order() RETURNS trigger LANGUAGE plpgsql AS
         $$BEGIN NEW.workflow := df.start('SELECT ' || NEW.n); RETURN NEW; END$$;
       CREATE TRIGGER t BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION on_order();
       GRANT ALL ON orders TO PUBLIC`,
    );
    const id = await value(schema.app, 'INSERT INTO orders VALUES (7) RETURNING workflow');
    expect(await stored(id)).toBe('SELECT 7');
    await schema.app.query("DO $$BEGIN PERFORM df.start('SELECT 1', 'from a block'); END$$");
    expect(
      await value(schema.app, "SELECT count(*)::int FROM df.instances WHERE label = 'from a block'"),
    ).toBe(1);
  });

  it('captures the variables of its role, not those of others, not later ones', async () => {
    const other = await schema.createUser('other');
    await other.client.query("SELECT df.setvar('x', 'theirs')");
    await schema.app.query("SELECT df.setvar('x', 'mine'), df.setvar('y', 'too')");
    await schema.app.query("INSERT INTO df.vars (name, value) VALUES ('empty', NULL)");
    const id = await start("'SELECT 1'");
    await schema.app.query("SELECT df.setvar('x', 'later')");
    expect(await value(schema.admin, 'SELECT vars FROM _df.instances WHERE id = $1', [id])).toEqual({
      x: 'mine',
      y: 'too',
    });
    await schema.app.query('SELECT df.clearvars()');
  });
});

describe('a graph is stored', () => {
  it.each([
    ["'a' ~> 'b' |=> 'r'", 'THEN:r(a, b)'],
    ["'c' ?> 'a' !> ('b' ~> 'd')", 'IF(a, THEN(b, d), c)'],
    ["df.loop('a' ~> df.sleep(5), 'w')", 'LOOP(THEN(a, 5), w)'],
    ["df.join3('a', 'b' | 'c', 'd')", 'JOIN(a, RACE(b, c), d)'],
    ["@> ('a' ?> df.break('x') !> 'b')", 'LOOP(IF({"break_value":"x"}, b, a))'],
  ])('%s', async (expression, graph) => {
    expect(await stored(await start(expression))).toBe(graph);
  });

  it('with conditions and further branches in the config of the node', async () => {
    const query = (type: string, id: string) =>
      value<string | null>(
        schema.admin,
        'SELECT query FROM df.nodes WHERE instance_id = $1 AND node_type = $2',
        [id, type],
      );
    expect(await query('IF', await start("'c' ?> 'a' !> 'b'"))).toMatch(
      /^\{"condition_node":"[0-9a-f]{8}"\}$/,
    );
    expect(await query('LOOP', await start("df.loop('a')"))).toBeNull();
    expect(await query('LOOP', await start("df.loop('a', 'b')"))).toMatch(
      /^\{"condition_node":"[0-9a-f]{8}"\}$/,
    );
    expect(await query('JOIN', await start("'a' & 'b'"))).toBeNull();
    expect(await query('JOIN', await start("df.join3('a', 'b', 'c')"))).toMatch(
      /^\{"extra_nodes":\["[0-9a-f]{8}"\]\}$/,
    );
    expect(await query('IF', await start("df.if_rows('r', 'a', 'b')"))).toBe(
      '{"condition_type":"result_has_rows","result_name":"r"}',
    );
    const merged = await value(schema.app, 'SELECT df.start($1)', [
      '{"node_type":"LOOP","left_node":{"node_type":"SQL","query":"a"},"condition_node":{"node_type":"SQL","query":"b"},"query":"{ \\"k\\" : [1, 2] }"}',
    ]);
    expect(await query('LOOP', merged)).toMatch(/^\{"k":\[1,2\],"condition_node":"[0-9a-f]{8}"\}$/);
  });

  it('parents before children, left before right', async () => {
    const id = await start("('a' ~> 'b') & df.if('c', 'd', 'e')");
    const { rows } = await schema.admin.query(
      'SELECT node_type, query FROM df.nodes WHERE instance_id = $1 ORDER BY ctid',
      [id],
    );
    expect(rows.map((row) => (row.node_type === 'SQL' ? row.query : row.node_type))).toEqual([
      'JOIN',
      'THEN',
      'a',
      'b',
      'IF',
      'd',
      'e',
      'c',
    ]);
  });

  it('10 000 nodes, ids all different', async () => {
    const id = await value(
      schema.app,
      `SELECT df.start('{"node_type":"JOIN","left_node":{"node_type":"SQL","query":"a"},"right_node":{"node_type":"SQL",'
         || '"query":"b"},"extra_nodes":[' || (SELECT string_agg('{"node_type":"SQL","query":"c"}', ',')
         FROM generate_series(1, 9997)) || ']}')`,
    );
    expect(await value(schema.app, 'SELECT count(*)::int FROM df.nodes WHERE instance_id = $1', [id])).toBe(
      10_000,
    );
  });

  it('257 steps in a chain pass, 258 do not', async () => {
    const chain = (steps: number) => dsl(Array.from({ length: steps }, (_, n) => `'S${n}'`).join(' ~> '));
    expect(await start(chain(257).replace(/ OPERATOR\(df\.~>\) /g, '~>'))).toMatch(/^[0-9a-f]{8}$/);
    expect(await failure(schema.app, `SELECT df.start(${chain(258)})`)).toBe(
      `XX000: Invalid durable function graph: root${'.left'.repeat(257)}: Graph exceeds maximum nesting depth of 256. ` +
        'Simplify the workflow or break it into multiple instances.',
    );
  });
});

const leaf = '{"node_type":"SQL","query":"a"}';
const types = 'SQL, THEN, IF, JOIN, LOOP, BREAK, RACE, SLEEP, WAIT_SCHEDULE, HTTP, HTTP_MULTIPART, SIGNAL';

describe('a graph is refused', () => {
  it.each([
    ['{"node_type":"NOPE"}', `Invalid durable function: Unknown node_type 'NOPE'. Valid types: ${types}`],
    [
      '{"node_type":"NOPE","left_node":1}',
      `Invalid durable function: Unknown node_type 'NOPE'. Valid types: ${types}`,
    ],
    [
      '{"node_type":"THEN","left_node":1}',
      "Invalid durable function: Malformed Durofut JSON with node_type 'THEN': Durofut children must be JSON objects at line 1 column 34",
    ],
    [
      `{"node_type":"THEN","left_node":${leaf},"right_node":{"node_type":"NOPE"}}`,
      `Invalid durable function graph: root.right: Unknown node_type 'NOPE'. Valid types: ${types}`,
    ],
    [
      `{"node_type":"JOIN","left_node":${leaf},"right_node":${leaf},"extra_nodes":[${leaf},{"node_type":"NOPE"}]}`,
      `Invalid durable function graph: root.extra_nodes[1]: Unknown node_type 'NOPE'. Valid types: ${types}`,
    ],
    [
      `{"node_type":"LOOP","left_node":${leaf},"condition_node":{"query":"x"}}`,
      'Invalid durable function graph: root.condition_node: failed to deserialize Durofut child: missing field `node_type` at line 1 column 13',
    ],
    [
      `{"node_type":"THEN","left_node":${leaf},"right_node":${leaf},"condition_node":${leaf}}`,
      'Invalid durable function graph: root: condition_node is not valid for THEN nodes',
    ],
    [
      `{"node_type":"RACE","left_node":${leaf},"right_node":${leaf},"extra_nodes":[]}`,
      'Invalid durable function graph: root: extra_nodes is not valid for RACE nodes',
    ],
    [
      `{"node_type":"LOOP","left_node":${leaf},"query":"{\\"condition_node\\":\\"00000000\\"}"}`,
      'Invalid durable function graph: root: condition_node in LOOP must be a first-class Durofut field, not embedded in query',
    ],
    [
      `{"node_type":"JOIN","left_node":${leaf},"right_node":${leaf},"query":"{\\"extra_nodes\\":[]}"}`,
      'Invalid durable function graph: root: extra_nodes in JOIN must be a first-class Durofut field, not embedded in query',
    ],
    [
      `{"node_type":"LOOP","left_node":${leaf},"condition_node":${leaf},"query":"x"}`,
      'Invalid durable function graph: root: query in LOOP must be valid JSON config: invalid input syntax for type json',
    ],
    [
      `{"node_type":"LOOP","left_node":${leaf},"condition_node":${leaf},"query":"[1]"}`,
      'Invalid durable function graph: root: query in LOOP must be a JSON config object',
    ],
  ])('%s', async (text, message) => {
    expect(await refused(text)).toBe(`XX000: ${message}`);
  });

  it('by the constraints of the table', async () => {
    expect(await refused('{"node_type":"THEN"}')).toContain(
      '23514: new row for relation "nodes" violates check constraint "nodes_structure_chk"',
    );
    expect(await refused('{"node_type":"SQL","query":"a","result_name":"1"}')).toContain(
      '"nodes_result_name_chk"',
    );
  });

  it('of 11 000 nodes, 300 deep, 100 000 deep', async () => {
    const wide = `{"node_type":"JOIN","left_node":${leaf},"right_node":${leaf},"extra_nodes":[${Array(10_997).fill(leaf)}]}`;
    expect(await refused(wide)).toBe(
      'XX000: Invalid durable function graph: root.extra_nodes[9997]: Workflow exceeds maximum node count of 10000. ' +
        'Simplify the workflow or break it into multiple instances.',
    );
    const deep = (levels: number) =>
      '{"node_type":"LOOP","left_node":'.repeat(levels) + leaf + '}'.repeat(levels);
    expect(await refused(deep(300))).toContain(
      `root${'.left'.repeat(257)}: Graph exceeds maximum nesting depth of 256.`,
    );
    expect(await refused(deep(100_000))).toContain('Graph exceeds maximum nesting depth of 256.');
  });
});

describe('df.start refuses', () => {
  it('an unknown database', async () => {
    expect(await failure(schema.app, "SELECT df.start('SELECT 1', database => 'no such')")).toBe(
      'XX000: database "no such" does not exist',
    );
  });

  it('an unknown transaction mode, and the mode new where there is no proxy', async () => {
    expect(await failure(schema.app, "SELECT df.start('a', transaction_mode => 'Other')")).toBe(
      `XX000: invalid transaction_mode "Other" for df.start(): expected 'caller' or 'new'`,
    );
    expect(await failure(schema.app, "SELECT df.start('a', transaction_mode => 'New')")).toBe(
      "55000: df.start() with transaction_mode => 'new' needs pg-durable-proxy, and no proxy is connected to this database now",
    );
    expect(await value(schema.app, "SELECT df.start('a', transaction_mode => 'CALLER')")).toMatch(
      /^[0-9a-f]{8}$/,
    );
  });

  it('a role without LOGIN, also behind SET ROLE, until it has LOGIN', async () => {
    const group = await schema.database.createRole('group', { login: false });
    const superuser = await schema.connect(schema.database.superUrl);
    await schema.admin.query('SELECT df.grant_usage($1)', [group.name]);
    await superuser.query(`GRANT ${group.name} TO ${schema.appRole.name}`);
    await schema.app.query(`SET ROLE ${group.name}`);
    expect(await failure(schema.app, "SELECT df.start('SELECT 1')")).toBe(
      `XX000: current_user "${group.name}" does not have LOGIN privilege. The background worker must connect as this ` +
        'role to execute SQL. Grant LOGIN to this role or call df.start() as a role with LOGIN.',
    );
    await superuser.query(`ALTER ROLE ${group.name} LOGIN`);
    const id = await start("'SELECT 1'");
    await schema.app.query('RESET ROLE');
    expect(await value(schema.admin, 'SELECT submitted_by::text FROM df.instances WHERE id = $1', [id])).toBe(
      group.name,
    );
  });

  it('a superuser unless the setting allows it', async () => {
    const superuser = await schema.connect(schema.database.superUrl);
    const role = await value(superuser, 'SELECT current_user');
    expect(await failure(superuser, "SELECT df.start('SELECT 1')")).toBe(
      `XX000: pg_durable: superuser instances are disabled. current_user "${role}" is a superuser, but ` +
        'pg_durable.enable_superuser_instances is off. Set pg_durable.enable_superuser_instances = on to allow this.',
    );
    await schema.admin.query("INSERT INTO _df.settings VALUES ('enable_superuser_instances', 'on')");
    expect(await value(superuser, "SELECT df.start('SELECT 1')")).toMatch(/^[0-9a-f]{8}$/);
  });

  it('while no proxy has finished starting', async () => {
    const { rows } = await schema.admin.query('DELETE FROM _df._worker_ready RETURNING schema_version');
    expect(rows).toEqual([{ schema_version: 1 }]);
    expect(await failure(schema.app, "SELECT df.start('SELECT 1')")).toBe(
      'XX000: failed to start durable function: pg_durable background worker not yet initialized — try again in a moment',
    );
    await schema.admin.query('INSERT INTO _df._worker_ready (schema_version) VALUES (1)');
  });

  it('first what is wrong with the text, then the database, the role, the graph', async () => {
    const group = await schema.database.createRole('group', { login: false });
    await schema.admin.query('SELECT df.grant_usage($1)', [group.name]);
    const superuser = await schema.connect(schema.database.superUrl);
    await superuser.query(`SET ROLE ${group.name}`);
    const bad = '{"node_type":"RACE","extra_nodes":[]}';
    expect(
      await failure(superuser, 'SELECT df.start($1, NULL, $2)', ['{"node_type":"X"}', 'none']),
    ).toContain('Unknown');
    expect(await failure(superuser, 'SELECT df.start($1, NULL, $2)', [bad, 'none'])).toContain(
      'does not exist',
    );
    expect(await failure(superuser, 'SELECT df.start($1)', [bad])).toContain('LOGIN');
    await superuser.query('RESET ROLE');
  });
});
