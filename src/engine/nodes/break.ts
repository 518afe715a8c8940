import type { BreakNode } from '../graph.js';
import { printJson, tryParseJson } from '../json.js';
import { failed, type Outcome } from '../outcome.js';
import { SubstitutionError } from '../reference.js';
import type { Scope } from '../scope.js';
import type { Strand } from '../strand.js';
import { substitute } from '../substitute.js';
import type { Walk } from '../walk.js';

/**
 * BREAK: ends the nearest enclosing loop with a value: references substituted as they are, JSON if it is JSON, a string
 * otherwise, null without one. Source: df-api §4.8, decision #9.
 */
export async function visitBreak(
  walk: Walk,
  node: BreakNode,
  scope: Scope,
  strand: Strand,
): Promise<Outcome> {
  const outcome = breakOutcome(walk, node, scope);
  walk.stamp(node, scope.stamp, outcome, strand);
  return outcome;
}

function breakOutcome(walk: Walk, node: BreakNode, scope: Scope): Outcome {
  if (node.value === null) return { kind: 'break', value: 'null' };
  try {
    const text = substitute(node.value, walk.bindings(scope), 'raw');
    const json = tryParseJson(text);
    return { kind: 'break', value: json === undefined ? JSON.stringify(text) : printJson(json) };
  } catch (error) {
    if (error instanceof SubstitutionError) return failed(error.message);
    throw error;
  }
}
