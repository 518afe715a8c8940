import type { Span } from './body.js';
import { END, Lexer, PUNCTUATION, STRING, WORD } from './lexer.js';
import { literalContent } from './literal.js';
import type { Parser } from './parser.js';
import { assigned, isOurs, type SettingStatement, settingStatement } from './settings.js';
import type { Text } from './text.js';
import { as, listOf, stringOf, type Tree } from './tree.js';

/**
 * Statements that name the extension pg_durable or its settings, as statements that the server itself can answer:
 *
 *   CREATE EXTENSION [IF NOT EXISTS] pg_durable …        DO '…'   tag CREATE EXTENSION
 *   ALTER EXTENSION pg_durable UPDATE …                  DO '…'   tag ALTER EXTENSION
 *   COMMENT ON EXTENSION pg_durable IS …                 DO '…'   tag COMMENT
 *   DROP EXTENSION [IF EXISTS] …, pg_durable, …          DO '…'   tag DROP EXTENSION
 *   SET, RESET, ALTER SYSTEM, ALTER ROLE, ALTER DATABASE pg_durable.x   DO '…'   the statement's own tag
 *   SHOW pg_durable.x                                    SELECT … tag SHOW
 *
 * The proxy puts the tag in place of the server's. All else about extensions (SET SCHEMA, ADD) is left to the
 * server, which knows no extension of that name.
 *
 * What is put in place is ASCII, on one line, without backslashes and dollar signs: in a literal only its quotes must be
 * doubled.
 */

/** plpgsql bodies in which the words in double braces are filled in here; from sql/extension. */
export interface ExtensionBodies {
  /** {{if_not_exists}} */
  readonly create: string;
  /** {{update}} */
  readonly alter: string;
  /** {{missing_ok}}, {{cascade}}, {{others}} */
  readonly drop: string;
  /** CREATE EXTENSION in another database than the control database. */
  readonly createElsewhere: string;
}

/** What a statement becomes. */
export interface Replacement {
  /** Of the statement as the user wrote it, in CommandComplete. */
  readonly tag: string;
  readonly sql: string;
}

const NAME = 'pg_durable';

/** The replacement of a statement by its tree; null: it is not ours. */
export function replacementOf(
  statement: unknown,
  bodies: ExtensionBodies,
  elsewhere: boolean,
): Replacement | null {
  const create = as(statement, 'CreateExtensionStmt');
  if (create !== undefined) {
    if (create.extname !== NAME) return null;
    const body = elsewhere ? bodies.createElsewhere : bodies.create;
    const sql = block(
      'CREATE EXTENSION',
      fill(body, { if_not_exists: String(create.if_not_exists === true) }),
    );
    return { tag: 'CREATE EXTENSION', sql };
  }
  if (elsewhere) return null;
  const alter = as(statement, 'AlterExtensionStmt');
  if (alter !== undefined) {
    if (alter.extname !== NAME) return null;
    return { tag: 'ALTER EXTENSION', sql: block('ALTER EXTENSION', fill(bodies.alter, { update: 'true' })) };
  }
  const comment = as(statement, 'CommentStmt');
  if (comment !== undefined) {
    if (comment.objtype !== 'OBJECT_EXTENSION' || stringOf(comment.object) !== NAME) return null;
    return { tag: 'COMMENT', sql: block('COMMENT', fill(bodies.alter, { update: 'false' })) };
  }
  const drop = as(statement, 'DropStmt');
  if (drop !== undefined) return dropped(drop, bodies.drop);
  const setting = settingStatement(statement);
  return setting === null ? null : changed(setting);
}

function dropped(drop: Tree, body: string): Replacement | null {
  if (drop.removeType !== 'OBJECT_EXTENSION') return null;
  const names = listOf(drop.objects).map((name) => stringOf(name) ?? '');
  if (!names.includes(NAME)) return null;
  const cascade = drop.behavior === 'DROP_CASCADE';
  const missingOk = drop.missing_ok === true;
  const others = names.filter((name) => name !== NAME);
  // Names that the literal around could not hold are left to the server.
  if (!others.every((name) => /^[\x20-\x7e]+$/.test(name) && !/[\\$]/.test(name))) return null;
  const list = others.map((name) => `"${name.replaceAll('"', '""')}"`).join(', ');
  const first =
    others.length === 0
      ? ''
      : `DROP EXTENSION ${missingOk ? 'IF EXISTS ' : ''}${list}${cascade ? ' CASCADE' : ''};`;
  const filled = fill(body, { others: first, missing_ok: String(missingOk), cascade: String(cascade) });
  return { tag: 'DROP EXTENSION', sql: block('DROP EXTENSION', filled) };
}

function changed({ tag, name, value, scope }: SettingStatement): Replacement {
  if (scope === 'show') {
    return { tag, sql: `SELECT _df.shown_setting(${literal(name)}) AS "${name.replaceAll('"', '""')}"` };
  }
  const call = `_df.change_setting(${literal(name)}, ${value === null ? 'NULL' : literal(value)}, ${literal(scope)})`;
  return { tag, sql: block(tag, `BEGIN PERFORM ${call}; END`) };
}

function fill(body: string, values: Readonly<Record<string, string>>): string {
  return body.replace(/\{\{(\w+)\}\}/g, (_, name: string) => values[name] ?? '');
}

/** How the block of a statement begins and ends, by which reports.ts finds it in a context. */
export const BLOCK_HEAD = "DO '/* pg_durable: ";
export const BLOCK_TAIL = "/* pg_durable */'";

function block(tag: string, body: string): string {
  return `${BLOCK_HEAD}${tag} */ ${body.replaceAll("'", "''")} ${BLOCK_TAIL}`;
}

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** A statement of ours in a text that is not a list of statements, with its place. */
export interface Found extends Span {
  readonly replacement: Replacement;
}

/**
 * Statements of ours in a plpgsql body: what begins behind a semicolon or a word that statements follow and ends at the
 * next semicolon. `literals` are what EXECUTE is given as a plain literal: texts of their own.
 */
export function inBody(
  body: Text,
  parser: Parser,
  bodies: ExtensionBodies,
  elsewhere: boolean,
): { found: Found[]; literals: Text[] } {
  const found: Found[] = [];
  const literals: Text[] = [];
  const lexer = new Lexer(body.bytes);
  let begins = true;
  for (let kind = lexer.next(); kind !== END; kind = lexer.next()) {
    const word = kind === WORD ? lexer.raw().toLowerCase() : '';
    if (begins && STARTS.has(word)) {
      const statement = readStatement(body.bytes, lexer);
      const replacement = statement && replace(body.bytes, statement, parser, bodies, elsewhere);
      if (replacement) found.push({ ...statement, replacement });
      begins = true;
      continue;
    }
    if (begins && word === 'execute') {
      kind = lexer.next();
      const { start, end } = lexer;
      if (kind === STRING && lexer.next() === PUNCTUATION && lexer.raw() === ';') {
        const semicolon = lexer.end;
        const content = literalContent(body, start);
        if (content !== null) literals.push(content);
        lexer.end = semicolon;
        begins = true;
        continue;
      }
      lexer.end = end;
      begins = false;
      continue;
    }
    begins = (kind === PUNCTUATION && lexer.raw() === ';') || BEFORE_STATEMENT.has(word);
  }
  return { found, literals };
}

const STARTS = new Set(['create', 'alter', 'comment', 'drop', 'set', 'reset']);
const BEFORE_STATEMENT = new Set(['begin', 'then', 'else', 'loop']);

/** From the token that the lexer is at up to the semicolon, at which it is left. */
function readStatement(text: Buffer, lexer: Lexer): Span | null {
  const { start } = lexer;
  let end = lexer.end;
  for (let kind = lexer.next(); kind !== END; kind = lexer.next()) {
    if (kind === PUNCTUATION && text[lexer.start] === 0x3b) return { start, end };
    end = lexer.end;
  }
  return null;
}

function replace(
  text: Buffer,
  { start, end }: Span,
  parser: Parser,
  bodies: ExtensionBodies,
  elsewhere: boolean,
): Replacement | null {
  const statement = text.subarray(start, end);
  if (!/pg_durable/i.test(statement.toString('latin1'))) return null;
  const tree = parser.parse(statement);
  const [raw, ...others] = listOf(tree?.stmts) as Tree[];
  return raw === undefined || others.length > 0 ? null : replacementOf(raw.stmt, bodies, elsewhere);
}

/** Where a statement of a list begins and ends, without the blanks and comments around it. */
export function extent(text: Buffer, raw: Tree): Span | null {
  const from = Number(raw.stmt_location ?? 0);
  const to = raw.stmt_len === undefined ? text.length : from + Number(raw.stmt_len);
  const lexer = new Lexer(text);
  lexer.end = from;
  if (lexer.next() === END) return null;
  const { start } = lexer;
  let { end } = lexer;
  while (lexer.next() !== END && lexer.end <= to) end = lexer.end;
  return { start, end };
}

/**
 * Calls of set_config and current_setting for a setting of ours, by its literal name: where the function's name stands,
 * and the one that is ours.
 */
export function settingCalls(
  text: Buffer,
  calls: readonly Tree[],
): { at: number; end: number; name: string }[] {
  const found: { at: number; end: number; name: string }[] = [];
  for (const call of calls) {
    const names = listOf(call.funcname).map((name) => stringOf(name) ?? '');
    const name = names.at(-1)!;
    if (name !== 'set_config' && name !== 'current_setting') continue;
    if (names.length > 2 || (names.length === 2 && names[0] !== 'pg_catalog')) continue;
    const first = assigned(listOf(call.args)[0]);
    if (first === null || !isOurs(first)) continue;
    const lexer = new Lexer(text);
    lexer.end = Number(call.location ?? 0);
    let [start, end] = [-1, -1];
    for (let kind = lexer.next(); kind !== END && lexer.raw() !== '('; kind = lexer.next()) {
      if (start < 0) start = lexer.start;
      end = lexer.end;
    }
    if (start >= 0) found.push({ at: start, end, name: `_df.${name}` });
  }
  return found;
}
