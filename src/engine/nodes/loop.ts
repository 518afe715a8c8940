/** LOOP: body, then condition, until it is falsy or something breaks. Source: df-api §4.7, decision #13. */
import type { LoopNode } from '../graph.js';
import { done, failed, type Outcome } from '../outcome.js';
import type { NamedResult } from '../reference.js';
import type { Scope } from '../scope.js';
import type { Strand } from '../strand.js';
import type { Walk } from '../walk.js';
import { judge } from './condition.js';

/** An iteration that did nothing that takes time lasts this long, so that an empty loop cannot spin. */
const FLOOR_S = 1;

export async function visitLoop(walk: Walk, node: LoopNode, scope: Scope, strand: Strand): Promise<Outcome> {
  // a loop at the root of a scope counts its iterations there; any other has a scope of its own
  const own = scope.root === node.id;
  const inner = own ? scope : scope.child(node.id);
  // it shows as running where it will end: a note of that which comes late is then known for one
  const entered = strand.path.at(-1);
  if (!own && entered !== undefined) strand.path.splice(-1, 1, { node: entered.node, scope: inner });
  const before: LoopStart = { names: new Map(inner.names), positions: new Map(inner.positions) };

  const record = walk.journal.loop(node.id, inner.path);
  if (record !== undefined) {
    inner.generation = record.generation;
    restore(inner, record.value);
    if (record.dueAt !== null) await walk.waiting.wait(strand, record.dueAt - performance.now());
  }

  const outcome = await iterate(walk, node, inner, before, strand);
  const reported =
    outcome.kind === 'failed' && !own ? failed(`Loop sub-orchestration failed: ${outcome.error}`) : outcome;
  walk.stamp(node, inner.stamp, reported, strand);
  if (!own && outcome.kind !== 'failed') scope.merge(inner);
  return reported;
}

async function iterate(
  walk: Walk,
  node: LoopNode,
  scope: Scope,
  before: LoopStart,
  strand: Strand,
): Promise<Outcome> {
  const isGraphRoot = walk.graph.root.id === node.id;
  const limit = walk.context.settings.maxLoopIterations;
  for (;;) {
    const work = strand.work;
    const body = await walk.run(node.body, scope, strand);
    if (body.kind === 'failed') return body;
    if (body.kind === 'break') return done(body.value);
    if (node.condition !== null) {
      const holds = await judge(walk, node.condition, scope, strand);
      if (typeof holds !== 'boolean') return holds.kind === 'break' ? done(holds.value) : holds;
      if (!holds) return body;
    }
    if (limit > 0 && scope.generation >= limit) {
      return failed(
        `Loop exceeded maximum iteration count of ${limit}. Use df.break() to exit the loop or restructure the workflow.`,
      );
    }

    // each execution of the instance is recorded, also where waits find their signals there already
    if (isGraphRoot && strand.generation !== null) await strand.flush();
    scope.generation += 1;
    if (isGraphRoot) {
      scope.names.clear();
      strand.generation = scope.generation;
    }
    const idle = strand.work === work;
    const value = stateOf(scope, before);
    strand.push({ node: node.id, stamp: scope.stamp, kind: 'l', value, due: idle ? FLOOR_S : null });
    if (isGraphRoot) walk.events.close();
    if (idle) await walk.waiting.wait(strand, FLOOR_S * 1000);
  }
}

/** What the loop's scope had from outside. */
interface LoopStart {
  readonly names: ReadonlyMap<string, NamedResult>;
  readonly positions: ReadonlyMap<string, number>;
}

/** The state of a loop between iterations: what has been bound and taken in it. */
interface LoopState {
  names?: Record<string, readonly [text: string, columns?: NamedResult['columns']]>;
  positions?: Record<string, number>;
}

function stateOf(scope: Scope, before: LoopStart): string | null {
  const state: LoopState = {};
  for (const [name, result] of scope.names) {
    if (before.names.get(name) === result) continue;
    state.names ??= {};
    state.names[name] = result.columns === undefined ? [result.text] : [result.text, result.columns];
  }
  for (const [name, position] of scope.positions) {
    if (before.positions.get(name) === position) continue;
    state.positions ??= Object.create(null) as Record<string, number>;
    state.positions[name] = position;
  }
  return state.names === undefined && state.positions === undefined ? null : JSON.stringify(state);
}

function restore(scope: Scope, value: string | null): void {
  if (value === null) return;
  const { names = {}, positions = {} } = JSON.parse(value) as LoopState;
  for (const [name, [text, columns]] of Object.entries(names)) scope.names.set(name, { text, columns });
  for (const [name, position] of Object.entries(positions)) scope.advance(name, position);
}
