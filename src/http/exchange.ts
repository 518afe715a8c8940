/**
 * One request and its response, on a connection of its own: nothing that a server ties to a connection (a login, say)
 * passes from one role's request to another's, and no request is lost on a connection that the server has just given
 * up. Redirects are not followed, cookies not kept, nothing is tried again, no compression is asked for. Source: df-api
 * §4.12, step 5.
 */
import { Client } from 'undici';
import { connectTo, type Network } from './connect.js';
import { Blocked, HttpFailure, shownUrl } from './failure.js';
import type { Headers } from './headers.js';
import { allowedUrl, type HttpPolicy } from './policy.js';

export interface HttpRules extends HttpPolicy {
  /** Of a response's body. */
  readonly maxResponseBytes: number;
  readonly ca: readonly string[] | undefined;
}

export interface Request {
  readonly url: string;
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE' | 'PATCH';
  readonly headers: Headers;
  readonly body: string | Buffer | null;
  /** For all of it: name lookup, connection, request, response. */
  readonly timeoutSeconds: number;
  /** On whose behalf; only who else has to wait depends on it. */
  readonly role: string;
}

export interface Response {
  readonly status: number;
  /** Names in lower case; of repeated ones the last, of values only printable ones. */
  readonly headers: ReadonlyMap<string, string>;
  /** The first, if there is one. */
  readonly contentType: string | undefined;
  readonly body: Buffer;
  /** False of a server's error (500 and above) whose body was larger than is read. */
  readonly isWhole: boolean;
  readonly durationMs: number;
}

/** What setTimeout can wait for. */
const LONGEST_MS = 2 ** 31 - 1;
const TIMED_OUT = new Error('timed out');
/** Interim responses, chunk extensions and the like are no part of a body, and have no end of their own. */
const ENDLESS = new Error('the server sends more around the response than belongs to one');
const BESIDES_BYTES = 1024 * 1024;
/** In chunks of one byte each there are six for each. */
const PER_BODY_BYTE = 8;
const LOOK_EVERY_MS = 250;
const PRINTABLE = /^[\t\x20-\x7e]*$/;

/**
 * Judges the URL, sends the request and reads the response.
 * @param cancel stops it at once
 * @throws HttpFailure with the node's error; the reason of `cancel`
 */
export async function exchange(
  request: Request,
  rules: HttpRules,
  network: Network,
  cancel: AbortSignal,
): Promise<Response> {
  const url = allowedUrl(request.url, rules);
  const begun = performance.now();
  const stop = new AbortController();
  const { signal } = stop;
  const cancelled = (): void => stop.abort(cancel.reason);
  if (cancel.aborted) throw cancel.reason;
  cancel.addEventListener('abort', cancelled);
  const timer = setTimeout(() => stop.abort(TIMED_OUT), Math.min(request.timeoutSeconds * 1000, LONGEST_MS));
  let look: NodeJS.Timeout | undefined;
  let stage: 'connecting' | 'asking' | 'reading' = 'connecting';
  const client = new Client(url.origin, {
    pipelining: 0, // no second request: Connection: close
    headersTimeout: 0,
    bodyTimeout: 0,
    connect: (_options, answer) => {
      connectTo(url, rules, network, request.role, signal).then(
        (socket) => {
          stage = 'asking';
          look = setInterval(() => {
            const most = BESIDES_BYTES + (stage === 'reading' ? rules.maxResponseBytes * PER_BODY_BYTE : 0);
            if (socket.bytesRead > most) stop.abort(ENDLESS);
          }, LOOK_EVERY_MS);
          answer(null, socket);
        },
        (error: Error) => answer(error, null),
      );
    },
  });
  try {
    const response = await client.request({
      path: `${url.pathname}${url.search}`,
      method: request.method,
      headers: request.headers.flat(),
      body: request.body,
      responseHeaders: 'raw',
      signal,
    });
    stage = 'reading';
    const raw = response.headers as unknown as readonly string[];
    const cap = rules.maxResponseBytes;
    const { body, isWhole } = await readBody(response.body, cap);
    if (!isWhole && response.statusCode < 500) {
      throw new HttpFailure(
        `Failed to read response body: it is larger than http.max_response_bytes (${cap} bytes)`,
      );
    }
    const durationMs = Math.round(performance.now() - begun);
    return { status: response.statusCode, ...readHeaders(raw), body, isWhole, durationMs };
  } catch (error) {
    if (cancel.aborted) throw cancel.reason;
    if (error instanceof HttpFailure) throw error;
    throw new HttpFailure(
      failureText(request, stage, signal.reason === TIMED_OUT, signal.aborted ? signal.reason : error),
    );
  } finally {
    clearTimeout(timer);
    clearInterval(look);
    cancel.removeEventListener('abort', cancelled);
    client.destroy().catch(() => {});
  }
}

async function readBody(
  chunks: AsyncIterable<Buffer>,
  cap: number,
): Promise<{ readonly body: Buffer; readonly isWhole: boolean }> {
  const read: Buffer[] = [];
  let length = 0;
  for await (const chunk of chunks) {
    length += chunk.length;
    if (length > cap) {
      read.push(chunk.subarray(0, chunk.length - (length - cap)));
      return { body: Buffer.concat(read), isWhole: false };
    }
    read.push(chunk);
  }
  return { body: Buffer.concat(read), isWhole: true };
}

function readHeaders(raw: readonly string[]): Pick<Response, 'headers' | 'contentType'> {
  const headers = new Map<string, string>();
  let contentType: string | undefined;
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = (raw[at] as string).toLowerCase();
    const value = raw[at + 1] as string;
    if (name === 'content-type') contentType ??= value;
    if (PRINTABLE.test(value)) headers.set(name, value);
  }
  return { headers, contentType };
}

function failureText(request: Request, stage: string, timedOut: boolean, error: unknown): string {
  const url = shownUrl(request.url);
  const detail = timedOut ? `timeout after ${request.timeoutSeconds}s` : describe(error);
  if (stage === 'reading') return `Failed to read response body: ${detail}`;
  if (timedOut) return `HTTP timeout after ${request.timeoutSeconds}s: ${url}`;
  if (error instanceof Blocked) return error.message;
  return `HTTP ${stage === 'connecting' ? 'connection' : 'request'} failed: ${url} - ${detail}`;
}

/** What went wrong, in one line; of several addresses that failed the first one's. */
function describe(error: unknown): string {
  const first: unknown = error instanceof AggregateError ? (error.errors[0] ?? error) : error;
  const { message, code, reason } = first as Partial<Record<'message' | 'code' | 'reason', string>>;
  // of OpenSSL's errors only the reason is for people
  const text = code?.startsWith('ERR_SSL_') ? `TLS: ${reason ?? code}` : message || code || 'unknown error';
  return text.replace(/\s+/g, ' ').trim().slice(0, 500);
}
