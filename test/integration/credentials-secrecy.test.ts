import { createHash, randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deriveScramKeys } from '../../src/wire/scram.js';
import { createTestDatabase, type TestDatabase, type TestRole } from '../support/postgres.js';
import { memoryUnreadable, occurrencesInMemory } from '../support/process-memory.js';
import { program, run } from '../support/program.js';
import { until } from '../support/wait.js';

let directory: string;
let db: TestDatabase;
let root: pg.Client;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pg-durable-secrecy-'));
  db = await createTestDatabase();
  root = new pg.Client({ connectionString: db.superUrl });
  await root.connect();
  await run(['install', '--upstream', db.adminUrl]);
});
afterAll(async () => {
  await root?.end();
  await db?.drop();
  await rm(directory, { recursive: true, force: true });
});

async function file(name: string, content: string, mode = 0o600): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, content);
  await chmod(path, mode);
  return path;
}

async function user(prefix: string): Promise<TestRole> {
  const role = await db.createRole(prefix);
  await root.query('SELECT df.grant_usage($1)', [role.name]);
  return role;
}

function clientConfig(url: string): pg.ClientConfig {
  const { hostname: host, pathname, username: user } = new URL(url);
  return { host, user, database: pathname.slice(1) };
}

/** What a login as the role needs, computed from the password with the salt that the server has. */
async function keysOf(role: TestRole) {
  const { rows } = await root.query<{ verifier: string }>(
    'SELECT rolpassword AS verifier FROM pg_authid WHERE rolname = $1',
    [role.name],
  );
  const [, iterations, salt, stored] = /^SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):/.exec(rows[0]!.verifier)!;
  const keys = await deriveScramKeys(role.password, Buffer.from(salt!, 'base64'), Number(iterations));
  expect(createHash('sha256').update(keys.clientKey).digest('base64')).toBe(stored); // these are the ones
  return keys;
}

/** Every way in which bytes are likely to be written down. */
function writings(secret: Buffer): string[] {
  return [
    secret.toString('hex'),
    secret.toString('hex').toUpperCase(),
    secret.toString('base64').replace(/=+$/, ''),
    secret.toString('base64url'),
    secret.toString('latin1'),
    secret.toString('utf8'),
    [...secret].join(','),
    [...secret].join(', '),
  ];
}

/** A proxy of its own process with everything that it prints; `work` gets the way through it. */
async function whatIsPrinted(
  settings: readonly string[],
  env: Readonly<Record<string, string>>,
  work: (url: (role: TestRole) => string) => Promise<void>,
): Promise<string> {
  const running = program(
    [
      ...['serve', '--listen', '127.0.0.1:0', '--upstream', db.adminUrl],
      ...['log_level=trace', 'session_idle_timeout=0', ...settings].flatMap((set) => ['--set', set]),
    ],
    { env },
  );
  const port = (await running.line(/listening on 127\.0\.0\.1:(\d+)/))[1]!;
  try {
    await work((role) => role.url.replace(/@[^/]+/, `@127.0.0.1:${port}`));
  } finally {
    running.child.kill('SIGTERM');
    await running.ended;
  }
  return running.stdout() + running.stderr();
}

/** Every statement text of the whole server that shows while `work` runs. */
async function statementsDuring(work: () => Promise<void>): Promise<string> {
  const watcher = new pg.Client({ connectionString: db.superUrl });
  await watcher.connect();
  const seen = new Set<string>();
  let over = false;
  const watch = (async () => {
    while (!over) {
      const { rows } = await watcher.query<{ text: string }>(
        `SELECT concat_ws(' ', application_name, query) AS text FROM pg_stat_activity WHERE pid <> pg_backend_pid()`,
      );
      for (const { text } of rows) seen.add(text);
    }
  })();
  try {
    await work();
  } finally {
    over = true;
    await watch;
    await watcher.end();
  }
  return [...seen].join('\n');
}

/** All that the tables of both schemas hold, as a dump would have it. */
async function dump(): Promise<string> {
  const { rows } = await root.query<{ name: string }>(
    `SELECT c.oid::regclass::text AS name FROM pg_class AS c
     WHERE c.relkind = 'r' AND c.relnamespace IN ('df'::regnamespace, '_df'::regnamespace)`,
  );
  const parts: string[] = [];
  for (const { name } of rows) {
    const { rows: contents } = await root.query<{ line: string }>(`SELECT t::text AS line FROM ${name} AS t`);
    parts.push(...contents.map(({ line }) => line));
  }
  return parts.join('\n');
}

async function ended(id: string): Promise<string> {
  const status = await until(
    async () => {
      const { rows } = await root.query('SELECT status FROM df.instances WHERE id = $1', [id]);
      return ['completed', 'failed'].includes(rows[0].status) && (rows[0].status as string);
    },
    { what: `the end of ${id}` },
  );
  return status as string;
}

describe('nothing secret is to be found', () => {
  test('in what a proxy prints, in statements that show, and in the tables', async () => {
    const [captured, filed, tokened] = [await user('captured'), await user('filed'), await user('tokened')];
    const key = randomBytes(32);
    const passwords = await file('passwords', `*:*:*:${filed.name}:${filed.password}\n`);
    const script = await file(
      'token.sh',
      `case "$PGUSER" in ${tokened.name}) echo ${tokened.password};; captured*) exit 0;; *) echo a-token-${key.toString('hex').slice(0, 8)}; exit 1;; esac\n`,
    );
    const explained: string[] = [];
    let printed = '';
    const statements = await statementsDuring(async () => {
      printed = await whatIsPrinted(
        [`credentials_file=${passwords}`, `credential_command=/bin/sh ${script}`],
        { PG_DURABLE_CREDENTIAL_KEY: key.toString('base64') },
        async (url) => {
          for (const role of [captured, filed, tokened]) {
            const client = new pg.Client({ connectionString: url(role) });
            await client.connect();
            const { rows } = await client.query<{ id: string }>(
              `SELECT df.start('SELECT pg_sleep(0.05), session_user::text') AS id UNION ALL SELECT df.start('SELECT 1/0')`,
            );
            for (const { id } of rows) {
              await ended(id);
              explained.push((await client.query('SELECT df.explain($1) AS e', [id])).rows[0].e);
            }
            await client.end();
            const wrong = new pg.Client({
              connectionString: url({ ...role, url: role.url.replace(role.password, 'Wr0ng') }),
            });
            await expect(wrong.connect()).rejects.toThrow('password authentication failed');
          }
          // keys that go stale, and a command that fails with a secret on its output
          const stale = new pg.Client({ connectionString: captured.url });
          await stale.connect();
          await root.query(`ALTER ROLE ${captured.name} PASSWORD 'another'`);
          const { rows } = await stale.query<{ id: string }>(`SELECT df.start('SELECT 1') AS id`);
          await until(async () => {
            const { e } = (await stale.query('SELECT df.explain($1) AS e', [rows[0]!.id])).rows[0];
            explained.push(e);
            return e.includes('no usable credential');
          });
          await stale.end();
          await root.query(`ALTER ROLE ${captured.name} PASSWORD '${captured.password}'`);
        },
      );
    });
    expect((await root.query('SELECT count(*)::int AS n FROM _df.credentials')).rows[0].n).toBe(3);
    expect(printed).toMatch(/refused: its instances wait/);
    expect(statements).toContain('_df.credentials');

    const places = { printed, statements, tables: await dump(), explained: explained.join('\n') };
    // the statements of this test itself
    places.statements = places.statements.replace(/^.*ALTER ROLE.*$/gm, '');
    const secrets: Buffer[] = [key, Buffer.from('Wr0ng')];
    for (const role of [captured, filed, tokened]) {
      const keys = await keysOf(role);
      secrets.push(Buffer.from(role.password), keys.clientKey);
    }
    for (const [place, text] of Object.entries(places)) {
      expect(text.length, place).toBeGreaterThan(0);
      for (const secret of secrets) {
        for (const writing of writings(secret)) expect(text.includes(writing), place).toBe(false);
      }
      expect(text, place).not.toContain('a-token-');
    }
  });

  const unreadable = memoryUnreadable();
  if (unreadable !== undefined) console.log(`skipped: passwords in memory, ${unreadable}`);

  test.skipIf(unreadable !== undefined).each(['1', '2'])(
    'in the memory of a proxy, and so in a core dump: no password of a client, right or wrong, once it was asked; workers=%s',
    async (workers) => {
      const role = await user('remembered');
      const key = await file('memory-key', randomBytes(32).toString('hex'));
      const running = program([
        ...['serve', '--listen', '127.0.0.1:0', '--upstream', db.adminUrl],
        ...[`workers=${workers}`, `credential_key_file=${key}`].flatMap((set) => ['--set', set]),
      ]);
      const port = (await running.line(/listening on 127\.0\.0\.1:(\d+)/))[1]!;
      const found = [...running.stderr().matchAll(/"worker":(\d+),"msg":"worker started"/g)];
      const pids = [running.child.pid!, ...found.map(([, pid]) => Number(pid))];
      expect(pids).toHaveLength(workers === '1' ? 1 : 3);
      const passwords = [role.password, ...Array.from({ length: 6 }, () => randomBytes(12).toString('hex'))];
      for (const password of [...passwords, role.password]) {
        const client = new pg.Client({ ...clientConfig(role.url), port: Number(port), password });
        client.on('error', () => {});
        await client.connect().catch((error: unknown) => expect(error).toMatchObject({ code: '28P01' }));
        await client.end();
      }
      const isThere = (secret: string) => pids.some((pid) => occurrencesInMemory(pid, secret) > 0);
      // So much for what can be found: the admin role's, which is needed all the time.
      expect(isThere(new URL(db.adminUrl).password)).toBe(true);
      // Of what is not overwritten all are there. One may be, in memory that the allocator has moved and freed.
      await until(() => passwords.filter(isThere).length <= 1, {
        what: 'the passwords to be gone',
        everyMs: 100,
      });
      running.child.kill('SIGTERM');
      await running.ended;
    },
  );

  test('by a debugger: the signal that opens one in other programs of Node opens none', async () => {
    const role = await user('signalled');
    const running = program(
      ['serve', '--listen', '127.0.0.1:0', '--upstream', db.adminUrl, '--set', 'workers=2'],
      {},
    );
    const port = (await running.line(/listening on 127\.0\.0\.1:(\d+)/))[1]!;
    const workers = [...running.stderr().matchAll(/"worker":(\d+),"msg":"worker started"/g)].map(
      ([, pid]) => pid,
    );
    expect(workers).toHaveLength(2);
    for (const pid of [running.child.pid, ...workers]) process.kill(Number(pid), 'SIGUSR1');
    for (let n = 0; n < 4; n++) {
      const client = new pg.Client({ connectionString: role.url.replace(/@[^/]+/, `@127.0.0.1:${port}`) });
      await client.connect();
      await client.query('SELECT pg_sleep(0.1)');
      await client.end();
    }
    running.child.kill('SIGTERM');
    expect(await running.ended).toBe(0);
    expect(running.stderr()).not.toMatch(/debugger|inspector/i);
  });

  test('by another role: not the table, nor the statements that read it', async () => {
    const curious = await user('curious');
    const client = new pg.Client({ connectionString: curious.url });
    await client.connect();
    for (const sql of [
      'SELECT * FROM _df.credentials',
      'DELETE FROM _df.credentials',
      "UPDATE _df.credentials SET role = 'x'",
      "INSERT INTO _df.credentials (role, upstream, key_id, nonce, ciphertext) VALUES ('a', 'b', 'c', '', '')",
      'CREATE VIEW pg_temp.mine AS SELECT * FROM _df.credentials; SELECT * FROM pg_temp.mine',
    ]) {
      await expect(client.query(sql)).rejects.toMatchObject({ code: '42501' });
    }
    await client.end();
  });

  test('also where the owner’s default privileges give everything to somebody', async () => {
    const fresh = await createTestDatabase();
    try {
      const friend = await fresh.createRole('friend');
      const admin = new pg.Client({ connectionString: fresh.adminUrl });
      await admin.connect();
      await admin.query(`ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO ${friend.name}, PUBLIC`);
      await run(['install', '--upstream', fresh.adminUrl]);
      const { rows } = await admin.query(
        `SELECT has_table_privilege($1, '_df.credentials', 'SELECT,INSERT,UPDATE,DELETE') AS may`,
        [friend.name],
      );
      expect(rows[0].may).toBe(false);
      const before = await run(['doctor', '--upstream', fresh.adminUrl]);
      expect(before.stdout).not.toContain('has rights on _df.credentials');
      await admin.query(`GRANT SELECT ON _df.credentials TO ${friend.name}`);
      const after = await run(['doctor', '--upstream', fresh.adminUrl]);
      expect(after.stdout).toMatch(
        new RegExp(`^fail  ${friend.name} has rights on _df.credentials\\n +-> REVOKE ALL ON`, 'm'),
      );
      await admin.query(`ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM ${friend.name}, PUBLIC`);
      await admin.end();
    } finally {
      await fresh.drop();
    }
  });
});

describe('keys', () => {
  const newKey = () => randomBytes(32).toString('hex');

  test('serve does not start with a key that others can read, or that is none: one line, without the key', async () => {
    const key = newKey();
    const cases: Array<[string[], RegExp]> = [
      [
        ['--set', `credential_key_file=${await file('open', key, 0o640)}`],
        /setting "credential_key_file": file ".*" has group or world access/,
      ],
      [
        ['--set', `credential_key_file=${await file('short', key.slice(2))}`],
        /must hold 32 random bytes as 64 hex digits or as base64/,
      ],
      [['--set', 'credential_key_file=/no/such/file'], /could not open file ".*": no such file or directory/],
      [['--set', `credential_old_key_file=${await file('lonely', key)}`], /without a key that seals/],
      [
        ['--set', `credential_key_file=${key}`],
        /setting "credential_key_file" seems to be a key: it must be the path/,
      ],
      [['--set', `credential_key_command=/bin/sh -c "echo ${key}; exit 1"`], /exit status 1/],
    ];
    for (const [args, message] of cases) {
      const { status, stdout, stderr } = await run([
        'serve',
        '--upstream',
        db.adminUrl,
        '--listen',
        '127.0.0.1:0',
        ...args,
      ]);
      expect([status, stdout]).toEqual([2, '']);
      expect(stderr).toMatch(message);
      expect(stderr.trim().split('\n')).toHaveLength(1);
      expect(stderr).not.toContain(key.slice(2));
    }
  });

  test('rekey: the old key opens, the new one seals; then the old one can go', async () => {
    await root.query('DELETE FROM _df.credentials');
    const [one, two] = [await user('rekeyed'), await user('rekeyed')];
    const [oldKey, newKeyFile] = [await file('old', newKey()), await file('new', newKey())];
    const login = async (url: (role: TestRole) => string, role: TestRole) => {
      const client = new pg.Client({ connectionString: url(role) });
      await client.connect();
      await client.end();
      await until(async () => {
        const { rows } = await root.query('SELECT FROM _df.credentials WHERE role = $1', [role.name]);
        return rows.length === 1;
      });
    };
    await whatIsPrinted([`credential_key_file=${oldKey}`], {}, async (url) => {
      for (const role of [one, two]) await login(url, role);
    });
    await root.query(
      "INSERT INTO _df.credentials SELECT 'no_such_role', upstream, key_id, nonce, ciphertext FROM _df.credentials LIMIT 1",
    );
    const both = ['--set', `credential_key_file=${newKeyFile}`, '--set', `credential_old_key_file=${oldKey}`];
    const upstream = ['--upstream', db.adminUrl];

    expect((await run(['doctor', ...upstream, ...both])).stdout).toMatch(
      /^warn {2}\d of them are sealed with an older key\n +-> pg-durable-proxy rekey/m,
    );
    const without = await run(['rekey', ...upstream, '--set', `credential_key_file=${newKeyFile}`]);
    expect(without.status).toBe(1);
    expect(without.stderr).toMatch(/left as they were, as no key given opens them: "rekeyed_/);

    // Between the two a proxy with both keys goes on with what the old one has sealed, and seals with the new one.
    const three = await user('rekeyed');
    const early = new pg.Client({ connectionString: two.url });
    await early.connect();
    const waiting = (await early.query<{ id: string }>(`SELECT df.start('SELECT 1') AS id`)).rows[0]!.id;
    await early.end();
    const keysInUse = [`credential_key_file=${newKeyFile}`, `credential_old_key_file=${oldKey}`];
    await whatIsPrinted(keysInUse, {}, async (url) => {
      expect(await ended(waiting)).toBe('completed');
      await login(url, three);
    });
    const ids = await root.query(
      'SELECT key_id, count(*)::int FROM _df.credentials GROUP BY key_id ORDER BY count',
    );
    expect(ids.rows.map(({ count }) => count)).toEqual([1, 2]);

    const done = await run(['rekey', ...upstream, ...both]);
    expect([done.status, done.stderr]).toEqual([0, '']);
    expect(done.stdout).toMatch(/^2 credentials sealed with key [0-9a-f]{16}, 1 were already\n$/);
    expect((await run(['rekey', ...upstream, ...both])).stdout).toMatch(
      /^0 credentials .*, 3 were already\n$/,
    );
    expect((await run(['doctor', ...upstream, '--set', `credential_key_file=${newKeyFile}`])).stdout).toMatch(
      /^ok {4}3 credentials sealed for this server, key [0-9a-f]{16}$/m,
    );

    const started = new pg.Client({ connectionString: one.url });
    await started.connect();
    const { rows } = await started.query<{ id: string }>(`SELECT df.start('SELECT 1') AS id`);
    await started.end();
    await whatIsPrinted([`credential_key_file=${newKeyFile}`], {}, async () => {
      expect(await ended(rows[0]!.id)).toBe('completed');
    });
    const none = await run(['rekey', ...upstream]);
    expect([none.status, none.stderr]).toEqual([2, expect.stringContaining('rekey needs the new key')]);
  });

  test('doctor names the sources, and what is wrong with them', async () => {
    const passwords = await file('doctored', `a:b:c:d:e\n`, 0o644);
    const { stdout, status } = await run(
      ['doctor', '--upstream', db.adminUrl, '--set', `credentials_file=${passwords}`],
      { env: { PG_DURABLE_PASSWORD_APP: 'secret-of-app' } },
    );
    expect(stdout).toMatch(/^fail {2}credentials_file is not used: .* has group or world access/m);
    expect(stdout).toContain(`-> chmod 600 ${passwords}`);
    expect(stdout).toMatch(/^ok {4}passwords in PG_DURABLE_PASSWORD_APP$/m);
    expect(stdout).toMatch(/^warn {2}captured credentials are kept in memory only/m);
    expect(stdout).not.toContain('secret-of-app');
    expect(status).toBe(1);
  });
});
