/** Which signals nobody can take any more. Pure. */
import type { Graph } from './graph.js';
import type { Strand } from './strand.js';

/**
 * The position of a name that whatever may still take signals of it has gone beyond.
 * @param committed what a strand has taken and not committed does not count
 */
export function floorOf(
  name: string,
  graph: Graph,
  strands: ReadonlySet<Strand>,
  committed: boolean,
): number {
  if (!graph.signals.has(name)) return Number.POSITIVE_INFINITY;
  const place = (strand: Strand): number => {
    let at = strand.path.at(-1)?.scope.positions.get(name) ?? 0;
    if (committed)
      for (const { kind, due } of strand.pending)
        if (kind === 'c' && due !== null) at = Math.min(at, due - 1);
    return at;
  };
  const branches = new Map<Strand, number[]>();
  for (const strand of strands) {
    if (strand.parent === null) continue;
    const of = branches.get(strand.parent) ?? [];
    of.push(place(strand));
    branches.set(strand.parent, of);
  }

  let floor = Number.POSITIVE_INFINITY;
  for (const strand of strands) {
    if (strand.state !== 'suspended') {
      const root = strand.path[0]?.node;
      if (root === undefined || graph.takers.inBranch(root, name)) floor = Math.min(floor, place(strand));
      continue;
    }
    const node = strand.path.at(-1)?.node ?? '';
    const places = branches.get(strand) ?? [];
    if (!graph.races.has(node)) floor = Math.min(floor, Math.max(place(strand), ...places));
    else if (graph.takers.afterRace(node, name)) floor = Math.min(floor, place(strand), ...places);
  }
  return floor;
}
