import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import postgres, { type Sql } from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { until } from '../support/wait.js';
import { type BothWays, failure, openBothWays } from './both-ways.js';

let both: BothWays;
let d: Durable;

beforeAll(async () => {
  both = await openBothWays();
  d = await Durable.open();
});
afterAll(async () => {
  await both?.close();
  await d?.close();
});

/** The client sends up to 100 statements ahead of their answers, on each connection. */
async function connected<T>(
  url: string,
  work: (sql: Sql) => Promise<T>,
  options: postgres.Options<Record<string, never>> = {},
): Promise<T> {
  const sql = postgres(url, { max: 1, onnotice: () => {}, ...options });
  try {
    return await work(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

describe('postgres gives the same directly and through the proxy', () => {
  test('500 statements in a pipeline, a tenth of them errors: each answer to its question', async () => {
    const answers = await both.same((url) =>
      connected(url, (sql) =>
        Promise.all(
          Array.from({ length: 500 }, (_, n) =>
            n % 10 === 3
              ? failure(sql`SELECT ${n}::int / 0 AS x`)
              : sql`SELECT ${n}::int AS n, ${`~> ${n}`} AS t`.then((rows) => [...rows]),
          ),
        ),
      ),
    );
    expect(answers[499]).toEqual([{ n: 499, t: '~> 499' }]);
    expect(answers[493]).toMatchObject({ code: '22012' });
  });

  test('unprepared, simple and several statements', async () => {
    await both.same((url) =>
      connected(
        url,
        async (sql) => [
          [...(await sql`SELECT ${1}::int AS a`)],
          [...(await sql`SELECT 1 AS a`.simple())],
          (await sql.unsafe('SELECT 1 AS a; SELECT 2 AS b')).map((each) => [
            ...(each as unknown as object[]),
          ]),
          await failure(sql.unsafe('SELECT 1; SELECT nowhere; SELECT 2')),
          (await sql`SELECT 1 AS a, ${'x'}::text AS b`.describe()).types,
          [...(await sql`SELECT 1 AS a, 2 AS b`.values())],
          (await sql`SELECT '\\x00ff'::bytea AS raw`.raw())[0]![0]!.toString('hex'),
        ],
        { prepare: false },
      ),
    );
  });

  test('types that it fetches from the catalogue: arrays of enums and of domains', async () => {
    const seen = await both.same((url) =>
      connected(
        url,
        async (sql) => {
          await sql`CREATE TYPE mood AS ENUM ('good', 'bad ~> worse')`;
          await sql`CREATE TABLE moods (id int, all_of mood[], ids bigint[], j jsonb)`;
          return await connected(
            url,
            async (later) => {
              const row = { id: 1, all_of: ['good', 'bad ~> worse'], ids: [1, 2], j: { a: ['~>'] } };
              await later`INSERT INTO moods ${later({ ...row, j: later.json(row.j) } as never)}`;
              return [...(await later`SELECT * FROM moods`)];
            },
            { fetch_types: true },
          );
        },
        { fetch_types: false },
      ),
    );
    expect(seen[0]).toMatchObject({ all_of: ['good', 'bad ~> worse'], ids: ['1', '2'] });
  });

  test('transactions, savepoints, one that is rolled back; pipelined inside', async () => {
    const seen = await both.same((url) =>
      connected(
        url,
        async (sql) => {
          await sql`CREATE TABLE t (n int PRIMARY KEY)`;
          await sql.begin(async (tx) => {
            await Promise.all(Array.from({ length: 50 }, (_, n) => tx`INSERT INTO t VALUES (${n})`));
            await tx.savepoint((sp) => sp`INSERT INTO t VALUES (1)`).catch(() => {});
            await tx.savepoint((sp) => sp`INSERT INTO t VALUES (1000)`);
          });
          const failed = await failure(
            sql.begin('ISOLATION LEVEL SERIALIZABLE', async (tx) => {
              await tx`INSERT INTO t VALUES (2000)`;
              await tx`INSERT INTO t VALUES (1)`;
            }),
          );
          return { failed, rows: [...(await sql`SELECT count(*)::int, max(n) FROM t`)] };
        },
        { max: 4 },
      ),
    );
    expect(seen.rows).toEqual([{ count: 51, max: 1000 }]);
  });

  test('COPY: into a writable and out of a readable', async () => {
    const out = await both.same((url) =>
      connected(url, async (sql) => {
        await sql`CREATE TABLE c (id int, name text)`;
        const lines = Array.from({ length: 10_000 }, (_, n) => `${n}\tname ~> ${n}\n`);
        await pipeline(Readable.from(lines), await sql`COPY c FROM STDIN`.writable());
        const [count] = await sql`SELECT count(*)::int AS n FROM c`;
        // The client may leave its socket paused behind a readable, directly as well: the connection is not used again.
        const reader = postgres(url, { max: 1 });
        const chunks: Buffer[] = [];
        for await (const chunk of await reader`COPY (SELECT * FROM c ORDER BY id) TO STDOUT`.readable()) {
          chunks.push(chunk as Buffer);
        }
        await reader.end({ timeout: 0 });
        return { same: Buffer.concat(chunks).toString() === lines.join(''), n: count!.n as number };
      }),
    );
    expect(out).toEqual({ same: true, n: 10_000 });
  });

  test('a cursor by batches, ended early; forEach', async () => {
    await both.same((url) =>
      connected(url, async (sql) => {
        const sizes: number[] = [];
        for await (const rows of sql`SELECT * FROM generate_series(1, 1000) g`.cursor(150))
          sizes.push(rows.length);
        let first = 0;
        await sql`SELECT * FROM generate_series(1, 1000) g`.cursor(
          10,
          () => (++first === 3 ? sql.CLOSE : undefined) as never,
        );
        let sum = 0;
        await sql`SELECT g FROM generate_series(1, 5000) g`.forEach((row) => {
          sum += row.g as number;
        });
        return { sizes, first, sum, after: [...(await sql`SELECT 1 AS one`)] };
      }),
    );
  });

  test('a large batch: 5 000 rows with 15 000 parameters in one statement', async () => {
    await both.same((url) =>
      connected(url, async (sql) => {
        await sql`CREATE TABLE b (id int, name text, note text)`;
        const rows = Array.from({ length: 5000 }, (_, id) => ({ id, name: `~> ${id}`, note: null }));
        await sql`INSERT INTO b ${sql(rows)}`;
        return [...(await sql`SELECT count(*)::int, sum(id)::int, count(note)::int AS notes FROM b`)];
      }),
    );
  });

  test('a statement is cancelled', async () => {
    const seen = await both.same((url) =>
      connected(url, async (sql) => {
        const [own] = await sql`SELECT pg_backend_pid() AS pid`;
        const running = sql`SELECT pg_sleep(60)`;
        const error = failure(running);
        await until(
          () =>
            connected(both.database.superUrl, async (root) => {
              const [row] =
                await root`SELECT wait_event FROM pg_stat_activity WHERE pid = ${own!.pid as number}`;
              return row?.wait_event === 'PgSleep';
            }),
          { what: 'the statement to run' },
        );
        running.cancel();
        return [await error, [...(await sql`SELECT 1 AS one`)]];
      }),
    );
    expect(seen[0]).toMatchObject({ code: '57014' });
  });

  test('LISTEN on a connection of its own', async () => {
    await both.same((url) =>
      connected(url, async (sql) => {
        const heard: string[] = [];
        const { unlisten } = await sql.listen('news', (payload) => heard.push(payload));
        for (let n = 0; n < 20; n++) await sql.notify('news', `~> ${n}`);
        await until(() => heard.length === 20, { what: '20 notifications' });
        await unlisten();
        await sql.notify('news', 'late');
        return heard;
      }),
    );
  });
});

describe('postgres and durable functions', () => {
  const app = <T>(work: (sql: Sql) => Promise<T>): Promise<T> =>
    connected(d.proxy.url(d.role), work, { max: 3 });

  test('parameters as operands, 40 starts in a pipeline', async () => {
    const ids = await app((sql) =>
      Promise.all(
        Array.from({ length: 40 }, async (_, n) => {
          const [row] =
            await sql`SELECT df.start(${`SELECT ${n} AS n`} |=> 'n' ~> ${'SELECT $n.n + 1 AS m'}, ${'js'}) AS id`;
          return row!.id as string;
        }),
      ),
    );
    for (const id of ids) expect(await d.ended(id)).toBe('completed');
    expect(new Set(ids).size).toBe(40);
  });

  test('a start in a transaction that is rolled back never was; the next one runs', async () => {
    const id = await app(async (sql) => {
      await sql
        .begin(async (tx) => {
          await tx`SELECT df.start(${'SELECT 1'} ~> 'SELECT 2', 'never')`;
          throw new Error('changed my mind');
        })
        .catch(() => {});
      const started = await sql.begin(
        (tx) => tx`SELECT df.start(${'SELECT true'} ?> ${'SELECT 1'} !> ${'SELECT 2'}, 'ever') AS id`,
      );
      return started[0]!.id as string;
    });
    expect(await d.ended(id)).toBe('completed');
    expect(await d.value("SELECT count(*)::int FROM df.instances WHERE label = 'never'")).toBe(0);
  });

  test('a step notifies a listening client', async () => {
    const heard = await app(async (sql) => {
      const got: string[] = [];
      await sql.listen('done', (payload) => got.push(payload));
      await sql`SELECT df.start('SELECT 1' ~> ${"SELECT pg_notify('done', 'from a step')"})`;
      await until(() => got.length > 0, { what: 'the notification' });
      return got;
    });
    expect(heard).toEqual(['from a step']);
  });
});
