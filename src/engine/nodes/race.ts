import type { Node, RaceNode } from '../graph.js';
import { failed, type Outcome } from '../outcome.js';
import type { Scope } from '../scope.js';
import { Stopped, type Strand } from '../strand.js';
import type { Walk } from '../walk.js';

/**
 * RACE: both branches at the same time; the first to end decides, success or failure alike. The decision is journaled
 * in the same commit as the winner's last step; the loser is stopped on the server. Source: df-api §4.5, decision #15.
 */
export async function visitRace(walk: Walk, node: RaceNode, scope: Scope, strand: Strand): Promise<Outcome> {
  const stamp = scope.stamp;
  const decided = walk.journal.find(node.id, stamp);
  if (decided?.kind === 'w') {
    const winner = node.branches[decided.value === '1' ? 1 : 0];
    const inner = scope.child(winner.id);
    return conclude(scope, inner, decided.value === '1' ? 1 : 0, await walk.run(winner, inner, strand));
  }

  await strand.flush();
  const strands = walk.fork(strand, 2);
  const winner = await first(
    node.branches.map(async (branch, i) => {
      const inner = scope.child(branch.id);
      return { i, inner, outcome: await walk.run(branch, inner, strands[i] as Strand) };
    }),
  );
  const loser = 1 - winner.i;
  walk.abandon(strands[loser] as Strand);
  walk.resume(strand, strands[winner.i] as Strand);
  strand.push({ node: node.id, stamp, kind: 'w', value: String(winner.i), due: null });
  stampLosingLoop(node.branches[loser] as Node, scope, strand, walk);
  return conclude(scope, winner.inner, winner.i, winner.outcome);
}

/** The first branch to end. A branch that was stopped does not count; another error does. */
function first<T>(branches: ReadonlyArray<Promise<T>>): Promise<T> {
  return new Promise((resolve, reject) => {
    let stopped = 0;
    for (const branch of branches) {
      branch.then(resolve, (error: unknown) => {
        stopped += 1;
        if (!(error instanceof Stopped) || stopped === branches.length) reject(error);
      });
    }
  });
}

function conclude(scope: Scope, inner: Scope, i: number, outcome: Outcome): Outcome {
  if (outcome.kind === 'failed')
    return failed(`RACE ${i === 0 ? 'left' : 'right'} branch failed: ${outcome.error}`);
  scope.merge(inner);
  return outcome;
}

/** A loop that is the loser's root says so; the loser's other nodes are only inferred to be skipped. */
function stampLosingLoop(loser: Node, scope: Scope, strand: Strand, walk: Walk): void {
  if (loser.type !== 'LOOP') return;
  walk.stamp(loser, scope.child(loser.id).stamp, failed('Loop branch cancelled after losing RACE'), strand);
}
