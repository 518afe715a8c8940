import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import { Durable } from '../support/durable.js';
import { type TestRole, urlFor } from '../support/postgres.js';
import { until } from '../support/wait.js';
import { find, lacking, type Outcome, run, start, testUnless, the } from './programs.js';

const reason = lacking('psql');
const withPsql = testUnless(reason);
const sinceSixteen = testUnless(
  reason ?? (the('psql').major < 16 ? `psql ${the('psql').major} has no \\bind` : undefined),
);

let d: Durable;
let home: string;

beforeAll(async () => {
  if (find('psql') === undefined) return;
  home = await mkdtemp(join(tmpdir(), 'pg-durable-psql-'));
  d = await Durable.open();
  await d.app.query(`
    CREATE TABLE public.items (id int PRIMARY KEY, name text NOT NULL, tags text[] DEFAULT '{}');
    CREATE INDEX items_name ON public.items (name);
    CREATE VIEW public.named AS SELECT name FROM public.items;
    CREATE FUNCTION public.twice(x int) RETURNS int LANGUAGE sql AS 'SELECT 2 * x';
    CREATE SEQUENCE public.countdown INCREMENT -1 MINVALUE -5 MAXVALUE 3 START 3;
  `);
});

afterAll(async () => {
  await d?.close();
  if (home !== undefined) await rm(home, { recursive: true, force: true });
});

const through = (role: TestRole = d.role) => d.proxy.url(role);
const straight = (role: TestRole = d.role) => urlFor(d.database.name, role);

/** A script on standard input, without the settings of whoever runs the tests. */
function psql(url: string, script: string, args: string[] = [], env = {}): Promise<Outcome> {
  return run(the('psql'), ['-X', '-P', 'pager=off', ...args], { url, input: script, cwd: home, env });
}

/** The script's outcome through the proxy, which must be the one that it has directly. */
async function same(
  script: string,
  args: string[] = [],
  { mask = (text: string) => text, env = {} } = {},
): Promise<Outcome> {
  const plain = ({ status, stdout, stderr }: Outcome) => ({
    status,
    stdout: mask(stdout),
    stderr: mask(stderr),
  });
  const direct = plain(await psql(straight(), script, args, env));
  const proxied = plain(await psql(through(), script, args, env));
  expect(proxied).toEqual(direct);
  return proxied;
}

async function good(script: string, args: string[] = []): Promise<string> {
  const { status, stdout, stderr } = await psql(through(), script, ['-v', 'ON_ERROR_STOP=1', ...args]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout;
}

withPsql('the describing commands say the same', async () => {
  const commands = String.raw`
    \d
    \d+ items
    \d items_name
    \d df.instances
    \dv+
    \ds
    \dn+
    \dp items
    \df+ twice
    \sf twice
    \df df.*
    \do df.*
    \dt df.*
    \du
    \dx
    \dT
    \dd
    \dconfig search_path
    \encoding
    \echo :SERVER_VERSION_NUM
  `;
  const { status, stdout, stderr } = await same(commands);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout).toMatch(/ df +\| +start +\|/);
  expect(stdout).toMatch(/items_name/);
  expect(stdout).toMatch(/ df +\| +~> +\|/);
  // An older psql asks newer servers for a column that they no longer have.
  await same('\\l');
});

withPsql('\\copy in and out', async () => {
  const rows = Array.from({ length: 5_000 }, (_, i) => `${i}\tname ~> ${i}\t{a,b}\n`).join('');
  await writeFile(join(home, 'in.tsv'), rows);
  await good(`\\copy items FROM 'in.tsv'\n\\copy items TO 'out.tsv'\n\\copy items TO 'out.bin' WITH BINARY`);
  expect(await readFile(join(home, 'out.tsv'), 'utf8')).toBe(rows);
  await good(`TRUNCATE items;\n\\copy items FROM 'out.bin' WITH BINARY`);
  expect(await good('SELECT count(*), max(name) FROM items', ['-At'])).toBe('5000|name ~> 999\n');
  const failed = await same("\\copy items FROM 'in.tsv'\n\\copy items (id) FROM STDIN\nx\n\\.\nSELECT 1;");
  expect(failed.stderr).toMatch(/duplicate key.*\n.*\n.*CONTEXT: +COPY items, line 1/);
  expect(failed.stderr).toMatch(/invalid input syntax for type integer: "x"/);
  expect(failed.stdout).toMatch(/1 row/);
});

withPsql('\\watch repeats until the statement fails', async () => {
  const script = "SELECT setval('countdown', 3);\nSELECT 6 / nextval('countdown') AS n \\watch 0.01\n";
  const mask = (text: string) => text.replace(/^\w+ \w+ +\d+ [\d:]+ .*$/gm, 'when');
  const { stdout, stderr } = await same(script, ['-At'], { mask });
  expect(stdout.match(/^\d$/gm)?.join(' ')).toBe('3 3 6');
  expect(stderr).toMatch(/division by zero/);
});

withPsql('\\conninfo names database, role and the address of the proxy', async () => {
  const shown = await good('\\conninfo\nSELECT current_user, current_database()', ['-At']);
  for (const part of [d.database.name, d.role.name, '127.0.0.1', new URL(through()).port]) {
    expect(shown).toContain(part);
  }
  expect(shown).toContain(`${d.role.name}|${d.database.name}`);
});

withPsql('\\password: the new password logs in, the old one does not', async () => {
  const role = await d.user('forgetful');
  const password = 'new ~> p\u00e4ssword';
  const change = await run(the('psql'), ['-X', '-c', '\\password'], {
    url: through(role),
    input: `${password}\n${password}\n`,
  });
  expect(change.status).toBe(0);
  const { rows } = await d.root.query('SELECT rolpassword FROM pg_authid WHERE rolname = $1', [role.name]);
  expect(rows[0].rolpassword).toMatch(/^SCRAM-SHA-256\$/);
  const login = await psql(through({ ...role, password }), 'SELECT current_user', ['-At']);
  expect(login).toEqual({ status: 0, stdout: `${role.name}\n`, stderr: '' });
  const old = await psql(through(role), 'SELECT 1');
  expect(old.status).toBe(2);
  expect(old.stderr).toContain(`password authentication failed for user "${role.name}"`);
});

withPsql('\\gset, \\gexec, \\gdesc, \\crosstabview, \\if, and fetching with a cursor', async () => {
  await same(`
    SELECT 40 + 2 AS answer, 'it''s' AS quoted \\gset my_
    SELECT :my_answer, :'my_quoted';
    SELECT format('SELECT %s AS %I', n, 'column ' || n) FROM generate_series(1, 3) AS n \\gexec
    SELECT 1 AS a, now() AS b \\gdesc
    VALUES ('a', 'x', 1), ('a', 'y', 2), ('b', 'x', 3) \\crosstabview
    SELECT true AS ok \\gset
    \\if :ok
      SELECT 'yes' AS it;
    \\endif
    \\set FETCH_COUNT 7
    SELECT g FROM generate_series(1, 30) AS g;
    \\unset FETCH_COUNT
    BEGIN; SAVEPOINT s; SELECT 1/0; ROLLBACK TO s; COMMIT;
    SELECT 1 \\; SELECT 2 \\; SELECT 3;
    \\errverbose
  `);
});

sinceSixteen('\\bind sends parameters', async () => {
  await same("SELECT $1::int + 1, $2 || 'x' \\bind 41 a \\g\nSELECT $1::int \\bind nothing \\g\n");
  expect(await good("SELECT ($1 ~> 'SELECT 2') LIKE '%THEN%' \\bind 'SELECT 1' \\g\n", ['-At'])).toBe('t\n');
});

withPsql('LISTEN: a notification reaches psql', async () => {
  const listener = start(the('psql'), ['-X', '-At'], { url: through() });
  listener.child.stdin.write("LISTEN news;\nSELECT 'listening';\n");
  await listener.says(/listening/);
  await d.app.query("NOTIFY news, 'p~>q'");
  listener.child.stdin.end('SELECT 1;\n');
  const { stdout } = await listener.ended;
  expect(stdout).toMatch(
    /Asynchronous notification "news" with payload "p~>q" received from server process with PID \d+/,
  );
});

const calls: Record<string, string> = {
  'a plain statement': 'SELECT pg_sleep(60)',
  'a rewritten statement': "SELECT 'SELECT 1' ~> 'SELECT 2', pg_sleep(60)",
  'a COPY': 'COPY (SELECT pg_sleep(60)) TO STDOUT',
};
for (const [what, sql] of Object.entries(calls)) {
  withPsql(`Ctrl-C cancels ${what}`, async () => {
    const running = start(the('psql'), ['-X', '-c', sql, '-c', "SELECT 'still there'"], { url: through() });
    const active = `SELECT count(*)::int FROM pg_stat_activity
      WHERE usename = $1 AND state = 'active' AND wait_event = 'PgSleep'`;
    await until(() => d.value(active, [d.role.name]), { what: 'the statement to run' });
    running.child.kill('SIGINT');
    const { stderr } = await running.ended;
    expect(stderr).toMatch(/ERROR: {2}canceling statement due to user request/);
    expect(await d.value(active, [d.role.name])).toBe(0);
  });
}

withPsql('errors point to the same place, also in statements with operators of df', async () => {
  const wrong = [
    'SELECT 1 +;',
    'SELECT nowhere FROM items;',
    "SELECT 'é', 'a' ~> 'b' ~> 'c', nowhere;",
    "SELECT df.start('SELECT 1' ~> 'SELECT 2' |=> 'x') FROM nowhere;",
    "SELECT df.start(\n  'SELECT 1'\n  ~> 'SELECT 2'\n  ~> 'SELECT 3', nowhere\n);",
    "SELECT df.start('SELECT 1' ~> 'SELECT 2' ?>);",
    "SELECT 'a' ~> 'b' || 'c' FROM items WHERE ('d' ~> 'e') IS NULL OR name ~~~ 'x';",
    "SELECT df.start('SELECT 1' ~> 'SELECT 2') + 1;",
    "SELECT 'SELECT 1' ~> 5;",
    "DO $$ BEGIN PERFORM df.start('SELECT 1' ~> 'SELECT 2', nowhere()); END $$;",
  ];
  // With df on the search path the server finds the operators without the proxy.
  const env = { PGOPTIONS: '-c search_path=public,df' };
  for (const sql of wrong) {
    const script = `SELECT 'before';\n${sql}\nSELECT 'after';\n`;
    const { status, stdout, stderr } = await same(script, ['-At', '-v', 'ON_ERROR_STOP=1'], { env });
    expect({ status, stdout }).toEqual({ status: 3, stdout: 'before\n' });
    expect(stderr).toMatch(/ERROR: .*\n(LINE \d+: .*\n +\^|(.*\n)*QUERY: )/);
  }
});

withPsql('the first example of the guide runs to its end', async () => {
  const id = (await good("SELECT df.start('SELECT ''Hello, durable world!''')\\g\n", ['-At'])).trim();
  expect(id).toMatch(/^[0-9a-f]{8}$/);
  expect(await d.ended(id)).toBe('completed');
  expect(await good(`SELECT df.status('${id}')\\g\n`, ['-At'])).toBe('completed\n');
  expect(await good(`SELECT df.result('${id}')\\g\n`, ['-At'])).toContain('Hello, durable world!');
});

withPsql('operators in a script with variables of psql', async () => {
  const started = await good(
    `
    \\set step 'SELECT 20 AS n'
    SELECT df.start(:'step' |=> 'n' ~> ('SELECT 1' & 'SELECT $n.n + 22 AS answer'), 'from psql') AS id \\gset
    SELECT :'id', label FROM df.list_instances() WHERE instance_id = :'id';
    `,
    ['-At'],
  );
  const [id, label] = started.trim().split('|');
  expect(label).toBe('from psql');
  expect(await d.ended(id!)).toBe('completed');
  expect(await good(`SELECT df.result('${id}')`, ['-At'])).toMatch(/"answer": ?42/);
});

withPsql('scripts that were written for the extension run', async () => {
  const root = await d.database.createRole('root', { superuser: true });
  const script = `
    CREATE EXTENSION pg_durable;
    CREATE EXTENSION IF NOT EXISTS pg_durable CASCADE;
    SHOW pg_durable.max_user_connections;
    ALTER EXTENSION pg_durable UPDATE;
    BEGIN;
    DROP EXTENSION pg_durable CASCADE;
    ROLLBACK;
    CREATE EXTENSION pg_durable;
  `;
  const { stdout, stderr } = await psql(through(root), script);
  expect(stdout.split('\n').map((line) => line.trim())).toEqual([
    'CREATE EXTENSION',
    'CREATE EXTENSION',
    'pg_durable.max_user_connections',
    expect.stringMatching(/^-+$/),
    '10',
    '(1 row)',
    '',
    'ALTER EXTENSION',
    'BEGIN',
    'DROP EXTENSION',
    'ROLLBACK',
    '',
  ]);
  expect(stderr.split('\n')).toEqual([
    'NOTICE:  extension "pg_durable" already exists, skipping',
    'NOTICE:  version "0.1.0" of extension "pg_durable" is already installed',
    'ERROR:  extension "pg_durable" already exists',
    '',
  ]);
});

withPsql('nothing of psql is left on the server', async () => {
  await until(
    async () =>
      (await d.value(
        "SELECT count(*)::int FROM pg_stat_activity WHERE application_name = 'psql' AND datname = current_database()",
      )) === 0,
    { what: 'the sessions of psql to end' },
  );
});
