/**
 * WAIT_SCHEDULE: until the next time that a cron expression names. Source: df-api §4.10, decision #11.
 *
 * The time is found once, when the node begins: the first that is strictly later than the database's clock, which alone
 * counts. It is in the journal as a point in time. The node ends when the database's clock has reached it, however fast
 * this machine's clock goes: so the next wait can find neither the same time again, nor miss one.
 */
import { parseCron } from '../cron.js';
import { storable } from '../failure.js';
import type { WaitScheduleNode } from '../graph.js';
import { nextTick } from '../next-tick.js';
import { done, failed, type Outcome } from '../outcome.js';
import type { Scope } from '../scope.js';
import type { Strand } from '../strand.js';
import type { Walk } from '../walk.js';

const RESULT = '{"scheduled":true}';

export async function visitSchedule(
  walk: Walk,
  node: WaitScheduleNode,
  scope: Scope,
  strand: Strand,
): Promise<Outcome> {
  strand.work += 1;
  const stamp = scope.stamp;
  const record = walk.journal.find(node.id, stamp);
  if (record?.kind === 'c') return done(record.value ?? RESULT);
  if (record?.kind === 'f') return failed(record.value ?? '');

  let tick: number;
  if (record?.kind === 't') {
    tick = Number(record.value) * 1000;
    await walk.waiting.wait(strand, (record.dueAt ?? 0) - performance.now());
  } else {
    const now = await walk.ask(walk.context.now());
    strand.check();
    const next = findTick(node.expression, now);
    if (typeof next === 'string') {
      const why = storable(next);
      strand.push({ node: node.id, stamp, kind: 'f', value: why, due: null });
      return failed(why);
    }
    tick = next;
    const seconds = (tick - now) / 1000;
    strand.push({ node: node.id, stamp, kind: 't', value: String(tick / 1000), due: seconds });
    await walk.waiting.wait(strand, tick - now);
  }
  for (;;) {
    const left = tick - (await walk.ask(walk.context.now()));
    strand.check();
    if (left <= 0) break;
    await walk.waiting.wait(strand, left);
  }
  strand.push({ node: node.id, stamp, kind: 'c', value: RESULT, due: null });
  return done(RESULT);
}

/** The time in ms since 1970, or why there is none. */
function findTick(expression: string, now: number): number | string {
  const schedule = parseCron(expression);
  if (schedule === null)
    return `Invalid cron expression '${expression}': Invalid expression: Invalid cron expression.`;
  try {
    return nextTick(schedule, now) ?? `No upcoming schedule found for '${expression}'`;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return `Invalid cron expression '${expression}': the time zone ${schedule.zone} is not known to the proxy`;
  }
}
