import { execFile, execFileSync } from 'node:child_process';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import type { ClientAuth } from '../../src/proxy/authentication/authenticate.js';
import { createClientTls } from '../../src/proxy/client-tls.js';
import { readClientTls } from '../../src/proxy/client-tls-files.js';
import { configuredServers } from '../../src/upstream/configured.js';
import { cstring, int32, message } from '../../src/wire/message.js';
import { parseScramVerifier } from '../../src/wire/scram-verifier.js';
import { startupPacket } from '../../src/wire/startup.js';
import {
  type Certificate,
  certificateDirectory,
  createAuthority,
  opensslMissing,
} from '../support/certificates.js';
import { OwnServer } from '../support/own-server.js';
import { open, RawClient } from '../support/raw-client.js';
import { startWireProxy, type WireProxy } from '../support/wire-proxy.js';

const missing = opensslMissing();
if (missing !== undefined) console.log(`skipped: test/integration/channel-binding.test.ts ${missing}`);

const noPsql = (() => {
  try {
    execFileSync('psql', ['--version'], { stdio: 'ignore' });
    return undefined;
  } catch {
    return 'the program psql, whose libpq does channel binding, is not installed';
  }
})();
if (noPsql !== undefined) console.log(`skipped in test/integration/channel-binding.test.ts: ${noPsql}`);

const user = 'bound';
const password = 'pw-2f81c0';

describe.skipIf(missing !== undefined)('channel binding', () => {
  let files: ReturnType<typeof certificateDirectory>;
  let server: OwnServer;
  let serverCertificate: Certificate;
  let ownCertificate: Certificate;
  let verifier: string;
  const proxies: WireProxy[] = [];

  beforeAll(async () => {
    files = certificateDirectory();
    const authority = createAuthority(files.path);
    serverCertificate = authority.issue('server', ['DNS:localhost', 'IP:127.0.0.1']);
    ownCertificate = authority.issue('proxy', ['DNS:localhost', 'IP:127.0.0.1']);
    server = await OwnServer.start({ tls: { server: serverCertificate, caFile: authority.certFile } });
    await server.query(`CREATE ROLE ${user} LOGIN PASSWORD '${password}'`);
    const { rows } = await server.query(`SELECT rolpassword FROM pg_authid WHERE rolname = '${user}'`);
    verifier = rows[0].rolpassword;
  });
  afterAll(async () => {
    for (const proxy of proxies) await proxy.close();
    await server?.remove();
    files?.remove();
  });

  interface Legs {
    /** The proxy's certificate towards clients; undefined: no TLS there. */
    readonly client: Certificate | undefined;
    /** sslmode towards the server. */
    readonly server: 'disable' | 'require';
  }

  async function start(clientAuth: ClientAuth, legs: Legs): Promise<WireProxy> {
    const config = loadConfig({ flags: { upstream: `${server.url()}?sslmode=${legs.server}` } });
    const { clients } = configuredServers(config.upstream);
    const proxy = await startWireProxy(server.url(), {
      clientAuth,
      upstream: clients,
      clientTls:
        legs.client === undefined
          ? undefined
          : createClientTls(
              readClientTls({ mode: 'allow', ...legs.client, caFile: undefined, clientCertificate: 'none' }),
            ),
    });
    proxies.push(proxy);
    return proxy;
  }

  const scram = (): ClientAuth => ({
    mode: 'scram',
    mockSecret: Buffer.alloc(32, 1),
    verifiers: {
      find: async (role) => (role === user ? parseScramVerifier(verifier) : undefined),
      refresh: async () => {},
      close: async () => {},
    },
  });

  /** `ok`, or what psql says. Never `sslmode=prefer`: with that libpq tries again in clear text. */
  function psql(to: WireProxy, channelBinding: string, sslmode: string): Promise<string> {
    const where = `host=127.0.0.1 port=${to.port} user=${user} dbname=postgres sslmode=${sslmode} channel_binding=${channelBinding}`;
    return new Promise((resolve) => {
      execFile(
        'psql',
        ['-X', '-A', '-t', '-c', "SELECT 'ok'", where],
        { env: { ...process.env, PGPASSWORD: password, LC_ALL: 'C' } },
        (error, stdout, stderr) => resolve(error === null ? stdout.trim() : stderr),
      );
    });
  }

  async function node(to: WireProxy, enableChannelBinding: boolean, encrypted: boolean): Promise<string> {
    const client = new pg.Client({
      ...{ host: '127.0.0.1', port: to.port, user, password, database: 'postgres', enableChannelBinding },
      ...(encrypted ? { ssl: { rejectUnauthorized: false } } : {}),
    });
    client.on('error', () => {});
    try {
      await client.connect();
      return (await client.query("SELECT 'ok' AS answer")).rows[0].answer;
    } catch (error) {
      return (error as Error).message;
    } finally {
      await client.end().catch(() => {});
    }
  }

  describe('client_auth = scram over TLS', () => {
    let proxy: WireProxy;
    beforeAll(async () => {
      proxy = await start(scram(), { client: ownCertificate, server: 'require' });
    });

    test.skipIf(noPsql !== undefined).each(['disable', 'prefer', 'require'])(
      'psql with channel_binding=%s',
      async (channelBinding) => {
        expect(await psql(proxy, channelBinding, 'require')).toBe('ok');
      },
    );

    test('pg with channel binding and without', async () => {
      expect(await node(proxy, true, true)).toBe('ok');
      expect(await node(proxy, false, true)).toBe('ok');
      expect(await node(proxy, false, false)).toBe('ok');
      expect(await proxy.credentials.get(user)).toBeDefined();
    });

    async function openTls(): Promise<TLSSocket> {
      const socket = await open(proxy.host, proxy.port);
      socket.write(Buffer.from('0000000804d2162f', 'hex'));
      await new Promise((resolve) => socket.once('data', resolve));
      const secure = connectTls({ socket, rejectUnauthorized: false, ALPNProtocols: ['postgresql'] });
      await new Promise((resolve, reject) => {
        secure.once('secureConnect', resolve);
        secure.once('error', reject);
      });
      return secure;
    }

    test.each([
      [
        'a client that thinks that we do not offer it',
        'SCRAM-SHA-256',
        'y,,n=,r=abc',
        'SCRAM channel binding negotiation error',
      ],
      [
        'another type of binding',
        'SCRAM-SHA-256-PLUS',
        'p=tls-unique,,n=,r=abc',
        'unsupported SCRAM channel-binding type "tls-unique"',
      ],
      ['-PLUS without binding', 'SCRAM-SHA-256-PLUS', 'n,,n=,r=abc', 'malformed SCRAM message'],
    ])('%s is refused as by the server', async (_, mechanism, first, expected) => {
      const client = new RawClient(await openTls());
      client.read();
      client.send(startupPacket({ user, database: 'postgres' }));
      await client.waitFor('R');
      expect(client.messages[0]!.body.toString('latin1', 4)).toBe('SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0');
      client.send(
        message(0x70, Buffer.concat([cstring(mechanism), int32(first.length), Buffer.from(first)])),
      );
      await client.waitFor('E');
      expect(client.error().message).toBe(expected);
      client.socket.destroy();
    });
  });

  describe('client_auth = relay', () => {
    const refused = 'SCRAM channel binding cannot pass the proxy';
    type Row = [string, () => Legs, Record<string, string>];
    /** The table of docs/authentication.md. */
    const table: Row[] = [
      [
        'TLS, TLS, another certificate',
        () => ({ client: ownCertificate, server: 'require' }),
        { prefer: refused, require: refused, disable: 'ok', pg: 'ok', 'pg binding': refused },
      ],
      [
        "TLS, TLS, the server's certificate",
        () => ({ client: serverCertificate, server: 'require' }),
        { prefer: 'ok', require: 'ok', disable: 'ok', pg: 'ok', 'pg binding': 'ok' },
      ],
      [
        'TLS, plain',
        () => ({ client: ownCertificate, server: 'disable' }),
        { prefer: 'ok', disable: 'ok', pg: 'ok' },
      ],
      [
        'plain, TLS',
        () => ({ client: undefined, server: 'require' }),
        { prefer: 'ok', disable: 'ok', pg: 'ok', 'pg binding': 'SCRAM channel binding negotiation error' },
      ],
    ];

    test.each(table)('%s', async (_, legs, expected) => {
      const proxy = await start({ mode: 'relay' }, legs());
      const encrypted = legs().client !== undefined;
      for (const [how, outcome] of Object.entries(expected)) {
        if (how.startsWith('pg')) {
          expect([how, await node(proxy, how !== 'pg', encrypted)]).toEqual([
            how,
            expect.stringContaining(outcome),
          ]);
        } else if (noPsql === undefined) {
          const said = await psql(proxy, how, encrypted ? 'require' : 'disable');
          expect([how, said]).toEqual([how, expect.stringContaining(outcome)]);
          if (outcome === refused) expect(said).toContain('HINT:  Connect with channel_binding=disable.');
        }
      }
      expect(await proxy.credentials.get(user)).toBeUndefined();
    });

    test('the operator is told once', () => {
      const all = proxies.flatMap((proxy) => proxy.logLines).join('');
      expect(all.match(/a client has chosen SCRAM-SHA-256-PLUS/g)).toHaveLength(1);
      expect(all).not.toContain(password);
    });
  });
});
