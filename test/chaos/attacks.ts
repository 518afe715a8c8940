/** What is done to the proxies and to their connections. All of it at random moments, by the dice. */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { Dice } from './dice.js';
import type { ChaosOptions } from './options.js';
import type { ProxyProcess } from './proxies.js';

export class Attacks {
  kills = 0;
  zombies = 0;
  /** Connections cut on the server. */
  cuts = 0;

  readonly #options: ChaosOptions;
  readonly #proxies: readonly ProxyProcess[];
  readonly #dice: Dice;
  #over = false;

  constructor(options: ChaosOptions, proxies: readonly ProxyProcess[], dice: Dice) {
    this.#options = options;
    this.#proxies = proxies;
    this.#dice = dice;
  }

  /** Whether there is more to come. */
  get isOver(): boolean {
    return this.#over;
  }

  /** No more from now on. */
  stop(): void {
    this.#over = true;
  }

  /** The first third of the kills hits a proxy that is alone; then there are two. Both are up at the end. */
  async run(root: pg.Client): Promise<void> {
    const [first, ...others] = this.#proxies as [ProxyProcess, ...ProxyProcess[]];
    const cutting = this.#cut(root);
    try {
      await first.start();
      await this.#killUntil([first], Math.floor(this.#options.kills / 3));
      await Promise.all(others.map((proxy) => proxy.start()));
      const zombies = this.#stall();
      await this.#killUntil(this.#proxies, this.#options.kills);
      await zombies;
    } finally {
      this.#over = true;
      for (const proxy of this.#proxies) proxy.resume();
    }
    await cutting;
    for (const proxy of this.#proxies) if (proxy.state === 'down') await proxy.start();
  }

  async #killUntil(proxies: readonly ProxyProcess[], kills: number): Promise<void> {
    const dice = this.#dice.fork();
    const restarts: Promise<void>[] = [];
    while (this.kills < kills && !this.#over) {
      // some fall while they are starting, most while they work
      await delay(dice.once(5) ? dice.between(20, 300) : dice.between(300, 1800));
      const proxy = dice.pick(proxies.filter((one) => one.state === 'up' || one.state === 'starting'));
      if (proxy === undefined) continue;
      this.kills += 1;
      await proxy.kill();
      const pause = dice.once(3) ? dice.between(0, 1500) : 0;
      const restart = delay(pause).then(() => proxy.start());
      restart.catch(() => {}); // thrown below
      restarts.push(restart);
    }
    await Promise.all(restarts);
  }

  /** Stops a proxy in the midst of its work until others have its instances, and lets it go on. */
  async #stall(): Promise<void> {
    const dice = this.#dice.fork();
    const lease = this.#options.leaseS * 1000;
    while (this.zombies < this.#options.zombies && !this.#over) {
      await delay(dice.between(200, 1500));
      const proxy = dice.pick(this.#proxies.filter((one) => one.state === 'up'));
      if (proxy === undefined) continue;
      proxy.pause();
      await delay(lease + dice.between(500, 2000));
      if (proxy.state !== 'paused') continue; // killed as it was
      proxy.resume();
      this.zombies += 1;
    }
  }

  /** Ends sessions of steps, of the engine and of clients on the server: mostly one, sometimes all of them. */
  async #cut(root: pg.Client): Promise<void> {
    const dice = this.#dice.fork();
    while (!this.#over) {
      await delay(dice.between(1, this.#options.cutEveryMs * 2));
      const { rows } = await root.query<{ pid: number; application_name: string }>(
        `SELECT pid, application_name FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
           AND (application_name LIKE 'pg_durable:%' OR usename LIKE 'chaos%')`,
      );
      const some = dice.once(10) ? rows : [dice.pick(rows)];
      const pids = some.flatMap((one) => (one === undefined ? [] : [one.pid]));
      if (pids.length === 0) continue;
      const cut = await root.query<{ done: boolean }>(
        'SELECT pg_terminate_backend(p) AS done FROM unnest($1::int[]) AS p',
        [pids],
      );
      this.cuts += cut.rows.filter((row) => row.done).length;
    }
  }
}
