import pg from 'pg';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { until } from '../support/wait.js';
import { dryRuns } from './dry-runs.js';
import { bound, type Example, examples, playground, setup } from './examples.js';

/** Databases that the guide names. They are of the whole server, so made once. */
const OTHER_DATABASES = ['analytics', 'tenant_alpha', 'tenant_beta'];

/** Runs the statements of an example; first columns of the rows that came back. */
type Way = (d: Durable, example: Example) => Promise<string[]>;

const ways: Record<string, Way> = {
  'simple queries, as psql sends them': async (d, example) => {
    const answers = [await d.app.query({ text: example.text, rowMode: 'array' })].flat();
    return answers.flatMap((answer) => answer.rows.map((row) => String(row[0])));
  },
  'pg, every literal a parameter': async (d, example) => {
    const found: string[] = [];
    for (const { text, values } of bound(example)) {
      const answer = await d.app.query({ text, values, rowMode: 'array' });
      found.push(...answer.rows.map((row) => String(row[0])));
    }
    return found;
  },
  'postgres, every literal a parameter': async (d, example) => {
    const sql = postgres(d.proxy.url(d.role), { max: 1 });
    try {
      const found: string[] = [];
      for (const { text, values } of bound(example)) {
        const answer = await sql.unsafe(text, values, { prepare: true }).values();
        found.push(...answer.map((row) => String(row[0])));
      }
      return found;
    } finally {
      await sql.end();
    }
  },
};

/** What an example comes to, and what it leaves behind. */
interface Expected {
  /** Of the instance; endless ones are cancelled at the end. Default: completed. */
  readonly status?: 'failed' | 'endless';
  readonly label?: string;
  /** df.result, parsed. */
  readonly result?: unknown;
  readonly after?: (d: Durable, ids: string[]) => Promise<void>;
}

const rows = (...all: Array<Record<string, unknown>>) => ({ rows: all, row_count: all.length });
const NONE = { rows: [], row_count: 0 };

const expected: Record<string, Expected> = {
  first: { result: rows({ '?column?': 'Hello, durable world!' }) },
  'two-steps': { result: rows({ '?column?': 2 }) },

  join: { result: [rows({ '?column?': 1 }), rows({ '?column?': 2 })] },
  race: { result: rows({ quick_result: 'quick' }) },
  'if-then-else': { result: rows({ '?column?': 'high volume' }) },
  'loop-operator': {
    status: 'endless',
    label: 'heartbeat-job',
    after: async (d) => {
      await until(() => d.value('SELECT count(*)::int FROM heartbeats'));
    },
  },
  named: { result: rows({ doubled: 200 }) },
  columns: { result: rows({ id: 42, name: 'Alice' }) },
  'null-safe': { result: rows({ coalesce: 'fallback' }) },
  'row-set': { result: rows({ count: 2 }) },

  condition: { result: rows({ '?column?': 'high volume' }) },
  'loop-condition': {
    after: async (d) => {
      expect(await d.value(`SELECT count(*)::int FROM queue WHERE status = 'done'`)).toBe(3);
    },
  },

  'count-active-users': { label: 'count-active-users', result: rows({ count: 4 }) },
  'three-step-function': {
    label: 'three-step-function',
    result: NONE,
    after: async (d) => {
      expect(
        await d.value(`SELECT string_agg(msg, '|' ORDER BY id) FROM playground.logs WHERE msg LIKE 'Step%'`),
      ).toBe('Step 1: Starting|Step 2: Processing|Step 3: Complete');
    },
  },
  'daily-etl': {
    label: 'daily-etl',
    after: async (d) => {
      expect(await d.value('SELECT array_agg(source_id ORDER BY source_id) FROM playground.target')).toEqual([
        1001, 1002, 1003,
      ]);
      expect(await d.value('SELECT count(*)::int FROM playground.staging WHERE processed_at IS NULL')).toBe(
        0,
      );
    },
  },
  'process-order': {
    label: 'process-order',
    after: async (d) => {
      expect(
        await d.value(
          `SELECT count(*)::int FROM playground.orders WHERE status = 'completed' AND processed_at IS NOT NULL`,
        ),
      ).toBe(1);
    },
  },
  'parallel-counts': {
    label: 'parallel-counts',
    after: async (d, [id]) => {
      const join = (await d.typed(id!, 'JOIN'))[0]!;
      expect(join.result).toEqual([rows({ user_count: 5 }), rows({ order_count: 6 })]);
      expect(
        await d.value(`SELECT count(*)::int FROM playground.logs WHERE msg = 'Parallel counts complete'`),
      ).toBe(1);
    },
  },
  'parallel-counts-func': {
    label: 'parallel-counts-func',
    after: async (d) => {
      expect(await d.value(`SELECT count(*)::int FROM playground.logs WHERE msg = 'Done'`)).toBe(1);
    },
  },
  'check-task-load': {
    label: 'check-task-load',
    after: async (d) => {
      expect(await d.value(`SELECT level FROM playground.logs WHERE msg = 'High load!'`)).toBe('warning');
    },
  },
  'check-task-load-func': {
    label: 'check-task-load-func',
    after: async (d) => {
      expect(await d.value(`SELECT count(*)::int FROM playground.logs WHERE msg = 'High load!'`)).toBe(2);
    },
  },
  'check-pending': {
    label: 'check-pending',
    after: async (d, [id]) => {
      const update = await d.node(id!, 'UPDATE playground.orders');
      expect(update.status).toBe('completed');
      expect(await d.value(`SELECT count(*)::int FROM playground.logs WHERE msg = 'No pending orders'`)).toBe(
        0,
      );
    },
  },
  'process-next-task': {
    label: 'process-next-task',
    after: async (d) => {
      expect(
        await d.value(
          `SELECT payload ->> 'type' FROM playground.task_queue WHERE started_at IS NOT NULL AND status = 'completed'`,
        ),
      ).toBe('sync');
    },
  },

  'etl-pipeline': {
    label: 'etl-pipeline',
    after: async (d) => {
      expect(await d.value('SELECT count(*)::int FROM processed_orders')).toBe(100);
    },
  },
  'audit-example': {
    label: 'audit-example',
    after: async (d, [id]) => {
      expect(await d.value(`SELECT json_agg(to_jsonb(a) - 'ts' ORDER BY ts) FROM audit_log a`)).toEqual([
        { instance_id: id, label: 'audit-example', action: 'started' },
        { instance_id: id, label: 'audit-example', action: 'completed' },
      ]);
    },
  },

  'heartbeat-30s': {
    status: 'endless',
    label: 'heartbeat-30s',
    after: async (d) => {
      await until(async () => (await d.value('SELECT count(*)::int FROM playground.heartbeats')) === 1);
    },
  },
  'heartbeat-30s-func': {
    status: 'endless',
    label: 'heartbeat-30s-func',
    after: async (d) => {
      await until(async () => (await d.value('SELECT count(*)::int FROM playground.heartbeats')) === 2);
    },
  },
  'queue-processor': {
    label: 'queue-processor',
    after: async (d) => {
      expect(await d.value(`SELECT count(*)::int FROM task_queue WHERE status = 'pending'`)).toBe(0);
    },
  },
  'batch-processor': { label: 'batch-processor', result: { status: 'complete', total: 20 } },
  'break-with-result': { result: 'all is well' },

  'daily-report': {
    label: 'daily-report',
    after: async () => {
      await inDatabase('analytics', async (client) => {
        const { rows: found } = await client.query('SELECT total::int FROM reports');
        expect(found.at(-1)).toEqual({ total: 3 });
      });
    },
  },
  'named-parameter': { result: rows({ '?column?': 1 }) },
  tenants: {
    after: async (d, ids) => {
      expect(ids).toHaveLength(2);
      for (const name of ['tenant_alpha', 'tenant_beta']) {
        await inDatabase(name, async (client) => {
          const { rows: found } = await client.query(
            `SELECT count(*)::int AS n FROM refreshed WHERE by = $1`,
            [d.role.name],
          );
          expect(found).toEqual([{ n: 1 }]);
        });
      }
    },
  },

  'result-not-captured': { result: rows({ id: 1 }) },
  'result-captured': { result: rows({ id: 1 }) },
  'final-query': { result: rows({ status: 'success' }) },

  labelled: { label: 'optional-label', result: rows({ '?column?': 1 }) },
  'in-database': { label: 'label', result: rows({ '?column?': 1 }) },
  'database-only': { result: rows({ '?column?': 1 }) },
  chain: { result: rows({ '?column?': 3 }) },
  'join-operator': { result: [rows({ '?column?': 1 }), rows({ '?column?': 2 })] },
  'join-function': { result: [rows({ '?column?': 1 }), rows({ '?column?': 2 })] },
  'race-placeholder': { status: 'failed' },
  'if-operator': { status: 'failed' },
  'if-function': { status: 'failed' },
};
/** The guide uses one name twice: in the reference card it is another example. */
const expectedInCard: Record<string, Expected> = { named: { result: rows({ '?column?': 2 }) } };

let server: pg.Client;
const made: Durable[] = [];
/** Those of OTHER_DATABASES that are ours to drop. */
const databases: string[] = [];

async function inDatabase<T>(name: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const url = new URL(made[0]!.database.superUrl);
  url.pathname = `/${name}`;
  const client = new pg.Client({ connectionString: url.href });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

beforeAll(async () => {
  made.push(await Durable.open());
  server = made[0]!.root;
  const taken = await server.query<{ datname: string }>(
    'SELECT datname FROM pg_database WHERE datname = ANY ($1::name[])',
    [OTHER_DATABASES],
  );
  if (taken.rows.length > 0) {
    const names = taken.rows.map(({ datname }) => datname).join(', ');
    throw new Error(
      `the server has databases of its own with names that the guide's examples need: ${names}. ` +
        'Nothing was touched: run these tests on another server, or drop them yourself if an interrupted run left them.',
    );
  }
  for (const name of OTHER_DATABASES) {
    await server.query(`CREATE DATABASE ${name}`); // fails if somebody has made it meanwhile
    databases.push(name);
  }
  await inDatabase('analytics', (client) =>
    client.query(`CREATE TABLE events (n int); INSERT INTO events VALUES (1), (2), (3);
      CREATE TABLE reports (date timestamptz, total bigint);
      GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC`),
  );
  for (const name of ['tenant_alpha', 'tenant_beta']) {
    await inDatabase(name, (client) =>
      client.query(`CREATE TABLE refreshed (by text); GRANT ALL ON refreshed TO PUBLIC;
        CREATE PROCEDURE refresh_materialized_views() LANGUAGE sql AS $$ INSERT INTO refreshed VALUES (session_user) $$`),
    );
  }
});

afterAll(async () => {
  const [first, ...others] = made;
  for (const each of others) await each.close();
  for (const name of databases) await server.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
  await first?.close();
});

const started = examples().filter(({ chapter }) => chapter !== 'explain');

test('every example has its expectation', () => {
  const names = started.map((example) => example.name).filter((name) => name !== 'graph');
  expect(new Set(names)).toEqual(new Set(Object.keys(expected)));
});

for (const [way, run] of Object.entries(ways)) {
  describe(way, () => {
    let d: Durable;
    const cleanUp: string[] = [];

    beforeAll(async () => {
      d = await Durable.open();
      made.push(d);
      await d.app.query(playground);
      await d.app.query(setup);
    });

    test.each(
      started
        .filter(({ name }) => name !== 'graph')
        .map((example) => [`${example.chapter}: ${example.name}`, example] as const),
    )('%s', async (_, example) => {
      const { status, label, result, after } =
        (example.chapter === 'quick-reference' ? expectedInCard[example.name] : undefined) ??
        expected[example.name]!;
      const ids = (await run(d, example)).filter((value) => /^[0-9a-f]{8}$/.test(value));
      expect(ids.length).toBeGreaterThan(0);
      for (const id of ids) {
        if (status === 'endless') cleanUp.push(id);
        else expect(await d.ended(id), (await d.output(id)) ?? '').toBe(status ?? 'completed');
      }
      const [id] = ids;
      if (label !== undefined) {
        expect(await d.value('SELECT label FROM df.instances WHERE id = $1', [id])).toBe(label);
      }
      if (result !== undefined) {
        expect(
          JSON.parse((await d.app.query('SELECT df.result($1) AS r', [id])).rows[0].r as string),
        ).toEqual(result);
      }
      await after?.(d, ids);
    });

    test('endless loops are found by their label and cancelled', async () => {
      expect(cleanUp.length).toBe(3);
      for (const label of ['heartbeat-job', 'heartbeat-30s', 'heartbeat-30s-func']) {
        const found = await d.app.query('SELECT instance_id FROM df.list_instances() WHERE label = $1', [
          label,
        ]);
        expect(found.rows).toHaveLength(1);
        const id = found.rows[0].instance_id as string;
        await d.app.query(`SELECT df.cancel($1, 'Stopping cron job')`, [id]);
        expect(await d.status(id)).toBe('cancelled');
      }
    });
  });
}

describe('what needs no run', () => {
  test('an expression is JSON text', async () => {
    const graph = started.find(({ name }) => name === 'graph')!;
    expect(await ways['simple queries, as psql sends them']!(made[0]!, graph)).toEqual([
      '{"node_type":"THEN","left_node":{"node_type":"SQL","query":"SELECT 1"},"right_node":{"node_type":"SQL","query":"SELECT 2"}}',
    ]);
  });

  test('a value out of df.result', async () => {
    const d = made[0]!;
    const id = await d.complete(`'SELECT 42 AS answer'`);
    const answer = await d.app.query(`SELECT df.result('${id}')::jsonb->'rows'->0->>'answer' AS a`);
    expect(answer.rows).toEqual([{ a: '42' }]);
  });

  /** The table "Examples" under "Condition Evaluation". */
  test.each([
    [`'SELECT true'`, true],
    [`'SELECT false'`, false],
    [`'SELECT count(*) > 0 FROM users'`, true],
    [`'SELECT EXISTS(SELECT 1 FROM orders)'`, true],
    [`'SELECT 1'`, true],
    [`'SELECT 0'`, false],
    [`'SELECT count(*) FROM empty_table'`, false],
    [`'SELECT ''yes'''`, true],
    [`'SELECT ''no'''`, false],
    [`'SELECT status FROM orders WHERE id = 1'`, true],
    [`'SELECT NULL'`, false],
    [`'SELECT name FROM users WHERE id = 999'`, false],
    [`'SELECT count(*) > 0 FROM pending_tasks'`, true],
    [`'SELECT EXISTS(SELECT 1 FROM orders WHERE status = ''pending'')'`, true],
    [`'SELECT count(*) > 0 FROM orders WHERE status = ''pending'''`, true],
  ])('the condition %s is %s', async (condition, truth) => {
    const d = made[1]!;
    await d.app.query(
      'CREATE TABLE IF NOT EXISTS empty_table (n int); CREATE OR REPLACE VIEW pending_tasks AS SELECT 1 AS n',
    );
    expect(await d.rows(`${condition} ?> 'SELECT true AS r' !> 'SELECT false AS r'`)).toEqual([{ r: truth }]);
  });

  test.each(
    examples()
      .filter(({ chapter }) => chapter === 'explain')
      .map((example) => [example.name, example] as const),
  )('dry run: %s', async (_, example) => {
    for (const way of Object.values(ways)) {
      expect(await way(made[0]!, example)).toEqual([dryRuns[example.name]]);
    }
  });
});
