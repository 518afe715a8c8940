/**
 * Exactly once under fire: durable functions are started and run while proxies are killed and stopped and connections
 * are cut; then everything is counted.
 *
 * Phases: one proxy → two proxies and zombies → calm (no more attacks, no more starts, the rest runs to its end) →
 * verdict. A watchdog ends it in any phase when nothing has happened for too long.
 */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { createTestDatabase } from '../support/postgres.js';
import { Application } from './application.js';
import { Attacks } from './attacks.js';
import { Dice } from './dice.js';
import { openEndpoint } from './endpoint.js';
import type { ChaosOptions } from './options.js';
import { ProxyProcess } from './proxies.js';
import { describeStuck, judge, type Verdict } from './verdict.js';
import { HTTP_BASE, SCHEMA } from './workload.js';

export interface SiegeReport extends Verdict {
  readonly instances: number;
  readonly kills: number;
  readonly zombies: number;
  readonly cuts: number;
  readonly takeovers: number;
  readonly strays: number;
  readonly failedStarts: number;
  /** COMMITs of starts whose answer never came. */
  readonly unknownCommits: number;
  readonly rolledBackStarts: number;
  /** At HTTP requests. */
  readonly attempts: number;
  readonly seconds: number;
}

/** In the calm; every jump ends all leases as well. */
const JUMP_EVERY_MS = 4000;

/** @throws when a proxy ends by itself, or when nothing happens any more: with what is stuck */
export async function siege(options: ChaosOptions): Promise<SiegeReport> {
  const began = performance.now();
  const dice = new Dice(options.seed);
  const endpoint = await openEndpoint(dice.fork());
  const database = await createTestDatabase();
  const role = await database.createRole('chaos');
  const root = new pg.Client({ connectionString: database.superUrl });
  const cutter = new pg.Client({ connectionString: database.superUrl });
  await root.connect();
  await cutter.connect();

  let finished = 0;
  let attacks: Attacks | undefined;
  let failing: Promise<unknown> = Promise.resolve();
  const onUp = (proxy: ProxyProcess): void => void application.logIn(proxy);
  const proxies = ['one', 'two'].map(
    (name) => new ProxyProcess(name, { upstream: database.adminUrl, leaseS: options.leaseS, onUp }),
  );
  const application = new Application({
    proxies,
    role,
    database: database.name,
    dice: dice.fork(),
    outstanding: options.outstanding,
    orders: options.instances,
    goesOn: () => attacks?.isOver === false,
    finished: () => finished,
  });

  try {
    // the schema first: the role must have its rights before the application begins
    await (proxies[0] as ProxyProcess).start();
    await root.query(SCHEMA);
    await root.query(`GRANT USAGE ON SCHEMA chaos TO ${role.name}`);
    await root.query(`GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA chaos TO ${role.name}`);
    await root.query('SELECT df.grant_usage($1, include_http => true)', [role.name]);
    await root.query('INSERT INTO df.vars (owner, name, value) VALUES ($1::regrole, $2, $3)', [
      role.name,
      HTTP_BASE,
      endpoint.url,
    ]);
    await (proxies[0] as ProxyProcess).kill();

    attacks = new Attacks(options, proxies, dice.fork());
    const attacking = attacks.run(cutter);
    const placing = application.run();
    const isCalm = Promise.all([attacking, placing]).then(() => true);
    let calm = false;
    failing = isCalm.then(
      () => {
        calm = true;
      },
      (error: unknown) => error as Error,
    );

    let seen = -1;
    let since = performance.now();
    let jumped = since;
    for (;;) {
      const { rows } = await root.query<{ done: number; steps: number }>(
        `SELECT (SELECT count(*)::int FROM df.instances WHERE status IN ('completed', 'failed', 'cancelled')) AS done,
                (SELECT count(*)::int FROM chaos.trace) AS steps`,
      );
      const { done, steps } = rows[0] as { done: number; steps: number };
      finished = done;
      if (calm && done >= application.begun) break;
      if (done + steps !== seen) {
        seen = done + steps;
        since = performance.now();
      } else if (performance.now() - since > options.patienceMs) {
        const logs = proxies.map((proxy) => `log of proxy ${proxy.name} (${proxy.state}): ${proxy.log()}`);
        throw new Error(
          [
            `nothing has happened for ${options.patienceMs / 1000} s; ${application.begun} begun, ${done} ended, ${attacks.kills} kills`,
            await describeStuck(root),
            ...logs,
          ].join('\n'),
        );
      }
      const crash = proxies.find((proxy) => proxy.crash !== null)?.crash;
      if (crash) throw new Error(crash);
      const failure = await Promise.race([failing, delay(100)]);
      if (failure instanceof Error) throw failure;
      if (calm) {
        await delay(50);
        // what waits for the next minute need not be waited for
        if (performance.now() - jumped > JUMP_EVERY_MS) {
          jumped = performance.now();
          await root.query(`UPDATE _df.clock SET shift = shift + interval '1 minute'`);
        }
      }
    }

    const verdict = await judge(root, application.begun, endpoint);
    await application.close();
    for (const proxy of proxies) await proxy.kill();
    const sum = (count: (proxy: ProxyProcess) => number) =>
      proxies.reduce((total, proxy) => total + count(proxy), 0);
    return {
      ...verdict,
      instances: application.begun,
      kills: attacks.kills,
      zombies: attacks.zombies,
      cuts: attacks.cuts,
      takeovers: sum((proxy) => proxy.takeovers),
      strays: sum((proxy) => proxy.strays),
      failedStarts: sum((proxy) => proxy.failedStarts),
      unknownCommits: application.unknown,
      rolledBackStarts: application.rolledBack,
      attempts: endpoint.attempts,
      seconds: (performance.now() - began) / 1000,
    };
  } finally {
    attacks?.stop();
    application.stop();
    await failing; // nothing of it goes on behind the end
    for (const proxy of proxies) await proxy.kill();
    await root.end().catch(() => {});
    await cutter.end().catch(() => {});
    await database.drop();
    await endpoint.close();
  }
}

/** The report as a table. */
export function tableOf(report: SiegeReport): string {
  const rows: Array<[string, number | string]> = [
    ['instances', report.instances],
    ['steps', report.steps],
    ['kills (SIGKILL)', report.kills],
    ['zombie rounds (SIGSTOP past the lease)', report.zombies],
    ['connections cut (pg_terminate_backend)', report.cuts],
    ['instances taken over from dead proxies', report.takeovers],
    ['claims whose answer was lost', report.strays],
    ['proxy starts that failed', report.failedStarts],
    ['starts whose COMMIT went unanswered', report.unknownCommits],
    ['starts rolled back', report.rolledBackStarts],
    ['HTTP requests made', report.attempts],
    ['duplicates', report.duplicates],
    ['lost', report.lost],
    ['duration', `${report.seconds.toFixed(1)} s`],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${String(value).padStart(8)}`).join('\n');
}
