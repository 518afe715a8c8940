import { readFileSync } from 'node:fs';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase, type TestRole } from '../support/postgres.js';
import { type SpawnedProxy, spawnProxy } from '../support/proxy.js';
import { until } from '../support/wait.js';

const WAITING = 10_000;
const MEASURED = 100;
const AT_ONCE = 1000;
/** What garbage collection and allocation alone make the figure move by. */
const NOISE_MB = 25;

let database: TestDatabase;
let role: TestRole;
let root: pg.Client;
let proxy: SpawnedProxy;
let client: pg.Client;

beforeAll(async () => {
  database = await createTestDatabase();
  role = await database.createRole('waiter');
  root = new pg.Client({ connectionString: database.superUrl });
  await root.connect();
  proxy = await spawnProxy({ database });
  await root.query('SELECT df.grant_usage($1)', [role.name]);
  client = new pg.Client({ connectionString: proxy.url(role) });
  await client.connect();
});
afterAll(async () => {
  await client?.end();
  await root?.end();
  await proxy?.stop();
  await database?.drop();
});

/** Resident memory in MB, from the kernel; null where it does not say. */
function residentMb(): number | null {
  try {
    const found = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${proxy.pid}/status`, 'utf8'));
    return found === null ? null : Number(found[1]) / 1024;
  } catch {
    return null;
  }
}

const parked = (count: number) =>
  until(
    async () =>
      (
        await root.query(
          `SELECT count(*)::int AS n FROM _df.instances
           WHERE graph IS NOT NULL AND owner IS NULL AND wake_at IS NULL AND finished_at IS NULL`,
        )
      ).rows[0].n === count,
    { everyMs: 50, timeoutMs: 60_000, what: `${count} instances to wait` },
  );

/** From a call to the commit of the end of its instance, as one who listens for it sees it; in milliseconds, sorted. */
async function measure(
  calls: ReadonlyArray<readonly [sql: string, values: readonly string[]]>,
): Promise<number[]> {
  const listener = new pg.Client({ connectionString: role.url });
  await listener.connect();
  await listener.query('LISTEN woken');
  let woken: () => void = () => {};
  listener.on('notification', () => woken());
  const times: number[] = [];
  for (const [sql, values] of calls) {
    const done = new Promise<void>((resolve) => {
      woken = resolve;
    });
    const begun = performance.now();
    await client.query(sql, [...values]);
    await done;
    times.push(performance.now() - begun);
  }
  await listener.end();
  return times.sort((a, b) => a - b);
}

const wake = (ids: readonly string[]) =>
  measure(ids.map((id) => ['SELECT df.signal($1, $2)', [id, 'go']] as const));

test('10 000 instances that wait for a signal cost rows, not memory; a signal wakes one within milliseconds', async () => {
  const start = async (count: number) =>
    (
      await client.query<{ id: string }>(
        `SELECT df.start(df.wait_for_signal('go') ~> 'SELECT pg_notify(''woken'', '''')') AS id FROM generate_series(1, $1::int)`,
        [count],
      )
    ).rows.map(({ id }) => id);

  const few = await start(MEASURED);
  await parked(MEASURED);
  const plain = await measure(
    few.map(() => [`SELECT df.start('SELECT pg_notify(''woken'', '''')')`, []] as const),
  );
  const alone = await wake(few);
  const before = residentMb();

  // parked as the engine parks them, without waiting until it has done so 10 000 times
  await root.query('BEGIN');
  await root.query(`SELECT set_config('role', $1, true)`, [role.name]);
  await root.query(`SELECT count(df.start(df.wait_for_signal('go'))) FROM generate_series(1, $1::int)`, [
    WAITING,
  ]);
  await root.query('RESET ROLE');
  await root.query(
    `UPDATE _df.instances AS i SET wake_at = NULL, graph = json_build_object(
      'root', u.root_node, 'role', $1::text, 'nodes',
      (SELECT json_agg(json_build_array(k.id, k.node_type, k.query, k.result_name, k.left_node, k.right_node))
       FROM df.nodes AS k WHERE k.instance_id = i.id))
    FROM df.instances AS u WHERE u.id = i.id AND i.finished_at IS NULL`,
    [role.name],
  );
  await root.query(`INSERT INTO _df.journal (instance_id, node_id, stamp, kind)
    SELECT u.id, u.root_node, u.id || '::1', 't' FROM df.instances AS u WHERE u.status = 'pending'`);
  await root.query('COMMIT');
  await root.query('ANALYZE');
  const more = await start(MEASURED);
  await parked(WAITING + MEASURED);
  const among = await wake(more);
  const after = residentMb();

  const ms = (times: readonly number[], part: number) => times[Math.floor(times.length * part)]!.toFixed(1);
  process.stdout.write(
    `start of one step to completion, ms: p50 ${ms(plain, 0.5)}; signal to completion: p50 ${ms(alone, 0.5)}, p99 ${ms(alone, 0.99)}; among ${WAITING} that wait: p50 ${ms(among, 0.5)}, p99 ${ms(among, 0.99)}; resident memory ${before?.toFixed(0)} -> ${after?.toFixed(0)} MB\n`,
  );
  expect(Number(ms(among, 0.5))).toBeLessThan(10 * Number(ms(plain, 0.5)));
  if (before !== null && after !== null) expect(after - before).toBeLessThan(NOISE_MB);

  // many at once
  const begun = performance.now();
  const { rows } = await client.query(
    `SELECT df.signal(id, 'go'), id FROM (SELECT id FROM df.instances WHERE status IN ('pending', 'running') LIMIT $1) AS chosen`,
    [AT_ONCE],
  );
  const ids = rows.map(({ id }) => id as string);
  await until(
    async () =>
      (
        await root.query(`SELECT FROM df.instances WHERE id = ANY ($1) AND completed_at IS NULL LIMIT 1`, [
          ids,
        ])
      ).rowCount === 0,
    { everyMs: 50, timeoutMs: 60_000, what: 'all of them' },
  );
  process.stdout.write(`woken at once: ${Math.round(AT_ONCE / ((performance.now() - begun) / 1000))}/s\n`);
  expect((await root.query('SELECT FROM _df.signals')).rowCount).toBe(0);
}, 120_000);
