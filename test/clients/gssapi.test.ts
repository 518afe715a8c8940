import { randomBytes } from 'node:crypto';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { serverBinaries } from '../../src/demo/binaries.js';
import { type EmbeddedServer, startEmbedded } from '../../src/demo/embedded.js';
import { type Kerberos, kerberosMissing, startKerberos } from '../support/kerberos.js';
import { temporaryHome } from '../support/server.js';
import { startWireProxy, type WireProxy } from '../support/wire-proxy.js';
import { lacking, run, testUnless, the } from './programs.js';

/** The server that npm brings knows no GSSAPI, so this needs an installed one. */
const missing =
  process.platform === 'linux' ? (lacking('postgres', 'psql') ?? kerberosMissing()) : 'is done on Linux only';
const test = testUnless(missing);

let kerberos: Kerberos;
let server: EmbeddedServer;
const proxies: WireProxy[] = [];

describe('a server that asks for GSSAPI', () => {
  beforeAll(async () => {
    if (missing !== undefined) return;
    kerberos = await startKerberos('visitor');
    const { user } = await serverBinaries();
    const home = await temporaryHome(user);
    const beside = (name: string) => join(dirname(the('postgres').path), name);
    process.env.KRB5_CONFIG = kerberos.env.KRB5_CONFIG; // the server has it from here
    server = await startEmbedded({
      dataDir: join(home, 'data'),
      password: randomBytes(12).toString('hex'),
      hba: ['host all visitor 127.0.0.1/32 gss include_realm=0'],
      settings: { krb_server_keyfile: kerberos.keytab, fsync: 'off' },
      removeWhenStopped: home,
      binaries: { initdb: beside('initdb'), postgres: beside('postgres'), user },
    });
    const { status, stderr } = await run(the('psql'), ['-Xc', 'CREATE ROLE visitor LOGIN'], {
      url: server.url,
    });
    expect([status, stderr]).toEqual([0, '']);
  });
  afterAll(async () => {
    for (const proxy of proxies) await proxy.close();
    await server?.stop();
    await kerberos?.stop();
    delete process.env.KRB5_CONFIG;
  });

  async function psql(port: number, gssencmode: string): Promise<string> {
    const where = `host=localhost hostaddr=127.0.0.1 port=${port} user=visitor dbname=postgres gssencmode=${gssencmode}`;
    const sql = 'SELECT session_user, principal FROM pg_stat_gssapi WHERE pid = pg_backend_pid()';
    const { stdout, stderr } = await run(the('psql'), ['-XAtc', sql, where], {
      url: server.url,
      env: kerberos.env,
    });
    return (stdout + stderr).trim();
  }

  test('is logged in to through client_auth = relay, with the ticket of the client', async () => {
    const proxy = await startWireProxy(server.url, { clientAuth: { mode: 'relay' } });
    proxies.push(proxy);
    for (const gssencmode of ['disable', 'prefer']) {
      expect(await psql(server.port, 'disable')).toBe('visitor|visitor@TEST.LOCAL');
      expect(await psql(proxy.port, gssencmode)).toBe('visitor|visitor@TEST.LOCAL');
    }
    expect(await proxy.credentials.get('visitor')).toBeUndefined();
  });

  test('cannot be in the other modes, which say so', async () => {
    const proxy = await startWireProxy(server.url, { clientAuth: { mode: 'password' } });
    proxies.push(proxy);
    expect(await psql(proxy.port, 'disable')).toContain(
      'FATAL:  authentication method GSSAPI of the server is not supported by the proxy',
    );
  });
});
