import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTestDatabase, type TestDatabase, type TestRole } from '../support/postgres.js';
import { program } from '../support/program.js';
import { type SpawnedProxy, spawnProxy } from '../support/proxy.js';
import { until } from '../support/wait.js';

/** What pg keeps of BackendKeyData. */
interface Keyed {
  readonly processID: number;
  readonly secretKey: number;
}

function cancelRequest(processId: number, key: number): Buffer {
  const packet = Buffer.alloc(16);
  packet.writeInt32BE(16, 0);
  packet.writeInt32BE(80_877_102, 4);
  packet.writeInt32BE(processId, 8);
  packet.writeInt32BE(key, 12);
  return packet;
}

/** Processes that this one has started, by /proc; the tests need to name single workers. */
function workersOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return children === '' ? [] : children.split(' ').map(Number);
}

const linux = process.platform === 'linux';
if (!linux) console.log('workers.test.ts: skipped, it finds worker processes by /proc, which is not here');

describe.skipIf(!linux)('a proxy of two workers', () => {
  let database: TestDatabase;
  let role: TestRole;
  let proxy: SpawnedProxy;
  let root: pg.Client;

  beforeAll(async () => {
    database = await createTestDatabase();
    role = await database.createRole('app');
    proxy = await spawnProxy({ database, settings: { workers: '2', drain_timeout: '2s' } });
    root = new pg.Client({ connectionString: database.superUrl });
    await root.connect();
    await root.query(`SELECT df.grant_usage('${role.name}')`);
    await root.query(`CREATE TABLE done (key text); GRANT ALL ON done TO ${role.name}`);
  });

  afterAll(async () => {
    await root?.end();
    await proxy?.stop();
    await database?.drop();
  });

  const connect = async (): Promise<pg.Client> => {
    const client = new pg.Client({ connectionString: proxy.url(role) });
    client.on('error', () => {});
    await client.connect();
    return client;
  };

  const works = async (client: pg.Client): Promise<boolean> =>
    client.query('SELECT 1').then(
      () => true,
      () => false,
    );

  /** A CancelRequest on a connection of its own, to whichever worker it reaches. */
  const cancel = async (client: pg.Client): Promise<void> => {
    const { processID, secretKey } = client as unknown as Keyed;
    const socket = createConnection(proxy.port, '127.0.0.1');
    socket.resume();
    socket.end(cancelRequest(processID, secretKey));
    await once(socket, 'close');
  };

  const bothServing = () =>
    until(
      async () => {
        const clients = await Promise.all(Array.from({ length: 4 }, connect));
        await Promise.all(clients.map((client) => client.end()));
        return workersOf(proxy.pid).length === 2;
      },
      { what: 'two workers' },
    );

  it('a killed worker takes its own sessions with it and no other, and is replaced', async () => {
    const [first, second] = workersOf(proxy.pid);
    const clients = await Promise.all(Array.from({ length: 8 }, connect));
    const alive = async () => (await Promise.all(clients.map(works))).filter(Boolean).length;
    expect(await alive()).toBe(8);

    process.kill(first!, 'SIGKILL');
    await until(async () => (await alive()) === 4, { what: 'the half of the sessions to end' });
    // New clients do not wait for the replacement.
    const later = await connect();
    expect(await works(later)).toBe(true);
    await until(
      () => {
        const now = workersOf(proxy.pid);
        return now.length === 2 && now.includes(second!) && !now.includes(first!);
      },
      { what: 'a new worker' },
    );
    expect(await alive()).toBe(4);
    await bothServing();
    const { rows } = await root.query('SELECT count(*)::int AS n FROM pg_stat_activity WHERE usename = $1', [
      role.name,
    ]);
    expect(rows[0].n).toBeLessThanOrEqual(5);
    await Promise.all([later, ...clients].map((client) => client.end()));
  });

  it('a cancel request ends the query it means, whichever worker it reaches', async () => {
    await bothServing();
    // More than one of these cancels is bound to reach the worker that does not serve the session.
    for (let i = 0; i < 6; i++) {
      const client = await connect();
      const other = i % 2 === 0 ? await connect() : undefined;
      const slept = client.query('SELECT pg_sleep(30)').then(
        () => 'finished',
        (error: { code: string }) => error.code,
      );
      const { processID } = client as unknown as Keyed;
      await until(
        async () =>
          (
            await root.query(
              "SELECT FROM pg_stat_activity WHERE pid = $1 AND state = 'active' AND query LIKE '%pg_sleep%'",
              [processID],
            )
          ).rows.length === 1,
        { what: 'the query to run' },
      );
      await cancel(client);
      expect(await slept).toBe('57014');
      expect(await works(client)).toBe(true);
      await client.end();
      await other?.end();
    }
  });

  it('durable functions started by sessions of both workers run exactly once, soon after the commit', async () => {
    await bothServing();
    const clients = await Promise.all(Array.from({ length: 4 }, connect));
    await Promise.all(
      clients.map(async (client, c) => {
        for (let i = 0; i < 10; i++) {
          await client.query(`SELECT df.start('INSERT INTO done VALUES (''${c}/${i}'')' ~> 'SELECT 1')`);
        }
      }),
    );
    await until(
      async () => {
        const { rows } = await root.query(
          "SELECT count(*)::int AS n FROM df.instances WHERE status = 'completed'",
        );
        return rows[0].n === 40;
      },
      { what: '40 instances to complete' },
    );
    const { rows } = await root.query(
      'SELECT count(*)::int AS n, count(DISTINCT key)::int AS keys FROM done',
    );
    expect(rows[0]).toEqual({ n: 40, keys: 40 });
    await Promise.all(clients.map((client) => client.end()));
  });

  it('what a login gave outlives the worker in which it was made', async () => {
    await bothServing();
    const client = await connect();
    await client.query(`SELECT df.start(df.sleep(1) ~> 'INSERT INTO done VALUES (''after'')')`);
    for (const worker of workersOf(proxy.pid)) process.kill(worker, 'SIGKILL');
    await until(async () => (await root.query("SELECT FROM done WHERE key = 'after'")).rows.length === 1, {
      what: 'the step to run without another login',
    });
  });

  it('clients that come while no worker is there are served by the next one', async () => {
    await until(() => workersOf(proxy.pid).length === 2, { what: 'two workers' });
    for (const worker of workersOf(proxy.pid)) process.kill(worker, 'SIGKILL');
    const clients = await Promise.all(Array.from({ length: 4 }, connect));
    expect(await Promise.all(clients.map(works))).toEqual([true, true, true, true]);
    await Promise.all(clients.map((client) => client.end()));
  });

  it('a client for whom there is no worker does not wait longer than login_timeout', async () => {
    const running = program([
      ...['serve', '--listen', '127.0.0.1:0', '--upstream', database.adminUrl],
      ...['--set', 'workers=2', '--set', 'login_timeout=1s'],
    ]);
    const [, port] = await running.line(/listening on 127\.0\.0\.1:(\d+)/);
    // Each that dies young doubles the pause before the next one: after seven there is none for two seconds.
    const seen = new Set<number>();
    const killNew = () => {
      for (const pid of workersOf(running.child.pid!)) {
        if (!seen.has(pid)) process.kill(pid, 'SIGKILL');
        seen.add(pid);
      }
      return seen.size >= 7;
    };
    await until(killNew, { what: 'seven workers to die', everyMs: 5 });
    const socket = createConnection(Number(port), '127.0.0.1');
    socket.on('error', () => {});
    const begun = performance.now();
    await once(socket.resume(), 'close');
    expect(performance.now() - begun).toBeGreaterThan(900);
    // Only those of the beginning have ever served anybody.
    expect(running.stderr().split('worker started').length - 1).toBe(2);
    running.child.kill('SIGTERM');
    await running.ended;
  });

  it('SIGTERM ends idle sessions at once and lets a transaction finish, and leaves no process', async () => {
    const own = await spawnProxy({ database, settings: { workers: '2', drain_timeout: '20s' } });
    const workers = workersOf(own.pid);
    expect(workers.length).toBe(2);
    const [idle, busy] = await Promise.all(
      [0, 1].map(async () => {
        const client = new pg.Client({ connectionString: own.url(role) });
        await client.connect();
        return client;
      }),
    );
    const told = new Promise<string | undefined>((resolve) =>
      idle!.on('error', (error) => resolve((error as { code?: string }).code)),
    );
    busy!.on('error', () => {});
    await busy!.query('BEGIN');
    const stopped = own.stop();
    expect(await told).toBe('57P01');
    await busy!.query("INSERT INTO done VALUES ('drained')");
    await busy!.query('COMMIT');
    await stopped;
    expect((await root.query("SELECT FROM done WHERE key = 'drained'")).rows.length).toBe(1);
    const gone = (pid: number) => {
      try {
        process.kill(pid, 0);
        return false;
      } catch {
        return true;
      }
    };
    expect(workers.every(gone)).toBe(true);
  });

  it('clients of a Unix socket are handed to workers, too, and half-closing stays possible', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'workers-'));
    const running = program([
      ...['serve', '--listen', `${directory}:5432`, '--upstream', database.adminUrl, '--set', 'workers=2'],
    ]);
    await running.line(/listening on/);
    const client = new pg.Client({
      host: directory,
      port: 5432,
      user: role.name,
      password: role.password,
      database: database.name,
    });
    client.on('error', () => {});
    await client.connect();
    expect(await works(client)).toBe(true);
    // Everything at once and then the end of the client's side: the answer still comes.
    const answer = new Promise<string>((resolve) => {
      client.query("SELECT 'late' AS answer").then((result) => resolve(result.rows[0].answer), resolve);
    });
    (client as unknown as { connection: { stream: Socket } }).connection.stream.end();
    expect(await answer).toBe('late');
    running.child.kill('SIGTERM');
    expect(await running.ended).toBe(0);
    await rm(directory, { recursive: true });
  });

  it('a worker has neither settings nor secrets in its environment', async () => {
    const running = program(['serve', '--listen', '127.0.0.1:0', '--set', 'workers=2'], {
      env: { PG_DURABLE_UPSTREAM: database.adminUrl, PG_DURABLE_PASSWORD_SOMEBODY: 'for the executor' },
    });
    await running.line(/listening on/);
    const environment = (pid: number) => readFileSync(`/proc/${pid}/environ`, 'latin1');
    expect(environment(running.child.pid!)).toContain('PG_DURABLE_PASSWORD_SOMEBODY');
    const workers = workersOf(running.child.pid!);
    expect(workers.length).toBe(2);
    for (const worker of workers) expect(environment(worker)).not.toContain('PG_DURABLE_');
    running.child.kill('SIGTERM');
    expect(await running.ended).toBe(0);
  });

  it('workers end when the first process is killed', async () => {
    const own = await spawnProxy({ database, settings: { workers: '2', drain_timeout: '1s' } });
    const workers = workersOf(own.pid);
    own.child.kill('SIGKILL');
    await until(
      () =>
        workers.every((pid) => {
          try {
            process.kill(pid, 0);
            return false;
          } catch {
            return true;
          }
        }),
      { what: 'the workers to end' },
    );
  });
});
