/** A message between proxy and server is lost, at every place where one can be: nothing happens twice, nothing stops. */
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createTestDatabase, serverUrl, type TestDatabase, type TestRole } from '../support/postgres.js';
import { startProxy, type TestProxy } from '../support/proxy.js';
import { until } from '../support/wait.js';
import { type Forwarder, type Loss, nth, startForwarder } from './forwarder.js';
import { order, SCHEMA, totalOf } from './workload.js';

let database: TestDatabase;
let forwarder: Forwarder;
let proxy: TestProxy;
let role: TestRole;
let root: pg.Client;
let app: pg.Client;

beforeAll(async () => {
  database = await createTestDatabase();
  const server = new URL(serverUrl());
  forwarder = await startForwarder({ host: server.hostname, port: Number(server.port) });
  const upstream = new URL(database.adminUrl);
  upstream.host = `127.0.0.1:${forwarder.port}`;
  proxy = await startProxy({
    database: { ...database, adminUrl: upstream.href },
    settings: {
      ...{ lease_duration: '1s', poll_interval: '50ms', step_idle_timeout: '2s' },
      // instances must wait for each other's sessions
      max_user_connections: '3',
    },
  });
  role = await database.createRole('chaos');
  root = new pg.Client({ connectionString: database.superUrl });
  await root.connect();
  await root.query(SCHEMA);
  await root.query(`GRANT USAGE ON SCHEMA chaos TO ${role.name}`);
  await root.query('SELECT df.grant_usage($1)', [role.name]);
  app = new pg.Client({ connectionString: proxy.url(role) });
  await app.connect();
});

afterAll(async () => {
  forwarder.rule = null;
  await app?.end();
  await proxy?.stop();
  await forwarder?.close();
  await root?.end();
  await database?.drop();
});

beforeEach(async () => {
  forwarder.rule = null;
  await root.query('TRUNCATE chaos.trace');
  await root.query(`GRANT ALL ON ALL TABLES IN SCHEMA chaos TO ${role.name}`);
});

async function start(graph: string): Promise<string> {
  return (await app.query<{ id: string }>(`SELECT df.start(${graph}) AS id`)).rows[0]!.id;
}

async function ended(id: string): Promise<string> {
  const status = async () =>
    (await root.query<{ status: string }>('SELECT status FROM df.instances WHERE id = $1', [id])).rows[0]!
      .status;
  return await until(async () => !['pending', 'running'].includes(await status()) && (await status()), {
    timeoutMs: 15_000,
    what: `the end of ${id}`,
  });
}

async function traces(): Promise<string[]> {
  const { rows } = await root.query<{ trace: string }>(
    `SELECT format('%s/%s/%s', instance, step, iteration) AS trace FROM chaos.trace ORDER BY 1`,
  );
  return rows.map((row) => row.trace);
}

// parking, and a timer's end right before a join, written by itself
const WAKES_AND_JOINS = `df.sleep(1) ~> ('INSERT INTO chaos.trace VALUES (1, ''b'', 1)' & 'INSERT INTO chaos.trace VALUES (1, ''c'', 1)')`;

// numbers whose kind is: join, loop, finale, root, sequence
const ORDERS = [1, 2, 5, 6, 13].map((number) => order(number));

describe.each(['request', 'answer'] as const)('the %s of a checkpoint is lost', (loss: Loss) => {
  test.each(ORDERS.map((one) => [one.kind, one] as const))(
    'anywhere in: %s',
    async (_kind, { graph, ...one }) => {
      for (let n = 1; ; n += 1) {
        await root.query('TRUNCATE chaos.trace');
        const before = forwarder.lost;
        forwarder.rule = nth('_df.checkpoint', n, loss);
        const id = await start(graph);
        expect(await ended(id), `checkpoint ${n}`).toBe('completed');
        expect(await traces(), `checkpoint ${n}`).toEqual([...one.traces].sort());
        const { rows } = await root.query<{ result: string }>('SELECT df.result($1) AS result', [id]);
        expect(totalOf(rows[0]!.result)).toBe(one.total);
        if (forwarder.lost === before) break; // there were fewer than n
      }
    },
  );
});

test.each(['request', 'answer'] as const)(
  'the %s of a claim is lost: the instance runs all the same',
  async (loss) => {
    const { graph, traces: expected } = order(13);
    const before = forwarder.lost;
    // some claims find nothing: lose all of them until one must have taken it
    forwarder.rule = (chunk) => (chunk.includes('_df.claim') && forwarder.lost - before < 3 ? loss : null);
    const id = await start(graph);
    expect(await ended(id)).toBe('completed');
    expect(forwarder.lost - before).toBe(3);
    expect(await traces()).toEqual([...expected].sort());
  },
);

test.each(['request', 'answer'] as const)(
  'the %s of a checkpoint without a step is lost, anywhere: a timer fires once',
  async (loss) => {
    for (let n = 1; ; n += 1) {
      await root.query('TRUNCATE chaos.trace');
      const before = forwarder.lost;
      forwarder.rule = nth('_df.apply', n, loss);
      const id = await start(WAKES_AND_JOINS);
      expect(await ended(id), `write ${n}`).toBe('completed');
      expect(await traces(), `write ${n}`).toEqual(['1/b/1', '1/c/1']);
      if (forwarder.lost === before) break;
    }
  },
);

test.each(['request', 'answer'] as const)(
  'the %s of a checkpoint is lost while instances hand sessions to each other',
  async (loss) => {
    const orders = [13, 26, 39, 52].map((number) => order(number));
    for (let n = 1; n <= 12; n += 1) {
      await root.query('TRUNCATE chaos.trace');
      forwarder.rule = nth('_df.checkpoint', n, loss);
      const ids: string[] = [];
      for (const { graph } of orders) ids.push(await start(graph));
      for (const id of ids) expect(await ended(id), `checkpoint ${n}`).toBe('completed');
      const expected = orders.flatMap((one) => one.traces).sort();
      expect((await traces()).sort(), `checkpoint ${n}`).toEqual(expected);
    }
  },
);

test('a heartbeat is lost: nothing is', async () => {
  const before = forwarder.lost;
  forwarder.rule = (chunk) =>
    chunk.includes('_df.heartbeat') && forwarder.lost - before < 3 ? 'answer' : null;
  const { graph, traces: expected } = order(4);
  const id = await start(graph);
  expect(await ended(id)).toBe('completed');
  expect(await traces()).toEqual([...expected].sort());
});

test('a branch whose COMMIT went unanswered when another branch failed at its own COMMIT is not committed again', async () => {
  await root.query(`
    CREATE SEQUENCE chaos.tries_b; CREATE SEQUENCE chaos.tries_c; CREATE TABLE chaos.refused (x int);
    CREATE FUNCTION chaos.refuse() RETURNS trigger LANGUAGE plpgsql AS
      $$BEGIN PERFORM pg_sleep(0.4); RAISE EXCEPTION 'refused at COMMIT'; END$$;
    CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON chaos.refused
      DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chaos.refuse();
    GRANT ALL ON ALL SEQUENCES IN SCHEMA chaos TO ${role.name}; GRANT ALL ON chaos.refused TO ${role.name}`);
  // b commits, and its answer stays away until a has failed; then c is quick and b ends the instance
  forwarder.rule = (chunk, sent) =>
    chunk.includes('_df.checkpoint') && sent.includes('tries_b') ? 'hold' : null;
  const before = forwarder.lost;
  const id = await start(`df.join3(
    'INSERT INTO chaos.refused VALUES (1)',
    'INSERT INTO chaos.trace (instance, step, iteration) SELECT 1, ''b'', 1
     FROM pg_sleep(CASE nextval(''chaos.tries_b'') WHEN 1 THEN 0.05 ELSE 0.5 END)',
    'INSERT INTO chaos.trace (instance, step, iteration) SELECT 1, ''c'', 1
     FROM pg_sleep(CASE nextval(''chaos.tries_c'') WHEN 1 THEN 5 ELSE 0 END)')`);
  await until(() => forwarder.lost > before, { what: 'the COMMIT of b' });
  forwarder.rule = null;
  expect(await ended(id)).toBe('failed');
  expect(await traces()).toEqual(['1/b/1', '1/c/1']);
});

test('a network that swallows a heartbeat, a claim and a checkpoint without a word stops nothing for long', async () => {
  const swallowed = ['_df.heartbeat', '_df.claim', '_df.apply'].map((text) => nth(text, 1, 'hold'));
  forwarder.rule = (chunk, sent) => (swallowed.some((rule) => rule(chunk, sent) !== null) ? 'hold' : null);
  const before = forwarder.lost;
  expect(await ended(await start(WAKES_AND_JOINS))).toBe('completed');
  expect(await traces()).toEqual(['1/b/1', '1/c/1']);
  await until(() => forwarder.lost - before === 3, { what: 'the losses' });
  await until(
    async () =>
      (await root.query('SELECT FROM _df.executors WHERE lease_until > clock_timestamp()')).rows.length > 0,
    { what: 'a living executor' },
  );
});

test('a step under way when its instance was taken away does not commit', async () => {
  await root.query('SELECT pg_advisory_lock(4711)');
  const id = await start(
    "'INSERT INTO chaos.trace SELECT 1, ''b'', 1 FROM pg_advisory_xact_lock(4711)' ~> 'INSERT INTO chaos.trace VALUES (1, ''c'', 1)'",
  );
  await until(
    async () =>
      (await root.query("SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted"))
        .rows.length > 0,
    { what: 'the step waiting' },
  );
  // another executor has it now; this one must not hear of it before it commits
  forwarder.rule = (chunk) => (chunk.includes('_df.heartbeat') ? 'request' : null);
  const other = '22222222-2222-4222-8222-222222222222';
  await root.query('SELECT _df.enlist($1, 3600)', [other]);
  await root.query('UPDATE _df.instances SET owner = $2, token = gen_random_uuid() WHERE id = $1', [
    id,
    other,
  ]);
  await root.query('SELECT pg_advisory_unlock(4711)');
  await until(
    async () =>
      (await root.query("SELECT FROM pg_stat_activity WHERE usename = $1 AND state <> 'idle'", [role.name]))
        .rows.length === 0,
    { what: 'the end of the step' },
  );
  expect(await traces()).toEqual([]);
  forwarder.rule = null;
  await root.query('SELECT _df.resign($1)', [other]);
  expect(await ended(id)).toBe('completed');
  expect(await traces()).toEqual(['1/b/1', '1/c/1']);
});

test('an executor that was declared dead takes nothing under its old id', async () => {
  const owner = '11111111-1111-4111-8111-111111111111';
  await root.query('SELECT _df.enlist($1, -1)', [owner]);
  await until(
    async () => (await root.query('SELECT FROM _df.executors WHERE id = $1', [owner])).rows.length === 0,
    { what: 'the proxy declaring it dead' },
  );
  const { rows } = await root.query<{ claim: { alive: boolean; instances: unknown[] } }>(
    'SELECT _df.claim($1, ARRAY[gen_random_uuid()]) AS claim',
    [owner],
  );
  expect(rows[0]!.claim).toMatchObject({ alive: false, instances: [] });
});
