import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { failure, installSchema, type Schema, value } from './schema.js';

let schema: Schema;
beforeAll(async () => {
  schema = await installSchema();
});
afterAll(() => schema?.drop());

const start = (expression = "'SELECT 1'") => value(schema.app, `SELECT df.start(${expression})`);
const status = (id: string) => value(schema.app, 'SELECT df.status($1)', [id]);
const result = (id: string) => value<string | null>(schema.app, 'SELECT df.result($1)', [id]);

/** Ends an instance as the engine does: nodes, instance, exact output. */
async function end(id: string, how: 'completed' | 'failed', output: string): Promise<void> {
  await schema.admin.query('UPDATE df.instances SET status = $2 WHERE id = $1', [id, how]);
  await schema.admin.query(
    'UPDATE _df.instances SET output = $2, finished_at = _df.now(), wake_at = NULL WHERE id = $1',
    [id, output],
  );
}

describe('df.result', () => {
  it("is the root node's result as jsonb text once it is completed", async () => {
    const id = await start();
    expect(await result(id)).toBeNull();
    await schema.admin.query(
      `UPDATE df.nodes SET status = 'completed', result = '{"rows":[{"bb":1,"a":2}],"row_count":1}' WHERE instance_id = $1`,
      [id],
    );
    await end(id, 'completed', '{"rows":[{"bb":1,"a":2}],"row_count":1}');
    expect(await result(id)).toBe('{"rows": [{"a": 2, "bb": 1}], "row_count": 1}');
  });

  it('of a failed instance names error, SQLSTATE and node', async () => {
    const id = await start("df.seq('SELECT 0', df.join('SELECT 1', 'SELECT 1/0'))");
    const message = 'SQL execution failed: error returned from database: division by zero';
    const fail = (where: string, error: string, details: object) =>
      schema.admin.query(
        `UPDATE df.nodes SET status = 'failed', error = $2, result = to_jsonb($2::text), status_details = $3
         WHERE instance_id = $1 AND ${where}`,
        [id, error, details],
      );
    await fail("node_type IN ('THEN', 'JOIN')", `JOIN branch 2 failed: ${message}`, {
      execution_id: `${id}::1`,
    });
    await fail("query = 'SELECT 1/0'", message, { execution_id: `${id}::1::00000000::1`, sqlstate: '22012' });
    await end(id, 'failed', `JOIN branch 2 failed: ${message}`);
    const node = await value(
      schema.admin,
      "SELECT id FROM df.nodes WHERE instance_id = $1 AND query = 'SELECT 1/0'",
      [id],
    );
    expect(await result(id)).toBe(
      `{"error": "JOIN branch 2 failed: ${message}", "sqlstate": "22012", "node_id": "${node}"}`,
    );
    expect(await value(schema.app, "SELECT df.result($1)::jsonb ->> 'sqlstate'", [id])).toBe('22012');
  });

  it('of an instance that failed before its first node has the reason only', async () => {
    const id = await start();
    await end(id, 'failed', 'role "x" is gone');
    expect(await result(id)).toBe('{"error": "role \\"x\\" is gone", "sqlstate": null, "node_id": null}');
  });

  it('and df.status of an unknown id are NULL', async () => {
    expect(await result('00000000')).toBeNull();
    expect(await status('00000000')).toBeNull();
    expect(await value(schema.app, 'SELECT df.result(NULL)')).toBeNull();
  });
});

describe('df.cancel', () => {
  it('is part of the transaction and leaves the reason as output', async () => {
    const id = await start();
    await schema.app.query('BEGIN');
    expect(await value(schema.app, "SELECT df.cancel($1, 'changed my mind')", [id])).toBe(
      `Instance ${id} cancelled: changed my mind`,
    );
    expect(await status(id)).toBe('cancelled');
    await schema.app.query('ROLLBACK');
    expect(await status(id)).toBe('pending');

    await value(schema.app, 'SELECT df.cancel($1)', [id]);
    const { rows } = await schema.app.query(
      'SELECT status, output, (SELECT completed_at FROM df.instances WHERE id = $1) FROM df.instance_info($1)',
      [id],
    );
    expect(rows).toEqual([
      { status: 'cancelled', output: 'canceled: Cancelled by user', completed_at: null },
    ]);
    expect(await result(id)).toBeNull();
  });

  it('does nothing to an instance that has ended, with the same answer', async () => {
    const id = await start();
    await end(id, 'completed', 'null');
    expect(await value(schema.app, "SELECT df.cancel($1, 'late')", [id])).toBe(
      `Instance ${id} cancelled: late`,
    );
    expect(await status(id)).toBe('completed');
    expect(await value(schema.admin, 'SELECT output FROM _df.instances WHERE id = $1', [id])).toBe('null');
  });

  it('refuses an unknown instance', async () => {
    expect(await failure(schema.app, "SELECT df.cancel('00000000')")).toBe(
      'XX000: Instance not found or access denied: 00000000',
    );
  });
});

it('df.run does nothing', async () => {
  expect(await value(schema.app, "SELECT df.run('00000000')")).toBe('Triggered run for instance: 00000000');
  expect(await value(schema.app, 'SELECT df.run()')).toBe('Triggered run for all pending instances');
});

it('df tells what it is', async () => {
  await schema.admin.query(
    "INSERT INTO _df.settings VALUES ('version', '1.2.3'), ('built_at', '2026-01-01T00:00:00Z')",
  );
  expect(await value(schema.app, 'SELECT df.version()')).toBe('1.2.3 (built 2026-01-01T00:00:00Z)');
  expect(await value(schema.app, 'SELECT df.target_database()')).toBe(schema.database.name);
  expect(await value(schema.app, 'SELECT df.duroxide_schema()')).toBe('_df');
  expect(await value(schema.app, 'SELECT schema_version FROM _df._worker_ready')).toBe(1);
  expect(
    await value(
      schema.app,
      "SELECT to_regprocedure('df.debug_connection()') IS NULL AND to_regprocedure('df.ensure_durofut(text)') IS NULL AND to_regprocedure('df.start(text,text,text)') IS NULL",
    ),
  ).toBe(true);
});

describe('variables', () => {
  it('belong to the role, also for a superuser', async () => {
    const other = await schema.createUser('other');
    const superuser = await schema.connect(schema.database.superUrl);
    const get = (client: typeof superuser) => value<string | null>(client, "SELECT df.getvar('v')");
    expect(await value(schema.app, "SELECT df.setvar('v', 'one')")).toBe('OK');
    expect(await value(schema.app, "SELECT df.setvar('v', 'two')")).toBe('OK');
    expect([await get(schema.app), await get(other.client), await get(superuser)]).toEqual([
      'two',
      null,
      null,
    ]);
    await superuser.query('SELECT df.clearvars()');
    await other.client.query("SELECT df.unsetvar('v')");
    expect(await get(schema.app)).toBe('two');
    expect(await value(schema.app, "SELECT df.unsetvar('v')")).toBe('OK');
    expect(await get(schema.app)).toBeNull();
    await schema.app.query("SELECT df.setvar('', ''), df.setvar('x y', E'\\n')");
    expect(await value(schema.app, "SELECT df.getvar('')")).toBe('');
    expect(await value(schema.app, 'SELECT df.clearvars()')).toBe('OK');
    expect(await value(schema.app, 'SELECT count(*)::int FROM df.vars')).toBe(0);
  });

  it('are transactional', async () => {
    await schema.app.query("BEGIN; SELECT df.setvar('t', '1'); ROLLBACK");
    expect(await value(schema.app, "SELECT df.getvar('t')")).toBeNull();
  });

  it('cannot be changed in a workflow, only read', async () => {
    await schema.app.query("SELECT df.setvar('w', '1')");
    await schema.app.query("SET df.in_workflow = 'true'");
    expect(await failure(schema.app, "SELECT df.setvar('w', '2')")).toBe(
      'XX000: df.setvar() cannot be called inside a workflow - set variables before starting the workflow',
    );
    expect(await failure(schema.app, "SELECT df.unsetvar('w')")).toBe(
      'XX000: df.unsetvar() cannot be called inside a workflow - manage variables before starting the workflow',
    );
    expect(await failure(schema.app, 'SELECT df.clearvars()')).toBe(
      'XX000: df.clearvars() cannot be called inside a workflow - manage variables before starting the workflow',
    );
    expect(await value(schema.app, "SELECT df.getvar('w')")).toBe('1');
    expect(await start()).toMatch(/^[0-9a-f]{8}$/);
    await schema.app.query('RESET df.in_workflow');
  });

  it('can be set and used in one statement, block or message', async () => {
    await schema.app.query(
      "DO $$BEGIN PERFORM df.setvar('d', '1'); PERFORM df.start('SELECT {d}', 'do block'); END$$",
    );
    await schema.app.query("SELECT df.setvar('d', '2'); SELECT df.start('SELECT {d}', 'message')");
    const { rows } = await schema.admin.query(
      "SELECT label, vars ->> 'd' AS d FROM _df.instances WHERE label IN ('do block', 'message') ORDER BY label",
    );
    expect(rows).toEqual([
      { label: 'do block', d: '1' },
      { label: 'message', d: '2' },
    ]);
  });
});
