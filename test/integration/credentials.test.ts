import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase, type TestRole } from '../support/postgres.js';
import { type ProxyOptions, startProxy, type TestProxy } from '../support/proxy.js';
import { until } from '../support/wait.js';

/**
 * Every role's work is started past the proxy, on a connection straight to the server: so a proxy knows of a role only
 * what it got from a login or from what an operator has configured.
 */

let directory: string;
let db: TestDatabase;
let root: pg.Client;
const proxies: TestProxy[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pg-durable-credentials-'));
  db = await createTestDatabase();
  root = new pg.Client({ connectionString: db.superUrl });
  await root.connect();
  await proxy({}, async () => {}); // installs the schema
});
afterAll(async () => {
  for (const one of proxies) await one.stop();
  await root?.end();
  await db?.drop();
  await rm(directory, { recursive: true, force: true });
});

/** No session outlives its step: each step is a login. */
const settings = { session_idle_timeout: '0', poll_interval: '100ms' };

/** A proxy for the time of `work`. @returns its log */
async function proxy(
  options: Partial<ProxyOptions>,
  work: (proxy: TestProxy) => Promise<void>,
): Promise<string> {
  const one = await startProxy({ database: db, ...options, settings: { ...settings, ...options.settings } });
  proxies.push(one);
  try {
    await work(one);
  } finally {
    proxies.splice(proxies.indexOf(one), 1);
    await one.stop();
  }
  return one.logLines.join('');
}

async function keyFile(name: string, ...keys: string[]): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, `${(keys.length === 0 ? [newKey()] : keys).join('\n')}\n`, { mode: 0o600 });
  return path;
}

const newKey = () => randomBytes(32).toString('hex');

async function user(prefix: string): Promise<TestRole> {
  const role = await db.createRole(prefix);
  await root.query('SELECT df.grant_usage($1)', [role.name]);
  return role;
}

async function connected(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query('SELECT 1');
  await client.end();
}

/** Straight to the server; who may not log in there any more starts nothing. */
async function start(role: TestRole, expression = `'SELECT session_user::text AS s'`): Promise<string> {
  await root.query(`SET SESSION AUTHORIZATION ${pg.escapeIdentifier(role.name)}`);
  try {
    return (await root.query<{ id: string }>(`SELECT df.start(${expression}) AS id`)).rows[0]!.id;
  } finally {
    await root.query('RESET SESSION AUTHORIZATION');
  }
}

async function value(sql: string, parameters: unknown[] = []): Promise<unknown> {
  return (await root.query({ text: sql, values: parameters, rowMode: 'array' })).rows[0]?.[0];
}

async function completed(id: string, timeoutMs = 10_000): Promise<void> {
  await until(
    async () => (await value('SELECT status FROM df.instances WHERE id = $1', [id])) === 'completed',
    {
      timeoutMs,
      what: `instance ${id} to complete`,
    },
  ).catch(async (error: Error) => {
    const row = await value(`SELECT to_jsonb(i) - 'graph' FROM _df.instances AS i WHERE id = $1`, [id]);
    throw new Error(`${error.message}: ${JSON.stringify(row)}`);
  });
}

async function waits(id: string, why: RegExp | string): Promise<string> {
  const seen = await until(
    async () => {
      const waiting = await value('SELECT waiting FROM _df.instances WHERE id = $1', [id]);
      return typeof waiting === 'string' && waiting.search(why) >= 0 && waiting;
    },
    { what: `instance ${id} to wait for ${why}` },
  ).catch(async (error: Error) => {
    const row = await value(`SELECT to_jsonb(i) - 'graph' FROM _df.instances AS i WHERE id = $1`, [id]);
    throw new Error(`${error.message}: ${JSON.stringify(row)}`);
  });
  return seen as string;
}

const noCredential = /has no usable credential/;
const sealedRows = async (role: TestRole) =>
  Number(await value('SELECT count(*) FROM _df.credentials WHERE role = $1', [role.name]));
/** Until the login has been sealed: the client does not wait for that. */
const sealed = (role: TestRole) =>
  until(async () => (await sealedRows(role)) === 1, { what: `the credential of ${role.name}` });

describe('captured and sealed', () => {
  test('a restarted proxy goes on without a login; one without the key, or with another, waits and says so', async () => {
    const role = await user('sealed');
    const credential_key_file = await keyFile('first');
    await proxy({ settings: { credential_key_file } }, async (one) => {
      await connected(one.url(role));
      await sealed(role);
    });

    const id = await start(role);
    const without = await proxy({}, async () => {
      await waits(id, noCredential);
    });
    expect(without.match(/kept in memory only/g)).toHaveLength(1);
    const keyId = await value('SELECT key_id FROM _df.credentials WHERE role = $1', [role.name]);
    const said = new RegExp(`"role":"${role.name}","key":"${keyId}"[^}]*does not open`);
    await proxy({ settings: { credential_key_file: await keyFile('other') } }, async (one) => {
      await until(() => said.test(one.logLines.join('')), { what: 'the warning' });
      await waits(id, noCredential);
    });
    const log = await proxy({ settings: { credential_key_file } }, () => completed(id, 5000));
    expect(log).not.toContain('kept in memory only');
  });

  test('a row that was moved to another role, or changed, is as if absent', async () => {
    const [victim, thief, torn] = [await user('victim'), await user('thief'), await user('torn')];
    // both have the same password: only the seal can tell them apart
    await root.query(`ALTER ROLE ${thief.name} PASSWORD '${victim.password}'`);
    const credential_key_file = await keyFile('moved');
    await proxy({ settings: { credential_key_file } }, async (one) => {
      for (const role of [victim, torn]) await connected(one.url(role));
      for (const role of [victim, torn]) await sealed(role);
    });
    await root.query('UPDATE _df.credentials SET role = $2 WHERE role = $1', [victim.name, thief.name]);
    await root.query(
      'UPDATE _df.credentials SET ciphertext = set_byte(ciphertext, 9, get_byte(ciphertext, 9) # 1) WHERE role = $1',
      [torn.name],
    );
    const ids = [await start(thief), await start(torn)] as const;
    const log = await proxy({ settings: { credential_key_file } }, async () => {
      for (const id of ids) await waits(id, noCredential);
    });
    for (const { name } of [thief, torn]) {
      expect(log).toMatch(
        new RegExp(`"role":"${name}"[^}]*does not open: it was changed, or belongs to another`),
      );
    }
  });

  test('the key may come from the environment or from a command', async () => {
    const role = await user('keys');
    const key = randomBytes(32).toString('base64');
    await proxy({ env: { PG_DURABLE_CREDENTIAL_KEY: key } }, async (one) => {
      await connected(one.url(role));
      await sealed(role);
    });
    const id = await start(role);
    await proxy({ settings: { credential_key_command: `echo ${key}` } }, () => completed(id, 5000));
  });

  test('a login with nothing new writes nothing', async () => {
    const role = await user('again');
    await proxy({ settings: { credential_key_file: await keyFile('again') } }, async (one) => {
      await connected(one.url(role));
      await sealed(role);
      const before = await value('SELECT xmin::text || nonce::text FROM _df.credentials WHERE role = $1', [
        role.name,
      ]);
      for (let n = 0; n < 5; n++) await connected(one.url(role));
      expect(
        await value('SELECT xmin::text || nonce::text FROM _df.credentials WHERE role = $1', [role.name]),
      ).toBe(before);
    });
  });
});

describe('a changed password', () => {
  const change = async (role: TestRole): Promise<TestRole> => {
    const password = randomBytes(9).toString('hex');
    await root.query(`ALTER ROLE ${role.name} PASSWORD '${password}'`);
    return { ...role, password };
  };

  test('makes the work of the role wait, with the reason, and go on at its next login', async () => {
    const role = await user('changing');
    await proxy({}, async (one) => {
      await connected(one.url(role));
      const id = await start(role, `df.sleep(1) OPERATOR(df.~>) 'SELECT 1'`);
      const changed = await change(role);
      await waits(id, /has no usable credential: stored SCRAM keys belong to an earlier password/);
      expect(await value('SELECT df.explain($1)', [id])).toContain(
        `Waiting:  role "${role.name}" has no usable credential: stored SCRAM keys belong to an earlier password; it goes on at the role's next login through the proxy`,
      );
      const began = performance.now();
      await connected(one.url(changed));
      await completed(id);
      expect(performance.now() - began).toBeLessThan(3000);
    });
  });

  test('also when that login comes through another proxy, or before a restart', async () => {
    const role = await user('elsewhere');
    const credential_key_file = await keyFile('shared');
    const shared = { settings: { credential_key_file } };
    let changed = role;
    await proxy(shared, async (one) => {
      await connected(one.url(role));
      await sealed(role);
      changed = await change(role);
      const id = await start(role);
      await waits(id, noCredential);
      // both may execute: whichever claims it must have the new one
      await proxy(shared, async (two) => {
        await connected(two.url(changed));
      });
      await completed(id, 5000);
    });
    const later = await start(role);
    await proxy(shared, () => completed(later, 5000));
  });

  test('also through another proxy where nothing is sealed', async () => {
    const role = await user('unsealed');
    await proxy({}, async () => {
      const id = await start(role);
      await waits(id, noCredential);
      await proxy({}, async (two) => {
        await connected(two.url(role));
        await completed(id, 8000);
      });
    });
  });
});

describe('a login that the server refuses for now is waited for', () => {
  test('VALID UNTIL has passed', async () => {
    const role = await user('expired');
    await proxy({}, async (one) => {
      await connected(one.url(role));
      await root.query(`ALTER ROLE ${role.name} VALID UNTIL '2001-01-01'`);
      const id = await start(role);
      expect(await waits(id, /VALID UNTIL/)).toMatch(/its password has expired \(VALID UNTIL 2001-01-01/);
      await root.query(`ALTER ROLE ${role.name} VALID UNTIL 'infinity'`);
      await completed(id);
    });
  });

  test('the role has no connection left, nor the database', async () => {
    const role = await user('crowded');
    await proxy({}, async (one) => {
      await connected(one.url(role));
      await root.query(`ALTER ROLE ${role.name} CONNECTION LIMIT 0`);
      const id = await start(role);
      await waits(id, /cannot log in now: too many connections for role/);
      await root.query(`ALTER ROLE ${role.name} CONNECTION LIMIT -1`);
      await completed(id);
      await root.query(`ALTER DATABASE ${db.name} CONNECTION LIMIT 1`);
      const second = await start(role);
      await waits(second, /cannot log in now: too many connections for database/);
      await root.query(`ALTER DATABASE ${db.name} CONNECTION LIMIT -1`);
      await completed(second);
    });
  });

  test('pg_hba.conf does not let it in', async () => {
    const role = await user('rejected');
    const hbaFile = String(await value("SELECT current_setting('hba_file')"));
    const before = String(await value('SELECT pg_read_file($1)', [hbaFile]));
    const write = async (text: string) => {
      await root.query('CREATE TEMP TABLE IF NOT EXISTS hba (n serial, line text); TRUNCATE hba');
      await root.query('INSERT INTO hba (line) SELECT unnest($1::text[])', [text.split('\n')]);
      await root.query(`COPY (SELECT line FROM hba ORDER BY n) TO ${pg.escapeLiteral(hbaFile)}`);
      await root.query('SELECT pg_reload_conf()');
    };
    await proxy({}, async (one) => {
      await connected(one.url(role));
      try {
        await write(`host ${db.name} ${role.name} all reject\n${before}`);
        const refused = () =>
          connected(role.url).then(
            () => false,
            () => true,
          );
        await until(refused, { what: 'the new pg_hba.conf' });
        const id = await start(role);
        expect(await waits(id, /cannot log in now/)).toMatch(/pg_hba.conf rejects connection/);
        await write(before);
        await completed(id);
      } finally {
        await write(before);
      }
    });
  });

  test('a hundred instances of a role wait, and all go on after its login at another proxy', async () => {
    const role = await user('many');
    await proxy({ settings: { max_user_connections: '4' } }, async () => {
      await root.query(`SET SESSION AUTHORIZATION ${role.name}`);
      await root.query("SELECT df.start('SELECT 1') FROM generate_series(1, 100)");
      await root.query('RESET SESSION AUTHORIZATION');
      const count = (where: string) =>
        value(
          `SELECT count(*)::int FROM _df.instances AS i JOIN df.instances AS u USING (id)
               WHERE u.submitted_by = $1::regrole AND ${where}`,
          [role.name],
        );
      await until(async () => (await count('i.waiting IS NOT NULL')) === 100, { what: 'all to wait' });
      await proxy({}, async (two) => {
        await connected(two.url(role));
        await until(async () => (await count("u.status = 'completed'")) === 100, { what: 'all to complete' });
      });
    });
  });

  test('LOGIN taken away, or the role dropped, is a failure', async () => {
    const role = await user('gone');
    await proxy({}, async (one) => {
      await connected(one.url(role));
      const id = await start(role, `df.sleep(1) OPERATOR(df.~>) 'SELECT 1'`);
      await root.query(`ALTER ROLE ${role.name} NOLOGIN`);
      await until(
        async () => (await value('SELECT status FROM df.instances WHERE id = $1', [id])) === 'failed',
      );
      expect(await value('SELECT output FROM _df.instances WHERE id = $1', [id])).toMatch(
        /^Failed to connect to database .*not permitted to log in/,
      );
    });
  });
});

describe('given by an operator', () => {
  test('credentials_file, read again when it has changed; ignored while others can read it', async () => {
    const role = await user('filed');
    const path = join(directory, 'passwords');
    await writeFile(path, `# nothing yet\nelsewhere:*:*:${role.name}:wrong\n`, { mode: 0o600 });
    const log = await proxy({ settings: { credentials_file: path } }, async () => {
      const id = await start(role);
      await waits(id, noCredential);
      await writeFile(path, `*:*:${db.name}:${role.name}:${role.password}\n`);
      await completed(id);
      await chmod(path, 0o644);
      const second = await start(role);
      await waits(second, noCredential);
      await chmod(path, 0o600);
      await completed(second);
    });
    expect(log).toContain(`permissions should be u=rw (0600) or less`);
    expect(log).not.toContain(role.password);
  });

  test('a wrong password in the file is named, and counts before what the role’s login gave', async () => {
    const role = await user('misfiled');
    const path = join(directory, 'wrong');
    await writeFile(path, `*:*:*:${role.name}:wr\\:ong\n`, { mode: 0o600 });
    await proxy({ settings: { credentials_file: path } }, async (one) => {
      await connected(one.url(role));
      const id = await start(role);
      expect(await waits(id, noCredential)).toMatch(
        /password authentication failed for user .* \(with the password from credentials_file\)/,
      );
      await writeFile(path, '');
      await completed(id);
    });
  });

  test('the environment, unless the variable could mean two roles', async () => {
    const role = await user('env');
    const variable = `PG_DURABLE_PASSWORD_${role.name.toUpperCase()}`;
    const log = await proxy({ env: { [variable]: role.password } }, async () => {
      await completed(await start(role));
      await root.query(`CREATE ROLE "${role.name.toUpperCase()}"`);
      const id = await start(role);
      await waits(id, noCredential);
      await root.query(`DROP ROLE "${role.name.toUpperCase()}"`);
      await completed(id);
    });
    expect(log).toContain(`${variable} is not used: it could be meant for any of the roles`);
  });

  test('credential_command: run once for its time to live, with role and server in its environment', async () => {
    const role = await user('token');
    const runs = join(directory, 'runs');
    const script = join(directory, 'token.sh');
    await writeFile(
      script,
      `echo "$PGUSER $PGDATABASE $PGHOST:$PGPORT $PG_DURABLE_UPSTREAM$PG_DURABLE_CREDENTIAL_KEY" >> "$1"\n` +
        `test "$PGUSER" = ${role.name} && printf '%s\\nsecond line\\n' ${role.password}\nexit 0\n`,
    );
    const credential_command = `/bin/sh "${script}" '${runs}'`;
    const log = await proxy(
      { settings: { credential_command }, env: { PG_DURABLE_CREDENTIAL_KEY: newKey() } },
      async () => {
        await completed(await start(role));
        await completed(await start(role));
        const mine = (await readFile(runs, 'utf8')).split('\n').filter((line) => line.startsWith(role.name));
        expect(mine).toHaveLength(1);
        expect(mine[0]).toMatch(new RegExp(`^${role.name} ${db.name} [^ ]+:\\d+ $`));
      },
    );
    expect(log).not.toContain(role.password);
  });

  test('credential_command that fails: its status is the reason, its word is for the log, its output for nobody', async () => {
    const role = await user('tokenless');
    const script = join(directory, 'fails.sh');
    await writeFile(script, `echo ${role.password}\necho "no such profile" >&2\nexit 3\n`);
    const log = await proxy({ settings: { credential_command: `/bin/sh ${script}` } }, async () => {
      const id = await start(role);
      expect(await waits(id, /credential_command/)).toMatch(
        /: credential_command: exit status 3; it is tried again$/,
      );
      await writeFile(script, `echo ${role.password}\n`);
      await completed(id);
    });
    expect(log).toMatch(/"reason":"credential_command .*exit status 3: no such profile"/);
    expect(log).not.toContain(role.password);
  });
});
