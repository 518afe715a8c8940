import { createHash } from 'node:crypto';
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import pg from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import Cursor from 'pg-cursor';
import QueryStream from 'pg-query-stream';
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

async function connected<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

describe('pg gives the same directly and through the proxy', () => {
  test('types, as text', async () => {
    const { rows, fields } = await both.same((url) =>
      connected(url, async (client) => {
        const answer = await client.query(
          `SELECT 1::int2 AS a, 2::int8 AS b, 3.5::numeric AS c, 'é'::text AS d, '\\xff00'::bytea AS e, true AS f,
                  '{1,2}'::int[] AS g, '{"x": "~>"}'::jsonb AS h, NULL AS i, '2020-01-02 03:04:05Z'::timestamptz AS j`,
        );
        return { rows: answer.rows, fields: answer.fields };
      }),
    );
    expect(rows[0]).toMatchObject({ a: 1, b: '2', g: [1, 2], h: { x: '~>' }, i: null });
    expect(fields).toHaveLength(10);
  });

  test('parameters and results in binary', async () => {
    const bytes = Buffer.from(Array.from({ length: 70_000 }, (_, i) => i % 256));
    const answers = await both.same((url) =>
      connected(url, async (client) => {
        const values = [bytes, 7, 'text', null];
        const text = `SELECT md5($1::bytea) AS sum, $2::int4 AS n, $3::text AS t, $4::int8 AS nothing,
                             true AS yes, 9007199254740993::int8 AS big`;
        const query = { text, values, binary: true };
        return [(await client.query(query as pg.QueryConfig)).rows, (await client.query(text, values)).rows];
      }),
    );
    const sum = createHash('md5').update(bytes).digest('hex');
    expect(answers[0]![0]).toMatchObject({ sum, n: 7, t: 'text', nothing: null, yes: true });
    expect(answers[1]).toEqual(answers[0]);
  });

  test('named statements, prepared once and executed often', async () => {
    const sums = await both.same((url) =>
      connected(url, async (client) => {
        const results: number[] = [];
        for (let n = 0; n < 50; n++) {
          const { rows } = await client.query({
            name: 'sum',
            text: 'SELECT $1::int + $2::int AS s',
            values: [n, 1],
          });
          results.push(rows[0].s);
        }
        const { rows } = await client.query('SELECT name, statement FROM pg_prepared_statements');
        return { results, rows };
      }),
    );
    expect(sums.results[49]).toBe(50);
    expect(sums.rows).toEqual([{ name: 'sum', statement: 'SELECT $1::int + $2::int AS s' }]);
  });

  test('errors in transactions, savepoints, several statements in one', async () => {
    await both.same((url) =>
      connected(url, async (client) => {
        await client.query('CREATE TABLE t (id int PRIMARY KEY, n int CHECK (n > 0))');
        const seen: unknown[] = [];
        await client.query('BEGIN');
        await client.query('INSERT INTO t VALUES ($1, $2)', [1, 1]);
        await client.query('SAVEPOINT s');
        seen.push(await failure(client.query('INSERT INTO t VALUES ($1, $2)', [1, 1])));
        seen.push(await failure(client.query('SELECT 1')));
        await client.query('ROLLBACK TO s');
        seen.push(await failure(client.query('INSERT INTO t VALUES ($1, $2)', [2, -1])));
        await client.query('ROLLBACK');
        seen.push((await client.query('SELECT * FROM t')).rows);
        seen.push(await failure(client.query('SELECT 1; SELECT 1/0; SELECT 3')));
        seen.push(
          ((await client.query('SELECT 1; SELECT 2')) as unknown as pg.QueryResult[]).map((r) => r.rows),
        );
        seen.push(await failure(client.query('SELECT $1::int', ['x'])));
        seen.push((await client.query('')).rows);
        return seen;
      }),
    );
  });

  test('a cursor reads in pieces, is closed in the middle, and the connection goes on', async () => {
    await both.same((url) =>
      connected(url, async (client) => {
        const cursor = client.query(
          new Cursor<{ g: number }>('SELECT g FROM generate_series(1, $1::int) g', ['1000']),
        );
        const first = await cursor.read(10);
        const second = await cursor.read(300);
        await cursor.close();
        const broken = client.query(new Cursor('SELECT 10 / (5 - g) FROM generate_series(1, 10) g'));
        const pieces = [await broken.read(2), await failure(broken.read(5))];
        return [first, second, pieces, (await client.query('SELECT 1 AS one')).rows];
      }),
    );
  });

  test('a query stream of 50 000 rows, and one that is destroyed', async () => {
    const counts = await both.same((url) =>
      connected(url, async (client) => {
        let sum = 0;
        for await (const row of client.query(
          new QueryStream('SELECT g, repeat($1, 50) FROM generate_series(1, 50000) g', ['~>'], {
            batchSize: 500,
          }),
        )) {
          sum += (row as { g: number }).g;
        }
        let seen = 0;
        for await (const _ of client.query(new QueryStream('SELECT * FROM generate_series(1, 100000)'))) {
          if (++seen === 250) break;
        }
        return { sum, seen, after: (await client.query('SELECT 2 AS two')).rows };
      }),
    );
    expect(counts).toEqual({ sum: 1_250_025_000, seen: 250, after: [{ two: 2 }] });
  });

  test('COPY in and out as streams, and an error in the midst of one', async () => {
    const out = await both.same((url) =>
      connected(url, async (client) => {
        await client.query('CREATE TABLE c (id int PRIMARY KEY, name text)');
        const lines = function* () {
          for (let n = 0; n < 20_000; n++) yield `${n}\tname ~> ${n}\n`;
        };
        await pipeline(Readable.from(lines()), client.query(copyFrom('COPY c FROM STDIN')));
        const wrong = failure(
          pipeline(
            Readable.from(['90000\ta\n', '90001\n', ...lines()]),
            client.query(copyFrom('COPY c FROM STDIN')),
          ),
        );
        const error = await wrong;
        const chunks: Buffer[] = [];
        const sink = new Writable({
          write: (chunk: Buffer, _encoding, done) => {
            chunks.push(chunk);
            done();
          },
        });
        await pipeline(
          client.query(copyTo('COPY (SELECT * FROM c ORDER BY id) TO STDOUT (FORMAT csv)')),
          sink,
        );
        const { rows } = await client.query('SELECT count(*)::int AS n FROM c');
        return { error, rows, text: Buffer.concat(chunks).toString() };
      }),
    );
    expect(out.error.message).toMatch(/missing data for column "name"/);
    expect(out.rows).toEqual([{ n: 20_000 }]);
    expect(out.text.startsWith('0,name ~> 0\n1,')).toBe(true);
  });

  test('a statement is cancelled, from a connection of its own', async () => {
    const seen = await both.same((url) =>
      connected(url, async (client) => {
        const running = failure(client.query('SELECT pg_sleep(60)'));
        const pid = (client as unknown as { processID: number }).processID;
        const key = (client as unknown as { secretKey: number }).secretKey;
        await until(async () => both.database && (await active(pid)), { what: 'the statement to run' });
        const { hostname, port } = new URL(url);
        const canceller = new pg.Client({ host: hostname, port: Number(port) });
        const internal = canceller as unknown as {
          connection: {
            connect(port: number, host: string): void;
            cancel(pid: number, key: number): void;
            on(event: string, listener: () => void): void;
          };
        };
        internal.connection.on('error', () => {});
        internal.connection.on('connect', () => internal.connection.cancel(pid, key));
        internal.connection.connect(Number(port), hostname);
        return [await running, (await client.query('SELECT 1 AS one')).rows];
      }),
    );
    expect(seen[0]).toMatchObject({ code: '57014' });
  });

  test('notifications reach a listening client', async () => {
    await both.same((url) =>
      connected(url, async (client) => {
        const heard: (string | undefined)[] = [];
        client.on('notification', ({ channel, payload }) => heard.push(`${channel}: ${payload}`));
        await client.query('LISTEN news');
        await connected(url, async (other) => {
          for (let n = 0; n < 20; n++) await other.query('SELECT pg_notify($1, $2)', ['news', `~> ${n}`]);
        });
        await until(() => heard.length === 20, { what: '20 notifications' });
        return heard;
      }),
    );
  });

  test('a pool: 200 pieces of work over eight connections', async () => {
    await both.same(async (url) => {
      const pool = new pg.Pool({ connectionString: url, max: 8 });
      await pool.query('CREATE TABLE p (n int)');
      const results = await Promise.all(
        Array.from({ length: 200 }, async (_, n) => {
          if (n % 10 === 0) return await failure(pool.query('SELECT 1 / $1::int AS x', [0]));
          const { rows } = await pool.query('INSERT INTO p VALUES ($1) RETURNING n', [n]);
          return rows;
        }),
      );
      const { rows } = await pool.query('SELECT count(*)::int AS n, sum(n)::int FROM p');
      await pool.end();
      return { results, rows };
    });
    await until(() => both.wire.proxy.sessions() === 0, { what: 'the sessions to end' });
  });
});

async function active(pid: number): Promise<boolean> {
  return await connected(both.database.superUrl, async (root) => {
    const { rows } = await root.query(
      "SELECT wait_event = 'PgSleep' AS a FROM pg_stat_activity WHERE pid = $1",
      [pid],
    );
    return rows[0]?.a === true;
  });
}

describe('pg and durable functions', () => {
  test('bind parameters are operands', async () => {
    const id = await d.start("$1 |=> 'n' ~> ($2 & $3::text) ~> df.sleep($4)", d.app, [
      'SELECT 5 AS n',
      'SELECT $n.n + 1 AS m',
      "SELECT 'é ~>' AS t",
      0,
    ]);
    expect(await d.ended(id)).toBe('completed');
    const { rows } = await d.app.query(
      'SELECT query FROM df.nodes WHERE instance_id = $1 AND query IS NOT NULL',
      [id],
    );
    expect(rows.map(({ query }) => query)).toEqual(
      expect.arrayContaining(['SELECT $n.n + 1 AS m', "SELECT 'é ~>' AS t"]),
    );
  });

  test('a named statement with operators starts an instance each time', async () => {
    const query = { name: 'begin', text: "SELECT df.start($1::text ~> 'SELECT 2', $2) AS id" };
    const ids: string[] = [];
    for (let n = 0; n < 5; n++) {
      ids.push((await d.app.query({ ...query, values: [`SELECT ${n}`, `named ${n}`] })).rows[0].id);
    }
    for (const id of ids) expect(await d.ended(id)).toBe('completed');
    const { rows } = await d.app.query(
      "SELECT count(*)::int AS n FROM df.instances WHERE label LIKE 'named %'",
    );
    expect(rows[0].n).toBe(5);
  });

  test('a cursor over starts, and a COPY of graphs', async () => {
    const cursor = d.app.query(
      new Cursor<{ id: string }>(
        "SELECT df.start('SELECT ' || g ~> 'SELECT 0') AS id FROM generate_series(1, $1::int) g",
        ['6'],
      ),
    );
    const ids = [...(await cursor.read(4)), ...(await cursor.read(4))].map(({ id }) => id);
    await cursor.close();
    expect(ids).toHaveLength(6);
    for (const id of ids) expect(await d.ended(id)).toBe('completed');
    const copied: Buffer[] = [];
    for await (const chunk of d.app.query(copyTo("COPY (SELECT 'SELECT 1' ~> 'SELECT 2') TO STDOUT"))) {
      copied.push(chunk as Buffer);
    }
    expect(Buffer.concat(copied).toString()).toContain('"THEN"');
  });
});
