import { type Body, bodyOf, declaredBody, literalsWith, type Span } from './body.js';
import { applyEdits, type Edit, type Edited, editOf, inOrder } from './edit.js';
import {
  type ExtensionBodies,
  extent,
  inBody,
  type Replacement,
  replacementOf,
  settingCalls,
} from './extension.js';
import { continuesName, operatorEnd } from './lexer.js';
import { NO_SCOPE, type Scope, typeKnowledge } from './operands.js';
import type { Operator } from './operators.js';
import { findOurs, unqualified } from './ours.js';
import type { Parser } from './parser.js';
import { plpgsqlOperators } from './plpgsql.js';
import { conforming, type SessionSyntax, sourceOffset, type Text } from './text.js';
import { as, listOf, type Tree, walk } from './tree.js';

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
  /** Null: statements about the extension are the server's. */
  extension: ExtensionBodies | null;
  /** It is not the control database: nothing is replaced but CREATE EXTENSION. */
  elsewhere: boolean;
  /** Gets the command tags of the outermost statements that are replaced. */
  tags: Map<number, string>;
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
  { extension = null, elsewhere = false }: { extension?: ExtensionBodies | null; elsewhere?: boolean } = {},
): Edited | null {
  const { standardConformingStrings } = syntax;
  const tags = new Map<number, string>();
  const reading = { parser, source, standardConformingStrings, depth: 0, extension, elsewhere, tags };
  const found = analyse(text, NO_SCOPE, reading);
  const edits = found === null ? null : inOrder(found);
  if (edits === null || edits.length === 0) return null;
  return applyEdits(source, edits, tags.size === 0 ? null : tags);
}

function analyse(text: Text, scope: Scope, reading: Reading): Edit[] | null {
  const tree = reading.parser.parse(text.bytes);
  if (tree === null) return null;
  try {
    const edits: Edit[] = [];
    for (const [index, raw] of (listOf(tree.stmts) as Tree[]).entries()) {
      const own = reading.extension && replacementOf(raw.stmt, reading.extension, reading.elsewhere);
      const place = own && extent(text.bytes, raw);
      if (own && place) {
        edits.push(replaceAt(text, place, own));
        if (reading.depth === 0) reading.tags.set(index, own.tag);
        continue;
      }
      const inner = declaredScope(raw.stmt, scope);
      if (!reading.elsewhere)
        for (const { fields, operator } of findOurs(raw.stmt, inner, unqualified)) {
          edits.push(editAt(text, Number(fields.location ?? 0), operator, reading));
        }
      if (reading.extension !== null && !reading.elsewhere) edits.push(...settingEdits(raw.stmt, text));
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

  const own = extensionEdits(content, reading);
  if (reading.elsewhere) return own;
  const before = holder.subarray(statement.start, body.literal.start);
  const after = holder.subarray(body.literal.end, statement.end);
  const { ours, nested } = plpgsqlOperators(content, before, after, scope, reading.parser);
  try {
    const edits = ours.map(({ at, operator }) => editAt(content, at, operator, reading));
    for (const inner of nested) edits.push(...nestedEdits(inner.statement, inner.text, content, reading));
    return [...edits, ...own];
  } catch (error) {
    if (error instanceof NotEditable) return own;
    throw error;
  }
}

/**
 * A DO or CREATE FUNCTION as a statement of a plpgsql body. Its own text has no place in the body, so that its
 * literal is found by what is in it: exactly one literal of the body must have that content.
 */
function nestedEdits(statement: unknown, text: Buffer, holder: Text, reading: Reading): Edit[] {
  const declared = declaredBody(statement);
  const own = bodyOf(statement, { bytes: text, base: 0, map: null, quotes: 0 });
  if (declared === null || own === null) return [];
  const literals = literalsWith(holder, declared.value);
  if (literals.length !== 1) return [];
  const body = { ...own, content: literals[0]! };
  return bodyEdits(body, text, { start: 0, end: text.length }, declaredScope(statement, NO_SCOPE), reading);
}

/** Statements about the extension and its settings in a plpgsql body, also those given to EXECUTE as literals. */
function extensionEdits(content: Text, reading: Reading): Edit[] {
  const { extension, elsewhere, parser } = reading;
  if (extension === null || !PRODUCT.test(content.bytes.toString('latin1'))) return [];
  const { found, literals } = inBody(content, parser, extension, elsewhere);
  const edits = found.map((one) => replaceAt(content, one, one.replacement));
  for (const literal of literals) {
    const text = conforming(literal, reading.standardConformingStrings);
    if (text === null || !PRODUCT.test(text.bytes.toString('latin1'))) continue;
    const tree = parser.parse(text.bytes);
    for (const raw of listOf(tree?.stmts) as Tree[]) {
      const own = replacementOf(raw.stmt, extension, elsewhere);
      const place = own && extent(text.bytes, raw);
      if (own && place) edits.push(replaceAt(text, place, own));
    }
  }
  return edits;
}

const PRODUCT = /pg_durable/i;

function settingEdits(statement: unknown, text: Text): Edit[] {
  const calls: Tree[] = [];
  walk(statement, (type, fields) => {
    if (type === 'FuncCall') calls.push(fields);
  });
  return settingCalls(text.bytes, calls).map(({ at, end, name }) => ({
    start: sourceOffset(text, at),
    end: sourceOffset(text, end),
    text: name,
  }));
}

/** The replacement of a statement. It has as many lines, so that those behind it keep their numbers. */
function replaceAt(text: Text, { start, end }: Span, { sql }: Replacement): Edit {
  let lines = '';
  for (let i = start; i < end; i++) if (text.bytes[i] === 0x0a) lines += '\n';
  const quotes = "'".repeat(2 ** text.quotes);
  return {
    start: sourceOffset(text, start),
    end: sourceOffset(text, end),
    text: sql.replaceAll("'", quotes) + lines,
  };
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
