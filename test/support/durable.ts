import pg from 'pg';
import { createTestDatabase, type TestDatabase, type TestRole } from './postgres.js';
import { type ProxyOptions, startProxy, type TestProxy } from './proxy.js';
import { until } from './wait.js';

/** A row of df.nodes, as far as tests look at it. */
export interface NodeRow {
  id: string;
  node_type: string;
  query: string | null;
  result_name: string | null;
  left_node: string | null;
  right_node: string | null;
  status: string;
  result: unknown;
  error: string | null;
  stamp: string | null;
  details: Record<string, unknown> | null;
}

/** A database with a proxy in front of it and an application's role that is connected through it. */
export class Durable {
  readonly database: TestDatabase;
  readonly proxy: TestProxy;
  readonly role: TestRole;
  /** The application, through the proxy. */
  readonly app: pg.Client;
  /** The server's superuser, past the proxy. */
  readonly root: pg.Client;

  private constructor(
    database: TestDatabase,
    proxy: TestProxy,
    role: TestRole,
    app: pg.Client,
    root: pg.Client,
  ) {
    this.database = database;
    this.proxy = proxy;
    this.role = role;
    this.app = app;
    this.root = root;
  }

  /** @param more environment and network of the proxy */
  static async open(
    settings: ProxyOptions['settings'] = {},
    more: Pick<ProxyOptions, 'env' | 'network'> = {},
  ): Promise<Durable> {
    const database = await createTestDatabase();
    const proxy = await startProxy({ database, settings, ...more });
    const root = new pg.Client({ connectionString: database.superUrl });
    await root.connect();
    const role = await database.createRole('app');
    await grant(root, role.name);
    const app = new pg.Client({ connectionString: proxy.url(role) });
    await app.connect();
    return new Durable(database, proxy, role, app, root);
  }

  /** A further role that may use df, and may create in the database's schema public. */
  async user(prefix: string, options?: { login?: boolean; superuser?: boolean }): Promise<TestRole> {
    const role = await this.database.createRole(prefix, options);
    await grant(this.root, role.name);
    return role;
  }

  /** A connection through the proxy, which also makes the role's credential known. */
  async connect(role: TestRole = this.role): Promise<pg.Client> {
    const client = new pg.Client({ connectionString: this.proxy.url(role) });
    client.on('error', () => {});
    await client.connect();
    return client;
  }

  /** `SELECT df.start(<expression>)`; the expression as a user writes it, its parameters as $1, $2 … */
  async start(expression: string, client: pg.Client = this.app, parameters: unknown[] = []): Promise<string> {
    const answer = await client.query<{ id: string }>(`SELECT df.start(${expression}) AS id`, parameters);
    return answer.rows[0]!.id;
  }

  /** Waits until the instance has been worked on and given back, with a time to wake. */
  async parked(id: string): Promise<void> {
    await until(
      () =>
        this.value(
          'SELECT graph IS NOT NULL AND owner IS NULL AND wake_at IS NOT NULL FROM _df.instances WHERE id = $1',
          [id],
        ),
      { everyMs: 5, what: `instance ${id} to be parked` },
    );
  }

  /** Waits until the instance has this status, by default any final one. @returns the status */
  async ended(id: string, timeoutMs = 15_000): Promise<string> {
    return await until(
      async () => {
        const status = await this.status(id);
        return status !== 'pending' && status !== 'running' && status;
      },
      { timeoutMs, everyMs: 5, what: `the end of instance ${id}` },
    ).catch(async (error: unknown) => {
      throw new Error(`${(error as Error).message}; ${await this.describe(id)}`);
    });
  }

  async status(id: string): Promise<string | undefined> {
    const answer = await this.root.query<{ status: string }>(
      'SELECT status FROM df.instances WHERE id = $1',
      [id],
    );
    return answer.rows[0]?.status;
  }

  /** Starts, waits for the end, and gives the id; the instance must have completed. */
  async complete(expression: string, client: pg.Client = this.app): Promise<string> {
    const id = await this.start(expression, client);
    const status = await this.ended(id);
    if (status !== 'completed') throw new Error(`instance ${status}: ${await this.output(id)}`);
    return id;
  }

  /** Runs to completion; df.result, parsed. */
  async result(expression: string): Promise<unknown> {
    const id = await this.complete(expression);
    return JSON.parse((await this.app.query('SELECT df.result($1) AS r', [id])).rows[0].r as string);
  }

  /** Rows of the result of a SQL step, run to completion. */
  async rows(expression: string): Promise<Array<Record<string, unknown>>> {
    return ((await this.result(expression)) as { rows: Array<Record<string, unknown>> }).rows;
  }

  /** Runs to its failure; the error text of the instance. */
  async failure(expression: string): Promise<string> {
    const id = await this.start(expression);
    const status = await this.ended(id);
    const output = await this.output(id);
    if (status !== 'failed') throw new Error(`instance ${status}: ${output}`);
    return output!;
  }

  /** The engine's output text, exactly. */
  async output(id: string): Promise<string | null> {
    const answer = await this.root.query<{ output: string | null }>(
      'SELECT output FROM _df.instances WHERE id = $1',
      [id],
    );
    return answer.rows[0]?.output ?? null;
  }

  async nodes(id: string): Promise<NodeRow[]> {
    const answer = await this.root.query<NodeRow>(
      `SELECT id, node_type, query, result_name, left_node, right_node, status, result, error,
              status_details ->> 'execution_id' AS stamp, status_details AS details
       FROM df.nodes WHERE instance_id = $1`,
      [id],
    );
    return answer.rows;
  }

  /** The one node whose query is, or begins with, this text. */
  async node(id: string, query: string): Promise<NodeRow> {
    const found = (await this.nodes(id)).filter((node) => node.query?.startsWith(query));
    if (found.length !== 1) throw new Error(`${found.length} nodes begin with ${query}`);
    return found[0]!;
  }

  /** Nodes by type, in no order. */
  async typed(id: string, type: string): Promise<NodeRow[]> {
    return (await this.nodes(id)).filter((node) => node.node_type === type);
  }

  /** First column of the first row, as the superuser. */
  async value(sql: string, parameters: unknown[] = []): Promise<unknown> {
    const answer = await this.root.query({ text: sql, values: parameters, rowMode: 'array' });
    return answer.rows[0]?.[0];
  }

  /** Numbers of steps' sessions of the role that are in the midst of a statement with this text. */
  async running(fragment: string): Promise<number> {
    const answer = await this.root.query(
      `SELECT FROM pg_stat_activity
       WHERE datname = $1 AND application_name = 'pg_durable:worker:workflow-sql'
         AND state = 'active' AND strpos(query, $2) > 0`,
      [this.database.name, fragment],
    );
    return answer.rows.length;
  }

  async describe(id: string): Promise<string> {
    const engine = await this.value("SELECT to_jsonb(i) - 'graph' FROM _df.instances AS i WHERE id = $1", [
      id,
    ]);
    const nodes = await this.nodes(id);
    const shown = nodes.filter((node) => node.status !== 'completed').slice(0, 10);
    return JSON.stringify({ engine, nodes: nodes.length, unfinished: shown }).slice(0, 4000);
  }

  async close(): Promise<void> {
    await this.app.end().catch(() => {});
    await this.root.end().catch(() => {});
    await this.proxy.stop();
    await this.database.drop();
  }
}

async function grant(root: pg.Client, role: string): Promise<void> {
  await root.query('SELECT df.grant_usage($1)', [role]);
  await root.query(`GRANT CREATE ON SCHEMA public TO ${pg.escapeIdentifier(role)}`);
  await root.query(
    `DO $do$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO ${pg.escapeIdentifier(role).replaceAll("'", "''").replaceAll('%', '%%')}', current_database()); END $do$`,
  );
}
