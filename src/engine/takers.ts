/**
 * Where in a graph signals of a name can be taken: what says which of them nobody can take any more. Pure.
 *
 * A strand takes what the nodes of its branch wait for. A parent whose branches run goes on from the furthest of a join's
 * branches, but from the winner's place after a race, which may be the one that has taken nothing.
 */
import type { Node } from './graph.js';

/** By name, how many nodes wait for it. */
type Counts = Map<string, number>;

export class Takers {
  readonly #root: Node;
  #all: Counts | null = null;
  /** Of what is below each branch, and each race. */
  readonly #below = new Map<string, Counts>();
  readonly #inLoop = new Set<string>();

  constructor(root: Node) {
    this.#root = root;
  }

  /** Whether something in the branch with this root waits for the name; true for what is no branch. */
  inBranch(root: string, name: string): boolean {
    this.#count();
    const below = this.#below.get(root);
    return below === undefined || below.has(name);
  }

  /** Whether, once a race is decided, something may wait for the name from the winner's place. */
  afterRace(race: string, name: string): boolean {
    const all = this.#count();
    const below = this.#below.get(race)?.get(name) ?? 0;
    return (all.get(name) ?? 0) > below || (below > 0 && this.#inLoop.has(race));
  }

  #count(): Counts {
    this.#all ??= this.#visit(this.#root, false);
    return this.#all;
  }

  #visit(node: Node, inLoop: boolean): Counts {
    const counts: Counts = new Map();
    if (node.type === 'SIGNAL') counts.set(node.name, 1);
    for (const child of childrenOf(node)) {
      const below = this.#visit(child, inLoop || node.type === 'LOOP');
      if (node.type === 'JOIN' || node.type === 'RACE') this.#below.set(child.id, below);
      for (const [name, count] of below) counts.set(name, (counts.get(name) ?? 0) + count);
    }
    if (node.type === 'RACE') {
      this.#below.set(node.id, counts);
      if (inLoop) this.#inLoop.add(node.id);
    }
    return counts;
  }
}

function childrenOf(node: Node): readonly Node[] {
  switch (node.type) {
    case 'THEN':
      return [node.left, node.right];
    case 'IF':
      return node.condition.kind === 'step' ? [node.condition.node, node.yes, node.no] : [node.yes, node.no];
    case 'JOIN':
    case 'RACE':
      return node.branches;
    case 'LOOP':
      return node.condition === null ? [node.body] : [node.body, node.condition];
    default:
      return [];
  }
}
