import { Logger, makeWorkerUtils, type Runner, run, runMigrations, type TaskList } from 'graphile-worker';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { until } from '../support/wait.js';

let d: Durable;
let url: string;
let runner: Runner | undefined;

const logger = new Logger(() => () => {});

beforeAll(async () => {
  d = await Durable.open();
  url = d.proxy.url(d.role);
  await runMigrations({ connectionString: url, logger });
  await d.app.query('CREATE TABLE public.done (kind text, n int, attempt int)');
});
afterEach(async () => {
  await runner?.stop();
  runner = undefined;
});
afterAll(() => d?.close());

const left = () => d.value('SELECT count(*)::int FROM graphile_worker._private_jobs');

async function work(
  taskList: TaskList,
  options: { concurrency?: number; pollInterval?: number } = {},
): Promise<void> {
  runner = await run({
    connectionString: url,
    taskList,
    concurrency: 5,
    // So long that only a notification can be what wakes it.
    pollInterval: 10 * 60_000,
    noHandleSignals: true,
    logger,
    ...options,
  });
}

/** Notifications wake the worker only once it listens. */
async function listening(): Promise<void> {
  await until(
    () =>
      d.value(
        "SELECT count(*)::int FROM pg_stat_activity WHERE query ILIKE 'LISTEN%jobs:insert%' AND usename = $1",
        [d.role.name],
      ),
    { what: 'the worker to listen' },
  );
}

test('graphile-worker: 300 jobs, added while it runs, are each done once', async () => {
  await work({
    note: async (payload, helpers) => {
      const { n } = payload as { n: number };
      await helpers.query('INSERT INTO public.done VALUES ($1, $2, $3)', ['note', n, helpers.job.attempts]);
    },
  });
  await listening();
  const utils = await makeWorkerUtils({ connectionString: url, logger });
  const jobs = Array.from({ length: 200 }, (_, n) => ({ identifier: 'note', payload: { n } }));
  await utils.addJobs(jobs);
  for (let n = 200; n < 300; n++) await utils.addJob('note', { n });
  await until(async () => (await left()) === 0, { timeoutMs: 30_000, what: 'all jobs to be done' });
  await utils.release();
  expect(await d.value("SELECT count(DISTINCT n)::int FROM public.done WHERE kind = 'note'")).toBe(300);
  expect(await d.value("SELECT count(*)::int FROM public.done WHERE kind = 'note'")).toBe(300);
});

test('graphile-worker: a notification wakes a worker that is idle', async () => {
  await work({
    wake: async (_payload, helpers) => {
      await helpers.query("INSERT INTO public.done VALUES ('wake', 0, 1)");
    },
  });
  await listening();
  for (let n = 1; n <= 3; n++) {
    await d.app.query("SELECT graphile_worker.add_job('wake', json_build_object('n', $1::int))", [n]);
    await until(
      async () => (await d.value("SELECT count(*)::int FROM public.done WHERE kind = 'wake'")) === n,
      {
        what: `job ${n} to be done`,
      },
    );
  }
});

test('graphile-worker: a job that fails is tried again', async () => {
  await work(
    {
      stubborn: async (_payload, helpers) => {
        await helpers.withPgClient(async (client) => {
          await client.query("INSERT INTO public.done VALUES ('stubborn', 0, $1)", [helpers.job.attempts]);
          if (helpers.job.attempts < 3) await client.query('SELECT 1/0');
        });
      },
    },
    { pollInterval: 100 },
  );
  await d.app.query("SELECT graphile_worker.add_job('stubborn')");
  await until(
    async () => {
      // The next attempt is due at once instead of in seconds.
      await d.root.query(
        'UPDATE graphile_worker._private_jobs SET run_at = now() WHERE locked_at IS NULL AND attempts > 0',
      );
      return (await left()) === 0;
    },
    { timeoutMs: 20_000, everyMs: 100, what: 'the job to be done' },
  );
  const { rows } = await d.root.query(
    "SELECT attempt FROM public.done WHERE kind = 'stubborn' ORDER BY attempt",
  );
  expect(rows).toEqual([{ attempt: 1 }, { attempt: 2 }, { attempt: 3 }]);
});

test('graphile-worker and df on one database: a task starts an instance, a step adds a job', async () => {
  await work({
    start: async (_payload, helpers) => {
      await helpers.query(
        `SELECT df.start('INSERT INTO public.done VALUES (''step'', 1, 1)' ~> $1, 'from a task')`,
        ["SELECT graphile_worker.add_job('finish')"],
      );
    },
    finish: async (_payload, helpers) => {
      await helpers.query("INSERT INTO public.done VALUES ('finish', 2, 1)");
    },
  });
  await listening();
  await d.app.query("SELECT graphile_worker.add_job('start')");
  await until(() => d.value("SELECT count(*)::int FROM public.done WHERE kind = 'finish'"), {
    what: 'the job that the step has added',
  });
  expect(await d.value("SELECT status FROM df.instances WHERE label = 'from a task'")).toBe('completed');
  expect(await left()).toBe(0);
});
