import { knowledge, type Scope, typeKnowledge } from './operands.js';
import { BUILDERS, isOperator, type Operator, SCHEMA, STEP_PARAMETERS } from './operators.js';
import { as, listOf, namesOf, type Tree, walk } from './tree.js';

/**
 * Decides which operators of a parse tree are the DSL's. All seven can mean something else (`&`, `|`, `@>` in
 * core, `~>` in contrib/cube), so an operator is ours only if the tree says so:
 *
 *  (a) it stands where a function of df takes a step, or is an operand of an operator that is ours;
 *  (b) an operand is itself DSL: a builder of df, or an operator that is ours;
 *  (c) all its operands are string literals or surely text (no type of core has these operators on text);
 *  (d) it is `|=>`, `?>` or `!>`, which nobody else has; or `~>` with an operand that is a string;
 *
 * and never if an operand is proven not to be a string. (b), (c) and (d) are found from the leaves up, then (a)
 * from the df functions and the found operators down; what is found on the way down has nothing above it that
 * was not ours already, so one pass each is the fixpoint.
 */

/** An operator expression that might be ours: its fields, and which operator it is. */
export interface Candidate {
  fields: Tree;
  operator: Operator;
}

/** Tells whether the name of an operator expression is a candidate's, and which. */
export type Naming = (names: string[]) => Operator | undefined;

/** The ordinary naming: one of the seven, not qualified. */
export const unqualified: Naming = (names) => {
  const name = names.length === 1 ? names[0] : undefined;
  return isOperator(name) ? name : undefined;
};

/** The operators in the tree that are ours. */
export function findOurs(root: unknown, scope: Scope, naming: Naming): Candidate[] {
  const candidates = new Map<Tree, Candidate>();
  const calls: Tree[] = [];
  walk(root, (type, fields) => {
    if (type === 'FuncCall') {
      if (dfFunction(fields) !== undefined) calls.push(fields);
    } else if (type === 'A_Expr' && fields.kind === 'AEXPR_OP') {
      const operator = naming(namesOf(fields.name));
      // `@>` is ours as a prefix operator only, the others between two operands only.
      if (operator !== undefined && (fields.lexpr === undefined) === (operator === '@>')) {
        candidates.set(fields, { fields, operator });
      }
    }
  });
  if (candidates.size === 0) return [];

  const ours = new Set<Tree>();
  const never = new Set<Tree>();

  const isStep = (node: unknown): boolean => {
    const stack = [node];
    while (stack.length > 0) {
      const item = stack.pop();
      const operator = as(item, 'A_Expr');
      if (operator !== undefined) {
        if (ours.has(operator) || isQualified(operator)) return true;
        continue;
      }
      const call = as(item, 'FuncCall');
      if (call !== undefined) {
        if (BUILDERS.has(dfFunction(call) ?? '')) return true;
        continue;
      }
      stack.push(...results(item));
    }
    return false;
  };

  // Parents come first in `candidates`, so backwards is from the leaves up.
  for (const { fields, operator } of [...candidates.values()].reverse()) {
    const operands = operator === '@>' ? [fields.rexpr] : [fields.lexpr, fields.rexpr];
    const known = operands.map((operand) => {
      const inner = as(operand, 'A_Expr');
      if (inner !== undefined && never.has(inner)) return 'not a string';
      if (inner !== undefined && ours.has(inner)) return 'text';
      return knowledge(operand, scope);
    });
    if (known.includes('not a string')) never.add(fields);
    else if (
      operator === '|=>' ||
      operator === '?>' ||
      operator === '!>' ||
      (operator === '~>' && known.some((k) => k !== 'unknown')) ||
      known.every((k) => k === 'literal' || k === 'text') ||
      operands.some(isStep)
    ) {
      ours.add(fields);
    }
  }

  // Places where a step is wanted, from the top down.
  const wanted: unknown[] = [];
  for (const call of calls) wanted.push(...stepArguments(call));
  for (const fields of ours) wanted.push(...stepOperands(fields, candidates.get(fields)!.operator));
  while (wanted.length > 0) {
    const node = wanted.pop();
    const operator = as(node, 'A_Expr');
    if (operator === undefined) {
      wanted.push(...results(node));
      continue;
    }
    const candidate = candidates.get(operator);
    if (candidate === undefined || ours.has(operator) || never.has(operator)) continue;
    ours.add(operator);
    wanted.push(...stepOperands(operator, candidate.operator));
  }
  return [...candidates.values()].filter((candidate) => ours.has(candidate.fields));
}

/** The function's name if the call is to schema df. */
function dfFunction(call: Tree): string | undefined {
  const names = namesOf(call.funcname);
  return names.length >= 2 && names.at(-2) === SCHEMA ? names.at(-1) : undefined;
}

/** An operator that the user himself wrote as OPERATOR(df.~>). */
function isQualified(operator: Tree): boolean {
  const names = namesOf(operator.name);
  return names.length === 2 && names[0] === SCHEMA && isOperator(names[1]);
}

/** The operands that are steps; the right one of `|=>` is a name. */
function stepOperands(fields: Tree, operator: Operator): unknown[] {
  return operator === '|=>' ? [fields.lexpr] : [fields.lexpr, fields.rexpr];
}

/** The arguments of a df function that are steps. */
function stepArguments(call: Tree): unknown[] {
  const parameters = STEP_PARAMETERS.get(dfFunction(call) ?? '');
  if (parameters === undefined) return [];
  const found: unknown[] = [];
  listOf(call.args).forEach((argument, position) => {
    const named = as(argument, 'NamedArgExpr');
    if (named !== undefined) {
      if (parameters.includes(String(named.name))) found.push(named.arg);
    } else if ((parameters[position] ?? null) !== null) found.push(argument);
  });
  return found;
}

/**
 * The expressions that an expression takes its value from unchanged: what a cast to text or a COLLATE is put
 * on, the results of CASE, the arguments of COALESCE, the one column of a scalar subquery.
 */
function results(node: unknown): unknown[] {
  const cast = as(node, 'TypeCast');
  if (cast !== undefined) return typeKnowledge(cast.typeName) === 'text' ? [cast.arg] : [];
  const collate = as(node, 'CollateClause');
  if (collate !== undefined) return [collate.arg];
  const choice = as(node, 'CaseExpr');
  if (choice !== undefined) {
    const found = listOf(choice.args).map((when) => as(when, 'CaseWhen')?.result);
    if (choice.defresult !== undefined) found.push(choice.defresult);
    return found;
  }
  const coalesce = as(node, 'CoalesceExpr');
  if (coalesce !== undefined) return listOf(coalesce.args);
  const sublink = as(node, 'SubLink');
  if (sublink?.subLinkType === 'EXPR_SUBLINK') return selectResults(sublink.subselect);
  return [];
}

/** The single column of a SELECT, VALUES or set operation. */
function selectResults(node: unknown): unknown[] {
  const found: unknown[] = [];
  const stack: (Tree | undefined)[] = [as(node, 'SelectStmt')];
  while (stack.length > 0) {
    const select = stack.pop();
    if (select === undefined) continue;
    // The branches of UNION and the like are not wrapped.
    stack.push(select.larg as Tree | undefined, select.rarg as Tree | undefined);
    const targets = listOf(select.targetList);
    if (targets.length === 1) found.push(as(targets[0], 'ResTarget')?.val);
    for (const row of listOf(select.valuesLists)) {
      const items = listOf(as(row, 'List')?.items);
      if (items.length === 1) found.push(items[0]);
    }
  }
  return found.filter((item) => item !== undefined);
}
