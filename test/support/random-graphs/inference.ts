import { type StoredNode, storedChildren } from './graph.js';

export interface ShownNode extends StoredNode {
  readonly status: string;
  readonly stamp: string | null;
  readonly inferred: string;
  readonly ancestor: string | null;
}

/** What df-api §8.2 infers of nodes as they are stored, by id. */
export function infer(root: string, rows: ReadonlyMap<string, ShownNode>): Map<string, string> {
  const highest = new Map<string, number>();
  for (const { stamp } of rows.values()) {
    for (const { scope, generation } of levels(stamp))
      highest.set(scope, Math.max(generation, highest.get(scope) ?? 0));
  }
  const superseded = ({ stamp }: ShownNode) =>
    levels(stamp).some(({ scope, generation }) => generation < (highest.get(scope) as number));

  const inferred = new Map<string, string>();
  const visit = (id: string, terminal: string | null): void => {
    const row = rows.get(id) as ShownNode;
    const hasEnded = row.status === 'completed' || row.status === 'failed';
    const counts = hasEnded && !superseded(row);
    if (counts) inferred.set(id, row.status);
    else if (terminal !== null) inferred.set(id, `skipped from ${terminal}`);
    else inferred.set(id, !hasEnded && row.status === 'running' ? 'running' : 'pending');
    for (const child of storedChildren(row)) visit(child, counts ? id : terminal);
  };
  visit(root, null);
  return inferred;
}

function levels(stamp: string | null): Array<{ scope: string; generation: number }> {
  if (stamp === null) return [];
  const parts = stamp.split('::');
  return parts.flatMap((part, i) =>
    i % 2 === 1 ? [{ scope: parts.slice(0, i).join('::'), generation: Number(part) }] : [],
  );
}
