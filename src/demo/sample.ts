import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';

/** What the demo shows, on a connection of the application's role through the proxy. */
export interface Sample {
  /** The statement as it was sent, operators and all. */
  readonly statement: string;
  readonly instance: string;
  readonly status: string;
  readonly explain: string;
  readonly result: string | null;
  /** The rows that the function changed, each a line. */
  readonly orders: readonly string[];
  readonly logs: readonly string[];
}

const playgroundFile = new URL('../../docs/playground.sql', import.meta.url);
const deadlineMs = 60_000;

/**
 * The pending orders are counted and given a name; in parallel, the report is written and the queue taken; then
 * the orders are processed if there were any.
 */
const startStatement = `SELECT df.start(
    $$SELECT count(*) AS n, sum(amount) AS total FROM playground.orders WHERE status = 'pending'$$ |=> 'open'
    ~> ( $$SELECT playground.generate_report('open orders')$$
       & $$UPDATE playground.task_queue SET status = 'running', started_at = now() WHERE status = 'pending'$$ )
    ~> ( 'SELECT $open.n > 0'
         ?> ( $$UPDATE playground.orders SET status = 'processed', processed_at = now() WHERE status = 'pending'$$
              ~> $$INSERT INTO playground.logs (msg)
                   VALUES ('processed ' || $open.n || ' orders, ' || $open.total || ' in all') RETURNING msg$$ )
         !> $$INSERT INTO playground.logs (msg) VALUES ('nothing to do') RETURNING msg$$ ),
    'demo')`;

/** Loads the sample data of the guide unless an earlier start has done so. True if it did. */
export async function loadPlayground(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query<{ there: boolean }>(
    "SELECT pg_catalog.to_regprocedure('playground.generate_report(text)') IS NOT NULL AS there",
  );
  if (rows[0]?.there) return false;
  // One message, so one transaction: all of it or nothing.
  await client.query(await readFile(playgroundFile, 'utf8'));
  return true;
}

/** Starts the sample function on the open orders, waits for its end and reads what it did. */
export async function runSample(client: pg.Client, isFirst: boolean): Promise<Sample> {
  if (!isFirst) {
    // Orders of an earlier start are processed by now: here are two more.
    await client.query('INSERT INTO playground.orders (user_id, amount) VALUES (2, 19.90), (5, 42.00)');
  }
  const before = await client.query<{ last: number }>(
    'SELECT coalesce(max(id), 0) AS last FROM playground.logs',
  );
  const pending = await client.query<{ id: number }>(
    "SELECT id FROM playground.orders WHERE status = 'pending'",
  );
  const started = await client.query<{ start: string }>(startStatement);
  const instance = started.rows[0]!.start;
  const status = await waitForEnd(client, instance);
  const answer = await client.query<{ explain: string; result: string | null }>(
    'SELECT df.explain($1) AS explain, df.result($1) AS result',
    [instance],
  );
  const orders = await client.query<{ line: string }>(
    `SELECT format('order %s  %s  %s', id, lpad(amount::text, 8), status) AS line
     FROM playground.orders WHERE id = ANY ($1) ORDER BY id`,
    [pending.rows.map(({ id }) => id)],
  );
  const logs = await client.query<{ msg: string }>(
    'SELECT msg FROM playground.logs WHERE id > $1 ORDER BY id',
    [before.rows[0]!.last],
  );
  return {
    statement: startStatement,
    instance,
    status,
    explain: answer.rows[0]!.explain,
    result: answer.rows[0]!.result,
    orders: orders.rows.map(({ line }) => line),
    logs: logs.rows.map(({ msg }) => msg),
  };
}

async function waitForEnd(client: pg.Client, instance: string): Promise<string> {
  const deadline = Date.now() + deadlineMs;
  for (;;) {
    const { rows } = await client.query<{ status: string }>('SELECT df.status($1) AS status', [instance]);
    const { status } = rows[0]!;
    if (/^(completed|failed|cancelled)$/i.test(status)) return status;
    if (Date.now() > deadline)
      throw new Error(`the sample function ${instance} is still ${status} after 60 s`);
    await delay(20);
  }
}
