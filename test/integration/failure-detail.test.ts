/** What is told of a failure, in every shape that it can have: df.nodes, df.result, the instance's output. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Durable, type NodeRow } from '../support/durable.js';

const PREFIX = 'SQL execution failed: error returned from database: ';
const ZERO = `${PREFIX}division by zero`;

let d: Durable;

beforeAll(async () => {
  d = await Durable.open();
  await d.app.query('CREATE TABLE unique_at_commit (k int UNIQUE DEFERRABLE INITIALLY DEFERRED)');
});
afterAll(() => d?.close());

/** Runs to its failure. */
async function fail(expression: string) {
  const id = await d.start(expression);
  expect(await d.ended(id)).toBe('failed');
  const answer = await d.app.query<{ r: string }>('SELECT df.result($1) AS r', [id]);
  const nodes = await d.nodes(id);
  return {
    id,
    nodes,
    result: JSON.parse(answer.rows[0]!.r) as { error: string; sqlstate: string | null; node_id: string },
    node: (query: string) => nodes.find((node) => node.query?.startsWith(query)) as NodeRow,
    typed: (type: string) => nodes.filter((node) => node.node_type === type),
  };
}

describe('df.result of a failed instance names the error, its SQLSTATE and the node where it began', () => {
  test('in a sequence; the nodes after it have not begun', async () => {
    const { result, node, typed } = await fail(`'SELECT 1 AS a' ~> 'SELECT 1/0' ~> 'SELECT 2 AS b'`);
    expect(result).toEqual({ error: ZERO, sqlstate: '22012', node_id: node('SELECT 1/0').id });
    expect(node('SELECT 1/0')).toMatchObject({ status: 'failed', error: ZERO, result: ZERO });
    expect(node('SELECT 1 AS a')).toMatchObject({ status: 'completed', error: null });
    expect(node('SELECT 2 AS b')).toMatchObject({
      status: 'pending',
      error: null,
      result: null,
      stamp: null,
    });
    expect(typed('THEN').map((then) => then.error)).toContain(ZERO);
  });

  test('in a branch of a join', async () => {
    const { result, node, typed, id } = await fail(`'SELECT 1 AS a' & 'SELECT 1/0'`);
    const error = `JOIN branch 2 failed: ${ZERO}`;
    expect(result).toEqual({ error, sqlstate: '22012', node_id: node('SELECT 1/0').id });
    expect(typed('JOIN')[0]).toMatchObject({ status: 'failed', error });
    expect(await d.output(id)).toBe(error);
  });

  test('of a join with two failures: the one that its error speaks of', async () => {
    const { result, node } = await fail(`'SELECT nothing FROM nowhere' & 'SELECT 1/0'`);
    expect(result).toEqual({
      error: `JOIN branch 1 failed: ${PREFIX}relation "nowhere" does not exist`,
      sqlstate: '42P01',
      node_id: node('SELECT nothing').id,
    });
  });

  test('in a race', async () => {
    const { result, node } = await fail(`df.race(df.sleep(1000), 'SELECT 1/0')`);
    expect(result).toEqual({
      error: `RACE right branch failed: ${ZERO}`,
      sqlstate: '22012',
      node_id: node('SELECT 1/0').id,
    });
  });

  test('in loops within loops within branches', async () => {
    const { result, node, nodes } = await fail(
      `'SELECT 1 AS a' ~> (df.loop('SELECT 2 AS b' ~> df.loop('SELECT 3 AS c' ~> 'SELECT 1/0')) & df.sleep(0))`,
    );
    expect(result).toEqual({
      error: `JOIN branch 1 failed: Loop sub-orchestration failed: ${ZERO}`,
      sqlstate: '22012',
      node_id: node('SELECT 1/0').id,
    });
    expect(
      nodes
        .filter(({ status }) => status === 'failed')
        .map(({ node_type }) => node_type)
        .sort(),
    ).toEqual(['JOIN', 'LOOP', 'LOOP', 'SQL', 'THEN', 'THEN', 'THEN']);
  });

  test('in a condition', async () => {
    const { result, node } = await fail(`'SELECT 1/0' ?> 'SELECT 1' !> 'SELECT 2'`);
    expect(result).toMatchObject({ sqlstate: '22012', node_id: node('SELECT 1/0').id });
  });

  test('in the second iteration of a root loop', async () => {
    await d.app.query('CREATE SEQUENCE IF NOT EXISTS twice; ALTER SEQUENCE twice RESTART');
    const { result, node, id } = await fail(`df.loop('SELECT 1 / (2 - nextval(''twice''))')`);
    expect(result).toEqual({ error: ZERO, sqlstate: '22012', node_id: node('SELECT 1 /').id });
    expect(node('SELECT 1 /').stamp).toBe(`${id}::2`);
  });

  test('where a substitution fails: without a SQLSTATE, nothing has run', async () => {
    const { result, node } = await fail(`'SELECT 1 AS a WHERE false' |=> 'x' ~> 'SELECT $x'`);
    const error = '$x has no rows — query returned zero results';
    expect(result).toEqual({ error, sqlstate: null, node_id: node('SELECT $x').id });
    expect(Object.keys(node('SELECT $x').details!)).toEqual(['execution_id']);
  });

  test('where a step has no connection', async () => {
    await d.root.query(`CREATE DATABASE ${d.database.name}_b`);
    await d.root.query(`REVOKE CONNECT ON DATABASE ${d.database.name}_b FROM PUBLIC`);
    try {
      const { result, nodes } = await fail(`'SELECT 1', database => '${d.database.name}_b'`);
      expect(result).toMatchObject({ sqlstate: '42501', node_id: nodes[0]!.id });
      expect(result.error).toMatch(
        new RegExp(`^Failed to connect to database '${d.database.name}_b' as '${d.role.name}'\\. Error: `),
      );
      expect(nodes[0]).toMatchObject({
        status: 'failed',
        error: result.error,
        details: { sqlstate: '42501' },
      });
    } finally {
      await d.root.query(`DROP DATABASE ${d.database.name}_b`);
    }
  });

  test('where a COMMIT fails: with the statement, of which nothing has taken effect', async () => {
    const sql = 'INSERT INTO unique_at_commit VALUES (1), (1)';
    const { result, node } = await fail(`'SELECT 1 AS before' ~> '${sql}' ~> 'SELECT 2 AS after'`);
    const error = `${PREFIX}duplicate key value violates unique constraint "unique_at_commit_k_key"`;
    expect(result).toEqual({ error, sqlstate: '23505', node_id: node('INSERT').id });
    expect(node('INSERT')).toMatchObject({
      error,
      details: { sqlstate: '23505', detail: 'Key (k)=(1) already exists.', statement: sql },
    });
    expect(await d.value('SELECT count(*)::int FROM unique_at_commit')).toBe(0);
  });

  test('of a role that has lost its login: SQLSTATE 28000', async () => {
    const role = await d.user('leaver');
    const client = await d.connect(role);
    const id = await d.start(`df.sleep(1000) ~> 'SELECT 1'`, client);
    await d.parked(id);
    await client.end();
    await d.root.query(`ALTER ROLE ${role.name} NOLOGIN`);
    await d.root.query(`UPDATE _df.journal SET due = now() WHERE instance_id = $1`, [id]);
    await d.root.query(`UPDATE _df.instances SET wake_at = now() WHERE id = $1`, [id]);
    expect(await d.ended(id)).toBe('failed');
    expect((await d.node(id, 'SELECT 1')).details).toMatchObject({ sqlstate: '28000' });
  });
});

describe('df.result of what has not failed', () => {
  test('NULL while it waits, and when it was cancelled', async () => {
    const id = await d.start('df.sleep(1000)');
    await d.parked(id);
    const result = async () => (await d.app.query('SELECT df.result($1) AS r', [id])).rows[0].r as unknown;
    expect(await result()).toBeNull();
    await d.app.query('SELECT df.cancel($1)', [id]);
    expect(await result()).toBeNull();
    expect(await d.output(id)).toBe('canceled: Cancelled by user');
  });
});

describe('the statement that is recorded', () => {
  test('is all of the text, as it ran; the position points into it, whichever statement has failed', async () => {
    const text = `SELECT '{who}' AS "ü"; /* ; SELECT $a oops */ SELECT $a + 1; SELECT 'é', oops FROM t`;
    await d.app.query(`SELECT df.setvar('who', 'me')`);
    const id = await d.start(`'SELECT 41 AS v' |=> 'a' ~> $1`, d.app, [text]);
    await d.app.query('SELECT df.clearvars()');
    expect(await d.ended(id)).toBe('failed');
    const { details } = await d.node(id, "SELECT '{who}'");
    const ran = text.replace('{who}', 'me').replaceAll('$a', '41');
    expect(details).toMatchObject({ sqlstate: '42P01', statement: ran });
    expect([...ran].slice(Number(details?.position) - 1).join('')).toBe('t');
  });

  test('has 8192 bytes at most, none of a character missing', async () => {
    const sql = `SELECT 1/0 -- x${'é'.repeat(5000)}`;
    const id = await d.start('$1', d.app, [sql]);
    await d.ended(id);
    const kept = (await d.node(id, 'SELECT 1/0')).details?.statement as string;
    expect(sql.startsWith(kept)).toBe(true);
    expect(Buffer.byteLength(kept)).toBe(8191);
  });
});
