import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { bind, copyData, copyDone, execute, flush, parse, query, sync } from '../support/frontend.js';
import {
  createTestDatabase,
  type TestDatabase,
  type TestRole,
  urlFor,
  withClient,
} from '../support/postgres.js';
import { type Program, program } from '../support/program.js';
import { RawClient } from '../support/raw-client.js';
import { until } from '../support/wait.js';
import { startWireProxy } from '../support/wire-proxy.js';

let db: TestDatabase;
let role: TestRole;
const programs: Program[] = [];

beforeAll(async () => {
  db = await createTestDatabase();
  role = await db.createRole('drained');
  await withClient(db.superUrl, (client) => client.query('CREATE TABLE public.copied (line text)'));
  await withClient(db.superUrl, (client) => client.query(`GRANT ALL ON public.copied TO ${role.name}`));
});
afterEach(async () => {
  for (const { child, ended } of programs.splice(0)) {
    child.kill('SIGKILL');
    await ended;
  }
});
afterAll(() => db?.drop());

/** Whether a statement waits for this advisory lock. */
async function waits(gate: pg.Client, key: number): Promise<boolean> {
  const { rowCount } = await gate.query(
    "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = $1",
    [key],
  );
  return rowCount === 1;
}

describe('a proxy that is to stop', () => {
  test('ends idle sessions at once, and each of the others when what it does is done', async () => {
    const own = await startWireProxy(urlFor(db.name));
    const connect = async () => {
      const { name: user, password } = role;
      const client = await RawClient.login({ ...own, user, password, database: db.name });
      client.forget();
      return client;
    };
    const idle = await connect();
    const listening = await connect();
    listening.send(query('LISTEN news'));
    await listening.ready();
    const prepared = await connect();
    prepared.send(parse('SELECT 1', 'kept'), sync);
    await prepared.ready();

    const copyIn = await connect();
    copyIn.send(query('COPY public.copied FROM STDIN'));
    await copyIn.waitFor('G');
    const copyOut = await connect();
    copyOut.counting = true;
    copyOut.send(query("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 50000)) TO STDOUT"));
    await copyOut.waitFor('H');
    copyOut.socket.pause();
    const transaction = await connect();
    transaction.send(query('BEGIN'));
    await transaction.ready();
    const failed = await connect();
    failed.send(query('BEGIN; SELECT 1/0'));
    await failed.ready();
    const pipeline = await connect();
    pipeline.send(parse('SELECT 1'), bind(), execute(), flush);
    await pipeline.waitFor('C');
    const running = await connect();
    const gate = new pg.Client({ connectionString: db.superUrl });
    await gate.connect();
    await gate.query('SELECT pg_advisory_lock(79)');
    running.send(query('SELECT pg_advisory_lock_shared(79)'));
    await until(() => waits(gate, 79), { what: 'the statement' });

    const closing = own.close(60_000);
    for (const client of [idle, listening, prepared]) {
      await until(() => client.ended, { what: 'the end of an idle session' });
      expect(client.error().code).toBe('57P01');
    }
    const busy = { copyIn, copyOut, transaction, failed, pipeline, running };
    const ended = Object.entries(busy).flatMap(([name, client]) => (client.ended ? [name] : []));
    expect(ended).toEqual([]);

    await gate.query('SELECT pg_advisory_unlock(79)');
    await gate.end();
    copyIn.send(copyData('one\n'), copyDone);
    copyOut.socket.resume();
    transaction.send(query('COMMIT'));
    failed.send(query('ROLLBACK'));
    pipeline.send(parse('SELECT 2'), bind(), execute(), sync);
    for (const client of [copyIn, copyOut, transaction, failed, pipeline, running]) {
      await until(() => client.ended, { what: 'the end of a session' });
      // What it did, then its ReadyForQuery, then the end: nothing is cut off.
      expect(client.types().slice(-3)).toBe('CZE');
    }
    expect(copyOut.received).toBeGreaterThan(50_000 * 1000);
    for (const client of [copyIn, transaction, failed, pipeline, running]) {
      expect(client.error().code).toBe('57P01');
    }
    expect(
      await withClient(db.superUrl, async (client) => (await client.query('TABLE public.copied')).rows),
    ).toEqual([{ line: 'one' }]);
    const all = [idle, listening, prepared, copyIn, copyOut, transaction, failed, pipeline, running];
    for (const { socket } of all) socket.destroy();
    await closing;
    expect(own.proxy.sessions()).toBe(0);
  });

  test('after its time cuts off what is left: the server stops a statement that still runs, and rolls it back', async () => {
    const own = await startWireProxy(urlFor(db.name));
    const { name: user, password } = role;
    const client = await RawClient.login({ ...own, user, password, database: db.name });
    client.forget();
    await withClient(db.superUrl, async (gate) => {
      await gate.query('SELECT pg_advisory_lock(81)');
      // One transaction, which would commit with the end of its last statement.
      client.send(
        query("INSERT INTO public.copied VALUES ('cut off'); SELECT pg_advisory_xact_lock_shared(81)"),
      );
      await until(() => waits(gate, 81), { what: 'the statement' });
      await own.close(0);
      await until(() => client.ended, { what: 'the end of the session' });
      expect(client.error().code).toBe('57P01');
      await until(async () => !(await waits(gate, 81)), { what: 'the statement to be stopped' });
      const { rows } = await gate.query("SELECT FROM public.copied WHERE line = 'cut off'");
      expect(rows).toEqual([]);
    });
    client.socket.destroy();
  });
});

function serve(...sets: string[]): Program {
  const started = program([
    ...['serve', '--listen', '127.0.0.1:0', '--upstream', db.adminUrl],
    ...sets.flatMap((set) => ['--set', set]),
  ]);
  programs.push(started);
  return started;
}

async function portOf(proxy: Program): Promise<number> {
  return Number((await proxy.line(/listening on 127\.0\.0\.1:(\d+)/))[1]);
}

async function connectTo(proxy: Program): Promise<pg.Client> {
  const client = new pg.Client({
    ...{ host: '127.0.0.1', port: await portOf(proxy), database: db.name },
    ...{ user: role.name, password: role.password },
  });
  client.on('error', () => {});
  await client.connect();
  return client;
}

/** What the client is told at its end. */
function lastWord(client: pg.Client): Promise<string> {
  return new Promise((resolve) => {
    client.on('error', (error) => resolve((error as { code?: string }).code ?? error.message));
  });
}

describe('signals', () => {
  test('SIGINT gives an open transaction a second, whatever drain_timeout says', async () => {
    const proxy = serve('drain_timeout=1h');
    const client = await connectTo(proxy);
    await client.query('BEGIN');
    const word = lastWord(client);
    proxy.child.kill('SIGINT');
    expect(await word).toBe('57P01');
    expect(await proxy.ended).toBe(0);
  });

  test.each(['1', '2'])(
    'SIGINT stops what still runs after that, on the server too; workers=%s',
    async (workers) => {
      const proxy = serve('drain_timeout=1h', `workers=${workers}`);
      const client = await connectTo(proxy);
      await withClient(db.superUrl, async (gate) => {
        await gate.query('SELECT pg_advisory_lock(82)');
        const outcome = client
          .query("INSERT INTO public.copied VALUES ('cut off'); SELECT pg_advisory_xact_lock_shared(82)")
          .catch((error: { code: string }) => error.code);
        await until(() => waits(gate, 82), { what: 'the statement' });
        proxy.child.kill('SIGINT');
        expect(await proxy.ended).toBe(0);
        expect(await outcome).toBe('57P01');
        await until(async () => !(await waits(gate, 82)), { what: 'the statement to be stopped' });
        expect((await gate.query("SELECT FROM public.copied WHERE line = 'cut off'")).rows).toEqual([]);
      });
    },
  );

  test('SIGTERM waits for drain_timeout', async () => {
    const proxy = serve('drain_timeout=1500ms');
    const client = await connectTo(proxy);
    await client.query('BEGIN');
    const word = lastWord(client);
    const begun = performance.now();
    proxy.child.kill('SIGTERM');
    expect(await word).toBe('57P01');
    expect(performance.now() - begun).toBeGreaterThan(1400);
    expect(await proxy.ended).toBe(0);
  });

  test.each(['1', '2'])('SIGQUIT ends it at once, with workers=%s', async (workers) => {
    const proxy = serve('drain_timeout=1h', `workers=${workers}`);
    const client = await connectTo(proxy);
    await client.query('BEGIN');
    const word = lastWord(client);
    proxy.child.kill('SIGQUIT');
    expect(await proxy.ended).toBe(128 + 3);
    await word;
  });
});

describe('the instances of a proxy that is told to stop', () => {
  beforeAll(async () => {
    const first = serve();
    await portOf(first);
    await withClient(db.superUrl, (client) => client.query('SELECT df.grant_usage($1)', [role.name]));
    await withClient(db.superUrl, async (client) => {
      await client.query(`CREATE TABLE public.steps (step text, at timestamptz DEFAULT clock_timestamp())`);
      await client.query(`GRANT ALL ON public.steps TO ${role.name}`);
    });
    first.child.kill('SIGTERM');
    await first.ended;
  });

  // A lease that nobody gives back would last for longer than the test.
  const settings = ['lease_duration=10min'];

  /** Two proxies, the first with an instance whose first step is under way. */
  async function twoProxies(drain: string, step: string) {
    const a = serve(...settings, `drain_timeout=${drain}`);
    const app = await connectTo(a);
    const { rows } = await app.query<{ id: string }>(`SELECT df.start($1 ~> $2 ~> $3) AS id`, [
      step,
      "INSERT INTO public.steps (step) VALUES ('second')",
      "INSERT INTO public.steps (step) VALUES ('third')",
    ]);
    const running = () =>
      withClient(db.superUrl, async (client) => {
        const answer = await client.query(
          "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND query LIKE '%first step%'",
        );
        return answer.rows.length > 0;
      });
    await until(running, { what: 'the first step' });
    const b = serve(...settings);
    const other = await connectTo(b);
    return { a, b, id: rows[0]!.id, other, running };
  }

  async function completed(client: pg.Client, id: string): Promise<void> {
    await until(
      async () => (await client.query('SELECT df.status($1) AS status', [id])).rows[0].status === 'completed',
      { what: 'the instance to complete', everyMs: 50 },
    );
  }

  // Again, should the machine have been busy with something else just then.
  test('go on elsewhere within a second of the step that is under way', { retry: 2 }, async () => {
    await withClient(db.superUrl, async (gate) => {
      await gate.query('TRUNCATE public.steps');
      await gate.query('SELECT pg_advisory_lock(77)');
      const { a, id, other } = await twoProxies(
        '1h',
        "INSERT INTO public.steps (step) SELECT 'first' FROM pg_advisory_xact_lock_shared(77) /* first step */",
      );
      a.child.kill('SIGTERM');
      await until(() => a.stderr().includes('"stopping"'), { what: 'the first proxy to hear it' });
      await gate.query('SELECT pg_advisory_unlock(77)');
      expect(await a.ended).toBe(0);
      await completed(other, id);
      const { rows } = await gate.query('SELECT step FROM public.steps ORDER BY at');
      expect(rows.map(({ step }) => step)).toEqual(['first', 'second', 'third']);
      // Of the three steps only the first was run by the first proxy: the second began when that had given it back.
      const gap = await gate.query(
        `SELECT extract(epoch FROM max(at) FILTER (WHERE step = 'second') - max(at) FILTER (WHERE step = 'first'))::float8 AS s
         FROM public.steps`,
      );
      console.log(`hand-over of an instance: ${gap.rows[0].s.toFixed(2)} s`);
      expect(gap.rows[0].s).toBeGreaterThan(0);
      expect(gap.rows[0].s).toBeLessThan(1);
      await other.end();
    });
  });

  test('whose step takes longer than drain_timeout: it is rolled back and run again elsewhere', async () => {
    await withClient(db.superUrl, async (gate) => {
      await gate.query('TRUNCATE public.steps');
      await gate.query('SELECT pg_advisory_lock(78)');
      const { a, id, other, running } = await twoProxies(
        '300ms',
        "INSERT INTO public.steps (step) SELECT 'first' FROM pg_advisory_xact_lock_shared(78) /* first step */",
      );
      a.child.kill('SIGTERM');
      expect(await a.ended).toBe(0);
      await until(running, { what: 'the first step to run again', timeoutMs: 5_000 });
      await gate.query('SELECT pg_advisory_unlock(78)');
      await completed(other, id);
      const { rows } = await gate.query('SELECT step FROM public.steps ORDER BY at');
      expect(rows.map(({ step }) => step)).toEqual(['first', 'second', 'third']);
      await other.end();
    });
  });

  test('that never come to an end are given back as well, with SQL in them or without', async () => {
    const a = serve(...settings, 'drain_timeout=1h');
    const app = await connectTo(a);
    const ids: string[] = [];
    for (const graph of ["df.loop('SELECT 1')", 'df.loop(df.sleep(0))']) {
      ids.push((await app.query<{ id: string }>(`SELECT df.start(${graph}) AS id`)).rows[0]!.id);
    }
    await withClient(db.superUrl, async (root) => {
      const held = async () =>
        (
          await root.query(
            'SELECT count(*)::int AS n FROM _df.instances WHERE id = ANY ($1) AND owner IS NOT NULL',
            [ids],
          )
        ).rows[0].n;
      await until(async () => (await held()) === 2, { what: 'both to be held', everyMs: 5 });
      a.child.kill('SIGTERM');
      expect(await a.ended).toBe(0);
      expect(await held()).toBe(0);
      for (const id of ids) await root.query('SELECT df.cancel($1)', [id]);
    });
  });
});
