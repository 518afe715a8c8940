/**
 * From the call of df.start to the first step and to completed, with so many one-step instances in flight: each client
 * starts the next when its last has completed. All times are of this machine's clock, which is the server's too: the
 * step writes when it ran, the engine when the instance completed.
 */
import pg from 'pg';
import type { TestDatabase } from '../test/support/postgres.js';
import { startProxyProcess } from './proxy-process.js';
import { connect } from './starts.js';
import { percentile, printTable } from './table.js';

const IN_FLIGHT = [1, 10, 64, 100];
const START = `SELECT df.start('INSERT INTO seen VALUES (''{sys_instance_id}'', clock_timestamp())') AS id`;
/** Between two looks at what has completed: part of when the next is started, of no time that is measured. */
const LOOK_EVERY_MS = 2;

interface Times {
  readonly start: number;
  readonly firstStep: number;
  readonly completed: number;
}

export async function latency(database: TestDatabase, seconds: number): Promise<void> {
  const role = await database.createRole('waiter');
  const proxy = await startProxyProcess(database);
  const admin = new pg.Client({ connectionString: database.adminUrl });
  try {
    await admin.connect();
    await admin.query(
      `SELECT df.grant_usage('${role.name}');
       CREATE TABLE seen (instance text, at timestamptz);
       GRANT INSERT ON seen TO ${role.name}`,
    );
    const rows: string[][] = [];
    let alone: number | undefined;
    for (const inFlight of IN_FLIGHT) {
      const connections = await connect(proxy, role, inFlight);
      await run(connections, admin, 500); // sessions open, plans made
      const begun = performance.now();
      const times = await run(connections, admin, seconds * 1000);
      const rate = times.length / ((performance.now() - begun) / 1000);
      await Promise.all(connections.map((client) => client.end()));
      const of = (part: keyof Times, p: number) =>
        percentile(
          times.map((one) => one[part]),
          p,
        );
      alone ??= of('completed', 0.5);
      rows.push([
        String(inFlight),
        rate.toFixed(0),
        ...(['start', 'firstStep', 'completed'] as const).flatMap((part) => [
          of(part, 0.5).toFixed(2),
          of(part, 0.99).toFixed(2),
        ]),
        (of('completed', 0.5) / alone).toFixed(1),
      ]);
    }
    printTable(
      `One-step instances in flight, milliseconds from the call of df.start, ${seconds} s each`,
      [
        'in flight',
        'done/s',
        'start p50',
        'p99',
        'first step p50',
        'p99',
        'completed p50',
        'p99',
        'p50 / p50 at 1',
      ],
      rows,
    );
  } finally {
    await admin.end();
    await proxy.stop();
  }
}

/** The clock that the server has, in milliseconds. */
const now = () => performance.timeOrigin + performance.now();

async function run(
  connections: readonly pg.Client[],
  admin: pg.Client,
  milliseconds: number,
): Promise<Times[]> {
  const waiting = new Map<string, () => void>();
  const calls = new Map<string, { readonly called: number; readonly returned: number }>();
  const until = now() + milliseconds;
  let running = connections.length;
  await Promise.all([
    ...connections.map(async (client) => {
      while (now() < until) {
        const called = now();
        const answer = await client.query<{ id: string }>(START);
        const { id } = answer.rows[0]!;
        calls.set(id, { called, returned: now() });
        await new Promise<void>((resolve) => waiting.set(id, resolve));
      }
      running -= 1;
    }),
    (async () => {
      while (running > 0) {
        await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
        const open = [...waiting.keys()];
        if (open.length === 0) continue;
        const { rows } = await admin.query<{ id: string }>(
          `SELECT id FROM df.instances WHERE id = ANY ($1::varchar[]) AND completed_at IS NOT NULL`,
          [open],
        );
        for (const { id } of rows) {
          const resolve = waiting.get(id);
          waiting.delete(id);
          resolve?.();
        }
      }
    })(),
  ]);
  const { rows } = await admin.query<{ id: string; step: number; completed: number }>(
    `SELECT u.id, extract(epoch FROM s.at)::float8 * 1000 AS step, extract(epoch FROM u.completed_at)::float8 * 1000 AS completed
     FROM df.instances AS u JOIN seen AS s ON s.instance = u.id
     WHERE u.id = ANY ($1::varchar[])`,
    [[...calls.keys()]],
  );
  return rows.map(({ id, step, completed }) => {
    const { called, returned } = calls.get(id)!;
    return { start: returned - called, firstStep: step - called, completed: completed - called };
  });
}
