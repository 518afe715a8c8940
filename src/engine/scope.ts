/**
 * Execution scopes: the instance itself, each branch of a join or race, each loop that is not a branch's root. A scope
 * has its own names, its own generation, which counts the iterations of the loop that it hosts, and its own place in the
 * inbox of signals. Source: df-api §4.0, §8.2, decision #3.
 */
import type { NamedResult } from './reference.js';

export class Scope {
  /** The instance id, or `<parent's stamp>::<id of the root node>`. */
  readonly path: string;
  /** The node at the scope's root: a loop that is this node counts its iterations in this scope. */
  readonly root: string;
  generation: number;
  readonly names: Map<string, NamedResult>;
  /** By name of signal, the position of the last one that was taken. */
  readonly positions: Map<string, number>;

  constructor(
    path: string,
    root: string,
    generation: number,
    names: Iterable<readonly [string, NamedResult]>,
    positions: Iterable<readonly [string, number]> = [],
  ) {
    this.path = path;
    this.root = root;
    this.generation = generation;
    this.names = new Map(names);
    this.positions = new Map(positions);
  }

  /** Marks what happens now in this scope: `status_details.execution_id`. */
  get stamp(): string {
    return `${this.path}::${this.generation}`;
  }

  /** How a loop that is this scope's root shows while it runs: its end is then never taken for an old one, also in a lost race. */
  get firstStamp(): string {
    return `${this.path}::1`;
  }

  /** The generations of this scope and of those around it, joined by dots: with the node, it names one visit of it. */
  get generations(): string {
    return this.stamp
      .split('::')
      .filter((_, i) => i % 2 === 1)
      .join('.');
  }

  /** A scope below this one, with a copy of its names and positions. */
  child(root: string): Scope {
    return new Scope(`${this.stamp}::${root}`, root, 1, this.names, this.positions);
  }

  /** Takes over every name of a child scope that has ended, and goes on from where it has got to in the inbox. */
  merge(child: Scope): void {
    for (const [name, result] of child.names) this.names.set(name, result);
    for (const [name, position] of child.positions) this.advance(name, position);
  }

  /** Signals of this name up to this position are taken. */
  advance(name: string, position: number): void {
    if (position > (this.positions.get(name) ?? 0)) this.positions.set(name, position);
  }
}
