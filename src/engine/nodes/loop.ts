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
  const before = new Map(inner.names);

  const record = walk.journal.loop(node.id, inner.path);
  if (record !== undefined) {
    inner.generation = record.generation;
    for (const [name, result] of readNames(record.value)) inner.names.set(name, result);
    if (record.dueAt !== null) await walk.wait(strand, record.dueAt - performance.now());
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
  before: ReadonlyMap<string, NamedResult>,
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

    scope.generation += 1;
    if (isGraphRoot) {
      scope.names.clear();
      strand.generation = scope.generation;
    }
    const idle = strand.work === work;
    const value = isGraphRoot ? null : writeNames(scope.names, before);
    strand.push({ node: node.id, stamp: scope.stamp, kind: 'l', value, due: idle ? FLOOR_S : null });
    if (idle) await walk.wait(strand, FLOOR_S * 1000);
  }
}

type NamesText = Record<string, readonly [text: string, columns?: NamedResult['columns']]>;

/** The names that the loop has bound: its state between iterations. */
function writeNames(
  names: ReadonlyMap<string, NamedResult>,
  before: ReadonlyMap<string, NamedResult>,
): string | null {
  const bound: NamesText = {};
  for (const [name, result] of names) {
    if (before.get(name) === result) continue;
    bound[name] = result.columns === undefined ? [result.text] : [result.text, result.columns];
  }
  return Object.keys(bound).length === 0 ? null : JSON.stringify(bound);
}

function readNames(value: string | null): Array<[string, NamedResult]> {
  if (value === null) return [];
  const bound = JSON.parse(value) as NamesText;
  return Object.entries(bound).map(([name, [text, columns]]) => [name, { text, columns }]);
}
