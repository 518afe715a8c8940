import { afterAll, beforeAll, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
let durable: Durable;
beforeAll(async () => { durable = await Durable.open(); });
afterAll(async () => { await durable?.close(); });
test('first', async () => {
  const { app } = durable;
  const measure = async (what: string, sql: string) => {
    const times: number[] = [];
    for (let n = 0; n < 100; n++) {
      const t = performance.now();
      await app.query(sql);
      times.push(performance.now() - t);
    }
    times.sort((a, b) => a - b);
    console.log(what, 'p50', times[50]!.toFixed(2), 'p90', times[90]!.toFixed(2), 'min', times[0]!.toFixed(2));
  };
  const far = `df.sleep(100000)`;
  await measure('new', `SELECT df.start(${far}, 'x', transaction_mode => 'new') AS id`);
  await measure('plain', `SELECT df.start(${far}, 'x') AS id`);
  await measure('new', `SELECT df.start(${far}, 'x', transaction_mode => 'new') AS id`);
  await measure('plain', `SELECT df.start(${far}, 'x') AS id`);
  await measure('select 1', `SELECT 1`);
  await app.query('CREATE TABLE t(a int)');
  await measure('insert', `INSERT INTO t VALUES (1)`);
  const root = durable.root;
  const seal = 'a'.repeat(64);
  const m2 = async (what: string, sql: string) => {
    const times: number[] = [];
    for (let n = 0; n < 100; n++) { const t = performance.now(); await root.query({name: what, text: sql}); times.push(performance.now() - t); }
    times.sort((a, b) => a - b);
    console.log(what, times[50]!.toFixed(2));
  };
  await m2('read', `SELECT _df.launch_read('${seal}')`);
  await m2('cover', `SELECT _df.launch_cover('${seal}', 30)`);
  await m2('mac', `SELECT _df.launch_mac('${seal}', '')`);
  await m2('answer', `SELECT _df.launch_answer('${seal}', '+aabbccdd', -1)`);
  await m2('settle', `SELECT _df.launch_settle('{${seal}}', '{123}', '{true}')`);
  await m2('take', `SELECT _df.launch_take(1, 1, 'start 1 1 a', '${seal}', 'a', 2, '{}')`);
  await m2('slot', `SELECT _df.launch_slot(2, '{}', 77)`);
  await m2('seal', `SELECT * FROM _df.launch_seal`);
  await m2('1', `SELECT 1`);
});
