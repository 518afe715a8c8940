import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectDirectly, type Network } from '../../../src/http/connect.js';
import { exchange, type HttpRules, type Request } from '../../../src/http/exchange.js';
import { SystemResolver } from '../../../src/http/resolve.js';
import { certificateDirectory, createAuthority, opensslMissing } from '../../support/certificates.js';
import { HttpStandIn } from '../../support/http-stand-in.js';
import { until } from '../../support/wait.js';

const RULES: HttpRules = {
  mode: 'all',
  allow: [],
  blockPrivate: false,
  maxResponseBytes: 1000,
  ca: undefined,
};
const never = new AbortController().signal;
const system: Network = { resolve: async () => ['127.0.0.1'], connect: connectDirectly };

let web: HttpStandIn;
/** Accepts and says nothing. */
let mute: Server;
const muteSockets = new Set<Socket>();

beforeAll(async () => {
  web = await HttpStandIn.start();
  mute = createServer((socket) => {
    muteSockets.add(socket);
    socket.on('close', () => muteSockets.delete(socket)).on('error', () => {});
    socket.resume();
  });
  await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  for (const socket of muteSockets) socket.destroy();
  await Promise.all([web.close(), new Promise((resolve) => mute.close(resolve))]);
});

const send = (
  url: string,
  more: Partial<Request> = {},
  network = system,
  rules: Partial<HttpRules> = {},
  cancel = never,
) =>
  exchange(
    { url, method: 'GET', headers: [], body: null, timeoutSeconds: 10, role: 'r', ...more },
    { ...RULES, ...rules },
    network,
    cancel,
  );
const failure = async (answer: Promise<unknown>): Promise<string> =>
  answer.then(
    () => 'no failure',
    (error: Error) => error.message,
  );
const at = (host: string, path: string) => `http://${host}:${web.port}${path}`;

describe('names and connections', () => {
  test('a name is looked up once, and the connection goes to an address of that answer', async () => {
    const answers = [['93.184.216.34'], ['127.0.0.1']];
    const reached: Array<readonly string[]> = [];
    const network: Network = {
      resolve: async () => answers.shift()!,
      connect: async (addresses, _port, signal) => {
        reached.push(addresses);
        return connectDirectly(['127.0.0.1'], web.port, signal);
      },
    };
    await send(at('rebind.example', '/once'), {}, network, { blockPrivate: true });
    expect(reached).toEqual([['93.184.216.34']]);
    expect(answers).toEqual([['127.0.0.1']]);
    // asked again, it is private by now
    expect(await failure(send(at('rebind.example', '/again'), {}, network, { blockPrivate: true }))).toMatch(
      /^Blocked: the resolved IP address for 'rebind\.example' is in a restricted range\./,
    );
    expect(web.seen('/again')).toEqual([]);
  });

  test('the Host header is the name and not the address', async () => {
    await send(at('shop.example', '/host'));
    expect(web.seen('/host')[0]!.headers.host).toBe(`shop.example:${web.port}`);
  });

  test('an address that refuses is followed by the next', async () => {
    const network = { ...system, resolve: async () => ['127.0.0.2', '127.0.0.1'] };
    expect((await send(at('two.example', '/second'), {}, network)).status).toBe(200);
  });

  test('each request has a connection of its own', async () => {
    let connections = 0;
    const network: Network = {
      ...system,
      connect: (...args) => {
        connections += 1;
        return connectDirectly(...args);
      },
    };
    for (let i = 0; i < 3; i += 1) await send(at('x.example', '/each'), {}, network);
    expect(connections).toBe(3);
    expect(web.seen('/each').map(({ headers }) => headers.connection)).toEqual(['close', 'close', 'close']);
  });

  test('a proxy of the environment is not used', async () => {
    const before = { ...process.env };
    Object.assign(process.env, {
      HTTP_PROXY: `http://127.0.0.1:${web.port}`,
      http_proxy: `http://127.0.0.1:${web.port}`,
      NODE_USE_ENV_PROXY: '1',
    });
    try {
      expect(await failure(send('http://nobody.example:1/proxied'))).toMatch(
        /^HTTP connection failed: .*ECONNREFUSED/,
      );
    } finally {
      process.env = before;
    }
    expect(web.seen('/proxied')).toEqual([]);
  });

  test('redirects are answers, also those to a metadata address', async () => {
    web.on('/redirect', { status: 302, headers: { location: 'http://169.254.169.254/latest/meta-data/' } });
    const { status, headers } = await send(at('x.example', '/redirect'));
    expect([status, headers.get('location')]).toEqual([302, 'http://169.254.169.254/latest/meta-data/']);
    expect(web.seen('/redirect')).toHaveLength(1);
  });
});

describe('failures', () => {
  const url = (path: string) => at('x.example', path);
  test('an answer that is nothing but what may stand around one', async () => {
    const streams = {
      'an interim response after the other': ['', 'HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n'],
      'a status line without end': ['HTTP/1.1 200 ', 'a'],
      'a chunk extension without end': ['HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;', 'a'],
    } as const;
    for (const [what, [first, again]] of Object.entries(streams)) {
      const server = createServer((socket) => {
        const more = Buffer.from(again.repeat(50_000));
        const go = (): void => {
          while (!socket.destroyed && socket.write(more));
        };
        socket.on('error', () => {}).on('drain', go);
        socket.once('data', () => {
          socket.write(first);
          go();
        });
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const { port } = server.address() as AddressInfo;
      const said = await failure(
        send(`http://x.example:${port}/`, { timeoutSeconds: 60 }, system, { maxResponseBytes: 1000 }),
      );
      expect([what, said]).toEqual([
        what,
        expect.stringMatching(
          /^(HTTP request failed: http:\S+ -|Failed to read response body:) the server sends more around the response than belongs to one$/,
        ),
      ]);
      await new Promise((resolve) => server.close(resolve));
    }
  });

  test('the connection', async () => {
    expect(await failure(send('http://user:secret@x.example:1/'))).toBe(
      'HTTP connection failed: http://user:***@x.example:1/ - connect ECONNREFUSED 127.0.0.1:1',
    );
    const unknown = { ...system, resolve: () => new SystemResolver().resolve('nowhere.invalid', 'r', never) };
    expect(await failure(send('http://x.example/', {}, unknown))).toMatch(
      /^HTTP connection failed: http:\/\/x\.example\/ - getaddrinfo E(NOTFOUND|AI_AGAIN)/,
    );
    expect(await failure(send(url('/').replace('http', 'https')))).toMatch(
      /^HTTP connection failed: https:.* - TLS: wrong version number$/,
    );
  });

  test('the request', async () => {
    web.on('/drop', { cut: 'drop' });
    expect(await failure(send(url('/drop')))).toBe(
      `HTTP request failed: ${url('/drop')} - other side closed`,
    );
    web.on('/junk', { raw: Buffer.from('SSH-2.0-x\r\n') });
    expect(await failure(send(url('/junk')))).toMatch(/^HTTP request failed: /);
    web.on('/endless-head', { raw: Buffer.from(`HTTP/1.1 200 OK\r\nx: ${'y'.repeat(100_000)}\r\n\r\n`) });
    expect(await failure(send(url('/endless-head')))).toMatch(/^HTTP request failed: .*Header/);
  });

  test('the body', async () => {
    web.on('/break', { cut: 'break', body: 'half of it' });
    expect(await failure(send(url('/break')))).toMatch(/^Failed to read response body: /);
    web.on('/large', { body: 'x'.repeat(1001) });
    expect(await failure(send(url('/large')))).toBe(
      'Failed to read response body: it is larger than http.max_response_bytes (1000 bytes)',
    );
    web.on('/just', { body: 'x'.repeat(1000) });
    expect((await send(url('/just'))).body).toHaveLength(1000);
    web.on('/large-error', { status: 500, body: 'x'.repeat(1001) });
    const error = await send(url('/large-error'));
    expect([error.status, error.isWhole, error.body.length]).toEqual([500, false, 1000]);
  });

  test('a time-out covers the lookup, the connection, TLS, the wait for an answer and the body', async () => {
    const slow = { timeoutSeconds: 0.2 };
    const hanging = { ...system, resolve: () => new Promise<string[]>(() => {}) };
    expect(await failure(send(url('/lookup'), slow, hanging))).toBe(
      `HTTP timeout after 0.2s: ${url('/lookup')}`,
    );
    const nowhere: Network = {
      ...system,
      connect: (_a, _p, signal) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    };
    expect(await failure(send(url('/connect'), slow, nowhere))).toMatch(/^HTTP timeout after 0\.2s: /);
    const { port } = mute.address() as { port: number };
    expect(await failure(send(`https://x.example:${port}/`, slow))).toMatch(/^HTTP timeout after 0\.2s: /);
    await until(() => muteSockets.size === 0, { what: 'the connection to be given up' });
    web.on('/never', { hold: true });
    expect(await failure(send(url('/never'), slow))).toMatch(/^HTTP timeout after 0\.2s: /);
    web.on('/slow-body', { body: 'late', bodyAfterMs: 2000 });
    expect(await failure(send(url('/slow-body'), slow))).toBe(
      'Failed to read response body: timeout after 0.2s',
    );
    await until(() => web.seen('/never')[0]!.abandoned && web.seen('/slow-body')[0]!.abandoned);
  });

  test('a request that is called off ends at once, wherever it is', async () => {
    for (const network of [system, { ...system, resolve: () => new Promise<string[]>(() => {}) }]) {
      const cancel = new AbortController();
      const answer = failure(send(url('/called-off'), {}, network, {}, cancel.signal));
      web.on('/called-off', { hold: true });
      if (network === system) await until(() => web.held === 1);
      cancel.abort(new Error('called off'));
      expect(await answer).toBe('called off');
    }
    await until(() => web.seen('/called-off')[0]!.abandoned);
  });
});

describe('requests and responses', () => {
  test.each(['GET', 'POST', 'PUT', 'DELETE', 'PATCH'] as const)('%s carries a body', async (method) => {
    await send(at('x.example', '/method'), { method, body: '{"ü":1}' });
    const seen = web.seen('/method').at(-1)!;
    expect([seen.method, seen.body.toString(), seen.headers['content-type']]).toEqual([
      method,
      '{"ü":1}',
      undefined,
    ]);
  });

  test('the path is as the URL parser writes it, without the fragment', async () => {
    await send(at('x.example', '/a b/../ü?q="x"&r={s}|t#fragment'));
    expect(web.requests.at(-1)!.path).toBe('/%C3%BC?q=%22x%22&r={s}|t');
  });

  test('headers: lower case, the last of repeated ones, printable ones only', async () => {
    const head = [
      'HTTP/1.1 200 OK',
      'X-Up: Case',
      'X-Twice: 1',
      'x-twice: 2',
      'X-Latin: caf\xe9',
      'Content-Type: text/a',
      'Content-Type: text/b',
      '__proto__: x',
      'Content-Length: 0',
    ];
    web.on('/headers', { raw: Buffer.from(`${head.join('\r\n')}\r\n\r\n`, 'latin1') });
    const { headers, contentType } = await send(at('x.example', '/headers'));
    expect(Object.fromEntries([...headers].filter(([name]) => name !== '__proto__'))).toEqual({
      'x-up': 'Case',
      'x-twice': '2',
      'content-type': 'text/b',
      'content-length': '0',
    });
    expect(headers.get('__proto__')).toBe('x');
    expect(contentType).toBe('text/a');
  });

  test('no compression is asked for; what comes compressed all the same stays so', async () => {
    const body = gzipSync('text');
    web.on('/gzip', { body, headers: { 'content-encoding': 'gzip' } });
    expect((await send(at('x.example', '/gzip'))).body.equals(body)).toBe(true);
    expect(web.seen('/gzip')[0]!.headers['accept-encoding']).toBeUndefined();
  });

  test('chunked bodies, no body, no length', async () => {
    web.on('/chunked', {
      raw: Buffer.from(
        'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n',
      ),
    });
    web.on('/204', { raw: Buffer.from('HTTP/1.1 204 No Content\r\n\r\n') });
    web.on('/until-close', { raw: Buffer.from('HTTP/1.0 200 OK\r\n\r\nabc') });
    web.on('/continue', {
      raw: Buffer.from(
        'HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\na',
      ),
    });
    const bodies = [];
    for (const path of ['/chunked', '/204', '/until-close', '/continue']) {
      const { status, body } = await send(at('x.example', path));
      bodies.push([status, body.toString()]);
    }
    expect(bodies).toEqual([
      [200, 'abcde'],
      [204, ''],
      [200, 'abc'],
      [201, 'a'],
    ]);
  });
});

const missing = opensslMissing();
describe.skipIf(missing !== undefined)(`HTTPS${missing === undefined ? '' : ` (${missing})`}`, () => {
  const directory = certificateDirectory();
  let secure: HttpStandIn;
  let ca: string;
  beforeAll(async () => {
    const authority = createAuthority(directory.path);
    const { certFile, keyFile } = authority.issue('shop.example', ['DNS:shop.example', 'IP:127.0.0.1']);
    secure = await HttpStandIn.start({ cert: readFileSync(certFile), key: readFileSync(keyFile) });
    ca = authority.cert.toString();
  });
  afterAll(async () => {
    await secure?.close();
    directory.remove();
  });

  test('the certificate must be of the name, and of an authority that is trusted', async () => {
    const to = (host: string, trusted?: string[]) =>
      send(`https://${host}:${secure.port}/s`, {}, system, { ca: trusted });
    for (const host of ['shop.example', 'SHOP.example', 'shop.example.', '127.0.0.1']) {
      expect((await to(host, [ca])).status).toBe(200);
    }
    expect(secure.seen('/s')).toHaveLength(4);
    expect(await failure(to('other.example', [ca]))).toMatch(/^HTTP connection failed: .*altnames/);
    expect(await failure(to('shop.example'))).toMatch(/^HTTP connection failed: .* - (self-signed|unable)/);
    expect(secure.seen('/s')).toHaveLength(4);
  });
});
