/** df.signal and df.cancel under signal_transaction_mode = new: at once, and whatever becomes of the caller's transaction. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Durable } from '../support/durable.js';
import { until } from '../support/wait.js';

let d: Durable;
beforeAll(async () => {
  d = await Durable.open({ signal_transaction_mode: 'new' });
});
afterAll(async () => {
  await d?.close();
});

it('a signal is heard before its transaction ends, in every isolation level, and is not undone', async () => {
  for (const level of ['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE']) {
    const id = await d.start("df.wait_for_signal('go')");
    await d.app.query(`BEGIN ISOLATION LEVEL ${level}`);
    expect((await d.app.query(`SELECT df.signal($1, 'go', '{"n": 1}') AS t`, [id])).rows[0].t).toBe('OK');
    expect(await d.ended(id)).toBe('completed');
    await d.app.query('ROLLBACK');
    expect((await d.app.query("SELECT df.result($1)::jsonb -> 'data' AS data", [id])).rows[0].data).toEqual({
      n: 1,
    });
  }
});

it('a cancellation counts although its transaction is rolled back', async () => {
  const id = await d.start('df.sleep(1000)');
  await d.app.query('BEGIN');
  const { rows } = await d.app.query(`SELECT df.cancel($1, 'enough') AS t`, [id]);
  await d.app.query('ROLLBACK');
  expect(rows[0].t).toBe(`Instance ${id} cancelled: enough`);
  expect(await d.status(id)).toBe('cancelled');
  expect(await d.output(id)).toBe('canceled: enough');
});

it('what has been launched in a transaction can be signalled and cancelled in it', async () => {
  await d.app.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
  await d.app.query('SELECT 1');
  const { rows } = await d.app.query(
    `SELECT df.start(df.wait_for_signal('a'), transaction_mode => 'new') AS id`,
  );
  expect((await d.app.query(`SELECT df.cancel($1) AS t`, [rows[0].id])).rows[0].t).toBe(
    `Instance ${rows[0].id} cancelled: Cancelled by user`,
  );
  await d.app.query('ROLLBACK');
});

it('others’ instances and those that are not there are not found', async () => {
  const other = await d.user('other');
  const client = await d.connect(other);
  const id = await d.start('df.sleep(1000)', client);
  for (const call of ["df.signal($1, 'x')", 'df.cancel($1)']) {
    await expect(d.app.query(`SELECT ${call}`, [id])).rejects.toMatchObject({
      code: 'XX000',
      message: `Instance not found or access denied: ${id}`,
    });
  }
  await client.query('SELECT df.cancel($1)', [id]);
  await client.end();
});

it('a role that the proxy cannot log in as: an error of the signal, the answer of the cancellation', async () => {
  const stranger = await d.user('stranger');
  await d.root.query(`GRANT ${stranger.name} TO ${d.role.name}`);
  await d.app.query(`SET ROLE ${stranger.name}`);
  const why = `Failed to connect to database '${d.database.name}' as '${stranger.name}'. Error: `;
  await expect(d.app.query("SELECT df.signal('00000000', 'x')")).rejects.toThrow(
    `Failed to send signal: ${why}`,
  );
  const { rows } = await d.app.query("SELECT df.cancel('00000000') AS t");
  await d.app.query('RESET ROLE');
  expect(rows[0].t).toContain(`Failed to cancel: ${why}`);
});

it('a step signals and cancels in its own transaction', async () => {
  const waits = await d.start("df.wait_for_signal('go')");
  const sleeps = await d.start('df.sleep(1000)');
  await d.complete(`$$SELECT df.signal('${waits}', 'go'), df.cancel('${sleeps}')$$`);
  expect(await d.ended(waits)).toBe('completed');
  expect(await d.status(sleeps)).toBe('cancelled');
});

it('without a slot it fails in time', async () => {
  await d.root.query('SELECT pg_advisory_lock(1346982470, n) FROM generate_series(0, 1) AS n');
  const client = await d.connect();
  await client.query("SET statement_timeout = '300ms'");
  await expect(client.query("SELECT df.signal('00000000', 'x')")).rejects.toMatchObject({ code: '57014' });
  await d.root.query('SELECT pg_advisory_unlock_all()');
  await client.end();
  await until(async () => {
    await expect(d.app.query("SELECT df.signal('00000000', 'x')")).rejects.toThrow('Instance not found');
    return true;
  });
});
