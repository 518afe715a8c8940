import { type Body, bodyOf, declaredBody, literalsWith, type Span } from './body.js';
import { applyEdits, type Edit, type Edited, editOf, inOrder } from './edit.js';
import { continuesName, operatorEnd } from './lexer.js';
import { NO_SCOPE, type Scope, typeKnowledge } from './operands.js';
import type { Operator } from './operators.js';
import { findOurs, unqualified } from './ours.js';
import type { Parser } from './parser.js';
import { plpgsqlOperators } from './plpgsql.js';
import { conforming, type SessionSyntax, sourceOffset, type Text } from './text.js';
import { as, listOf, type Tree } from './tree.js';

/**
 * Stage two: the edits that a statement needs, from its parse tree. Statements of all kinds are walked alike;
 * the bodies of DO blocks, functions and procedures in sql and plpgsql are code as well, at any depth.
 *
 * Out of reach, because only the server ever sees it as code: text that is built or fetched and then run by
 * EXECUTE inside the server; `&` and `|` between columns or calls of which nothing says that they are steps.
 */

/** What stays the same from a statement down into the bodies within it. */
interface Reading {
  parser: Parser;
  /** The client's statement. */
  source: Buffer;
  standardConformingStrings: boolean;
  /** How many bodies are around the text. */
  depth: number;
}

/** A body in a body in a body: deeper than this is left alone, since each level is parsed again. */
const MAX_DEPTH = 4;

/** An operator that cannot be replaced where it stands: the text around it stays as it is. */
class NotEditable extends Error {}

/**
 * The client's statement `source`, read as `text`, with the operators that are ours qualified; null if it has
 * none, does not parse or cannot be edited.
 */
export function rewriteStatement(
  text: Text,
  source: Buffer,
  syntax: SessionSyntax,
  parser: Parser,
): Edited | null {
  const { standardConformingStrings } = syntax;
  const found = analyse(text, NO_SCOPE, { parser, source, standardConformingStrings, depth: 0 });
  const edits = found === null ? null : inOrder(found);
  return edits === null || edits.length === 0 ? null : applyEdits(source, edits);
}

function analyse(text: Text, scope: Scope, reading: Reading): Edit[] | null {
  const tree = reading.parser.parse(text.bytes);
  if (tree === null) return null;
  try {
    const edits: Edit[] = [];
    for (const raw of listOf(tree.stmts) as Tree[]) {
      const inner = declaredScope(raw.stmt, scope);
      for (const { fields, operator } of findOurs(raw.stmt, inner, unqualified)) {
        edits.push(editAt(text, Number(fields.location ?? 0), operator, reading));
      }
      const body = bodyOf(raw.stmt, text);
      if (body === null) continue;
      const start = Number(raw.stmt_location ?? 0);
      const end = start + Number(raw.stmt_len ?? text.bytes.length - start);
      edits.push(...bodyEdits(body, text.bytes, { start, end }, inner, reading));
    }
    return edits;
  } catch (error) {
    if (error instanceof NotEditable) return null;
    throw error;
  }
}

/** The edits within the body of the statement that is `holder[statement.start, statement.end)`. */
function bodyEdits(body: Body, holder: Buffer, statement: Span, scope: Scope, outer: Reading): Edit[] {
  if (outer.depth >= MAX_DEPTH) return [];
  const reading = { ...outer, depth: outer.depth + 1 };
  const content = conforming(body.content, reading.standardConformingStrings);
  if (content === null) return [];
  // A body that does not parse is left to the server; the rest of the text is not.
  if (body.language === 'sql') return analyse(content, scope, reading) ?? [];

  const before = holder.subarray(statement.start, body.literal.start);
  const after = holder.subarray(body.literal.end, statement.end);
  const { ours, nested } = plpgsqlOperators(content, before, after, scope, reading.parser);
  try {
    const edits = ours.map(({ at, operator }) => editAt(content, at, operator, reading));
    for (const inner of nested) edits.push(...nestedEdits(inner.statement, inner.text, content, reading));
    return edits;
  } catch (error) {
    if (error instanceof NotEditable) return [];
    throw error;
  }
}

/**
 * A DO or CREATE FUNCTION as a statement of a plpgsql body. Its own text has no place in the body, so that its
 * literal is found by what is in it: exactly one literal of the body must have that content.
 */
function nestedEdits(statement: unknown, text: Buffer, holder: Text, reading: Reading): Edit[] {
  const declared = declaredBody(statement);
  const own = bodyOf(statement, { bytes: text, base: 0, map: null });
  if (declared === null || own === null) return [];
  const literals = literalsWith(holder, declared.value);
  if (literals.length !== 1) return [];
  const body = { ...own, content: literals[0]! };
  return bodyEdits(body, text, { start: 0, end: text.length }, declaredScope(statement, NO_SCOPE), reading);
}

/** The edit of the operator at `at`, which may be written `OPERATOR(~>)`. */
function editAt(text: Text, at: number, operator: Operator, reading: Reading): Edit {
  const end = operatorEnd(text.bytes, at, operator);
  if (end < 0) throw new NotEditable();
  const blank = at > 0 && continuesName(text.bytes[at - 1]!);
  const start = sourceOffset(text, at);
  const stop = sourceOffset(text, end);
  // Not its own length: spelled with escapes, or split over the two halves of a literal.
  if (stop - start !== end - at && reading.source.subarray(start, stop).includes(0x27))
    throw new NotEditable();
  return editOf(operator, start, stop, blank);
}

/** The variables and parameters that a statement declares as text: of a function, of PREPARE. */
function declaredScope(statement: unknown, scope: Scope): Scope {
  const types = listOf(as(statement, 'PrepareStmt')?.argtypes);
  if (types.length > 0) {
    const textParameters = new Set<number>();
    types.forEach((type, i) => {
      if (typeKnowledge(as(type, 'TypeName')) === 'text') textParameters.add(i + 1);
    });
    return { ...scope, textParameters };
  }
  const fn = as(statement, 'CreateFunctionStmt');
  if (fn === undefined) return scope;
  const textNames = new Set<string>();
  const textParameters = new Set<number>();
  let position = 0;
  for (const item of listOf(fn.parameters)) {
    const parameter = as(item, 'FunctionParameter')!;
    const output = parameter.mode === 'FUNC_PARAM_OUT' || parameter.mode === 'FUNC_PARAM_TABLE';
    if (!output) position++;
    if (typeKnowledge(parameter.argType) !== 'text') continue;
    if (typeof parameter.name === 'string') textNames.add(parameter.name);
    if (!output) textParameters.add(position);
  }
  return { textNames, textParameters };
}
