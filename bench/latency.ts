/**
 * From df.start to completed, one-step instances one after another on an idle server. The step itself notifies: the
 * notification comes with the commit that completes the instance.
 */
import pg from 'pg';
import type { TestDatabase } from '../test/support/postgres.js';
import { startProxyProcess } from './proxy-process.js';
import { percentile, printTable } from './table.js';

const INSTANCES = 300;

export async function latency(database: TestDatabase): Promise<void> {
  const role = await database.createRole('starter');
  const proxy = await startProxyProcess(database);
  try {
    const admin = new pg.Client({ connectionString: database.adminUrl });
    await admin.connect();
    await admin.query(`SELECT df.grant_usage('${role.name}')`);
    await admin.end();

    const listener = new pg.Client({ connectionString: role.url });
    await listener.connect();
    await listener.query('LISTEN bench');
    let completed: () => void = () => {};
    listener.on('notification', () => completed());
    const client = new pg.Client({ connectionString: proxy.url(role) });
    await client.connect();

    const start: number[] = [];
    const whole: number[] = [];
    for (let i = 0; i < INSTANCES + 20; i += 1) {
      const done = new Promise<void>((resolve) => {
        completed = resolve;
      });
      const begun = performance.now();
      await client.query(`SELECT df.start('SELECT pg_notify(''bench'', ''{sys_instance_id}'')')`);
      const started = performance.now();
      await done;
      if (i < 20) continue;
      start.push(started - begun);
      whole.push(performance.now() - begun);
    }
    await client.end();
    await listener.end();
    const row = (name: string, values: number[]) => [
      name,
      percentile(values, 0.5).toFixed(2),
      percentile(values, 0.99).toFixed(2),
    ];
    printTable(
      `Latency of a one-step instance, ${INSTANCES} in a row, milliseconds`,
      ['', 'p50', 'p99'],
      [row('df.start call', start), row('call to completed', whole)],
    );
  } finally {
    await proxy.stop();
  }
}
