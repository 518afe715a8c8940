import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { open, readToEnd } from '../support/raw-client.js';
import { until } from '../support/wait.js';

let d: Durable;

beforeAll(async () => {
  d = await Durable.open({ login_timeout: '1s' });
});
afterAll(() => d?.close());

/** df.start with the text as a parameter. */
const start = (text: string) => d.start('$1', d.app, [text]);

/** The proxy serves sessions and runs instances as if nothing had been. */
async function alive(): Promise<void> {
  expect((await d.app.query('SELECT 1 AS a')).rows).toEqual([{ a: 1 }]);
  const client = await d.connect();
  expect((await client.query('SELECT 2 AS a')).rows).toEqual([{ a: 2 }]);
  await client.end();
  expect(await d.rows(`'SELECT 3 AS a'`)).toEqual([{ a: 3 }]);
}

describe('envelopes', () => {
  test.each([
    [
      '{"node_type":"NOPE"}',
      "Invalid durable function: Unknown node_type 'NOPE'. Valid types: SQL, THEN, IF, JOIN, LOOP, BREAK, RACE, SLEEP, WAIT_SCHEDULE, HTTP, HTTP_MULTIPART, SIGNAL",
    ],
    [
      '{"node_type":"SQL","query":5}',
      "Invalid durable function: Malformed Durofut JSON with node_type 'SQL'",
    ],
    [
      '{"node_type":"THEN","left_node":"x","right_node":{}}',
      "Invalid durable function: Malformed Durofut JSON with node_type 'THEN'",
    ],
    [
      '{"node_type":"THEN","left_node":{"node_type":"NOPE"},"right_node":{"node_type":"SQL","query":"x"}}',
      "Invalid durable function graph: root.left: Unknown node_type 'NOPE'",
    ],
    ['{"node_type":"THEN"}', 'nodes_structure_chk'],
    ['{"node_type":"SQL"}', 'nodes_structure_chk'],
    ['{"node_type":"SQL","query":"SELECT 1","result_name":"not a name"}', 'nodes_result_name_chk'],
    [
      '{"node_type":"SLEEP","query":"5","extra_nodes":[{"node_type":"SQL","query":"x"}]}',
      'Invalid durable function graph: root: extra_nodes is not valid for SLEEP nodes',
    ],
  ])('%s is refused', async (envelope, message) => {
    await expect(start(envelope)).rejects.toThrow(message);
    await alive();
  });

  test('hand-written durations that are no numbers fail the instance, not the proxy', async () => {
    for (const query of ['', 'soon', '-1', '1e999', 'NaN', '9'.repeat(400)]) {
      const id = await start(JSON.stringify({ node_type: 'SLEEP', query })).catch((error: Error) => error);
      if (id instanceof Error) continue;
      expect([query, await d.ended(id)]).toEqual([query, 'failed']);
    }
    await alive();
  });

  test('a duration beyond what a timestamp can hold is a very long one', async () => {
    const id = await d.start('df.sleep(9223372036854775807)');
    await d.parked(id);
    await d.app.query('SELECT df.cancel($1)', [id]);
    await alive();
  });

  test('text that only looks like JSON is a SQL step, and fails as one', async () => {
    for (const text of ['{', '{"a":1}', '[1,2]', 'null', '{"node_type":', '\u{1F600}']) {
      const id = await start(text);
      expect(await d.ended(id)).toBe('failed');
      expect(await d.output(id)).toMatch(/^SQL execution failed: error returned from database: /);
    }
    await alive();
  });

  const nest = (depth: number) => {
    let envelope = '{"node_type":"SQL","query":"SELECT 1 AS a"}';
    for (let i = 0; i < depth; i += 1) {
      envelope = `{"node_type":"THEN","left_node":${envelope},"right_node":{"node_type":"SQL","query":"SELECT 1 AS a"}}`;
    }
    return envelope;
  };

  test('a graph 256 deep runs, one that is 300 deep is refused, so is one that is 100 000 deep', async () => {
    const id = await start(nest(256));
    expect(await d.ended(id, 30_000)).toBe('completed');
    for (const depth of [257, 300]) {
      await expect(start(nest(depth))).rejects.toThrow('Graph exceeds maximum nesting depth of 256');
    }
    const opening = '{"node_type":"LOOP","left_node":'.repeat(100_000);
    await expect(start(`${opening}{"node_type":"SQL","query":"x"}${'}'.repeat(100_000)}`)).rejects.toThrow(
      /nesting depth/,
    );
    await alive();
  }, 60_000);

  test('11 000 nodes are refused, 9 999 run', async () => {
    const join = (branches: number) => {
      const step = '{"node_type":"SLEEP","query":"0"}';
      return `{"node_type":"JOIN","left_node":${step},"right_node":${step},"extra_nodes":[${Array.from({ length: branches - 2 }, () => step).join(',')}]}`;
    };
    await expect(start(join(11_000))).rejects.toThrow('Workflow exceeds maximum node count of 10000');
    const id = await start(join(9_998));
    expect(await d.ended(id, 60_000)).toBe('completed');
    await alive();
  }, 90_000);

  test('a statement of 20 000 operators costs one error', async () => {
    const chain = Array.from({ length: 20_000 }, () => `'SELECT 1'`).join(' ~> ');
    const other = await d.connect();
    const answer = d.start(chain).catch((error: Error) => error);
    // another session is served meanwhile
    const began = Date.now();
    expect((await other.query('SELECT 1 AS a')).rows).toEqual([{ a: 1 }]);
    expect(Date.now() - began).toBeLessThan(1000);
    expect(await answer).toBeInstanceOf(Error);
    await other.end();
    await alive();
  }, 60_000);
});

describe('bytes on the socket', () => {
  const junk: ReadonlyArray<readonly [what: string, bytes: Buffer]> = [
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
    ['zeroes', Buffer.alloc(64)],
    ['0xff', Buffer.alloc(64, 0xff)],
    ['a length of 4', Buffer.from([0, 0, 0, 4])],
    ['a negative length', Buffer.from([0x80, 0, 0, 8, 0, 3, 0, 0])],
    ['a huge start-up packet', Buffer.from([0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0])],
    ['protocol 99', Buffer.from([0, 0, 0, 8, 0, 99, 0, 0])],
    [
      'a start-up packet without an end',
      Buffer.from([0, 0, 0, 14, 0, 3, 0, 0, 0x75, 0x73, 0x65, 0x72, 0, 0x78]),
    ],
    ['a TLS hello', Buffer.from('16030100a5010000a1030300', 'hex')],
    ['a cancel of nobody', Buffer.from('0000001004d2162e0000000100000001', 'hex')],
  ];

  test.each(junk)('%s: the connection is closed, the proxy lives', async (_, bytes) => {
    const socket = await open('127.0.0.1', d.proxy.port);
    socket.write(bytes);
    await readToEnd(socket, 5000);
    socket.destroy();
    await alive();
  });

  test('junk after the login ends that session only', async () => {
    const client = await d.connect();
    const ended = new Promise((resolve) => client.once('end', resolve));
    const { stream } = (client as unknown as { connection: { stream: { write(bytes: Buffer): void } } })
      .connection;
    stream.write(Buffer.from([0x00, 0xff, 0xff, 0xff, 0xff, 0x51, 0, 0]));
    await ended;
    await alive();
  });

  test('a client that never finishes its start-up is let go, and holds nobody up', async () => {
    const silent = await Promise.all(Array.from({ length: 20 }, () => open('127.0.0.1', d.proxy.port)));
    silent[0]!.write(Buffer.from([0, 0, 0, 20, 0, 3]));
    const began = Date.now();
    await alive();
    expect(Date.now() - began).toBeLessThan(5000);
    for (const socket of silent) {
      await readToEnd(socket, 5000);
      socket.destroy();
    }
    await alive();
  });

  test('clients that vanish in the midst of a start leave nothing half', async () => {
    const before = await d.value('SELECT count(*)::int FROM df.instances');
    for (let i = 0; i < 10; i += 1) {
      const client = new pg.Client({ connectionString: d.proxy.url(d.role) });
      client.on('error', () => {});
      await client.connect();
      await client.query('BEGIN');
      await client.query(`SELECT df.start('SELECT 1')`);
      (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
    }
    await until(
      async () =>
        (await d.value(
          `SELECT count(*)::int FROM pg_stat_activity WHERE usename = $1 AND state LIKE 'idle in transaction%'`,
          [d.role.name],
        )) === 0,
      { what: 'the sessions to end' },
    );
    expect(await d.value('SELECT count(*)::int FROM df.instances')).toBe(before);
    await alive();
  });
});
