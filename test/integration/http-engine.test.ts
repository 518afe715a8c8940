import { once } from 'node:events';
import { connect } from 'node:net';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { HttpStandIn } from '../support/http-stand-in.js';
import { type SpawnedProxy, spawnProxy, startProxy, type TestProxy } from '../support/proxy.js';
import { until } from '../support/wait.js';

const OPEN = { 'http.mode': 'all', 'http.block_private': 'off' } as const;

let d: Durable;
let web: HttpStandIn;

beforeAll(async () => {
  d = await Durable.open({
    ...OPEN,
    max_user_connections: '4',
    'http.max_concurrent_requests': '30',
    lease_duration: '2s',
  });
  await d.root.query('SELECT df.grant_usage($1, include_http => true)', [d.role.name]);
  await d.app.query('CREATE TABLE log (what text)');
  web = await HttpStandIn.start();
});
afterAll(async () => {
  await web?.close();
  await d?.close();
});

/** Whether nobody listens there any more. */
function refuses(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', () => resolve(true));
  });
}
const keys = (path: string) => web.seen(path).map(({ headers }) => headers['idempotency-key'] as string);

test('a result is committed together with the end of what ends with it', async () => {
  web.on('/ends', { body: 'x' });
  const id = await d.complete(`('SELECT 1' ~> df.http('${web.url}/ends')) ~> df.sleep(1)`);
  // a crash between the two would leave the inner THEN as if it had never ended
  const commits = await d.value(
    `SELECT count(DISTINCT n.xmin::text)::int FROM df.nodes AS n
     WHERE n.instance_id = $1
       AND (n.node_type = 'HTTP' OR n.right_node IN (SELECT h.id FROM df.nodes AS h
                                                     WHERE h.instance_id = $1 AND h.node_type = 'HTTP'))`,
    [id],
  );
  expect(commits).toBe(1);
});

describe('while a request is under way', () => {
  test('what came before is committed, the node shows as running, and there is no session', async () => {
    web.on('/hold', { hold: true });
    const id = await d.start(
      `'INSERT INTO log VALUES (''before'')' ~> df.http('${web.url}/hold') ~> 'INSERT INTO log VALUES (''after'')'`,
    );
    await until(() => web.held === 1);
    expect(await d.value("SELECT count(*)::int FROM log WHERE what = 'before'")).toBe(1);
    await until(
      async () => (await d.typed(id, 'HTTP'))[0]!.status === 'running' && (await d.status(id)) === 'running',
    );
    const busy = await d.value(
      `SELECT count(*)::int FROM pg_stat_activity
       WHERE datname = $1 AND application_name = 'pg_durable:worker:workflow-sql' AND state <> 'idle'`,
      [d.database.name],
    );
    expect(busy).toBe(0);
    web.release();
    expect(await d.ended(id)).toBe('completed');
    expect(await d.value("SELECT count(*)::int FROM log WHERE what = 'after'")).toBe(1);
  });

  test('slow endpoints do not stall other work, and so many requests at most are open', async () => {
    web.on('/slow', { hold: true });
    await d.app.query(`SELECT df.start(df.http('${web.url}/slow', 'GET')) FROM generate_series(1, 200)`);
    // of the 30 one role has 27: the others are for others, however long it keeps its own
    await until(() => web.held === 27, { what: '27 requests' });
    const other = await d.connect(await d.user('other'));
    await d.root.query(`GRANT EXECUTE ON FUNCTION df.http(text, text, text, jsonb, integer) TO PUBLIC`);
    web.on('/other', { body: 'x' });
    for (let i = 0; i < 5; i += 1) await d.complete(`df.http('${web.url}/other')`, other);
    await other.end();
    const since = web.seen('/slow').length;
    for (let i = 0; i < 5; i += 1)
      expect(
        await d.rows(`'SELECT 1 AS a' ~> ('SELECT 2 AS a' & 'SELECT 3 AS a') ~> 'SELECT 4 AS a'`),
      ).toEqual([{ a: 4 }]);
    expect(since).toBe(27);
    expect(web.held).toBe(27);
    web.on('/slow', { body: 'fast now' });
    web.release();
    await until(
      () =>
        d.value(`SELECT count(*) = 200 FROM df.instances AS i JOIN df.nodes AS k ON k.instance_id = i.id
                     WHERE i.status = 'completed' AND strpos(k.query, '/slow') > 0`),
      { timeoutMs: 15_000, what: 'all 200' },
    );
    expect(web.seen('/slow')).toHaveLength(200);
    expect(new Set(keys('/slow')).size).toBe(200);
  });

  test('df.cancel calls it off', async () => {
    web.on('/cancelled', { hold: true });
    const id = await d.start(`df.http('${web.url}/cancelled') ~> 'INSERT INTO log VALUES (''cancelled'')'`);
    await until(() => web.held === 1);
    await d.app.query('SELECT df.cancel($1)', [id]);
    await until(() => web.seen('/cancelled')[0]!.abandoned, { what: 'the request to be given up' });
    expect(await d.status(id)).toBe('cancelled');
    expect(await d.value("SELECT count(*)::int FROM log WHERE what = 'cancelled'")).toBe(0);
  });

  test('a lost race calls it off; a won one has its answer', async () => {
    web.on('/loser', { hold: true }).on('/winner', { hold: true, body: 'won' });
    const loser = `df.http('${web.url}/loser')`;
    for (const [branch, count] of [
      [loser, 1],
      [`(${loser} & ${loser})`, 2],
    ] as const) {
      const id = await d.start(`${branch} | df.http('${web.url}/winner')`);
      await until(() => web.held === count + 1);
      web.release('/winner');
      expect(await d.ended(id)).toBe('completed');
      expect(await d.output(id)).toContain('"body":"won"');
      await until(() => web.seen('/loser').every(({ abandoned }) => abandoned));
    }
    const late = await d.start(`df.sleep(60) | df.http('${web.url}/winner')`);
    await until(() => web.held === 1);
    web.release();
    expect(await d.ended(late)).toBe('completed');
  });

  test('a signal wins against it, and it is called off', async () => {
    web.on('/signalled', { hold: true });
    const id = await d.start(`df.http('${web.url}/signalled') | df.wait_for_signal('go')`);
    await until(() => web.held === 1);
    await d.app.query(`SELECT df.signal($1, 'go', '{"a": 1}')`, [id]);
    expect(await d.ended(id)).toBe('completed');
    await until(() => web.seen('/signalled')[0]!.abandoned);
    expect(await d.output(id)).toContain('"timed_out":false');
  });

  test('branches of a join ask at the same time', async () => {
    web.on('/both', { hold: true });
    const id = await d.start(`df.http('${web.url}/both?a') & df.http('${web.url}/both?b') & df.sleep(0)`);
    await until(() => web.held === 2);
    web.release();
    expect(await d.ended(id)).toBe('completed');
  });

  test('a lease that was lost calls it off, and the request is sent again with the same key', async () => {
    web.on('/lost', [{ hold: true }, { body: 'second' }]);
    const id = await d.start(`df.http('${web.url}/lost')`);
    await until(() => web.held === 1);
    await d.root.query('DELETE FROM _df.executors');
    await d.ended(id);
    await until(() => web.seen('/lost')[0]!.abandoned);
    expect(await d.output(id)).toContain('"body":"second"');
    expect(new Set(keys('/lost'))).toEqual(new Set([`${id}:${(await d.nodes(id))[0]!.id}:1`]));
    expect(web.seen('/lost')).toHaveLength(2);
  });
});

describe('the Idempotency-Key', () => {
  test('is another in each iteration of each loop', async () => {
    web.on('/root', {}).on('/inner', {});
    await d.app.query('CREATE SEQUENCE rounds');
    const id = await d.complete(
      `@> (df.http('${web.url}/root') ~> df.if('SELECT nextval(''rounds'') >= 3', df.break(), 'SELECT 1'))`,
    );
    const [node] = await d.typed(id, 'HTTP');
    expect(keys('/root')).toEqual([1, 2, 3].map((n) => `${id}:${node!.id}:${n}`));

    await d.app.query('CREATE SEQUENCE turns');
    const inner = `df.loop(df.http('${web.url}/inner'), 'SELECT nextval(''turns'') % 2 <> 0')`;
    const outer = `df.loop('SELECT 1' ~> (${inner} & 'SELECT 1'), 'SELECT last_value < 6 FROM turns')`;
    const nested = await d.complete(`'SELECT 1' ~> ${outer}`);
    const [leaf] = await d.typed(nested, 'HTTP');
    expect(keys('/inner')).toEqual(
      ['1.1.1', '1.1.2', '1.2.1', '1.2.2', '1.3.1', '1.3.2'].map((n) => `${nested}:${leaf!.id}:${n}`),
    );
  });
});

describe('the result is recorded once', () => {
  const closers: Array<() => Promise<unknown>> = [];
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });

  /** An installation of its own, so that no other proxy helps. */
  let other: Durable;
  beforeAll(async () => {
    other = await Durable.open();
    await other.root.query('SELECT df.grant_usage($1, include_http => true)', [other.role.name]);
    await other.app.end();
    await other.proxy.stop();
  });
  afterAll(() => other?.close());

  const settings = { ...OPEN, lease_duration: '1s', poll_interval: '50ms', drain_timeout: '2s' };
  async function begin(proxy: TestProxy, expression: string): Promise<string> {
    const client = new pg.Client({ connectionString: proxy.url(other.role) });
    client.on('error', () => {});
    await client.connect();
    return other.start(expression, client).finally(() => client.end());
  }

  test('a proxy that is killed in the midst of a request: another sends it again, with the same key', async () => {
    const first: SpawnedProxy = await spawnProxy({ database: other.database, settings });
    closers.push(() => first.stop());
    web.on('/killed', [{ hold: true }, { body: 'again' }]);
    const id = await begin(first, `df.http('${web.url}/killed') |=> 'r' ~> df.sleep(1)`);
    await until(() => web.held === 1);
    first.child.kill('SIGKILL');
    await once(first.child, 'exit');
    const second = await startProxy({ database: other.database, settings });
    closers.push(() => second.stop());
    expect(await other.ended(id)).toBe('completed');
    const [node] = await other.typed(id, 'HTTP');
    expect(keys('/killed')).toEqual([`${id}:${node!.id}:1`, `${id}:${node!.id}:1`]);
    expect(node!.result).toMatchObject({ body: 'again' });
  });

  test('what has been answered is not asked again, however the proxy ends', async () => {
    const first: SpawnedProxy = await spawnProxy({ database: other.database, settings });
    closers.push(() => first.stop());
    const id = await begin(
      first,
      `df.http('${web.url}/answered') ~> df.sleep(1) ~> df.http('${web.url}/last')`,
    );
    await until(async () => (await other.typed(id, 'HTTP')).some(({ status }) => status === 'completed'));
    first.child.kill('SIGKILL');
    await once(first.child, 'exit');
    const second = await startProxy({ database: other.database, settings });
    closers.push(() => second.stop());
    expect(await other.ended(id)).toBe('completed');
    expect(web.seen('/answered')).toHaveLength(1);
    expect(web.seen('/last')).toHaveLength(1);
  });

  test('a stop waits for the answer as long as for a step, then gives the instance back', async () => {
    web
      .on('/stop-long', [{ hold: true }, { body: 'by the next' }])
      .on('/stop-short', { hold: true, body: 'in time' });
    const limited = { ...settings, 'http.max_concurrent_requests': '2' };
    const first = await startProxy({ database: other.database, settings: limited });
    const long = await begin(first, `df.http('${web.url}/stop-long')`);
    const short = await begin(first, `df.http('${web.url}/stop-short')`);
    await until(() => web.held === 2);
    const waiting = await begin(first, `df.http('${web.url}/stop-waiting')`);
    const stopped = first.stop();
    await until(() => refuses(first.port), { everyMs: 5, what: 'the stop to begin' });
    web.release('/stop-short');
    await stopped;
    expect(web.seen('/stop-waiting')).toEqual([]);
    expect(web.seen('/stop-long')[0]!.abandoned).toBe(true);
    expect(web.seen('/stop-short')[0]!.abandoned).toBe(false);
    const second = await startProxy({ database: other.database, settings });
    closers.push(() => second.stop());
    expect(await other.ended(long)).toBe('completed');
    expect(await other.ended(short)).toBe('completed');
    expect(await other.ended(waiting)).toBe('completed');
    expect(web.seen('/stop-short')).toHaveLength(1);
    expect(new Set(keys('/stop-long')).size).toBe(1);
  });
});
