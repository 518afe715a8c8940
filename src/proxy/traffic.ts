import type { SessionSyntax, StatementRewriter } from '../rewrite/rewriter.js';
import { Status } from '../wire/codes.js';
import { Conversation } from '../wire/conversation.js';
import { type StatementFacts, StatementMemory } from './statement-memory.js';

/** What the two directions of a session know in common. */
export interface Traffic {
  readonly conversation: Conversation<StatementFacts>;
  readonly memory: StatementMemory;
  /** As the server last reported it. */
  readonly syntax: SessionSyntax;
  /** Null where nothing is rewritten: replication connections and databases without df. */
  readonly rewriter: StatementRewriter | null;
  readonly maxRewriteBytes: number;
  /** The status of the last ReadyForQuery; 0 before the first. */
  status: number;
  /** Gets the body of the server's BackendKeyData, a part of a buffer that will not be kept. */
  onCancelKey: (key: Buffer) => void;
}

export function newTraffic(rewriter: StatementRewriter | null, maxRewriteBytes: number): Traffic {
  return {
    conversation: new Conversation(),
    memory: new StatementMemory(),
    syntax: { clientEncoding: 'UTF8', standardConformingStrings: true },
    rewriter,
    maxRewriteBytes,
    status: 0,
    onCancelKey: () => {},
  };
}

/** Nothing is under way and no transaction is open. */
export function isIdle(traffic: Traffic): boolean {
  return traffic.status === Status.Idle && traffic.conversation.idle;
}
