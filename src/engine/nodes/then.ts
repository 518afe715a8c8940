import type { ThenNode } from '../graph.js';
import type { Outcome } from '../outcome.js';
import type { Scope } from '../scope.js';
import type { Strand } from '../strand.js';
import type { Walk } from '../walk.js';

/** THEN: left, then right; the right one's result. Source: df-api §4.3. */
export async function visitThen(walk: Walk, node: ThenNode, scope: Scope, strand: Strand): Promise<Outcome> {
  const left = await walk.run(node.left, scope, strand);
  return left.kind === 'done' ? walk.run(node.right, scope, strand) : left;
}
