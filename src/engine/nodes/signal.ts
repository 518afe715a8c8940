import type { SignalNode } from '../graph.js';
import { done, type Outcome } from '../outcome.js';
import type { Scope } from '../scope.js';
import type { Strand } from '../strand.js';
import { lookForSignals, nextSignal, tidyInbox } from '../taking.js';
import type { Walk } from '../walk.js';

/** Entries. */
const COMMIT_AT = 200;

/**
 * SIGNAL: takes the oldest signal of its name that its scope has not taken yet, and waits while there is none. That it
 * waits, and until when, is in the journal, by the database's clock. A signal that is there when the time is over wins.
 * Source: df-api §4.11, decision #3.
 */
export async function visitSignal(
  walk: Walk,
  node: SignalNode,
  scope: Scope,
  strand: Strand,
): Promise<Outcome> {
  strand.work += 1;
  const stamp = scope.stamp;
  const record = walk.journal.find(node.id, stamp);
  if (record?.kind === 'c') {
    if (record.pos !== null) scope.advance(node.name, record.pos);
    return done(record.value ?? 'null');
  }
  const after = scope.positions.get(node.name) ?? 0;
  const end = (timedOut: boolean, data: string, position: number | null): Outcome => {
    const name = JSON.stringify(node.name);
    const value = `{"signal_name":${name},"timed_out":${timedOut},"data":${data}}`;
    strand.push({ node: node.id, stamp, kind: 'c', value, due: position });
    return done(value);
  };

  let overAt = record?.kind === 't' ? (record.dueAt ?? Number.POSITIVE_INFINITY) : null;
  let looked = false;
  for (;;) {
    const seen = walk.inbox.version;
    const signal = await nextSignal(walk, node.name, after, strand);
    if (signal !== null) {
      // a loop that finds signal after signal would never commit
      if (strand.pending.length >= COMMIT_AT) await strand.flush();
      tidyInbox(walk);
      scope.advance(node.name, signal.pos);
      return end(false, signal.data, signal.pos);
    }
    if (overAt === null) {
      const seconds = node.timeoutSeconds;
      strand.push({ node: node.id, stamp, kind: 't', value: null, due: seconds });
      overAt = seconds === null ? Number.POSITIVE_INFINITY : performance.now() + seconds * 1000;
    }
    const left = overAt - performance.now();
    if (left <= 0) {
      if (looked) return end(true, 'null', null);
      looked = true;
      await lookForSignals(walk, strand);
    } else {
      await walk.waiting.wait(
        strand,
        left,
        () =>
          walk.inbox.version !== seen &&
          (walk.inbox.partial || walk.inbox.next(node.name, after) !== undefined),
      );
    }
  }
}
