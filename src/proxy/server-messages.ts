import { Backend, Status } from '../wire/codes.js';
import type { FrameReader } from '../wire/framer.js';
import { readParameterStatus } from '../wire/parameter-status.js';
import { withOriginalPositions } from './report-positions.js';
import type { StatementFacts } from './statement-memory.js';
import type { Traffic } from './traffic.js';

/** A report longer than this is passed as it is rather than held. */
const MAX_REPORT = 1024 * 1024;
const MAX_PARAMETER_STATUS = 64 * 1024;
/** Of protocol 3.2: process id, a secret of at most 256 bytes, the header. */
const MAX_KEY = 5 + 4 + 256;

/**
 * What the proxy sees of the server's messages: which statement they answer, the settings that decide how statements
 * are read, the end of each transaction, and the positions in reports on rewritten statements. It adds and removes
 * nothing.
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
      case Backend.ErrorResponse:
      case Backend.NoticeResponse:
        if (total <= MAX_REPORT && this.#facts()?.rewritten) return total;
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

  message(type: number, buf: Buffer, start: number, end: number): Buffer | undefined {
    const { conversation, memory, syntax } = this.#traffic;
    switch (type) {
      case Backend.ReadyForQuery: {
        conversation.answered(type);
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
      default: {
        const facts = this.#facts();
        conversation.answered(type);
        return facts === undefined
          ? undefined
          : withOriginalPositions(buf.subarray(start, end), facts, syntax);
      }
    }
  }

  /** Of the statement that is being answered. */
  #facts(): StatementFacts | undefined {
    const { conversation, memory } = this.#traffic;
    const request = conversation.tag;
    return request === undefined ? undefined : memory.factsOf(request);
  }
}
