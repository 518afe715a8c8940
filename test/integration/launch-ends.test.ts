/** Launches that wait for their turn, and whose caller, proxy or connection goes away meanwhile: done or not, never half. */
import type { Socket } from 'node:net';
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Durable } from '../support/durable.js';
import { type SpawnedProxy, spawnProxy } from '../support/proxy.js';
import { until } from '../support/wait.js';

const SLOT_CLASS = 1346982470;

let d: Durable;

beforeAll(async () => {
  d = await Durable.open({ max_new_transaction_starts: '1', new_transaction_start_timeout: '1s' });
});
afterAll(async () => {
  await d?.close();
});

async function start(client: pg.Client, label: string): Promise<string> {
  const { rows } = await client.query(`SELECT df.start('SELECT 1', $1, transaction_mode => 'new') AS id`, [
    label,
  ]);
  return rows[0].id;
}

async function count(label: string): Promise<number> {
  return Number(await d.value('SELECT count(*) FROM df.instances WHERE label = $1', [label]));
}

/** Somebody else has the only slot while `work` goes on. */
async function whileFull<T>(work: () => Promise<T>): Promise<T> {
  await d.root.query('SELECT pg_advisory_lock($1, 0)', [SLOT_CLASS]);
  try {
    return await work();
  } finally {
    await d.root.query('SELECT pg_advisory_unlock($1, 0)', [SLOT_CLASS]);
  }
}

/** Sessions that wait for a proxy's answer. */
async function waiting(label: string): Promise<number[]> {
  const { rows } = await d.root.query(
    `SELECT a.pid FROM pg_stat_activity AS a JOIN pg_locks AS l USING (pid)
     WHERE a.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted AND strpos(a.query, $1) > 0`,
    [label],
  );
  return rows.map(({ pid }) => pid);
}

async function slots(): Promise<number> {
  return Number(
    await d.value(
      `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
      [SLOT_CLASS],
    ),
  );
}

it('without a slot in time it fails, with the text of the contract, and nothing is started', async () => {
  await whileFull(async () => {
    await expect(start(d.app, 'no slot')).rejects.toMatchObject({
      code: 'XX000',
      message:
        "pg_durable: transaction_mode => 'new' launch limit reached (max_new_transaction_starts=1). Timed out after 1s waiting for a launch slot before opening the loopback session.",
    });
  });
  expect(await start(d.app, 'slot')).toMatch(/^[0-9a-f]{8}$/);
  expect([await count('no slot'), await count('slot')]).toEqual([0, 1]);
});

it('with a slot in time it goes on', async () => {
  let launched: Promise<string> | undefined;
  await whileFull(async () => {
    launched = start(d.app, 'in time');
    await until(async () => (await waiting('df.start')).length === 1);
  });
  expect(await launched).toMatch(/^[0-9a-f]{8}$/);
});

it('a slot that is found just as the time is over is not lost', async () => {
  const definition = String(
    await d.value(`SELECT pg_get_functiondef('_df.launch_slot(int, int[], bigint)'::regprocedure)`),
  );
  // the time runs out while it looks
  await d.root.query(definition.replace(/\bBEGIN\b/, 'BEGIN PERFORM pg_sleep(1.5);'));
  try {
    let launched: Promise<string> | undefined;
    await whileFull(async () => {
      launched = start(d.app, 'at the last moment');
      launched.catch(() => {});
      // the request is taken, and has found no slot: the time has begun
      await until(async () => (await waiting('df.start')).length === 1);
      await until(() =>
        d.value(`SELECT true FROM pg_stat_activity WHERE strpos(query, '_df.launch_slot($1') > 0
        AND application_name = 'pg_durable:backend:launches' AND state = 'active'`),
      );
    });
    expect(await launched).toMatch(/^[0-9a-f]{8}$/);
  } finally {
    await d.root.query(definition);
  }
  await until(async () => (await slots()) === 0);
  expect(await start(d.app, 'and after it')).toMatch(/^[0-9a-f]{8}$/);
});

it('the slot is given back on every path', async () => {
  await start(d.app, 'one');
  await expect(
    d.app.query(`SELECT df.start('{"node_type":"X"}', transaction_mode => 'new')`),
  ).rejects.toThrow();
  await until(async () => (await slots()) === 0);
});

it('a caller who is cancelled while he waits has started nothing', async () => {
  const client = await d.connect();
  await whileFull(async () => {
    const launched = start(client, 'cancelled').catch(({ code }) => code);
    const [pid] = await until(async () => {
      const found = await waiting('df.start');
      return found.length === 1 && found;
    });
    await d.root.query('SELECT pg_cancel_backend($1)', [pid]);
    expect(await launched).toBe('57014');
  });
  await start(d.app, 'after it');
  expect(await count('cancelled')).toBe(0);
  expect(
    (await client.query("SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"))
      .rowCount,
  ).toBe(0);
  await client.end();
});

it('statement_timeout of the caller holds while he waits', async () => {
  const client = await d.connect();
  await client.query('SET statement_timeout = 200');
  await whileFull(async () => {
    await expect(start(client, 'timed out')).rejects.toMatchObject({ code: '57014' });
  });
  await start(d.app, 'after that');
  expect(await count('timed out')).toBe(0);
  await client.end();
});

it('a session that is terminated while it waits has started nothing', async () => {
  const client = await d.connect();
  await whileFull(async () => {
    const launched = start(client, 'terminated').catch(() => 'gone');
    const [pid] = await until(async () => {
      const found = await waiting('df.start');
      return found.length === 1 && found;
    });
    await d.root.query('SELECT pg_terminate_backend($1)', [pid]);
    expect(await launched).toBe('gone');
  });
  await start(d.app, 'after the end');
  expect(await count('terminated')).toBe(0);
});

it('a client that is gone while its session waits: started whole, or not at all', async () => {
  const client = await d.connect();
  const pid = (await client.query('SELECT pg_backend_pid() AS pid')).rows[0].pid;
  await whileFull(async () => {
    start(client, 'left').catch(() => {});
    await until(async () => (await waiting('df.start')).length === 1);
    (client as unknown as { connection: { stream: Socket } }).connection.stream.destroy();
  });
  await until(
    async () => (await d.value('SELECT count(*) FROM pg_stat_activity WHERE pid = $1', [pid])) === '0',
  );
  const { rows } = await d.root.query(
    `SELECT (SELECT count(*)::int FROM df.nodes AS n WHERE n.instance_id = i.id) AS nodes
     FROM df.instances AS i WHERE label = 'left'`,
  );
  expect([[], [{ nodes: 1 }]]).toContainEqual(rows);
  await until(async () => (await slots()) === 0);
});

it('an exclusive lock of the caller on df.instances: the launch ends with the caller, and leaves nothing', async () => {
  const client = await d.connect();
  const owner = new pg.Client({ connectionString: d.database.adminUrl });
  await owner.connect();
  await owner.query('BEGIN; LOCK TABLE df.instances IN ACCESS EXCLUSIVE MODE');
  const launched = start(client, 'locked').catch(({ code }) => code);
  const blocked = () =>
    d.value(`SELECT pid FROM pg_stat_activity WHERE datname = current_database()
             AND application_name = 'pg_durable:backend:new-transaction' AND wait_event_type = 'Lock'`);
  await until(blocked);
  const [pid] = await waiting('df.start');
  await d.root.query('SELECT pg_cancel_backend($1)', [pid]);
  expect(await launched).toBe('57014');
  await owner.query('ROLLBACK');
  await until(async () => (await blocked()) === undefined);
  await start(d.app, 'after the lock');
  expect(await count('locked')).toBe(0);
  await owner.end();
  await client.end();
});

it('a statement that is stopped in the launched session is told as the time-out that does so', async () => {
  const owner = new pg.Client({ connectionString: d.database.adminUrl });
  await owner.connect();
  await owner.query('BEGIN; LOCK TABLE df.instances IN ACCESS EXCLUSIVE MODE');
  const launched = start(d.app, 'stopped').catch(({ message }) => message);
  await until(() =>
    d.value(`SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
             AND application_name = 'pg_durable:backend:new-transaction' AND wait_event_type = 'Lock'`),
  );
  expect(await launched).toMatch(
    /^pg_durable: transaction_mode => 'new' launch hit statement_timeout after 30000ms while running df\.start\(\) in the loopback session: /,
  );
  await owner.query('ROLLBACK');
  await owner.end();
});

it('sessions of launches have the name and the time-outs of the contract, and nothing of ALTER ROLE ... SET counts', async () => {
  const odd = await d.user('odd');
  const other = await d.user('someone');
  await d.root.query(`GRANT ${other.name} TO ${odd.name}`);
  await d.root.query(`ALTER ROLE ${odd.name} SET default_transaction_read_only = on`);
  await d.root.query(`ALTER ROLE ${odd.name} SET role = '${other.name}'`);
  await d.root.query(`ALTER ROLE ${odd.name} SET statement_timeout = '9s'`);
  const client = await d.connect(odd);
  await client.query('RESET ALL; SET ROLE NONE');
  const id = await start(client, 'odd');
  expect(await d.value('SELECT submitted_by::text FROM df.instances WHERE id = $1', [id])).toBe(odd.name);
  await client.end();
});

it('when the connection is lost that has the answers, the caller is told, nothing is left, and the next launch works', async () => {
  const lose = () =>
    d.value(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'pg_durable:backend:launches'`);
  await whileFull(async () => {
    const launched = start(d.app, 'lost').catch((error) => error);
    await until(async () => (await waiting('df.start')).length === 1);
    await lose();
    expect(await launched).toMatchObject({
      code: '08006',
      message:
        "df.start() with transaction_mode => 'new' was taken by pg-durable-proxy, which then was lost: it may have been done or not",
    });
  });
  await until(() => start(d.app, 'found'));
  expect([await count('lost'), await count('found')]).toEqual([0, 1]);
});

it('a proxy that is killed, at any time: what its callers had been told is there, and nothing more than they asked for', async () => {
  const proxy = await spawnProxy({ database: d.database, settings: { max_new_transaction_starts: '4' } });
  const clients = await Promise.all(Array.from({ length: 8 }, () => connect(proxy)));
  const told: string[] = [];
  let asked = 0;
  const work = clients.map(async (client) => {
    for (;;) {
      asked += 1;
      try {
        told.push(await start(client, 'killed'));
      } catch {
        return;
      }
    }
  });
  await until(() => told.length > 20);
  proxy.child.kill('SIGKILL');
  await Promise.all(work);
  const ended = () =>
    d.value(`SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND strpos(query, 'killed') > 0
             AND application_name = 'pg_durable:backend:new-transaction'`);
  await until(ended);
  const { rows } = await d.root.query("SELECT id FROM df.instances WHERE label = 'killed'");
  const there = new Set(rows.map(({ id }) => id));
  expect(told.filter((id) => !there.has(id))).toEqual([]);
  expect(there.size).toBeLessThanOrEqual(asked);
  // whole: each has its node
  expect(
    await d.value(`SELECT count(*)::int FROM df.instances AS i WHERE i.label = 'killed'
                   AND NOT EXISTS (SELECT FROM df.nodes AS n WHERE n.instance_id = i.id)`),
  ).toBe(0);
});

it('several processes serve it as one does', async () => {
  const proxy = await spawnProxy({ database: d.database, settings: { workers: '2' } });
  const clients = await Promise.all(Array.from({ length: 4 }, () => connect(proxy)));
  const notices: unknown[] = [];
  for (const client of clients) client.on('notice', (notice) => notices.push(notice));
  const ids = await Promise.all(clients.map((client) => start(client, 'workers')));
  expect(new Set(ids).size).toBe(4);
  expect(notices).toEqual([]);
  await Promise.all(clients.map((client) => client.end()));
  await proxy.stop();
});

async function connect(proxy: SpawnedProxy): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: proxy.url(d.role) });
  client.on('error', () => {});
  await client.connect();
  return client;
}

it('a stop does not wait for a launch that waits for a lock', async () => {
  const own = await Durable.open({ drain_timeout: '1s' });
  const locker = new pg.Client({ connectionString: own.database.superUrl });
  await locker.connect();
  try {
    await locker.query('BEGIN; LOCK TABLE df.nodes');
    const launched = start(await own.connect(), 'stopped').catch(() => 'failed');
    await own.app.end();
    await until(() =>
      own.value(`SELECT true FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
        AND application_name = 'pg_durable:backend:new-transaction'`),
    );
    const began = performance.now();
    await own.proxy.stop();
    expect(performance.now() - began).toBeLessThan(10_000);
    expect(await launched).toBe('failed');
  } finally {
    await locker.end();
    await own.close();
  }
});
