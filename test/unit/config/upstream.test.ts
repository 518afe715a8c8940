import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../../src/config/load.js';
import { carried, restored } from '../../../src/config/upstream.js';
import { parseUpstream } from '../../../src/config/upstream-url.js';
import { createAuthority, opensslMissing } from '../../support/certificates.js';

const directory = mkdtempSync(join(tmpdir(), 'upstream-'));
afterAll(() => rmSync(directory, { recursive: true }));

const missing = opensslMissing();
if (missing !== undefined) console.log(`skipped, certificates in the upstream URL: ${missing}`);

const config = (upstream: string) => loadConfig({ flags: { upstream } });
function refusal(upstream: string): string {
  try {
    config(upstream);
  } catch (error) {
    const { name, message } = error as Error;
    expect(name).toBe('ConfigError');
    expect(message).not.toContain('\n');
    expect(message).toContain('"upstream"');
    return message;
  }
  throw new Error(`${upstream} was accepted`);
}

describe('hosts', () => {
  const hosts = (text: string) => parseUpstream(text).hosts.map(({ host, port }) => `${host} ${port}`);

  it.each([
    ['postgresql://a@h', ['h 5432']],
    ['postgresql://a@h1:1,h2,[2001:db8::1]:3/db', ['h1 1', 'h2 5432', '2001:db8::1 3']],
    ['postgresql://a@/db?host=h1,h2&port=1,2', ['h1 1', 'h2 2']],
    ['postgresql://a@/db?host=h1,h2&port=7', ['h1 7', 'h2 7']],
    ['postgresql://a@%2Frun%2Fpg,h:9/db', ['/run/pg 5432', 'h 9']],
    ['postgresql://a@h:5/db?host=/run/pg', ['/run/pg 5']],
    ['postgresql://?host=h&user=a&dbname=b', ['h 5432']],
  ])('of %s', (text, expected) => expect(hosts(text)).toEqual(expected));

  it.each([
    ['postgresql://a@/db', 'a host is missing'],
    ['postgresql://a@h1,,h2/db', 'a host is missing'],
    ['postgresql://a@h:0/db', 'port is no number'],
    ['postgresql://a@h:65536/db', 'port is no number'],
    ['postgresql://a@/db?host=h1,h2,h3&port=1,2', '3 hosts and 2 ports'],
  ])('of %s are refused', (text, reason) => expect(refusal(text)).toContain(reason));
});

describe('parameters', () => {
  it('have the defaults of libpq', () => {
    expect(config('postgresql://a@h').upstream).toMatchObject({
      tls: { mode: 'prefer', verifyChain: false, verifyHost: false, direct: false },
      targetSessionAttrs: 'any',
      keepAliveIdleMs: 30_000,
    });
  });

  it('are taken', () => {
    const { upstream, upstreamConnectTimeoutMs } = config(
      'postgresql://a:b+c@h/db?connect_timeout=7&target_session_attrs=read-write&keepalives_idle=9',
    );
    expect(upstreamConnectTimeoutMs).toBe(7_000);
    expect(upstream).toMatchObject({ targetSessionAttrs: 'read-write', keepAliveIdleMs: 9_000 });
    expect(upstream.password).toBe('b+c');
    expect(config('postgresql://a@h?keepalives=0').upstream.keepAliveIdleMs).toBeUndefined();
    expect(config('postgresql://a@h?sslmode=allow').upstream.tls.mode).toBe('prefer');
    expect(config('postgresql://a@h?ssl=true').upstream.tls.mode).toBe('require');
    expect(config('postgresql://a@h?password=x+y%20z').upstream.password).toBe('x+y z');
  });

  it.each([
    ['requirepeer=x', 'parameter "requirepeer" is not known; parameters are host, port,'],
    ['channel_binding=on', 'channel_binding must be one of disable, prefer, require'],
    ['channel_binding=require', 'channel_binding=require needs sslmode=require, verify-ca or verify-full'],
    [
      'sslmode=require&channel_binding=require&password=',
      'channel_binding=require needs the password of the admin role',
    ],
    ['sslmode=on', 'sslmode must be one of disable, allow, prefer, require, verify-ca, verify-full'],
    ['target_session_attrs=master', 'target_session_attrs must be one of any, read-write'],
    ['sslnegotiation=fast', 'sslnegotiation must be one of postgres, direct'],
    ['connect_timeout=1.5', 'connect_timeout must be a whole number of seconds'],
    ['keepalives=2', 'keepalives must be one of 0, 1'],
    ['connect_timeout', 'a parameter has no value'],
    ['sslmode=verify-full', 'sslmode=verify-full needs sslrootcert=FILE'],
    ['sslmode=verify-ca&sslrootcert=/nowhere/ca.pem', 'sslrootcert: cannot read /nowhere/ca.pem: ENOENT'],
    ['sslrootcert=/nowhere/ca.pem', 'sslrootcert needs sslmode=require, verify-ca or verify-full'],
    ['sslmode=verify-ca&sslrootcert=system', 'sslrootcert=system needs sslmode=verify-full'],
    ['sslnegotiation=direct', 'sslnegotiation=direct needs sslmode=require'],
    ['sslmode=require&sslcert=/a', 'sslcert and sslkey need each other'],
  ])('%s is refused', (query, reason) => {
    expect(refusal(`postgresql://a:s3cret@h/db?${query}`)).toContain(reason);
  });

  it.each([
    'postgresql://a:s3cret?x@h/db',
    'postgresql://a:x@s3cret@h/db',
    'postgresql://a:12?s3cret=1@h/db',
    'postgresql://a:12/s3cret@h/db',
    'postgresql://a:12#s3cret@h/db',
    'postgresql://a:%zzs3cret@h/db',
  ])('a password that is not encoded is not shown: %s', (url) => {
    expect(refusal(url)).not.toContain('s3cret');
  });
});

describe.skipIf(missing !== undefined)('certificates', () => {
  const authority = missing === undefined ? createAuthority(directory) : undefined;

  it('are read at start, and nothing of the key is shown', () => {
    const { certFile, keyFile } = authority!.issue('proxy');
    const { upstream } = config(
      `postgresql://a@h?sslmode=verify-full&sslrootcert=${authority!.certFile}&sslcert=${certFile}&sslkey=${keyFile}`,
    );
    expect(upstream.tls).toMatchObject({ mode: 'verify-full', verifyChain: true, verifyHost: true });
    expect(upstream.tls.files.key).toContain('PRIVATE KEY');
    expect(JSON.stringify(upstream) + inspect(upstream, { depth: 9 })).not.toMatch(/PRIVATE KEY|BEGIN/);
    // A worker gets the same, without the admin role's password unless it must ask hosts what they are.
    const other = restored(structuredClone(carried(upstream)));
    expect(other).toEqual(upstream);
    expect(other.tls.files).toEqual(upstream.tls.files);
    const choosy = config('postgresql://a:b@h?target_session_attrs=primary').upstream;
    expect(restored(structuredClone(carried(choosy))).password).toBe('b');
    expect(carried(config('postgresql://a:b@h').upstream).password).toBeUndefined();
  });

  it('a key that others may read, that is another or that is none is refused by name', () => {
    const { certFile, keyFile } = authority!.issue('proxy');
    const other = authority!.issue('other');
    const use = (key: string) =>
      refusal(`postgresql://a@h?sslmode=require&sslcert=${certFile}&sslkey=${key}`);
    expect(use(other.keyFile)).toMatch(new RegExp(`${other.keyFile}: .*key values mismatch`));
    const none = join(directory, 'none.key');
    writeFileSync(none, 'nothing', { mode: 0o600 });
    expect(use(none)).toContain(none);
    chmodSync(keyFile, 0o644);
    expect(use(keyFile)).toContain('its mode must be 0600 or less');
    expect(refusal(`postgresql://a@h?sslmode=verify-ca&sslrootcert=${none}`)).toContain(
      'holds no certificate in PEM form',
    );
  });
});
