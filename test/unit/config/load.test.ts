import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConfigError } from '../../../src/config/config.js';
import { type ConfigSources, loadConfig } from '../../../src/config/load.js';
import { settingNames } from '../../../src/config/settings.js';

const url = 'postgresql://admin:s3cret@db.example.com:5433/app';
let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'config-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function file(content: string): string {
  const path = join(directory, `${settingNames.length}-${Math.random()}.yaml`);
  writeFileSync(path, content);
  return path;
}

function load(sources: ConfigSources) {
  return loadConfig({ ...sources, flags: { upstream: url, ...sources.flags } });
}

function failure(sources: ConfigSources): string {
  try {
    load(sources);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    const { message } = error as Error;
    expect(message).not.toContain('\n');
    expect(message).not.toContain('s3cret');
    return message;
  }
  throw new Error('no error');
}

describe('the order of sources', () => {
  it('is file, environment, --set, flags', () => {
    const path = file('listen: 127.0.0.1:1\npoll_interval: 1s\nmax_user_connections: 3\nlog_level: warn\n');
    const config = load({
      file: path,
      env: {
        PG_DURABLE_LISTEN: '127.0.0.1:2',
        PG_DURABLE_POLL_INTERVAL: '2s',
        PG_DURABLE_MAX_USER_CONNECTIONS: '4',
      },
      sets: ['poll_interval=3s', 'listen=127.0.0.1:3', 'poll_interval=4s'],
      flags: { listen: '127.0.0.1:4' },
    });
    expect(config.logLevel).toBe('warn');
    expect(config.maxUserConnections).toBe(4);
    expect(config.pollIntervalMs).toBe(4000);
    expect(config.listen).toEqual([{ host: '127.0.0.1', port: 4 }]);
  });

  it('has the dot of a name as an underscore in the environment', () => {
    const path = file('http.mode: off\nhttp.allow: [a.example, "*.b.example:8443"]\n');
    const { http } = load({
      file: path,
      env: { PG_DURABLE_HTTP_MODE: 'allowlist' },
      sets: ['http.block_private=off'],
    });
    expect(http).toMatchObject({ mode: 'allowlist', blockPrivate: false });
    expect(http.allow).toEqual([
      { host: 'a.example', below: false, port: null },
      { host: 'b.example', below: true, port: 8443 },
    ]);
    expect(failure({ env: { PG_DURABLE_HTTP_ALLOW: '10.0.0.1' } })).toContain(
      'bad value for setting "http.allow"',
    );
  });

  it('leaves out what is empty and what does not begin with PG_DURABLE_', () => {
    const config = load({
      file: file('log_level:\n'),
      env: { PG_DURABLE_LOG_LEVEL: '', LOG_LEVEL: 'debug' },
    });
    expect(config.logLevel).toBe('info');
  });

  it('takes the names of the extension with their prefix', () => {
    expect(load({ sets: ['pg_durable.max_user_connections=7'] }).maxUserConnections).toBe(7);
  });
});

describe('values', () => {
  it.each([
    ['execution_acquire_timeout=5', 'executionAcquireTimeoutMs', 5000],
    ['execution_acquire_timeout=2min', 'executionAcquireTimeoutMs', 120_000],
    ['poll_interval=0.25', 'pollIntervalMs', 250],
    ['poll_interval=750 ms', 'pollIntervalMs', 750],
    ['reconcile_interval=0', 'reconcileIntervalMs', 0],
    ['max_rewrite_bytes=1024', 'maxRewriteBytes', 1024],
    ['max_rewrite_bytes=64kB', 'maxRewriteBytes', 65_536],
    ['record_statements=off', 'recordStatements', false],
    ['enable_superuser_instances=TRUE', 'enableSuperuserInstances', true],
    ['listen=[::1]:0', 'listen', [{ host: '::1', port: 0 }]],
    ['listen=/run/pg:5432', 'listen', [{ host: '/run/pg', port: 5432 }]],
    [
      'listen=localhost:1, /run/pg',
      'listen',
      [
        { host: 'localhost', port: 1 },
        { host: '/run/pg', port: 6432 },
      ],
    ],
    ['unix_socket_permissions=0770', 'unixSocketMode', 0o770],
  ])('%s', (set, name, value) => {
    expect(load({ sets: [set] })[name as 'listen']).toEqual(value);
  });

  it.each([
    ['max_user_connections=0', 'an integer from 1 to 1000'],
    ['max_user_connections=0x10', 'an integer from 1 to 1000'],
    ['max_user_connections=', 'an integer from 1 to 1000'],
    ['execution_acquire_timeout=3601', 'from 1s to 1h'],
    ['poll_interval=1 fortnight', 'a time from'],
    ['poll_interval=toString', 'a time from'],
    ['max_rewrite_bytes=1GiB', 'a size from'],
    ['record_statements=maybe', 'on or off'],
    ['log_level=loud', 'one of trace, debug'],
    ['listen=6432', 'HOST:PORT'],
    ['listen=localhost:70000', 'HOST:PORT'],
    ['listen=localhost:1,', 'HOST:PORT'],
    ['listen=/run/pg:0', 'HOST:PORT'],
    ['unix_socket_permissions=0888', 'octal'],
    ['proxy_protocol_from=10.0.0.0/33', 'CIDR'],
    ['proxy_protocol_from=balancer', 'CIDR'],
  ])('%s is refused in one line that names key, source and what is allowed', (set, allowed) => {
    const message = failure({ sets: [set] });
    expect(message).toContain(`"${set.slice(0, set.indexOf('='))}" in --set`);
    expect(message).toContain(allowed);
  });

  it('that are lists may be YAML lists', () => {
    const path = file(
      'listen: ["127.0.0.1:1", "[::1]:2", "/run/pg"]\nproxy_protocol_from: [10.0.0.0/8, "fd00::/8", 192.0.2.1]\n' +
        'unix_socket_permissions: 0770\n',
    );
    expect(load({ file: path })).toMatchObject({
      listen: [
        { host: '127.0.0.1', port: 1 },
        { host: '::1', port: 2 },
        { host: '/run/pg', port: 6432 },
      ],
      proxyProtocolFrom: [
        { address: '10.0.0.0', prefix: 8, family: 'ipv4' },
        { address: 'fd00::', prefix: 8, family: 'ipv6' },
        { address: '192.0.2.1', prefix: 32, family: 'ipv4' },
      ],
      unixSocketMode: 0o770,
    });
  });

  it.each([
    ['client_tls=allow', 'client_tls_cert_file'],
    ['client_tls_cert_file=/x', 'client_tls_key_file'],
  ])('of TLS for clients belong together: %s without %s', (set, missing) => {
    expect(failure({ sets: [set] })).toContain(`"${missing}" is missing`);
  });

  it('of TLS for clients: on where there is a certificate, unless it is said otherwise', () => {
    const pair = ['client_tls_cert_file=/x', 'client_tls_key_file=/y'];
    expect(load({}).clientTls).toBeUndefined();
    expect(load({ sets: pair }).clientTls).toMatchObject({ mode: 'allow', clientCertificate: 'none' });
    expect(load({ sets: [...pair, 'client_tls=off'] }).clientTls).toBeUndefined();
    expect(failure({ sets: [...pair, 'client_tls_client_cert=require'] })).toContain('client_tls_ca_file');
    expect(failure({ sets: [...pair, 'client_tls_ca_file=/z'] })).toContain('client_tls_client_cert is none');
  });

  it('of an earlier source are checked although a later one wins', () => {
    expect(failure({ env: { PG_DURABLE_LOG_LEVEL: 'loud' }, sets: ['log_level=info'] })).toContain(
      'environment variable PG_DURABLE_LOG_LEVEL',
    );
  });
});

describe('an unknown key', () => {
  it.each([
    [{ sets: ['max_user_conections=1'] }, '"max_user_conections" in --set'],
    [{ env: { PG_DURABLE_NONSENSE: '1' } }, 'environment variable PG_DURABLE_NONSENSE'],
    [{ sets: ['constructor=1'] }, '"constructor" in --set'],
  ])('is refused with the list of those allowed', (sources, text) => {
    const message = failure(sources);
    expect(message).toContain(text);
    expect(message).toContain(settingNames.join(', '));
  });

  it('in a file names the file', () => {
    const path = file('nonsense: 1\n');
    expect(failure({ file: path })).toContain(`"nonsense" in file ${path}`);
  });

  it('is not guessed from a --set without a value', () => {
    expect(failure({ sets: ['log_level'] })).toContain('key=value');
  });
});

describe('a broken file', () => {
  it('is named with the line', () => {
    const path = file('listen: 127.0.0.1:1\nlog_level: [debug\n');
    expect(failure({ file: path })).toMatch(/\.yaml, line [23]: /);
  });
  it('that is missing is named', () => {
    expect(failure({ file: join(directory, 'none.yaml') })).toContain('none.yaml: ENOENT');
  });
  it('that is no mapping is refused', () => {
    expect(failure({ file: file('- listen\n') })).toContain('mapping');
  });
});

describe('the upstream URL', () => {
  const of = (upstream: string, sets: string[] = []) => loadConfig({ sets, flags: { upstream } }).upstream;

  it('is taken apart', () => {
    const upstream = of('postgresql://ad%40min:p%3A%40ss@db.example.com:5433/my%20db');
    expect(upstream).toMatchObject({ host: 'db.example.com', port: 5433, user: 'ad@min', database: 'my db' });
    expect(upstream.password).toBe('p:@ss');
    expect(upstream.display).toBe('db.example.com:5433/my db');
  });

  it('can leave out port, password and database', () => {
    expect(of('postgres://admin@h')).toMatchObject({
      host: 'h',
      port: 5432,
      user: 'admin',
      database: 'postgres',
    });
    expect(of('postgres://admin@h').password).toBeUndefined();
  });

  it('can be a Unix socket or IPv6', () => {
    expect(of('postgresql://a@/db?host=/run/postgresql&port=5444')).toMatchObject({
      host: '/run/postgresql',
      port: 5444,
    });
    expect(of('postgresql://a@%2Frun%2Fpostgresql/db').host).toBe('/run/postgresql');
    expect(of('postgresql://a@[::1]:5/db')).toMatchObject({ host: '::1', port: 5, display: '[::1]:5/db' });
  });

  it('takes role and database from the settings of the extension where it names none', () => {
    expect(of('postgresql://h', ['worker_role=w', 'database=d'])).toMatchObject({ user: 'w', database: 'd' });
  });

  it('does not show its password in any output', () => {
    const config = loadConfig({ flags: { upstream: url } });
    expect(config.upstream.password).toBe('s3cret');
    expect(JSON.stringify(config) + inspect(config, { depth: 9 })).not.toContain('s3cret');
  });

  it.each([
    'mysql://a:s3cret@h/db',
    'postgresql://a:s3cret@h:port/db',
    'postgresql://a:s3cret%@h/db',
    'postgresql://a:s3cret@h/db?sslmode=always',
    'postgresql://a:pa@s3cret@h/db',
    'postgresql://a:pa?s3cret=x@h/db',
    'postgresql://a:12?s3cret@h/db',
    'postgresql://a:s3cret@h/db?nonsense=1',
    'a:s3cret@h',
  ])('is refused without being quoted: %s', (upstream) => {
    expect(failure({ flags: { upstream } })).toContain('"upstream" in --upstream');
  });

  it('that is missing, has no role or contradicts the database setting is one clear line', () => {
    expect(() => loadConfig({})).toThrow(/"upstream" is missing/);
    expect(() => of('postgresql://h/db')).toThrow(/names no role/);
    expect(() => of('postgresql://a@h/db', ['database=other'])).toThrow(/"database" is "other"/);
  });
});

it('a setting of the extension that has no effect here is accepted with a note', () => {
  expect(load({ sets: ['max_duroxide_connections=20'] }).notes).toEqual([
    expect.stringMatching(/^max_duroxide_connections \(--set\): /),
  ]);
  expect(load({}).notes).toEqual([]);
});

describe('secrets in the environment', () => {
  const env = {
    PG_DURABLE_CREDENTIAL_KEY: 'the-key',
    PG_DURABLE_PASSWORD_APP_USER: 'the-password',
    PG_DURABLE_PASSWORD_EMPTY: '',
  };
  const config = loadConfig({ env, flags: { upstream: 'postgresql://a@h/d' } });

  it('are taken by name, and are no settings', () => {
    expect(config.environment.credentialKey).toBe('the-key');
    expect([...config.environment.passwords]).toEqual([['PG_DURABLE_PASSWORD_APP_USER', 'the-password']]);
    expect(() => loadConfig({ sets: ['credential_key=x'] })).toThrow('unknown setting "credential_key"');
  });

  it('show in no output of the configuration', () => {
    expect(JSON.stringify(config) + inspect(config, { depth: 9 }) + inspect({ ...config })).not.toMatch(
      /the-key|the-password/,
    );
    expect(structuredClone({ ...config, upstream: undefined, clientTls: undefined })).not.toHaveProperty(
      'environment',
    );
  });

  it('nor does a bad command, which may hold one', () => {
    expect(() => loadConfig({ sets: ['credential_command=curl "token=the-secret'] })).toThrow(
      /^bad value for setting "credential_command" in --set: the value is not allowed; allowed is a program/,
    );
  });
});
