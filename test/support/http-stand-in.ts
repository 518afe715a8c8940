import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** A request as the stand-in has got it. */
export interface SeenRequest {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly headers: NodeJS.Dict<string | string[]>;
  /** Name, value, name, value … as they were sent. */
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
  /** Whether the client has gone before there was an answer. */
  abandoned: boolean;
}

/** What is answered; by default 200 with an empty body. */
export interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string | string[]>>;
  readonly body?: string | Buffer;
  /** Before the answer begins. */
  readonly afterMs?: number;
  /** Before its body, when its head has been sent. */
  readonly bodyAfterMs?: number;
  /** drop: the connection is cut instead of an answer; break: in the midst of the body. */
  readonly cut?: 'drop' | 'break';
  /** Not before `release`. */
  readonly hold?: true;
  /** These bytes instead of an answer; then the connection is closed. */
  readonly raw?: Buffer;
}

type Script = Answer | readonly Answer[] | ((request: SeenRequest, nth: number) => Answer);

/** A real HTTP server on loopback that answers as a test says, and remembers what it was asked. */
export class HttpStandIn {
  readonly port: number;
  /** `http://127.0.0.1:PORT`, without a slash at the end. */
  readonly url: string;
  readonly requests: SeenRequest[] = [];
  readonly #server: Server;
  readonly #scripts = new Map<string, Script>();
  /** What lets each go on, and its path. */
  readonly #held = new Map<() => void, string>();
  #counts = new Map<string, number>();

  private constructor(server: Server, scheme: string) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    this.url = `${scheme}://127.0.0.1:${this.port}`;
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      this.#serve(request, response).catch(() => response.destroy());
    });
  }

  /** @param tls certificate and key in PEM form: then it speaks HTTPS */
  static async start(tls?: { readonly cert: Buffer; readonly key: Buffer }): Promise<HttpStandIn> {
    const server = tls === undefined ? createServer() : createTlsServer({ ...tls });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    return new HttpStandIn(server, tls === undefined ? 'http' : 'https');
  }

  /**
   * What is answered under a path (without its query): always the same, the n-th time the n-th of a list (the last one
   * stays), or what a function says (n from 1).
   */
  on(path: string, script: Script): this {
    this.#scripts.set(path, script);
    this.#counts.delete(path);
    return this;
  }

  /** Requests for a path, with whatever query. */
  seen(path: string): SeenRequest[] {
    return this.requests.filter((request) => withoutQuery(request.path) === path);
  }

  /** Requests that are held now. */
  get held(): number {
    return this.#held.size;
  }

  /** Answers every request that is held, or those for one path. */
  release(path?: string): void {
    for (const [go, of] of [...this.#held]) if (path === undefined || path === of) go();
  }

  async close(): Promise<void> {
    this.release();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const seen: SeenRequest = {
      method: request.method ?? '',
      path: request.url ?? '',
      headers: request.headers,
      rawHeaders: request.rawHeaders,
      body: Buffer.concat(chunks),
      abandoned: false,
    };
    this.requests.push(seen);
    const answer = this.#answerTo(seen);
    const gone = new Promise<void>((resolve) => {
      response.once('close', () => {
        seen.abandoned = !response.writableFinished;
        resolve();
      });
    });
    if (answer.afterMs !== undefined) await Promise.race([delay(answer.afterMs), gone]);
    if (answer.hold === true) await this.#hold(withoutQuery(seen.path), gone);
    if (seen.abandoned) return;
    await send(response, answer);
  }

  #answerTo(seen: SeenRequest): Answer {
    const path = withoutQuery(seen.path);
    const nth = (this.#counts.get(path) ?? 0) + 1;
    this.#counts.set(path, nth);
    const script = this.#scripts.get(path) ?? {};
    if (typeof script === 'function') return script(seen, nth);
    if (Array.isArray(script)) return (script[nth - 1] ?? script.at(-1) ?? {}) as Answer;
    return script as Answer;
  }

  async #hold(path: string, gone: Promise<void>): Promise<void> {
    let go!: () => void;
    const released = new Promise<void>((resolve) => {
      go = resolve;
    });
    this.#held.set(go, path);
    await Promise.race([released, gone]);
    this.#held.delete(go);
  }
}

async function send(response: ServerResponse, answer: Answer): Promise<void> {
  const { status = 200, headers = {}, body = '' } = answer;
  if (answer.cut === 'drop') {
    response.destroy();
    return;
  }
  if (answer.raw !== undefined) {
    response.socket?.end(answer.raw);
    return;
  }
  const bytes = Buffer.from(body as string);
  response.writeHead(status, { 'content-length': String(bytes.length), ...headers });
  response.flushHeaders();
  if (answer.bodyAfterMs !== undefined) await delay(answer.bodyAfterMs);
  if (answer.cut === 'break') {
    response.write(bytes.subarray(0, bytes.length >> 1), () => response.destroy());
    return;
  }
  response.end(bytes);
}

function withoutQuery(path: string): string {
  return path.split('?', 1)[0] as string;
}
