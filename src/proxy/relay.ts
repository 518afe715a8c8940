import type { Socket } from 'node:net';
import { Frontend } from '../wire/codes.js';
import { errorResponse, type Report } from '../wire/fields.js';
import { Framer } from '../wire/framer.js';
import { message } from '../wire/message.js';
import { ClientMessages } from './client-messages.js';
import { closed, destroyAfter, dismiss } from './closing.js';
import { Outgoing, Pump } from './pump.js';
import { ServerMessages } from './server-messages.js';
import { isIdle, type Traffic } from './traffic.js';

/** How long a client's last bytes may take to reach a server after the client is gone, milliseconds. */
const LAST_WORDS_MS = 5_000;

const TERMINATE = message(Frontend.Terminate, Buffer.alloc(0));

/**
 * A session after its login: two sockets, what one sends goes to the other.
 *
 * - *open*: both directions flow.
 * - *client done*: the client has sent its FIN; so has the proxy to the server, behind the client's last byte. The
 *   server's answers still flow: clients may half-close.
 * - *closing*: the server has closed, or the proxy has been told to. The client gets what is still due to it and a
 *   FIN; what it sends is dropped.
 * - *closed*: both sockets are. A client that is gone altogether (reset, or no longer reading) takes the server's
 *   side with it at once.
 */
export class Relay {
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #traffic: Traffic;
  readonly #toServer: Framer;
  readonly #toClient: Framer;
  readonly #toClientOut: Outgoing;
  readonly #up: Pump;
  readonly #down: Pump;
  readonly #onWork: () => void;
  #clientDone = false;
  #closing = false;
  #draining: Report | undefined;
  #fault: { error: unknown } | undefined;

  /** @param onWork called when a transaction that mentioned df has ended */
  constructor(client: Socket, server: Socket, traffic: Traffic, onWork: () => void) {
    this.#client = client;
    this.#server = server;
    this.#traffic = traffic;
    this.#onWork = onWork;
    const toServerOut = new Outgoing(server);
    this.#toServer = new Framer(new ClientMessages(traffic, toServerOut.pass));
    this.#up = new Pump(client, server, this.#toServer, toServerOut, this.#onFault);
    this.#toClientOut = new Outgoing(client);
    this.#toClient = new Framer(new ServerMessages(traffic, this.#toClientOut.pass, this.#onReady));
    this.#down = new Pump(server, client, this.#toClient, this.#toClientOut, this.#onFault);
  }

  /**
   * Carries on until both sockets are closed.
   * @param fromClient bytes of the client that came before
   * @param fromServer bytes of the server that came before
   * @throws what our own code threw, if that is why they closed
   */
  run(fromClient: Buffer, fromServer: Buffer): Promise<void> {
    const client = this.#client;
    const server = this.#server;
    const onClientEnd = () => {
      this.#clientDone = true;
      if (!this.#closing) this.#up.end();
    };
    client.once('end', onClientEnd);
    server.once('end', () => this.#closeClient());
    const bothClosed = Promise.all([
      closed(client).then(() => {
        this.#up.stop();
        this.#down.stop();
        if (!this.#clientDone || server.writableLength === 0) server.destroy();
        else destroyAfter(server, LAST_WORDS_MS);
        // Nobody reads the answers any more, and unread ones would keep the close from being seen.
        server.resume();
      }),
      closed(server).then(() => this.#closeClient()),
    ]);
    this.#down.start(fromServer);
    this.#up.start(fromClient);
    if (client.readableEnded && !this.#clientDone) onClientEnd();
    return bothClosed.then(() => {
      if (this.#fault !== undefined) throw this.#fault.error;
    });
  }

  /** Whether the server owes an answer: it may be at work. */
  get busy(): boolean {
    return !this.#traffic.conversation.idle;
  }

  /** Ends the session as soon as no transaction and no statement is under way. */
  drain(report: Report): void {
    this.#draining = report;
    if (isIdle(this.#traffic)) this.#sayGoodbye(report);
  }

  /** Ends the session now. The client is told if it is between two messages. */
  terminate(report: Report): void {
    if (!this.#closing) this.#sayGoodbye(report);
  }

  readonly #onReady = (committedWork: boolean): void => {
    if (committedWork) this.#onWork();
    const report = this.#draining;
    if (report === undefined || !isIdle(this.#traffic)) return;
    // The ReadyForQuery itself is still to be passed on.
    setImmediate(() => {
      if (isIdle(this.#traffic)) this.#sayGoodbye(report);
    });
  };

  readonly #onFault = (error: unknown): void => {
    this.#fault ??= { error };
    this.#client.destroy();
    this.#server.destroy();
  };

  #sayGoodbye(report: Report): void {
    if (this.#closing) return;
    const told = this.#toClient.atBoundary;
    const mayTell = this.#toServer.atBoundary;
    this.#down.stop();
    this.#up.stop();
    if (told) {
      this.#toClientOut.pass(errorResponse(report));
      this.#toClientOut.flush();
    }
    if (mayTell && !this.#server.writableEnded) this.#server.end(TERMINATE);
    else this.#server.destroy();
    this.#server.resume();
    destroyAfter(this.#server, LAST_WORDS_MS);
    this.#closeClient();
  }

  #closeClient(): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#up.stop();
    this.#server.destroySoon();
    dismiss(this.#client);
  }
}
