import { readFileSync } from 'node:fs';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase, type TestRole } from '../support/postgres.js';
import { type SpawnedProxy, spawnProxy } from '../support/proxy.js';
import { until } from '../support/wait.js';

const INSTANCES = 100_000;
const BATCH = 20_000;
/** What garbage collection and allocation alone make the figure move by. */
const NOISE_MB = 25;

let database: TestDatabase;
let role: TestRole;
let root: pg.Client;

beforeAll(async () => {
  database = await createTestDatabase();
  role = await database.createRole('sleeper');
  root = new pg.Client({ connectionString: database.superUrl });
  await root.connect();
});
afterAll(async () => {
  await root?.end();
  await database?.drop();
});

/** Resident memory in MB, from the kernel; null where it does not say. */
function residentMb({ pid }: SpawnedProxy): number | null {
  try {
    const found = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    return found === null ? null : Math.round(Number(found[1]) / 102.4) / 10;
  } catch {
    return null;
  }
}

async function connect(proxy: SpawnedProxy): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: proxy.url(role) });
  await client.connect();
  return client;
}

async function one(client: pg.Client, expression: string): Promise<void> {
  const { rows } = await client.query<{ id: string }>(`SELECT df.start(${expression}) AS id`);
  await until(
    async () =>
      (await root.query('SELECT FROM df.instances WHERE id = $1 AND completed_at IS NOT NULL', [rows[0]!.id]))
        .rowCount,
    { everyMs: 5, what: 'an instance' },
  );
}

/** The proxy just started and used a little. */
async function started(): Promise<{ proxy: SpawnedProxy; client: pg.Client; mb: number | null }> {
  const proxy = await spawnProxy({ database });
  const client = await connect(proxy);
  for (let i = 0; i < 50; i += 1) await one(client, `'SELECT 1'`);
  return { proxy, client, mb: residentMb(proxy) };
}

test('100 000 sleeping instances cost rows, not memory; those that fall due run within a second', async () => {
  const empty = await spawnProxy({ database }); // installs the schema
  await root.query('SELECT df.grant_usage($1)', [role.name]);
  await empty.stop();
  const before = await started();
  await before.client.end();
  await before.proxy.stop();

  // no proxy runs: they are pending when the next one starts
  const direct = new pg.Client({ connectionString: role.url });
  await direct.connect();
  const began = Date.now();
  for (let done = 0; done < INSTANCES; done += BATCH) {
    await direct.query(`SELECT count(df.start(df.sleep(86400))) FROM generate_series(1, ${BATCH})`);
  }
  const insertedIn = Date.now() - began;
  await direct.end();
  // as they are once they sleep: claimed once, timer in the journal, parked
  await root.query(`INSERT INTO _df.journal (instance_id, node_id, stamp, kind, due)
    SELECT i.id, u.root_node, i.id || '::1', 't', now() + interval '1 day' FROM _df.instances i JOIN df.instances u USING (id)
    WHERE i.finished_at IS NULL`);
  await root.query(`UPDATE _df.instances SET wake_at = now() + interval '1 day' WHERE finished_at IS NULL`);
  await root.query('ANALYZE');

  const after = await started();
  const line = `resident memory of the proxy: ${before.mb} MB with 0 sleeping instances, ${after.mb} MB with ${INSTANCES} (inserted in ${insertedIn} ms)`;
  process.stdout.write(`${line}\n`);
  try {
    if (before.mb !== null && after.mb !== null) expect(after.mb - before.mb).toBeLessThan(NOISE_MB);

    // some fall due, in the midst of the others
    const soon = await root.query<{ id: string; due: Date }>(`WITH chosen AS (
        SELECT id FROM _df.instances WHERE finished_at IS NULL ORDER BY id LIMIT 20
      ), timers AS (
        UPDATE _df.journal j SET due = clock_timestamp() + interval '500 milliseconds' FROM chosen
        WHERE j.instance_id = chosen.id RETURNING j.instance_id, j.due
      )
      UPDATE _df.instances i SET wake_at = t.due FROM timers t WHERE i.id = t.instance_id RETURNING i.id, t.due`);
    expect(soon.rowCount).toBe(20);
    for (const { id, due } of soon.rows) {
      const completed = await until(
        async () =>
          (
            await root.query<{ at: Date | null }>(
              'SELECT completed_at AS at FROM df.instances WHERE id = $1',
              [id],
            )
          ).rows[0]?.at,
        { what: `instance ${id}, due at ${due.toISOString()}` },
      );
      expect(completed.getTime() - due.getTime()).toBeLessThan(1000);
    }

    // one that is started now sleeps and wakes on time
    const slept = Date.now();
    await one(after.client, 'df.sleep(1)');
    expect(Date.now() - slept).toBeLessThan(2000);
  } finally {
    await after.client.end();
    await after.proxy.stop();
  }
}, 150_000);
