import type { Rewritten } from '../rewrite/rewriter.js';

/** What is known of a statement that the rewriter had something to say of. */
export interface StatementFacts {
  /** Its text mentions df: the end of its transaction may have made work runnable. */
  readonly mentions: boolean;
  /** Its text was replaced, and the server's positions point into the replacement. */
  readonly rewritten: { readonly by: Rewritten; readonly original: Buffer } | null;
}

/**
 * The prepared statements and portals of a session of which there are facts, by name; the unnamed ones have the name
 * ''. Ordinary statements leave nothing here. Names are changed when the client's message is sent: the server obeys
 * in the same order.
 */
export class StatementMemory {
  readonly #statements = new Map<string, StatementFacts>();
  readonly #portals = new Map<string, StatementFacts>();

  /** True while Bind, Execute and Close need not be read. */
  get empty(): boolean {
    return this.#statements.size === 0 && this.#portals.size === 0;
  }

  parsed(name: string, facts: StatementFacts | undefined): void {
    put(this.#statements, name, facts);
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
    (object.statement ? this.#statements : this.#portals).delete(object.name);
  }

  /** A transaction has ended and nothing is under way: portals end with it. */
  transactionEnded(): void {
    if (this.#portals.size > 0) this.#portals.clear();
  }
}

function put(map: Map<string, StatementFacts>, name: string, facts: StatementFacts | undefined): void {
  if (facts !== undefined) map.set(name, facts);
  else map.delete(name);
}
