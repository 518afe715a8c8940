import type { SessionSyntax, StatementRewriter } from '../rewrite/rewriter.js';
import { Status } from '../wire/codes.js';
import { Conversation } from '../wire/conversation.js';
import type { PrivateNotice } from './private-notice.js';
import { type Request, StatementMemory } from './statement-memory.js';

/** What the two directions of a session know in common. */
export interface Traffic {
  readonly conversation: Conversation<Request>;
  readonly memory: StatementMemory;
  /** As the server last reported it. */
  readonly syntax: SessionSyntax;
  /** Null where nothing is rewritten: replication connections and databases without df. */
  readonly rewriter: StatementRewriter | null;
  readonly maxRewriteBytes: number;
  /** The status of the last ReadyForQuery; 0 before the first. */
  status: number;
  /** A statement that mentions df has been executed since the last transaction ended. */
  mentioned: boolean;
  /** Of the Query that is being answered: statements whose CommandComplete has come. */
  completed: number;
  /** Gets the body of the server's BackendKeyData, a part of a buffer that will not be kept. */
  onCancelKey: (key: Buffer) => void;
  /** Gets the messages that are for the proxy; null: there are none. */
  onPrivateNotice: ((notice: PrivateNotice) => void) | null;
}

export function newTraffic(rewriter: StatementRewriter | null, maxRewriteBytes: number): Traffic {
  const memory = new StatementMemory();
  const traffic: Traffic = {
    conversation: new Conversation((request) => {
      const executes = request.kind === 'query' || request.kind === 'execute';
      if (executes && memory.factsOf(request)?.mentions) traffic.mentioned = true;
      memory.apply(request);
    }),
    memory,
    syntax: { clientEncoding: 'UTF8', standardConformingStrings: true },
    rewriter,
    maxRewriteBytes,
    status: 0,
    mentioned: false,
    completed: 0,
    onCancelKey: () => {},
    onPrivateNotice: null,
  };
  return traffic;
}

/** Nothing is under way and no transaction is open. */
export function isIdle(traffic: Traffic): boolean {
  return traffic.status === Status.Idle && traffic.conversation.idle;
}
