import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect } from 'vitest';
import type { EmbeddedServer } from '../../src/demo/embedded.js';
import { Durable } from '../support/durable.js';
import { createTestDatabase, type TestDatabase, type TestRole, urlFor } from '../support/postgres.js';
import { lacking, run, succeed, testUnless, the } from './programs.js';
import { lackingServerOf, startServerOf } from './server-of.js';

// Two databases, each with a proxy and df, and an empty one. The programs log in as a superuser.

const reason = lacking('pg_dump', 'pg_restore', 'psql') ?? lackingServerOf('pg_dump');
const withDump = testUnless(reason);

let server: EmbeddedServer;
let source: Durable;
let target: Durable;
let empty: TestDatabase;
let root: TestRole;
let home: string;

beforeAll(async () => {
  if (reason !== undefined) return;
  server = await startServerOf(the('pg_dump'));
  home = await mkdtemp(join(tmpdir(), 'pg-durable-dump-'));
  source = await Durable.open();
  target = await Durable.open();
  empty = await createTestDatabase();
  root = await source.database.createRole('dumper', { superuser: true });
  await fill(await source.connect());
});

afterAll(async () => {
  // The role that restored owns what it restored.
  await target?.close();
  await empty?.drop();
  await source?.close();

  await server?.stop();
  if (home !== undefined) await rm(home, { recursive: true, force: true });
});

/** 200 tables that refer to each other, and code that uses the operators in each place where code can be. */
async function fill(app: pg.Client): Promise<void> {
  const tables = ['CREATE SCHEMA shop;'];
  for (let n = 1; n <= 200; n++) {
    const before = n === 1 ? '' : `, before int REFERENCES shop.t${n - 1} (id)`;
    tables.push(`
      CREATE TABLE shop.t${n} (id int PRIMARY KEY, name text DEFAULT 'a ~> b' CHECK (name <> ''), at timestamptz${before});
      CREATE INDEX ON shop.t${n} (name);
      COMMENT ON TABLE shop.t${n} IS 'number ${n} ~> next';
      INSERT INTO shop.t${n} (id, name) SELECT g, 'row ' || g FROM generate_series(1, 5) AS g;
    `);
  }
  await app.query(tables.join(''));
  for (let n = 1; n <= 10; n++) {
    await app.query(`
      CREATE FUNCTION shop.sql_${n}() RETURNS text LANGUAGE sql AS $$
        -- 'not' ~> 'code'
        SELECT df.start('INSERT INTO shop.t${n} (id) VALUES (100)' ~> 'SELECT ${n} AS n' |=> 'n' ~> 'SELECT $n.n')
      $$`);
    await app.query(`
      CREATE PROCEDURE shop.plpgsql_${n}() LANGUAGE plpgsql AS $body$
      DECLARE graph text := @> ('SELECT 1' ?> df.break() !> 'SELECT 2');
      BEGIN
        IF df.explain(graph ~> 'SELECT ''\u00e9 ~> ${n}''') IS NULL THEN RAISE 'none'; END IF;
        PERFORM df.start('SELECT 1' & 'SELECT ${n}' | df.sleep(1));
      END $body$`);
  }
  await app.query(
    `CREATE VIEW shop.graphs AS SELECT id, 'SELECT 1' ~> ('SELECT ' || id) AS graph FROM shop.t1`,
  );
  await app.query(
    `CREATE FUNCTION shop.atomic(x text) RETURNS text BEGIN ATOMIC SELECT x ~> 'SELECT 1' |=> 'one'; END`,
  );
  await app.end();
}

/** What is ours in the database, definitions and rows, read past the proxy. */
async function shop(database: string): Promise<string> {
  return ordinary(await succeed(the('pg_dump'), user, { url: urlFor(database) }));
}

/** Everything in the database, read past the proxy: df and its tables, too. */
async function everything(database: string): Promise<string> {
  return ordinary(await succeed(the('pg_dump'), ['--inserts', ...silent], { url: urlFor(database) }));
}

// Rights and owners are the same only within a database: each has an admin role of its own.
const silent = ['--no-owner', '--no-privileges'];

/** Without the random key in which newer versions wrap their scripts. */
function ordinary(dump: string): string {
  return dump.replace(/^\\(un)?restrict .*$/gm, '');
}

const user = ['-N', 'df', '-N', '_df', ...silent];

withDump(
  'custom format: pg_dump | pg_restore, both through a proxy, gives the same catalogue and the same rows',
  async () => {
    const shell = { name: 'sh', path: '/bin/sh', major: 0 };
    const piped = `'${the('pg_dump').path}' -Fc ${user.join(' ')} |
    '${the('pg_restore').path}' --exit-on-error -d "$TARGET" ${silent.join(' ')}`;
    expect(
      await run(shell, ['-c', piped], {
        url: source.proxy.url(root),
        env: { TARGET: target.proxy.url(root) },
      }),
    ).toEqual({ status: 0, stdout: '', stderr: '' });
    const restored = await shop(target.database.name);
    expect(restored).toBe(await shop(source.database.name));
    expect(restored.match(/^CREATE TABLE shop\./gm)).toHaveLength(200);
    expect(restored.match(/^5\trow 5\t/gm)).toHaveLength(200);
    expect(restored).toContain("'SELECT 1 AS n' OPERATOR(df.|=>) 'n' OPERATOR(df.~>) 'SELECT $n.n'");
  },
);

withDump('what was restored works', async () => {
  await target.root.query(`GRANT USAGE ON SCHEMA shop TO ${target.role.name}`);
  await target.root.query(`GRANT ALL ON ALL TABLES IN SCHEMA shop TO ${target.role.name}`);
  const { rows } = await target.app.query('SELECT shop.sql_7() AS id');
  expect(await target.ended(rows[0].id)).toBe('completed');
  expect(await target.value('SELECT count(*)::int FROM shop.t7 WHERE id = 100')).toBe(1);
  await target.app.query('CALL shop.plpgsql_3()');
  expect((await target.app.query('SELECT graph FROM shop.graphs WHERE id = 2')).rows[0].graph).toContain(
    '"SELECT 2"',
  );
  expect((await target.app.query("SELECT shop.atomic('SELECT 2') AS graph")).rows[0].graph).toContain(
    '"THEN"',
  );
});

withDump('plain format, restored by psql through the proxy', async () => {
  await target.root.query('DROP SCHEMA shop CASCADE');
  const script = join(home, 'shop.sql');
  const text = await succeed(the('pg_dump'), user, { url: source.proxy.url(root) });
  expect(ordinary(text)).toBe(
    ordinary(await succeed(the('pg_dump'), user, { url: urlFor(source.database.name) })),
  );
  await writeFile(script, text);
  const args = ['-X', '-q', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-f', script];
  await succeed(the('psql'), args, { url: target.proxy.url(root) });
  expect(await shop(target.database.name)).toBe(await shop(source.database.name));
});

withDump('directory format: four jobs at the same time out, four in', async () => {
  await target.root.query('DROP SCHEMA shop CASCADE');
  const directory = join(home, 'shop.d');
  await succeed(the('pg_dump'), ['-Fd', '-j', '4', '-f', directory, ...user], {
    url: source.proxy.url(root),
  });
  await succeed(the('pg_restore'), ['-j', '4', '-d', target.database.name, ...silent, directory], {
    url: target.proxy.url(root),
  });
  expect(await shop(target.database.name)).toBe(await shop(source.database.name));
});

withDump('a dump of the whole database, df included, is restored directly to the server', async () => {
  const file = join(home, 'whole.dump');
  await succeed(the('pg_dump'), ['-Fc', '-f', file, ...silent], { url: source.proxy.url(root) });
  await succeed(the('pg_restore'), ['--exit-on-error', '-d', empty.name, ...silent, file], {
    url: urlFor(empty.name),
  });
  // Heartbeats of the source's executor: the engine's rows are not the same twice.
  const still = (text: string) => text.replace(/^INSERT INTO (_df\.|df\._worker_epoch).*$/gm, '');
  expect(still(await everything(empty.name))).toBe(still(await everything(source.database.name)));
  const client = new pg.Client({ connectionString: urlFor(empty.name) });
  await client.connect();
  const { rows } = await client.query('SELECT df.explain(graph) AS shown FROM shop.graphs WHERE id = 3');
  expect(rows[0].shown).toContain('SELECT 3');
  await client.end();
});
