/**
 * The application: starts durable functions through whichever proxy is up, in the transaction that writes its own
 * order, and sends them their signals, sometimes in that transaction and sometimes much later. A connection that breaks leaves the outcome of the COMMIT unknown: it looks whether the order is there, and
 * tries again when it is not. It knows nothing of the proxies being killed.
 */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { Dice } from './dice.js';
import type { ProxyProcess } from './proxies.js';
import { labelOf, order } from './workload.js';

export interface ApplicationOptions {
  readonly proxies: readonly ProxyProcess[];
  readonly role: { readonly name: string; readonly password: string };
  readonly database: string;
  readonly dice: Dice;
  readonly outstanding: number;
  /** Orders at least. */
  readonly orders: number;
  /** Whether more load is wanted than that. */
  readonly goesOn: () => boolean;
  /** How many of the orders have been carried out. */
  readonly finished: () => number;
}

const CLIENTS = 4;
const SENDERS = 2;
/** A signal comes at most so late. */
const LATEST_MS = 2500;

interface Due {
  readonly number: number;
  /** Which of the order's signals. */
  readonly signal: number;
  readonly at: number;
}

export class Application {
  /** Orders that were begun; each of them is to be carried out exactly once. */
  begun = 0;
  /** Orders that are known to be committed. */
  accepted = 0;
  /** COMMITs whose answer never came. */
  unknown = 0;
  /** Transactions that were rolled back on purpose. */
  rolledBack = 0;

  readonly #options: ApplicationOptions;
  #stopped = false;
  #placing = true;
  readonly #due: Due[] = [];
  readonly #logins = new Map<ProxyProcess, pg.Client>();

  constructor(options: ApplicationOptions) {
    this.#options = options;
  }

  /** No more orders from now on, and no more attempts. */
  stop(): void {
    this.#stopped = true;
  }

  /** A proxy has begun to listen: a pooled connection comes back, and the proxy learns who the role is. */
  async logIn(proxy: ProxyProcess): Promise<void> {
    for (let attempt = 0; attempt < 20 && proxy.state === 'up'; attempt += 1) {
      try {
        const client = await this.#connect(proxy);
        void this.#logins
          .get(proxy)
          ?.end()
          .catch(() => {});
        this.#logins.set(proxy, client);
        return;
      } catch {
        await delay(100);
      }
    }
  }

  /** Places orders until there are enough and no more are wanted, and sends their signals. */
  async run(): Promise<void> {
    const senders = Array.from({ length: SENDERS }, () => this.#sender(this.#options.dice.fork()));
    await Promise.all(Array.from({ length: CLIENTS }, () => this.#client(this.#options.dice.fork()))).finally(
      () => {
        this.#placing = false;
      },
    );
    await Promise.all(senders);
  }

  async close(): Promise<void> {
    for (const client of this.#logins.values()) await client.end().catch(() => {});
  }

  async #client(dice: Dice): Promise<void> {
    const { orders, goesOn, outstanding, finished } = this.#options;
    while (!this.#stopped && (this.begun < orders || goesOn())) {
      if (this.begun - finished() >= outstanding) {
        await delay(20);
        continue;
      }
      this.begun += 1;
      await this.#place(this.begun, dice);
    }
  }

  async #sender(dice: Dice): Promise<void> {
    while (!this.#stopped && (this.#placing || this.#due.length > 0)) {
      const now = performance.now();
      const at = this.#due.findIndex((due) => due.at <= now);
      if (at < 0) {
        await delay(20);
        continue;
      }
      const [due] = this.#due.splice(at, 1) as [Due];
      await this.#untilCommitted(
        dice,
        'SELECT FROM chaos.sent WHERE number = $1 AND signal = $2',
        [due.number, due.signal],
        (client) => send(client, due.number, due.signal),
      );
    }
  }

  async #place(number: number, dice: Dice): Promise<void> {
    const { graph, signals = [] } = order(number);
    const late = signals.map((_, i) => i).filter(() => !dice.once(4));
    await this.#untilCommitted(
      dice,
      'SELECT FROM chaos.orders WHERE number = $1',
      [number],
      async (client) => {
        if (dice.once(5)) await this.#rollBack(client, number);
        await client.query('BEGIN');
        await client.query(
          `INSERT INTO chaos.orders (number, instance) SELECT $1, df.start(${graph}, '${labelOf(number)}')`,
          [number],
        );
        for (const i of signals.keys()) if (!late.includes(i)) await send(client, number, i, false);
        if (dice.once(4)) await delay(dice.between(1, 40));
      },
    );
    this.accepted += 1;
    for (const signal of late) {
      this.#due.push({ number, signal, at: performance.now() + dice.between(0, LATEST_MS) });
    }
  }

  /**
   * Does something in a transaction, through whichever proxy is up, until it is certain that it was committed once.
   * @param there finds a row when it was
   * @param work leaves the transaction open
   */
  async #untilCommitted(
    dice: Dice,
    there: string,
    keys: readonly number[],
    work: (client: pg.Client) => Promise<void>,
  ): Promise<void> {
    while (!this.#stopped) {
      const proxy = dice.pick(this.#options.proxies.filter((one) => one.state === 'up'));
      if (proxy === undefined) {
        await delay(20);
        continue;
      }
      let client: pg.Client | undefined;
      let committing = false;
      try {
        client = await this.#connect(proxy);
        if ((await client.query(there, [...keys])).rows.length > 0) return;
        await work(client);
        committing = true;
        await client.query('COMMIT');
        return;
      } catch (error) {
        const { code } = error as { code?: string };
        if (code === '23505') return; // the COMMIT that seemed lost was not
        if (isAboutStatement(code)) throw error;
        if (committing) this.unknown += 1;
        await delay(dice.between(5, 60));
      } finally {
        void client?.end().catch(() => {});
      }
    }
  }

  /** A start that is rolled back never was. */
  async #rollBack(client: pg.Client, number: number): Promise<void> {
    await client.query('BEGIN');
    await client.query("SELECT df.start('INSERT INTO chaos.trace VALUES (-1, ''never'', 1)', $1)", [
      `never-${number}`,
    ]);
    await client.query('ROLLBACK');
    this.rolledBack += 1;
  }

  async #connect(proxy: ProxyProcess): Promise<pg.Client> {
    const { role, database } = this.#options;
    const client = new pg.Client({
      ...{ host: '127.0.0.1', port: proxy.port, user: role.name, password: role.password, database },
      connectionTimeoutMillis: 5000,
      // a paused proxy answers nobody
      query_timeout: 10_000,
    });
    client.on('error', () => {});
    await client.connect();
    return client;
  }
}

/** Sends a signal of an order and notes that, in one transaction, which stays open. */
async function send(client: pg.Client, number: number, signal: number, begin = true): Promise<void> {
  const { name, data } = order(number).signals![signal]!;
  if (begin) await client.query('BEGIN');
  await client.query('INSERT INTO chaos.sent (number, signal) VALUES ($1, $2)', [number, signal]);
  await client.query(`SELECT df.signal(o.instance, $2, $3) FROM chaos.orders AS o WHERE o.number = $1`, [
    number,
    name,
    data,
  ]);
}

/** Errors of the statement itself, which would come again: a failure of the test. */
function isAboutStatement(code: string | undefined): boolean {
  return code !== undefined && /^(?:22|42|0A|XX|DF)[0-9A-Z]{3}$/.test(code);
}
