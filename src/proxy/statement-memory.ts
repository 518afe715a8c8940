import type { Rewritten } from '../rewrite/rewriter.js';

/** What is known of a statement that the rewriter had something to say of. */
export interface StatementFacts {
  /** Its text mentions df: the end of its transaction may have made work runnable. */
  readonly mentions: boolean;
  /** Its text was replaced, and the server's positions point into the replacement. */
  readonly rewritten: { readonly by: Rewritten; readonly original: Buffer } | null;
}

/** What a message of the client asks of statements and portals. */
export type Request =
  | { readonly kind: 'query'; readonly facts: StatementFacts }
  /** Facts: undefined where there is nothing to know. */
  | { readonly kind: 'parse'; readonly name: string; readonly facts: StatementFacts | undefined }
  | { readonly kind: 'bind'; readonly portal: string; readonly statement: string }
  | { readonly kind: 'execute'; readonly portal: string }
  | ({ readonly kind: 'describe' | 'close' } & NamedObject);

/** A prepared statement, or else a portal. */
interface NamedObject {
  readonly statement: boolean;
  readonly name: string;
}

/** What is kept of a session's prepared statements at most: statements, and bytes of their texts. */
const MAX_STATEMENTS = 10_000;
const MAX_BYTES = 64 * 1024 * 1024;

/**
 * The prepared statements and portals of a session of which there are facts, by name; the unnamed ones have the name
 * ''. Ordinary statements leave nothing here.
 *
 * It knows what the server knows at the place in the conversation that its answers have come to: a request is applied
 * when the server has obeyed it (a Parse of a name that is in use fails, and the statement stays what it was). The
 * server can forget a statement without a word of the protocol (DEALLOCATE). So what is kept is bounded: beyond that
 * the oldest are forgotten, which costs the exact position in an error and a wake-up that comes with the next poll.
 */
export class StatementMemory {
  readonly #statements = new Map<string, StatementFacts>();
  readonly #portals = new Map<string, StatementFacts>();
  #bytes = 0;

  /** True while there are no facts of any statement. */
  get empty(): boolean {
    return this.#statements.size === 0 && this.#portals.size === 0;
  }

  /** What is known of the statement that the server is at when it answers the request. */
  factsOf(request: Request): StatementFacts | undefined {
    switch (request.kind) {
      case 'query':
      case 'parse':
        return request.facts;
      case 'bind':
        return this.#statements.get(request.statement);
      case 'execute':
        return this.#portals.get(request.portal);
      case 'describe':
        return (request.statement ? this.#statements : this.#portals).get(request.name);
      case 'close':
        return undefined;
    }
  }

  /** The server has obeyed the request. */
  apply(request: Request): void {
    switch (request.kind) {
      case 'parse':
        this.#parsed(request.name, request.facts);
        break;
      case 'bind':
        put(this.#portals, request.portal, this.#statements.get(request.statement));
        break;
      case 'close':
        if (request.statement) this.#forget(request.name);
        else this.#portals.delete(request.name);
        break;
      case 'query':
      case 'execute':
      case 'describe':
    }
  }

  /** Number of statements and bytes of their texts, for tests. */
  get kept(): { statements: number; bytes: number } {
    return { statements: this.#statements.size, bytes: this.#bytes };
  }

  /** A transaction has ended: portals end with it. */
  transactionEnded(): void {
    if (this.#portals.size > 0) this.#portals.clear();
  }

  #parsed(name: string, facts: StatementFacts | undefined): void {
    this.#forget(name);
    if (facts === undefined) return;
    this.#statements.set(name, facts);
    this.#bytes += size(facts);
    if (this.#bytes <= MAX_BYTES && this.#statements.size <= MAX_STATEMENTS) return;
    for (const oldest of this.#statements.keys()) {
      if (oldest === name || (this.#bytes <= MAX_BYTES && this.#statements.size <= MAX_STATEMENTS)) break;
      this.#forget(oldest);
    }
  }

  #forget(name: string): void {
    const facts = this.#statements.get(name);
    if (facts === undefined) return;
    this.#bytes -= size(facts);
    this.#statements.delete(name);
  }
}

function size({ rewritten }: StatementFacts): number {
  return rewritten === null ? 0 : rewritten.original.length + rewritten.by.sql.length;
}

function put(map: Map<string, StatementFacts>, name: string, facts: StatementFacts | undefined): void {
  if (facts !== undefined) map.set(name, facts);
  else map.delete(name);
}
