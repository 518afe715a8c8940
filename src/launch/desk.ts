/**
 * The connection of the admin role on which requests are taken and answered. Its session holds the locks that callers
 * see, so all that is under way is lost with it: callers are told so, and what has not been committed will not be.
 *
 * connecting → open → lost → connecting (after a pause) …; any → closed, by close().
 */
import pg from 'pg';
import type { Logger } from 'pino';
import { renewKey, showPresence } from '../state/launch.js';

const RECONNECT_MS = 500;
const PRESENCE_EVERY_MS = 50;
/** Between two looks whether there has to be a new key of seals. */
const RENEW_EVERY_MS = 10 * 60_000;
/** No statement of the desk waits for anything: a server that takes longer has gone. */
const ANSWER_MS = 10_000;

/** An open connection, and its statements one after the other. */
export class DeskConnection {
  readonly #client: pg.Client;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(client: pg.Client) {
    this.#client = client;
  }

  /** Runs `work` when all that was handed in before has ended. */
  inTurn<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
    const mine = this.#turn.then(() => work(this.#client));
    this.#turn = mine.catch(() => {});
    return mine;
  }

  /** Ends it, when it is not known what its session holds. */
  giveUp(): void {
    this.#client.end().catch(() => {});
  }
}

export class Desk {
  readonly #config: pg.ClientConfig;
  readonly #log: Logger;
  readonly #onLost: () => void;
  readonly #renewals: NodeJS.Timeout;
  #client: pg.Client | null = null;
  #open: DeskConnection | null = null;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /**
   * @param config connection settings of the admin role
   * @param onLost called when an open connection has ended
   */
  constructor(config: pg.ClientConfig, log: Logger, onLost: () => void) {
    this.#config = { ...config, query_timeout: ANSWER_MS };
    this.#log = log;
    this.#onLost = onLost;
    this.#renewals = setInterval(() => {
      const open = this.#open;
      open?.inTurn(renewKey).catch(() => open.giveUp());
    }, RENEW_EVERY_MS).unref();
  }

  /** Resolves when the first attempt has ended; others follow by themselves. */
  start(): Promise<void> {
    return this.#connect();
  }

  /** Null while there is none. */
  get connection(): DeskConnection | null {
    return this.#open;
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearInterval(this.#renewals);
    this.#open = null;
    await this.#client?.end().catch(() => {});
  }

  async #connect(): Promise<void> {
    const mine = new pg.Client(this.#config);
    const connection = new DeskConnection(mine);
    this.#client = mine;
    let ended = false;
    const again = (error?: unknown): void => {
      if (ended) return;
      ended = true;
      const wasOpen = this.#open === connection;
      if (wasOpen) this.#open = null;
      mine.end().catch(() => {});
      if (this.#closed) return;
      this.#log.debug({ err: error }, 'connection for launches lost');
      this.#timer = setTimeout(() => void this.#connect(), RECONNECT_MS);
      if (wasOpen) this.#onLost();
    };
    mine.on('error', again);
    mine.on('end', () => again());
    try {
      await mine.connect();
      await connection.inTurn(renewKey);
      await this.#show(connection);
      if (this.#closed) await mine.end();
      else if (!ended) this.#open = connection;
    } catch (error) {
      again(error);
    }
  }

  /** Nobody can keep it from working, whatever locks he has: until it can be shown, callers wait a little longer. */
  async #show(connection: DeskConnection): Promise<void> {
    if (await connection.inTurn(showPresence)) return;
    setTimeout(() => {
      if (this.#open === connection) this.#show(connection).catch(() => connection.giveUp());
    }, PRESENCE_EVERY_MS).unref();
  }
}
