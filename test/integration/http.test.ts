import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { HttpStandIn } from '../support/http-stand-in.js';
import { until } from '../support/wait.js';

const OPEN = { 'http.mode': 'all', 'http.block_private': 'off' } as const;

let d: Durable;
let web: HttpStandIn;

beforeAll(async () => {
  d = await Durable.open({ ...OPEN, enable_superuser_instances: 'on' });
  await d.root.query('SELECT df.grant_usage($1, include_http => true)', [d.role.name]);
  web = await HttpStandIn.start();
});
afterAll(async () => {
  await web?.close();
  await d?.close();
});

/** A hand-written envelope, as a SQL literal. */
function envelope(type: 'HTTP' | 'HTTP_MULTIPART', config: unknown): string {
  const query = typeof config === 'string' ? config : JSON.stringify(config);
  return pg.escapeLiteral(JSON.stringify({ node_type: type, query }));
}
const literal = (value: unknown) =>
  pg.escapeLiteral(typeof value === 'string' ? value : JSON.stringify(value));

describe('the result', () => {
  test('has status, body, encoding, headers, ok and duration_ms, in this order', async () => {
    const raw =
      'HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 9\r\n\r\n{"n": 41}';
    web.on('/created', { raw: Buffer.from(raw) });
    const id = await d.complete(`df.http('${web.url}/created')`);
    expect(await d.output(id)).toMatch(
      /^\{"status":201,"body":"\{\\"n\\": 41\}","encoding":"text","headers":\{"content-type":"application\/json","x-a":"2","content-length":"9"\},"ok":true,"duration_ms":\d+\}$/,
    );
    const [node] = await d.nodes(id);
    expect(node).toMatchObject({ status: 'completed', result: { status: 201, ok: true } });
  });

  test.each([
    [200, true],
    [299, true],
    [304, false],
    [404, false],
    [499, false],
  ])('status %i is a result, ok: %s', async (status, ok) => {
    web.on('/status', { raw: Buffer.from(`HTTP/1.1 ${status} X\r\nContent-Length: 0\r\n\r\n`) });
    expect(await d.result(`df.http('${web.url}/status', 'GET')`)).toMatchObject({ status, ok, body: '' });
  });

  test('bytes come as base64, and go back as they were', async () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    web.on('/bytes', { body: bytes, headers: { 'content-type': 'image/png' } });
    const parts = literal([{ name: 'f', data_b64: '$picture.body' }]);
    await d.complete(
      `df.http('${web.url}/bytes', 'GET') |=> 'picture' ~> df.http_multipart('${web.url}/up', 'POST', ${parts})`,
    );
    expect(web.seen('/up')[0]!.body.includes(bytes)).toBe(true);
  });

  test('text with signs that jsonb cannot hold does not stop the instance', async () => {
    web.on('/nul', { body: 'a\0b', headers: { 'content-type': 'text/plain' } });
    expect(await d.result(`df.http('${web.url}/nul', 'GET')`)).toMatchObject({
      body: 'YQBi',
      encoding: 'base64',
    });
    const bad = envelope('HTTP', '{"url":"http://\\u0000\\ud800","method":"GET"}');
    expect(await d.failure(bad)).toBe('Blocked: unable to extract hostname from URL.');
    const shown = envelope('HTTP', `{"url":"http://127.0.0.1:1/\\u0000\\ud800","method":"GET"}`);
    expect(await d.failure(shown)).toMatch(
      /^HTTP connection failed: http:\/\/127\.0\.0\.1:1\/\ufffd\ufffd - /,
    );
  });

  test('goes on into SQL under its name, and decides an IF', async () => {
    web.on('/users/7', {
      body: '{"name": "O\'Hara \\"x\\" $1"}',
      headers: { 'content-type': 'application/json' },
    });
    web.on('/users/8', { status: 404, body: 'none' });
    const user = (n: number) => `df.http('${web.url}/users/${n}', 'GET') |=> 'user'`;
    expect(
      await d.rows(
        `${user(7)} ~> 'SELECT $user.body::jsonb ->> ''name'' AS name, $user.status AS s, $user::jsonb -> ''ok'' AS ok'`,
      ),
    ).toEqual([{ name: 'O\'Hara "x" $1', s: 200, ok: true }]);
    expect(
      await d.rows(
        `${user(8)} ~> df.if('SELECT ($user::jsonb->>''status'')::int = 404', 'SELECT ''new'' AS a', 'SELECT ''old'' AS a')`,
      ),
    ).toEqual([{ a: 'new' }]);
    expect(
      await d.rows(`df.if(df.http('${web.url}/users/8', 'GET'), 'SELECT 1 AS a', 'SELECT 2 AS a')`),
    ).toEqual([{ a: 1 }]);
    expect(await d.failure(`${user(7)} ~> df.if_rows('user', 'SELECT 1', 'SELECT 2')`)).toBe(
      "df.if_rows: result 'user' is not a SQL result (missing row_count)",
    );
  });
});

describe('the request', () => {
  test('has the method, the body for every method, and no Content-Type of its own', async () => {
    for (const method of ['get', 'POST', 'PUT', 'DELETE', 'PATCH']) {
      await d.complete(`df.http('${web.url}/plain', '${method}', 'b')`);
      const seen = web.seen('/plain').at(-1)!;
      expect([seen.method, seen.body.toString(), seen.headers['content-type']]).toEqual([
        method.toUpperCase(),
        'b',
        undefined,
      ]);
    }
  });

  test('sends headers in the order of their names; values that are no strings are skipped', async () => {
    const headers = literal({
      'X-B': 'b',
      'X-A': 'a',
      'X-N': 1,
      'X-O': {},
      'X-0': null,
      'Content-Length': '999',
      Connection: 'keep-alive',
    });
    await d.complete(`df.http('${web.url}/order', 'POST', '', ${headers})`);
    const { rawHeaders, headers: seen } = web.seen('/order')[0]!;
    expect(rawHeaders.filter((name) => name.startsWith('X-'))).toEqual(['X-A', 'X-B']);
    expect(seen).toMatchObject({ accept: '*/*', 'content-length': '0', connection: 'close' });
    expect(seen['user-agent']).toMatch(/^pg-durable-proxy\/\d+\.\d+\.\d+$/);
    for (const odd of ['[]', '"x"', '1', 'null'])
      await d.complete(`df.http('${web.url}/odd', 'POST', NULL, '${odd}')`);
  });

  test('has headers that the user sets instead of ours', async () => {
    const headers = literal({
      'user-agent': 'mine/1',
      ACCEPT: 'text/plain',
      'idempotency-key': 'my-key',
      'Content-Type': 'a/b',
    });
    await d.complete(`df.http('${web.url}/own', 'POST', '{}', ${headers})`);
    expect(web.seen('/own')[0]!.headers).toMatchObject({
      'user-agent': 'mine/1',
      accept: 'text/plain',
      'idempotency-key': 'my-key',
      'content-type': 'a/b',
    });
  });

  test('carries the user information of the URL, which errors do not show', async () => {
    const url = web.url.replace('://', '://me:secret@');
    web.on('/login', { status: 500, body: 'no' });
    expect(await d.failure(`df.http('${url}/login')`)).toBe(
      `HTTP POST ${web.url.replace('://', '://me:***@')}/login returned 500: no`,
    );
    expect(web.seen('/login')[0]!.headers.authorization).toBe('Basic bWU6c2VjcmV0');
    await d.complete(`df.http('${url}/own-login', 'GET', NULL, '{"authorization": "Bearer x"}')`);
    expect(web.seen('/own-login')[0]!.headers.authorization).toBe('Bearer x');
  });

  test('cannot have headers that end their line, or that lead it elsewhere', async () => {
    expect(
      await d.failure(
        `'SELECT E''x\\r\\nHost: evil'' AS v' |=> 'r' ~> df.http('${web.url}/inject', 'GET', NULL, '{"X-A": "$r"}')`,
      ),
    ).toBe(
      `HTTP request failed: ${web.url}/inject - invalid value of header 'X-A': only printable ASCII characters are allowed`,
    );
    expect(await d.failure(`df.http('${web.url}/inject', 'GET', NULL, '{"Host": "evil"}')`)).toBe(
      `HTTP request failed: ${web.url}/inject - header 'Host' cannot be set`,
    );
    expect(web.seen('/inject')).toEqual([]);
  });
});

describe('substitution, as it is, without quotes', () => {
  test('in URL, body and header values; not in the method, nor in names of headers', async () => {
    await d.app.query(`SELECT df.setvar('base', $1), df.setvar('key', 's3cret'), df.setvar('h', 'X-Other')`, [
      web.url,
    ]);
    const id = await d.start(
      `'SELECT 42 AS id, ''it''''s'' AS text' |=> 'order' ~> df.http('{base}/o/$order.id/?t={sys_label}', 'POST',
         '{"id": "$order", "text": "$order.text", "key": "{key}", "rows": $order.*, "i": "{sys_instance_id}"}',
         '{"Authorization": "Bearer {key}", "X-Brace": "{nothing}", "X-Id": "$order.id"}'), 'shop'`,
    );
    expect(await d.ended(id)).toBe('completed');
    const seen = web.requests.at(-1)!;
    expect(seen.path).toBe('/o/42/?t=shop');
    expect(seen.body.toString()).toBe(
      `{"id": "42", "text": "it's", "key": "s3cret", "rows": [{"id":42,"text":"it's"}], "i": "${id}"}`,
    );
    expect(seen.headers).toMatchObject({ authorization: 'Bearer s3cret', 'x-id': '42' });
    expect(seen.headers['x-brace']).toBe('{nothing}');
    expect(await d.failure(`df.http('{base}/o', 'GET', NULL, '{"X-{h}": "1"}')`)).toBe(
      `HTTP request failed: ${web.url}/o - invalid header name 'X-{h}'`,
    );
    await d.app.query('SELECT df.clearvars()');
  });

  test('what cannot be substituted fails the node before any request', async () => {
    const one = `'SELECT 1 AS a WHERE false' |=> 'r' ~> df.http('${web.url}/subst', 'POST', `;
    expect(await d.failure(`${one} '$r')`)).toBe('$r has no rows — query returned zero results');
    expect(
      await d.failure(`'SELECT 1 AS a, 2 AS b' |=> 'r' ~> df.http('${web.url}/subst', 'POST', '$r.c')`),
    ).toBe("$r.c: result has no field 'c' (available: a, b)");
    expect(web.seen('/subst')).toEqual([]);
  });
});

describe('multipart', () => {
  const parts = (value: unknown) => literal(value);

  test('carries its parts; a Content-Type of the user is ignored', async () => {
    await d.app.query(`SELECT df.setvar('who', 'Zoë "Z"'), df.setvar('data', 'aGVsbG8=')`);
    const list = parts([
      { name: 'a', data_b64: ' aGk=\n' },
      { name: 'for-{who}', data_b64: ' {data} ', filename: '$r.\u00fc.txt', content_type: 'text/plain' },
      { name: 'c', data_b64: '$r.b', filename: 'f', content_type: 'image/png' },
    ]);
    await d.complete(
      `'SELECT 7 AS a, ''AP8='' AS b' |=> 'r' ~> df.http_multipart('${web.url}/form/$r', 'PUT', ${list}, '{"CONTENT-type": "x/y", "X-{who}": 1, "X-V": "$r"}')`,
    );
    const seen = web.seen('/form/7')[0]!;
    const [, boundary] = /^multipart\/form-data; boundary=(\S+)$/.exec(
      seen.headers['content-type'] as string,
    )!;
    const form = await new Response(new Uint8Array(seen.body), {
      headers: { 'content-type': seen.headers['content-type'] as string },
    }).formData();
    expect(seen.method).toBe('PUT');
    expect(seen.headers['x-v']).toBe('7');
    expect(form.get('a')).toBe('hi');
    const second = form.get('for-Zoë "Z"') as File;
    expect([second.name, second.type, await second.text()]).toEqual(['7.ü.txt', 'text/plain', 'hello']);
    const third = form.get('c') as File;
    expect([third.type, Buffer.from(await third.arrayBuffer())]).toEqual([
      'image/png',
      Buffer.from([0, 255]),
    ]);
    expect(seen.body.toString().split(`--${boundary}`)).toHaveLength(5);
    await d.app.query('SELECT df.clearvars()');
  });

  test('data that mixes a reference with other text fails before any request', async () => {
    for (const data of ['$r$r', 'aGk=$r', '{v}x', '$', '{', '$r.*', 'a{b']) {
      const id = await d.start(
        `'SELECT ''aGk='' AS x' |=> 'r' ~> df.http_multipart('${web.url}/mixed', 'POST', ${parts([{ name: 'p$r', data_b64: data }])})`,
      );
      expect(await d.ended(id)).toBe('failed');
      const [node] = await d.typed(id, 'HTTP_MULTIPART');
      expect(node!.error).toBe(
        `HTTP_MULTIPART node ${node!.id}: data_b64 for part 'paGk=' mixes a variable reference with other text. Only a whole-value reference is supported (e.g. data_b64 => '$result' or '{myvar}'), because splicing into base64 would corrupt the payload.`,
      );
    }
    expect(web.seen('/mixed')).toEqual([]);
  });

  test('bad parts', async () => {
    const failure = (part: unknown) =>
      d.failure(`df.http_multipart('${web.url}/bad', 'POST', ${parts([part])})`);
    expect(await failure({ name: 'p', data_b64: 'a-b=' })).toMatch(/^Invalid base64 in part 'p': /);
    expect(await failure({ name: 'p', data_b64: 'YQ==', content_type: 'x\r\ny' })).toMatch(
      /^Invalid content_type for part 'p': /,
    );
    expect(await failure({ data_b64: 'YQ==' })).toBe('Invalid multipart HTTP config: missing field `name`');
    expect(await failure({ name: 'p' })).toBe('Invalid multipart HTTP config: missing field `data_b64`');
    expect(await failure('x')).toBe('Invalid multipart HTTP config: part 1 is not a JSON object');
    expect(web.seen('/bad')).toEqual([]);
  });
});

describe('failures', () => {
  test('500 and above, with a preview of the body', async () => {
    web.on('/oops', { status: 503, body: 'try later' });
    expect(await d.failure(`df.http('${web.url}/oops', 'PATCH')`)).toBe(
      `HTTP PATCH ${web.url}/oops returned 503: try later`,
    );
    web.on('/long', { status: 500, body: `${'x'.repeat(511)}é` });
    expect(
      await d.failure(`df.http_multipart('${web.url}/long', 'POST', '[{"name":"a","data_b64":""}]')`),
    ).toBe(
      `HTTP_MULTIPART POST ${web.url}/long returned 500: ${'x'.repeat(511)}... [truncated, 513 bytes total]`,
    );
    web.on('/blob', { status: 599, body: Buffer.alloc(600, 0xff) });
    expect(await d.failure(`df.http('${web.url}/blob', 'GET')`)).toBe(
      `HTTP GET ${web.url}/blob returned 599: ${'/'.repeat(512)}... [truncated, 800 base64 characters total]`,
    );
  });

  test('connection and time-out', async () => {
    expect(await d.failure(`df.http('http://127.0.0.1:1/x', 'GET')`)).toBe(
      'HTTP connection failed: http://127.0.0.1:1/x - connect ECONNREFUSED 127.0.0.1:1',
    );
    web.on('/hold', { hold: true });
    expect(await d.failure(`df.http('${web.url}/hold', 'GET', NULL, NULL, 1)`)).toBe(
      `HTTP timeout after 1s: ${web.url}/hold`,
    );
    web.on('/slow', { body: 'late', bodyAfterMs: 5000 });
    expect(await d.failure(`df.http('${web.url}/slow', 'GET', timeout_seconds => 1)`)).toBe(
      'Failed to read response body: timeout after 1s',
    );
    await d.complete(`df.http('${web.url}/ok', 'GET', timeout_seconds => 2147483647)`);
  });

  test('fail the instance, and are in the node', async () => {
    web.on('/oops', { status: 500 });
    const id = await d.start(`df.http('${web.url}/oops') & 'SELECT 1'`);
    expect(await d.ended(id)).toBe('failed');
    expect(await d.output(id)).toBe(`JOIN branch 1 failed: HTTP POST ${web.url}/oops returned 500: `);
    const [node] = await d.typed(id, 'HTTP');
    expect(node).toMatchObject({ status: 'failed', error: `HTTP POST ${web.url}/oops returned 500: ` });
  });

  test.each([
    ['no JSON', 'Invalid HTTP config: the config is not a JSON object'],
    ['[]', 'Invalid HTTP config: the config is not a JSON object'],
    ['{}', 'Invalid HTTP config: missing field `url`'],
    ['{"url":1}', 'Invalid HTTP config: url must be a string'],
    ['{"url":"http://x"}', 'Invalid HTTP config: missing field `method`'],
    ['{"url":"http://x","method":"GET","body":{}}', 'Invalid HTTP config: body must be a string or null'],
    [
      '{"url":"http://x","method":"GET","timeout_seconds":0}',
      'Invalid HTTP config: timeout_seconds must be a positive integer',
    ],
    [
      '{"url":"http://x","method":"GET","timeout_seconds":"1"}',
      'Invalid HTTP config: timeout_seconds must be a positive integer',
    ],
    ['{"url":"http://x","method":"TRACE"}', 'Unsupported HTTP method: TRACE'],
    ['{"url":"http://x","method":"get"}', 'Unsupported HTTP method: get'],
    [
      '{"url":"ftp://x","method":"TRACE"}',
      "Blocked: unsupported URL scheme 'ftp'. Only http and https are allowed.",
    ],
  ])('a hand-written config: %s', async (config, error) => {
    expect(await d.failure(envelope('HTTP', config))).toBe(error);
  });

  test('a hand-written multipart config', async () => {
    const failure = (config: unknown) => d.failure(envelope('HTTP_MULTIPART', config));
    expect(await failure({ url: 'http://x', method: 'POST' })).toBe(
      'Invalid multipart HTTP config: parts must be an array',
    );
    expect(await failure({ url: 'http://x', method: 'GET', parts: [] })).toBe(
      'Unsupported HTTP method for multipart: GET',
    );
  });
});

describe('the right to make requests', () => {
  const clients: pg.Client[] = [];
  afterEach(async () => {
    for (const client of clients.splice(0)) await client.end();
  });
  const connect = async (prefix: string, options?: { superuser?: boolean }) => {
    const role = await d.user(prefix, options);
    const client = await d.connect(role);
    clients.push(client);
    return { role, client };
  };
  const ended = async (id: string) => {
    await d.ended(id);
    return d.output(id);
  };

  test('is asked for again when the node executes, before anything else of it', async () => {
    const { role, client } = await connect('No "HTTP" %s \\ it\'s');
    const refused = (name: string, args: string, purpose: string) =>
      `Blocked: role '${role.name}' does not have EXECUTE privilege on df.${name}(). Grant EXECUTE ON FUNCTION df.${name}(${args}) TO ${role.name} to allow ${purpose} requests.`;
    const http = await d.start(envelope('HTTP', { url: 'ftp://x', method: 'TRACE' }), client);
    expect(await ended(http)).toBe(refused('http', 'text,text,text,jsonb,integer', 'HTTP'));
    const multipart = await d.start(
      envelope('HTTP_MULTIPART', { url: web.url, method: 'POST', parts: [] }),
      client,
    );
    expect(await ended(multipart)).toBe(
      refused('http_multipart', 'text,text,jsonb,jsonb,integer', 'multipart HTTP'),
    );
    await expect(client.query(`SELECT df.http('${web.url}')`)).rejects.toMatchObject({ code: '42501' });
    await d.root.query('SELECT df.grant_usage($1, include_http => true)', [role.name]);
    expect(await d.ended(await d.start(`df.http('${web.url}/granted')`, client))).toBe('completed');
    expect(
      await d.ended(
        await d.start(
          `df.http_multipart('${web.url}/granted', 'POST', '[{"name":"a","data_b64":""}]')`,
          client,
        ),
      ),
    ).toBe('completed');
  });

  test('can be taken while the instance runs, and is one for each kind', async () => {
    const { role, client } = await connect('revoked');
    await d.root.query('SELECT df.grant_usage($1, include_http => true)', [role.name]);
    web.on('/before', { hold: true });
    const id = await d.start(
      `df.http('${web.url}/before') ~> df.http_multipart('${web.url}/between', 'POST', '[{"name":"a","data_b64":""}]') ~> df.http('${web.url}/after')`,
      client,
    );
    await until(() => web.held === 1);
    await d.root.query(
      `REVOKE EXECUTE ON FUNCTION df.http(text, text, text, jsonb, integer) FROM ${pg.escapeIdentifier(role.name)}`,
    );
    web.release();
    expect(await ended(id)).toMatch(
      /^Blocked: role 'revoked\w*' does not have EXECUTE privilege on df\.http\(\)\. /,
    );
    expect(['/before', '/between', '/after'].map((path) => web.seen(path).length)).toEqual([1, 1, 0]);
  });

  test('comes also by membership, and is not asked of superusers', async () => {
    const group = await d.user('group');
    const { role, client } = await connect('member');
    await d.root.query(`GRANT ${pg.escapeIdentifier(group.name)} TO ${pg.escapeIdentifier(role.name)}`);
    await d.root.query('SELECT df.grant_usage($1, include_http => true)', [group.name]);
    expect(await d.ended(await d.start(`df.http('${web.url}/member')`, client))).toBe('completed');
    const root = await connect('root', { superuser: true });
    expect(await d.ended(await d.start(`df.http('${web.url}/root')`, root.client))).toBe('completed');
  });

  test('a role that was dropped meanwhile makes no request', async () => {
    const role = await d.user('gone');
    await d.root.query('SELECT df.grant_usage($1, include_http => true)', [role.name]);
    const client = await d.connect(role);
    const id = await d.start(`df.sleep(3600) ~> df.http('${web.url}/gone')`, client);
    await client.end();
    await d.parked(id);
    const name = pg.escapeIdentifier(role.name);
    await d.root.query(`DROP OWNED BY ${name}; DROP ROLE ${name}`);
    await d.root.query(`UPDATE _df.clock SET shift = shift + '1 hour'`);
    expect(await ended(id)).toBe(
      `HTTP privilege check failed for role '${role.name}': role "${role.name}" does not exist`,
    );
    expect(web.seen('/gone')).toEqual([]);
  });
});

describe('http.mode and its companions', () => {
  afterEach(() => d.proxy.reload!({ ...OPEN, enable_superuser_instances: 'on' }));
  const local = () => `http://localhost:${web.port}`;

  test('off refuses at execution, not when the workflow is written', async () => {
    await d.proxy.reload!({});
    expect(await d.failure(`df.http('${web.url}/off')`)).toBe(
      'Blocked: outbound HTTP requests are disabled. Set http.mode in the configuration of pg-durable-proxy to enable them.',
    );
    expect(await d.failure(envelope('HTTP', { url: 'file:///etc/passwd', method: 'GET' }))).toBe(
      "Blocked: unsupported URL scheme 'file'. Only http and https are allowed.",
    );
    expect(web.seen('/off')).toEqual([]);
  });

  test('allowlist lets through what http.allow names, from the next request on', async () => {
    await d.proxy.reload!({
      'http.mode': 'allowlist',
      'http.allow': 'localhost:1, *.example.com',
      'http.block_private': 'off',
    });
    expect(await d.failure(`df.http('${local()}/list', 'GET')`)).toBe(
      "Blocked: 'localhost' is not in the allowed endpoint list. Only requests to hosts in http.allow are permitted.",
    );
    expect(await d.failure(`df.http('${web.url}/list', 'GET')`)).toBe(
      'Blocked: requests to bare IP addresses are not permitted. Use a hostname from the allowed endpoint list instead.',
    );
    await d.proxy.reload!({
      'http.mode': 'allowlist',
      'http.allow': 'localhost',
      'http.block_private': 'off',
    });
    await d.complete(`df.http('${local()}/list', 'GET')`);
    expect(web.seen('/list')[0]!.headers.host).toBe(`localhost:${web.port}`);
  });

  test('block_private looks at where a name leads to', async () => {
    await d.proxy.reload!({ 'http.mode': 'allowlist', 'http.allow': 'localhost' });
    expect(await d.failure(`df.http('${local()}/private', 'GET')`)).toBe(
      "Blocked: the resolved IP address for 'localhost' is in a restricted range. df.http() cannot access private or internal network addresses.",
    );
    await d.proxy.reload!({ 'http.mode': 'all' });
    expect(await d.failure(`df.http('${web.url}/private', 'GET')`)).toMatch(
      /^Blocked: the resolved IP address for '127\.0\.0\.1' is in a restricted range\./,
    );
    expect(web.seen('/private')).toEqual([]);
  });

  test('max_response_bytes', async () => {
    await d.proxy.reload!({ ...OPEN, 'http.max_response_bytes': '1kB' });
    web.on('/kilo', { body: 'x'.repeat(1024) }).on('/more', { body: 'x'.repeat(1025) });
    await d.complete(`df.http('${web.url}/kilo', 'GET')`);
    expect(await d.failure(`df.http('${web.url}/more', 'GET')`)).toBe(
      'Failed to read response body: it is larger than http.max_response_bytes (1024 bytes)',
    );
  });
});
