import type { IfNode } from '../graph.js';
import { JsonNumber, tryParseJson } from '../json.js';
import { type Failed, failed, type Outcome } from '../outcome.js';
import type { Scope } from '../scope.js';
import type { Strand } from '../strand.js';
import type { Walk } from '../walk.js';
import { judge } from './condition.js';

/** IF: exactly one branch, chosen by a condition or by whether a named result has rows. Source: df-api §4.6. */
export async function visitIf(walk: Walk, node: IfNode, scope: Scope, strand: Strand): Promise<Outcome> {
  const holds =
    node.condition.kind === 'step'
      ? await judge(walk, node.condition.node, scope, strand)
      : hasRows(node.condition.name, scope);
  if (typeof holds !== 'boolean') return holds;
  return walk.run(holds ? node.yes : node.no, scope, strand);
}

function hasRows(name: string, scope: Scope): boolean | Failed {
  const result = scope.names.get(name);
  if (result === undefined) return failed(`df.if_rows: result '${name}' not found`);
  const value = tryParseJson(result.text);
  if (value === undefined) return failed('df.if_rows: invalid result JSON: not valid JSON');
  const count = value instanceof Map ? value.get('row_count') : undefined;
  if (!(count instanceof JsonNumber)) {
    return failed(`df.if_rows: result '${name}' is not a SQL result (missing row_count)`);
  }
  return Number(count.text) > 0;
}
