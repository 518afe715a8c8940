/**
 * The operators of df in the SQL of steps: the executor's sessions are the server's own, and the server does not know
 * them. Where a step starts another function, `SELECT df.start('...' ~> '...')`, its text goes the way of a client's
 * statement. Statements about the extension and its settings stay what they are.
 */
import { OPERATORS, scan } from '../rewrite/recognise.js';
import { createRewriter, type PositionMap, type StatementRewriter } from '../rewrite/rewriter.js';
import type { ServerError } from '../upstream/session.js';

/** What a session of a step is started with (serve.ts). */
const SYNTAX = { clientEncoding: 'UTF8', standardConformingStrings: true } as const;

/** Most steps have no such characters; those that have are scanned in earnest. */
const POSSIBLE = /[~?!@]>|\|=>|[&|]/;

/** A step's statements as they are sent. */
export interface SentStatements {
  readonly sql: readonly string[];
  /** The server's error at one of them, its position and context in terms of what the user wrote. */
  readonly original: (error: ServerError, failing: number) => ServerError;
}

/** Whether there may be something to qualify. Cheap. */
export function mayHaveOperators(statements: readonly string[]): boolean {
  return statements.some(mayHave);
}

function mayHave(sql: string): boolean {
  if (!POSSIBLE.test(sql)) return false;
  const bytes = Buffer.from(sql);
  return (scan(bytes, 0, bytes.length) & OPERATORS) !== 0;
}

export class StepOperators {
  readonly #maxBytes: number;
  /** Made when a step first needs it: its parser takes memory, and most installations never do. */
  #rewriter: Promise<StatementRewriter | null> | null = null;

  /** @param maxBytes statements of more bytes than this are sent as they are */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Null: they are sent as they are. */
  async qualify(statements: readonly string[]): Promise<SentStatements | null> {
    const rewriter = await this.#load();
    if (rewriter === null) return null;
    const maps = new Map<number, PositionMap>();
    const sql = [...statements];
    for (const [index, statement] of statements.entries()) {
      if (!mayHave(statement)) continue;
      const rewritten = await rewriter.rewrite(Buffer.from(statement), SYNTAX);
      if (rewritten === null) continue;
      sql[index] = rewritten.sql.toString();
      maps.set(index, rewritten.positions);
    }
    if (maps.size === 0) return null;
    return { sql, original: (error, failing) => inOriginal(error, maps.get(failing)) };
  }

  async close(): Promise<void> {
    await (await this.#rewriter)?.close();
  }

  /** Null when it cannot be made, for want of memory: the next step tries again. */
  #load(): Promise<StatementRewriter | null> {
    this.#rewriter ??= createRewriter({ maxBytes: this.#maxBytes }).catch(() => {
      this.#rewriter = null;
      return null;
    });
    return this.#rewriter;
  }
}

function inOriginal(error: ServerError, positions: PositionMap | undefined): ServerError {
  if (positions === undefined) return error;
  return {
    ...error,
    position: error.position && String(positions.original(Number(error.position))),
    where: error.where?.replace(/OPERATOR\(df\.([^)\w\s]+)\)/g, '$1'),
  };
}
