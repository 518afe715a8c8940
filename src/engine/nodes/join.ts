import type { JoinNode } from '../graph.js';
import { done, failed, type Outcome } from '../outcome.js';
import type { Scope } from '../scope.js';
import type { Strand } from '../strand.js';
import { TOO_MUCH_KEPT, type Walk } from '../walk.js';

/** As of a step; longer texts cannot be made at all some time. */
const LONGEST_RESULT = 128 * 1024 * 1024;

/**
 * JOIN: all branches at the same time, each in a scope of its own; waits for every one, also when one has failed. The
 * last branch to end carries what it has not committed into the parent. Source: df-api §4.4.
 */
export async function visitJoin(walk: Walk, node: JoinNode, scope: Scope, strand: Strand): Promise<Outcome> {
  await strand.flush(); // the branches must see what came before them
  const strands = walk.fork(strand, node.branches.length);
  let left = node.branches.length;
  let last = strands[0] as Strand;
  const ends = await Promise.all(
    node.branches.map(async (branch, i) => {
      const own = strands[i] as Strand;
      const inner = scope.child(branch.id);
      const outcome = await walk.run(branch, inner, own);
      left -= 1;
      if (left === 0) {
        last = own;
      } else {
        await own.flush();
        await walk.endBranch(own);
      }
      return { outcome, inner };
    }),
  );
  walk.resume(strand, last);
  strand.check();

  for (const { inner } of ends) scope.merge(inner);
  const results: string[] = [];
  let length = 0;
  for (const [i, { outcome }] of ends.entries()) {
    if (outcome.kind === 'failed') return failed(`JOIN branch ${i + 1} failed: ${outcome.error}`);
    if (outcome.kind === 'break') return outcome;
    results.push(outcome.result.text);
    length += outcome.result.text.length;
    if (length > LONGEST_RESULT) return failed(`JOIN failed: ${TOO_MUCH_KEPT}`);
  }
  const text = `[${results.join(',')}]`;
  return walk.hasRoomFor(text) ? done(text) : failed(`JOIN failed: ${TOO_MUCH_KEPT}`);
}
