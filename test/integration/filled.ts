/** A database with many finished and unfinished instances of two roles, as if they had run. */
import pg from 'pg';
import { installSchema } from './schema.js';

export interface Database {
  readonly admin: pg.Client;
  /** The role with few instances. */
  readonly own: pg.Client;
  readonly ownRole: string;
  /** The superuser. */
  readonly root: pg.Client;
  /** One of its instances. */
  readonly id: string;
  drop(): Promise<void>;
}

export async function filled(count: { own: number; foreign: number }): Promise<Database> {
  const schema = await installSchema();
  const other = await schema.createUser('other');
  const root = new pg.Client({ connectionString: schema.database.superUrl });
  root.on('error', () => {});
  await root.connect();
  await root.query('SET session_replication_role = replica');
  const source = `
    SELECT n, lpad(to_hex((n * 2654435761) % 4294967296), 8, '0') AS id,
           CASE WHEN n <= ${count.own} THEN '${schema.appRole.name}' ELSE '${other.role.name}' END::regrole AS role,
           (ARRAY['completed', 'completed', 'completed', 'failed', 'cancelled', 'pending', 'running'])[1 + n % 7] AS status,
           now() - (n * 48271) % 1000000 * interval '1 second' AS at
    FROM generate_series(1::bigint, ${count.own + count.foreign}) AS n`;
  for (const sql of [
    `INSERT INTO df.instances (id, label, root_node, status, submitted_by, created_at, completed_at)
     SELECT id, CASE WHEN n % 2 = 0 THEN 'label-' || n % 40 / 4 END, id, status, role, at,
            CASE WHEN status = 'completed' THEN at END FROM (${source}) AS s`,
    `INSERT INTO _df.instances (id, role, vars, wake_at, output, events, generation, started_at, finished_at)
     SELECT id, role::oid, '{}', CASE WHEN status IN ('pending', 'running') THEN now() + interval '1 day' END, '{"a":1}', 3,
            1 + (n % 50 = 0)::int, at, CASE WHEN status NOT IN ('pending', 'running') THEN at END FROM (${source}) AS s`,
    `INSERT INTO df.nodes (id, instance_id, node_type, query, submitted_by, status)
     SELECT id, id, 'SQL', 'SELECT 1', role, CASE WHEN status = 'cancelled' THEN 'pending' ELSE status END
     FROM (${source}) AS s`,
    `INSERT INTO _df.executions (instance_id, execution_id, started_at, ended_at, events)
     SELECT id, 1, at, at, 2 FROM (${source}) AS s WHERE n % 50 = 0`,
    'ANALYZE df.instances, df.nodes, _df.instances, _df.executions',
  ])
    await root.query(sql);
  const id = (await schema.app.query<{ id: string }>('SELECT id FROM df.instances ORDER BY id LIMIT 1'))
    .rows[0]!.id;
  return {
    admin: schema.admin,
    own: schema.app,
    ownRole: schema.appRole.name,
    root,
    id,
    drop: async () => {
      await root.end();
      await schema.drop();
    },
  };
}
