/** What must be true when everything is over, and what is stuck when it is not. */
import type pg from 'pg';
import type { Endpoint } from './endpoint.js';
import { labelOf, order, totalOf } from './workload.js';

export interface Verdict {
  /** Steps that left their trace, each counted once. */
  readonly steps: number;
  readonly duplicates: number;
  readonly lost: number;
  /** Everything that is not as it must be, in words. Empty: the promises held. */
  readonly faults: readonly string[];
}

/** Judges orders 1 … `orders`. @param root a superuser's connection past the proxies */
export async function judge(root: pg.Client, orders: number, endpoint: Endpoint): Promise<Verdict> {
  const faults: string[] = [];
  const traces = new Map<string, number>();
  const found = await root.query<{ trace: string; times: number }>(
    `SELECT format('%s/%s/%s', instance, step, iteration) AS trace, count(*)::int AS times
     FROM chaos.trace GROUP BY instance, step, iteration`,
  );
  for (const { trace, times } of found.rows) traces.set(trace, times);

  let lost = 0;
  let duplicates = 0;
  const expected = new Set<string>();
  for (let number = 1; number <= orders; number += 1) {
    const { kind, traces: all } = order(number);
    for (const trace of all) {
      expected.add(trace);
      const times = traces.get(trace) ?? 0;
      if (times === 1) continue;
      if (times === 0) lost += 1;
      else duplicates += times - 1;
      faults.push(`${kind}: step ${trace} happened ${times} times`);
    }
  }
  for (const [trace, times] of traces) {
    if (expected.has(trace)) continue;
    duplicates += times;
    faults.push(`step ${trace} should never have happened`);
  }

  const instances = await root.query<{
    number: number | null;
    label: string;
    id: string;
    status: string;
    result: string | null;
  }>(
    `SELECT o.number, u.label, u.id, u.status, df.result(u.id) AS result
     FROM df.instances AS u LEFT JOIN chaos.orders AS o ON o.instance = u.id`,
  );
  const byNumber = new Map<number, number>();
  for (const { number, label, id, status, result } of instances.rows) {
    if (number === null) {
      faults.push(`instance ${id} (${label}) was started by a transaction that did not commit`);
      continue;
    }
    byNumber.set(number, (byNumber.get(number) ?? 0) + 1);
    const { kind, total } = order(number);
    if (label !== labelOf(number)) faults.push(`instance ${id} of order ${number} is labelled ${label}`);
    if (status !== 'completed')
      faults.push(`${kind}: instance ${id} of order ${number} is ${status}: ${result}`);
    else if (totalOf(result) !== total)
      faults.push(`${kind}: order ${number} resulted in ${result} instead of ${total}`);
  }
  for (let number = 1; number <= orders; number += 1) {
    if (byNumber.get(number) !== 1)
      faults.push(`order ${number} has ${byNumber.get(number) ?? 0} instances instead of one`);
  }

  const left = await root.query<{ what: string; count: number }>(
    `SELECT 'journal rows' AS what, count(*)::int AS count FROM _df.journal
     UNION ALL SELECT 'leases', count(*)::int FROM _df.instances WHERE owner IS NOT NULL OR token IS NOT NULL
     UNION ALL SELECT 'signals', count(*)::int FROM _df.signals
     UNION ALL SELECT 'due instances', count(*)::int FROM _df.instances WHERE wake_at IS NOT NULL`,
  );
  for (const { what, count } of left.rows) if (count > 0) faults.push(`${count} ${what} are left`);
  // a key names the node and its visit, and nothing of the attempt
  const http = new Map<string, Set<string>>();
  const nodes = await root.query<{ instance_id: string; id: string }>(
    `SELECT instance_id, id FROM df.nodes WHERE node_type = 'HTTP'`,
  );
  for (const { instance_id, id } of nodes.rows)
    http.set(instance_id, (http.get(instance_id) ?? new Set()).add(id));
  for (let number = 1; number <= orders; number += 1) {
    const { kind, requests = 0 } = order(number);
    const keys = endpoint.keys(number);
    if (keys.size !== requests)
      faults.push(`${kind}: ${keys.size} idempotency keys for ${requests} requests of order ${number}`);
    for (const key of keys) {
      const [instance = '', node = ''] = key.split(':');
      if (http.get(instance)?.has(node) !== true || !/^\w+:\w+:[\d.]+$/.test(key))
        faults.push(`${kind}: order ${number} has the idempotency key ${key}`);
    }
  }
  const replies = await root.query<{ number: number; given: number[]; shown: string | null }>(
    `SELECT o.number, array_agg(r.attempt) AS given, min(n.result ->> 'body') AS shown
     FROM chaos.replies AS r
     JOIN chaos.orders AS o ON o.number = r.instance
     JOIN df.nodes AS n ON n.instance_id = o.instance AND n.node_type = 'HTTP'
     GROUP BY o.number`,
  );
  for (const { number, given, shown } of replies.rows) {
    if (given.length !== 1 || String(given[0]) !== shown || !endpoint.answered(number, given[0] as number))
      faults.push(
        `order ${number}: attempt ${shown} is shown, ${given.join(', ')} was given to the next step`,
      );
  }
  faults.push(...(await judgeSchedules(root)));
  return { steps: expected.size - lost, duplicates, lost, faults };
}

/**
 * Each wait for a schedule has chosen one time, once: the first of its schedule (every minute) after it began; and the
 * step behind it came no earlier.
 */
async function judgeSchedules(root: pg.Client): Promise<string[]> {
  const { rows } = await root.query<{ number: number; fault: string | null }>(
    `SELECT o.number,
            CASE WHEN t.waits <> 2 THEN t.waits || ' waits have chosen a time, of 2'
                 WHEN t.choices <> 2 THEN 'a wait has chosen its time more than once'
                 WHEN t.off THEN 'a time is not on the minute'
                 WHEN t.latest > interval '1 minute' THEN 'a time was left out'
                 WHEN b.at < t.first OR e.at < t.last THEN 'a step came before its time' END AS fault
     FROM chaos.orders AS o
     LEFT JOIN chaos.trace AS b ON b.instance = o.number AND b.step = 'b'
     LEFT JOIN chaos.trace AS e ON e.instance = o.number AND e.step = 'end'
     CROSS JOIN LATERAL (
         SELECT count(DISTINCT node) AS waits, count(DISTINCT (node, tick)) AS choices,
                bool_or(tick <> date_trunc('minute', tick)) AS off, max(tick - at) AS latest,
                min(tick) AS first, max(tick) AS last
         FROM chaos.ticks AS c WHERE c.instance = o.instance) AS t
     WHERE o.number = ANY ($1)`,
    [await scheduled(root)],
  );
  return rows.flatMap(({ number, fault }) => (fault === null ? [] : [`schedule: order ${number}: ${fault}`]));
}

async function scheduled(root: pg.Client): Promise<number[]> {
  const { rows } = await root.query<{ number: number }>('SELECT number FROM chaos.orders');
  return rows.map(({ number }) => number).filter((number) => order(number).kind === 'schedule');
}

/** What the database says of instances that do not end. */
export async function describeStuck(root: pg.Client): Promise<string> {
  const parts: string[] = [];
  const show = async (title: string, sql: string): Promise<void> => {
    const { rows } = await root.query(sql);
    parts.push(`${title}: ${rows.length}`, ...rows.slice(0, 40).map((row) => `  ${JSON.stringify(row)}`));
  };
  await show(
    'instances that have not ended',
    `SELECT u.id, u.label, u.status, i.owner, i.token IS NOT NULL AS held, i.wake_at, i.waiting, i.attempts,
            i.generation, clock_timestamp() AS now
     FROM df.instances AS u LEFT JOIN _df.instances AS i ON i.id = u.id
     WHERE u.status NOT IN ('completed', 'failed', 'cancelled') ORDER BY u.created_at`,
  );
  await show(
    'their journal',
    `SELECT j.instance_id, j.node_id, j.stamp, j.kind, left(j.value, 80) AS value, j.due
     FROM _df.journal AS j ORDER BY j.instance_id LIMIT 100`,
  );
  await show('executors', 'SELECT id, started_at, lease_until FROM _df.executors');
  await show(
    'sessions',
    `SELECT pid, application_name, usename, state, wait_event_type, wait_event, pg_blocking_pids(pid) AS blocked_by,
            xact_start, left(query, 100) AS query
     FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`,
  );
  return parts.join('\n');
}
