import { LRUCache } from 'lru-cache';
import { rewriteStatement } from './analyse.js';
import type { Edited } from './edit.js';
import type { ExtensionBodies } from './extension.js';
import { LargeStatements } from './large.js';
import { Parser } from './parser.js';
import { type PositionMap, positionMap } from './positions.js';
import { PRODUCT, scan } from './recognise.js';
import { survey } from './survey.js';
import { readStatement, type SessionSyntax, type Text } from './text.js';

/**
 * The way of a statement through this folder: recognise (bytes) → survey (tokens) → analyse (tree, bodies) →
 * edit (text) → positions. Each stage is rarely passed to the next.
 */

export type { PositionMap } from './positions.js';
export { MENTIONS_DF, OPERATORS, PRODUCT } from './recognise.js';
export type { SessionSyntax } from './text.js';

export interface Rewritten {
  /** The statement to send instead. Shared by all who sent the same text: do not write to it. */
  sql: Buffer;
  positions: PositionMap;
  /** By their place (the first is 0): statements of which the user is to see another command tag. */
  tags: ReadonlyMap<number, string> | null;
  /** Contexts of reports may show what a statement about the extension has become. */
  blocks: boolean;
}

export interface StatementRewriter {
  /** Stage one: the flags OPERATORS, MENTIONS_DF and PRODUCT that the bytes [start, end) raise; cheap for any text. */
  scan(buf: Buffer, start: number, end: number): number;
  /**
   * The statement with its DSL operators qualified and statements about the extension replaced; null if it is to be sent as it is. `sql` has no NUL at its
   * end and may be reused by the caller as soon as this returns. A promise where the statement is large (it is
   * read in a worker thread) or the parser is being rebuilt. Never throws and never rejects: what cannot be
   * read is the server's to complain about.
   */
  rewrite(sql: Buffer, syntax: SessionSyntax): Rewritten | null | Promise<Rewritten | null>;
  /** For sessions of other databases, where CREATE EXTENSION pg_durable is refused with a text of its own. */
  readonly elsewhere: StatementRewriter;
  close(): Promise<void>;
}

export interface RewriterOptions {
  /** Statements remembered, rewritten or not; default 2000. */
  cacheEntries?: number;
  /** What statements about the extension become; by default they are the server's. */
  extension?: ExtensionBodies;
  /** Bytes that they and their rewritten texts may take; default 16 MiB. */
  cacheBytes?: number;
  /** Statements of more bytes than this go to the worker thread; default 64 KiB. */
  largeStatementBytes?: number;
  /** Statements of more tokens than this go there as well: a parse costs about 1 µs for each; default 1000. */
  largeStatementTokens?: number;
  /** Statements of more bytes than this pass unread; default 16 MiB. */
  maxBytes?: number;
  /** How long the worker thread may take for one statement, in ms; after that it passes unread; default 5 s. */
  largeTimeoutMs?: number;
}

/** Texts above this are not remembered. */
const CACHED_BYTES = 64 * 1024;
/** What an entry takes besides its text. */
const ENTRY_BYTES = 200;

type Outcome = Rewritten | { sql: null };

/** Builds a rewriter and warms its parser (20–40 ms). */
export async function createRewriter(options: RewriterOptions = {}): Promise<StatementRewriter> {
  const {
    cacheEntries = 2000,
    cacheBytes = 16 * 1024 * 1024,
    largeStatementBytes = 64 * 1024,
    largeStatementTokens = 1000,
    maxBytes = 16 * 1024 * 1024,
    largeTimeoutMs = 5000,
    extension = null,
  } = options;
  const parser = new Parser();
  await parser.load();
  const large = new LargeStatements(largeTimeoutMs, extension);
  const cache = new LRUCache<string, Outcome>({
    max: cacheEntries,
    maxSize: cacheBytes,
    sizeCalculation: (outcome, key) =>
      key.length + ENTRY_BYTES + (outcome.sql === null ? 0 : 2 * outcome.sql.length),
  });

  const settle = (key: string | null, source: Buffer, syntax: SessionSyntax, edited: Edited | null) => {
    const rewritten =
      edited === null
        ? null
        : {
            sql: edited.sql,
            positions: positionMap(source, edited.spans, syntax.clientEncoding),
            tags: edited.tags,
            blocks: edited.blocks,
          };
    if (key !== null) cache.set(key, rewritten ?? { sql: null });
    return rewritten;
  };

  const analyseHere = (
    key: string | null,
    text: Text,
    source: Buffer,
    syntax: SessionSyntax,
    elsewhere: boolean,
  ) => {
    const edited = rewriteStatement(text, source, syntax, parser, { extension, elsewhere });
    // Start on the next instance at once; the statements until then wait for it.
    if (!parser.ready) parser.load().catch(() => {});
    return settle(key, source, syntax, edited);
  };

  const rewrite = (
    sql: Buffer,
    syntax: SessionSyntax,
    elsewhere: boolean,
  ): Rewritten | null | Promise<Rewritten | null> => {
    if (sql.length > maxBytes) return null;
    const key = sql.length <= CACHED_BYTES ? cacheKey(sql, syntax, elsewhere) : null;
    if (key !== null) {
      const known = cache.get(key);
      if (known !== undefined) return known.sql === null ? null : known;
    }
    // From here on a copy: the caller's bytes are his again when this returns.
    const source = sql.length <= largeStatementBytes ? Buffer.from(sql) : shareable(sql);
    if (source.length <= largeStatementBytes) {
      const text = readStatement(source, syntax);
      if (text === null) return settle(key, source, syntax, null);
      const { worthParsing, tokens } = survey(text.bytes);
      if (!worthParsing) return settle(key, source, syntax, null);
      if (tokens <= largeStatementTokens) {
        if (parser.ready) return analyseHere(key, text, source, syntax, elsewhere);
        return parser.load().then(
          () => analyseHere(key, text, source, syntax, elsewhere),
          () => null,
        );
      }
    }
    return large.analyse(source, syntax, elsewhere).then((edited) => {
      // Not read is not an outcome: the same text may be luckier next time.
      return edited === undefined ? null : settle(key, source, syntax, edited);
    });
  };

  const guarded = (elsewhere: boolean) => (sql: Buffer, syntax: SessionSyntax) => {
    try {
      return rewrite(sql, syntax, elsewhere);
    } catch {
      return null;
    }
  };
  const close = () => large.close();
  const elsewhere: StatementRewriter = {
    scan: (buf, start, end) => scan(buf, start, end) & PRODUCT,
    rewrite: guarded(true),
    get elsewhere() {
      return elsewhere;
    },
    close,
  };
  return {
    scan,
    rewrite: guarded(false),
    elsewhere,
    close,
  };
}

/** A copy that the worker thread can read without another one. */
function shareable(sql: Buffer): Buffer {
  const copy = Buffer.from(new SharedArrayBuffer(sql.length));
  sql.copy(copy);
  return copy;
}

/** Most sessions have these settings; the others carry theirs in the key. */
function cacheKey(
  sql: Buffer,
  { clientEncoding, standardConformingStrings }: SessionSyntax,
  elsewhere: boolean,
): string {
  const text = sql.toString('latin1');
  if (clientEncoding === 'UTF8' && standardConformingStrings && !elsewhere) return text;
  // NUL is in no statement.
  return `${text}\0${clientEncoding}\0${standardConformingStrings}\0${elsewhere}`;
}
