/** The seven operators of the DSL and the functions of schema df that the analysis must know. */

export type Operator = '~>' | '|=>' | '&' | '|' | '?>' | '!>' | '@>';

/** In this order they are numbered in edits. */
export const OPERATOR_NAMES: readonly Operator[] = ['~>', '|=>', '&', '|', '?>', '!>', '@>'];

const KNOWN = new Set<string>(OPERATOR_NAMES);

export function isOperator(name: string | undefined): name is Operator {
  return name !== undefined && KNOWN.has(name);
}

/** Schema of the functions and operators. */
export const SCHEMA = 'df';

/** What stands in the rewritten text for the operator; no quote and no backslash, so that it fits any literal. */
export function qualified(operator: Operator): string {
  return `OPERATOR(${SCHEMA}.${operator})`;
}

/**
 * For each function: the names of its parameters in order, for those that take a step; null for a parameter
 * that takes something else (a label, a name).
 */
export const STEP_PARAMETERS: ReadonlyMap<string, readonly (string | null)[]> = new Map([
  ['start', ['fut']],
  ['explain', ['input']],
  ['seq', ['a', 'b']],
  ['as', ['fut']],
  ['join', ['a', 'b']],
  ['join3', ['a', 'b', 'c']],
  ['race', ['a', 'b']],
  ['if', ['condition', 'then_branch', 'else_branch']],
  ['if_rows', [null, 'then_branch', 'else_branch']],
  ['loop', ['body', 'condition']],
  ['as_op', ['fut']],
  ['if_then_op', ['condition', 'then_branch']],
  ['if_else_op', ['partial_if', 'else_branch']],
  ['loop_prefix_op', ['body']],
]);

/** Functions of df whose result is a step, so that an operator beside them is ours. */
export const BUILDERS: ReadonlySet<string> = new Set([
  'sql',
  'seq',
  'as',
  'join',
  'join3',
  'race',
  'if',
  'if_rows',
  'loop',
  'break',
  'sleep',
  'wait_for_schedule',
  'wait_for_signal',
  'http',
  'http_multipart',
  'as_op',
  'if_then_op',
  'if_else_op',
  'loop_prefix_op',
]);
