import type { Rewritten } from '../rewrite/rewriter.js';

/** What is known of a statement that the rewriter had something to say of. */
export interface StatementFacts {
  /** Its text mentions df: the end of its transaction may have made work runnable. */
  readonly mentions: boolean;
  /** Its text was replaced, and the server's positions point into the replacement. */
  readonly rewritten: { readonly by: Rewritten; readonly original: Buffer } | null;
}

/** What is kept of a session's prepared statements at most: statements, and bytes of their texts. */
const MAX_STATEMENTS = 10_000;
const MAX_BYTES = 64 * 1024 * 1024;

/**
 * The prepared statements and portals of a session of which there are facts, by name; the unnamed ones have the name
 * ''. Ordinary statements leave nothing here. Names are changed when the client's message is sent: the server obeys
 * in the same order.
 *
 * The server need not have taken a statement (its Parse failed), and can forget it without a word of the protocol
 * (DEALLOCATE). So what is kept is bounded: beyond that the oldest are forgotten, which costs the exact position in
 * an error and a wake-up that comes with the next poll.
 */
export class StatementMemory {
  readonly #statements = new Map<string, StatementFacts>();
  readonly #portals = new Map<string, StatementFacts>();
  #bytes = 0;

  /** True while Bind, Execute and Close need not be read. */
  get empty(): boolean {
    return this.#statements.size === 0 && this.#portals.size === 0;
  }

  parsed(name: string, facts: StatementFacts | undefined): void {
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

  /** Number of statements and bytes of their texts, for tests. */
  get kept(): { statements: number; bytes: number } {
    return { statements: this.#statements.size, bytes: this.#bytes };
  }

  bound(portal: string, statement: string): StatementFacts | undefined {
    const facts = this.#statements.get(statement);
    put(this.#portals, portal, facts);
    return facts;
  }

  executed(portal: string): StatementFacts | undefined {
    return this.#portals.get(portal);
  }

  described(object: { statement: boolean; name: string }): StatementFacts | undefined {
    return (object.statement ? this.#statements : this.#portals).get(object.name);
  }

  closed(object: { statement: boolean; name: string }): void {
    if (object.statement) this.#forget(object.name);
    else this.#portals.delete(object.name);
  }

  /** A transaction has ended and nothing is under way: portals end with it. */
  transactionEnded(): void {
    if (this.#portals.size > 0) this.#portals.clear();
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
