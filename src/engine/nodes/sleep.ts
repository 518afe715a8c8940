import type { SleepNode } from '../graph.js';
import { done, type Outcome } from '../outcome.js';
import type { Scope } from '../scope.js';
import type { Strand } from '../strand.js';
import type { Walk } from '../walk.js';

/** A thousand years: what comes after it, timestamps could not hold. */
const LONGEST_S = 31_556_952_000;

/** SLEEP: a durable timer; its deadline is in the journal, by the database's clock. Source: df-api §4.9. */
export async function visitSleep(
  walk: Walk,
  node: SleepNode,
  scope: Scope,
  strand: Strand,
): Promise<Outcome> {
  const stamp = scope.stamp;
  if (node.seconds > 0) strand.work += 1;
  const record = walk.journal.find(node.id, stamp);
  if (record?.kind === 'c') return done(record.value ?? 'null');
  if (record?.kind === 't') {
    await walk.waiting.wait(strand, (record.dueAt ?? 0) - performance.now());
  } else if (node.seconds > 0) {
    const seconds = Math.min(node.seconds, LONGEST_S);
    strand.push({ node: node.id, stamp, kind: 't', value: null, due: seconds });
    await walk.waiting.wait(strand, seconds * 1000);
  }
  const value = `{"slept":true,"seconds":${node.seconds}}`;
  strand.push({ node: node.id, stamp, kind: 'c', value, due: null });
  return done(value);
}
