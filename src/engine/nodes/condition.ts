/** The condition of an IF or a while loop: a step whose result is judged. Source: df-api §6, decision #10. */
import type { Node } from '../graph.js';
import { type Json, printJson } from '../json.js';
import { type Break, type Done, done, type Failed, failed } from '../outcome.js';
import { SubstitutionError } from '../reference.js';
import type { Scope } from '../scope.js';
import type { Strand } from '../strand.js';
import { loneReference } from '../substitute.js';
import { isTrueValue, isTruthy } from '../truth.js';
import type { Walk } from '../walk.js';

/** The judgement, or what the condition came to instead of a result. */
export async function judge(
  walk: Walk,
  node: Node,
  scope: Scope,
  strand: Strand,
): Promise<boolean | Break | Failed> {
  const reference = node.type === 'SQL' ? judgeReference(walk, node.query, scope) : undefined;
  if (reference !== undefined) {
    walk.stamp(node, scope.stamp, reference.outcome, strand);
    if (reference.outcome.kind !== 'done') return reference.outcome;
    if (node.resultName !== null) scope.names.set(node.resultName, reference.outcome.result);
    return isTrueValue(reference.value);
  }
  const outcome = await walk.run(node, scope, strand);
  return outcome.kind === 'done' ? isTruthy(outcome.result.text) : outcome;
}

type Judged = { readonly value: Json; readonly outcome: Done | Failed };

/** A condition that is nothing but one reference needs no statement. */
function judgeReference(walk: Walk, query: string, scope: Scope): Judged | undefined {
  try {
    const value = loneReference(query, walk.bindings(scope));
    return value === undefined ? undefined : { value, outcome: done(printJson(value)) };
  } catch (error) {
    if (error instanceof SubstitutionError) {
      return { value: null, outcome: failed(error.message) };
    }
    throw error;
  }
}
