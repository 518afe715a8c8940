import { MENTIONS_DF, OPERATORS, PRODUCT, type Rewritten } from '../rewrite/rewriter.js';
import { Frontend } from '../wire/codes.js';
import type { FrameReader } from '../wire/framer.js';
import {
  bindNames,
  executePortal,
  namedObject,
  parseName,
  sqlEnd,
  sqlStart,
  withSql,
} from '../wire/statements.js';
import type { Request, StatementFacts } from './statement-memory.js';
import type { Traffic } from './traffic.js';

/** Enough of a Bind or Parse to see its names: the server tells no more than 63 bytes of them apart. */
const NAMES_PREFIX = 512;
/** Type and length. */
const HEADER_BYTES = 5;

/**
 * What the proxy sees of the client's messages. Query and Parse are scanned where they lie in the chunk; those that
 * the scan picks out are rewritten. Bind, Execute, Describe and Close are looked at only while the session has a
 * statement of which there is something to know, or one that the server may be about to make. Everything else is noted by its type and passes.
 */
export class ClientMessages implements FrameReader {
  readonly #traffic: Traffic;
  readonly pass: (bytes: Buffer) => void;

  constructor(traffic: Traffic, pass: (bytes: Buffer) => void) {
    this.#traffic = traffic;
    this.pass = pass;
  }

  header(type: number, total: number): number {
    const { rewriter, conversation } = this.#traffic;
    if (rewriter !== null) {
      switch (type) {
        case Frontend.Query:
          if (total <= this.#traffic.maxRewriteBytes) return total;
          break;
        case Frontend.Parse:
          if (total <= this.#traffic.maxRewriteBytes) return total;
          if (this.#watching) return NAMES_PREFIX;
          break;
        case Frontend.Bind:
        case Frontend.Execute:
        case Frontend.Describe:
        case Frontend.Close:
          if (this.#watching) return NAMES_PREFIX;
          break;
        default:
      }
    }
    // A Flush that is more than its header is an error, as a Describe may be; a good one has no answer.
    conversation.sent(type === Frontend.Flush && total !== HEADER_BYTES ? Frontend.Describe : type);
    return 0;
  }

  message(
    type: number,
    buf: Buffer,
    start: number,
    end: number,
  ): Buffer | undefined | Promise<Buffer | undefined> {
    switch (type) {
      case Frontend.Query:
      case Frontend.Parse:
        return this.#statement(type, buf, start, end);
      default:
        this.#traffic.conversation.sent(type, request(type, buf, start, end));
        return undefined;
    }
  }

  /** Whether names of statements and portals can mean one of which there are facts. */
  get #watching(): boolean {
    const { conversation, memory } = this.#traffic;
    return !memory.empty || conversation.tagged;
  }

  #statement(
    type: number,
    buf: Buffer,
    start: number,
    end: number,
  ): Buffer | undefined | Promise<Buffer | undefined> {
    const rewriter = this.#traffic.rewriter!;
    const from = sqlStart(type, buf, start, end);
    if (from < 0 || end - start !== messageSize(buf, start)) {
      // Malformed, or a Parse that is too large to be read.
      this.#note(type, buf, start, end, undefined);
      return undefined;
    }
    const flags = rewriter.scan(buf, from, end);
    if (flags === 0) {
      this.#note(type, buf, start, end, undefined);
      return undefined;
    }
    const to = sqlEnd(buf, from, end);
    const mentions = (flags & MENTIONS_DF) !== 0;
    // The server ends a text at its first NUL and then refuses the rest of a Query: its error, our silence.
    const readable = to >= 0 && (type === Frontend.Parse || to === end - 1);
    if ((flags & (OPERATORS | PRODUCT)) === 0 || !readable) {
      this.#note(type, buf, start, end, mentions ? { mentions, rewritten: null } : undefined);
      return undefined;
    }
    const original = buf.subarray(from, to);
    const rewritten = rewriter.rewrite(original, this.#traffic.syntax);
    if (rewritten instanceof Promise) {
      return rewritten.then((late) => this.#replace(type, buf, start, end, from, to, late, mentions));
    }
    return this.#replace(type, buf, start, end, from, to, rewritten, mentions);
  }

  #replace(
    type: number,
    buf: Buffer,
    start: number,
    end: number,
    from: number,
    to: number,
    rewritten: Rewritten | null,
    mentions: boolean,
  ): Buffer | undefined {
    if (rewritten === null) {
      this.#note(type, buf, start, end, mentions ? { mentions, rewritten: null } : undefined);
      return undefined;
    }
    // A copy: the chunk that it lies in need not stay in memory as long as a prepared statement does.
    const original = Buffer.from(buf.subarray(from, to));
    // A statement with an operator of ours makes work although it need not name df.
    this.#note(type, buf, start, end, { mentions: true, rewritten: { by: rewritten, original } });
    return withSql(type, buf, start, end, from, to, rewritten.sql);
  }

  #note(type: number, buf: Buffer, start: number, end: number, facts: StatementFacts | undefined): void {
    let noted: Request | undefined;
    if (type === Frontend.Query) {
      if (facts !== undefined) noted = { kind: 'query', facts };
    } else if (facts !== undefined || this.#watching) {
      const name = parseName(buf, start, end);
      if (name !== null) noted = { kind: 'parse', name, facts };
    }
    this.#traffic.conversation.sent(type, noted);
  }
}

/** What a Bind, Execute, Describe or Close asks for; undefined where its names are cut off. */
function request(type: number, buf: Buffer, start: number, end: number): Request | undefined {
  switch (type) {
    case Frontend.Bind: {
      const names = bindNames(buf, start, end);
      return names === null ? undefined : { kind: 'bind', ...names };
    }
    case Frontend.Execute: {
      const portal = executePortal(buf, start, end);
      return portal === null ? undefined : { kind: 'execute', portal };
    }
    case Frontend.Describe:
    case Frontend.Close: {
      const object = namedObject(buf, start, end);
      return object === null
        ? undefined
        : { kind: type === Frontend.Close ? 'close' : 'describe', ...object };
    }
    default:
      return undefined;
  }
}

function messageSize(buf: Buffer, start: number): number {
  return 1 + buf.readUInt32BE(start + 1);
}
