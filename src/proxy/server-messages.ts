import { Backend, Status } from '../wire/codes.js';
import { type FrameReader, WHOLE } from '../wire/framer.js';
import { cstring, message as wireMessage } from '../wire/message.js';
import { readParameterStatus } from '../wire/parameter-status.js';
import { CODE_WITHIN, isPrivate, MAX_PRIVATE_NOTICE, readPrivateNotice } from './private-notice.js';
import { withoutBlocks } from './report-contexts.js';
import { withOriginalPositions } from './report-positions.js';
import type { StatementFacts } from './statement-memory.js';
import type { Traffic } from './traffic.js';

/** A report longer than this is passed as it is rather than held. */
const MAX_REPORT = 1024 * 1024;
const MAX_PARAMETER_STATUS = 64 * 1024;
const NOTHING = Buffer.alloc(0);
/** Of protocol 3.2: process id, a secret of at most 256 bytes, the header. */
const MAX_KEY = 5 + 4 + 256;

/**
 * What the proxy sees of the server's messages: which statement they answer, the settings that decide how statements
 * are read, the end of each transaction, and the positions in reports on rewritten statements. The command tags of
 * statements that have become others are put back. It adds nothing, and removes nothing but the messages that are for
 * the proxy (private-notice.ts).
 */
export class ServerMessages implements FrameReader {
  readonly #traffic: Traffic;
  readonly #onReady: (committedWork: boolean) => void;
  readonly pass: (bytes: Buffer) => void;

  /**
   * @param onReady called at every ReadyForQuery, after it has been noted and before it is passed on; true when a
   *   transaction has ended in which df was mentioned
   */
  constructor(traffic: Traffic, pass: (bytes: Buffer) => void, onReady: (committedWork: boolean) => void) {
    this.#traffic = traffic;
    this.pass = pass;
    this.#onReady = onReady;
  }

  header(type: number, total: number): number {
    switch (type) {
      case Backend.DataRow:
      case Backend.CopyData:
        return 0;
      case Backend.ReadyForQuery:
        return total;
      case Backend.ParameterStatus:
        return total <= MAX_PARAMETER_STATUS ? total : 0;
      case Backend.NoticeResponse:
        if (this.#traffic.onPrivateNotice !== null) return Math.min(total, CODE_WITHIN);
        this.#traffic.conversation.answered(type);
        return 0;
      case Backend.ErrorResponse:
        if (total <= MAX_REPORT && this.#facts()?.rewritten) return total;
        this.#traffic.conversation.answered(type);
        return 0;
      case Backend.CommandComplete:
        if (this.#traffic.conversation.tagged && this.#facts()?.rewritten?.by.tags) return total;
        this.#traffic.conversation.answered(type);
        return 0;
      case Backend.BackendKeyData:
        if (total <= MAX_KEY) return total;
        this.#traffic.conversation.answered(type);
        return 0;
      default:
        this.#traffic.conversation.answered(type);
        return 0;
    }
  }

  message(type: number, buf: Buffer, start: number, end: number): Buffer | undefined | typeof WHOLE {
    const { conversation, memory, syntax } = this.#traffic;
    switch (type) {
      case Backend.ReadyForQuery: {
        conversation.answered(type);
        this.#traffic.completed = 0;
        const status = buf[start + 5] ?? 0;
        this.#traffic.status = status;
        let committedWork = false;
        if (status === Status.Idle) {
          committedWork = this.#traffic.mentioned;
          this.#traffic.mentioned = false;
          memory.transactionEnded();
        }
        this.#onReady(committedWork);
        return undefined;
      }
      case Backend.BackendKeyData:
        conversation.answered(type);
        this.#traffic.onCancelKey(buf.subarray(start + 5, end));
        return undefined;
      case Backend.ParameterStatus: {
        const parameter = readParameterStatus(buf, start, end);
        if (parameter?.name === 'client_encoding') syntax.clientEncoding = parameter.value;
        else if (parameter?.name === 'standard_conforming_strings') {
          syntax.standardConformingStrings = parameter.value === 'on';
        }
        return undefined;
      }
      case Backend.CommandComplete: {
        const tag = this.#ownTag();
        this.#traffic.completed++;
        this.#traffic.conversation.answered(type);
        return tag === undefined ? undefined : wireMessage(type, cstring(tag));
      }
      case Backend.NoticeResponse:
        return this.#notice(buf, start, end);
      default:
        return this.#report(type, buf, start, end);
    }
  }

  #notice(buf: Buffer, start: number, end: number): Buffer | undefined | typeof WHOLE {
    const total = 1 + buf.readUInt32BE(start + 1);
    const mine = isPrivate(buf, start, end) && total <= MAX_PRIVATE_NOTICE;
    const wanted = mine || (total <= MAX_REPORT && this.#facts()?.rewritten);
    if (wanted && end - start < total) return WHOLE;
    if (mine) {
      const notice = readPrivateNotice(buf.subarray(start, end));
      if (notice !== undefined) this.#traffic.onPrivateNotice?.(notice);
      return NOTHING;
    }
    if (wanted) return this.#report(Backend.NoticeResponse, buf, start, end);
    this.#traffic.conversation.answered(Backend.NoticeResponse);
    return undefined;
  }

  #report(type: number, buf: Buffer, start: number, end: number): Buffer | undefined {
    const { conversation, syntax } = this.#traffic;
    const facts = this.#facts();
    const replaced = this.#ownTag() !== undefined;
    conversation.answered(type);
    if (facts === undefined) return undefined;
    const raw = withOriginalPositions(buf.subarray(start, end), facts, syntax);
    return facts.rewritten?.by.blocks ? withoutBlocks(raw, replaced) : raw;
  }

  /** The command tag that the user is to see of the statement at which the server is, where it has become another. */
  #ownTag(): string | undefined {
    const { conversation, completed } = this.#traffic;
    const tags = this.#facts()?.rewritten?.by.tags;
    // A prepared statement is one statement; a Query may hold several.
    return tags?.get(conversation.tag?.kind === 'query' ? completed : 0);
  }

  /** Of the statement that is being answered. */
  #facts(): StatementFacts | undefined {
    const { conversation, memory } = this.#traffic;
    const request = conversation.tag;
    return request === undefined ? undefined : memory.factsOf(request);
  }
}
