import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, describe as group, test } from 'vitest';
import { int32, message } from '../../src/wire/message.js';
import {
  bind,
  close,
  copyData,
  copyDone,
  copyFail,
  describe,
  execute,
  flush,
  functionCall,
  parse,
  query,
  sync,
} from '../support/frontend.js';
import {
  asSuperuser,
  createTestDatabase,
  type TestDatabase,
  type TestRole,
  urlFor,
} from '../support/postgres.js';
import { RawClient } from '../support/raw-client.js';
import { startWireProxy, type WireProxy } from '../support/wire-proxy.js';

let db: TestDatabase;
let role: TestRole;
let wire: WireProxy;
let seed = Number(process.env.FC_SEED ?? randomBytes(4).readUInt32BE());

beforeAll(async () => {
  db = await createTestDatabase();
  role = await db.createRole('transparent');
  await asSuperuser(db.name, async (client) => {
    await client.query(`
      GRANT CREATE ON SCHEMA public TO ${role.name};
      CREATE TABLE public.items (id int PRIMARY KEY, name text, data bytea);
      GRANT ALL ON public.items TO ${role.name};
      CREATE TABLE public.late (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED);
      GRANT ALL ON public.late TO ${role.name};
    `);
  });
  wire = await startWireProxy(urlFor(db.name));
});

afterAll(async () => {
  await wire?.close();
  await db?.drop();
});

/** One turn: bytes, and what to wait for before the next turn (ReadyForQuery unless said otherwise). */
interface Turn {
  send: Buffer[];
  wait?: string;
  times?: number;
}

const turn = (...send: Buffer[]): Turn => ({ send });
const turns = (count: number, ...send: Buffer[]): Turn => ({ send, times: count });
const until = (wait: string, ...send: Buffer[]): Turn => ({ send, wait });

/** Small numbers from the printed seed, so that a failure can be run again. */
function random(below: number): number {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return Math.floor((seed / 2 ** 32) * below);
}

type Chunking = 'whole' | 'bytes' | 'random';

async function talk(port: number, host: string, conversation: Turn[], chunking: Chunking): Promise<string[]> {
  const client = await RawClient.login({
    host,
    port,
    user: role.name,
    password: role.password,
    database: db.name,
    parameters: { application_name: '', options: '-c extra_float_digits=1' },
  });
  const transcript = render(client);
  for (const { send, wait = 'Z', times = 1 } of conversation) {
    client.forget();
    const bytes = Buffer.concat(send);
    if (chunking === 'whole') client.send(bytes);
    else await client.sendInChunks(bytes, chunking === 'bytes' ? () => 1 : () => 1 + random(40));
    await client.waitFor(wait, times);
    transcript.push('--', ...render(client));
  }
  client.forget();
  await client.end();
  transcript.push('-- end', ...render(client));
  return transcript;
}

function render(client: RawClient): string[] {
  return client.messages.map(({ type, body }) => {
    // The cancel key, and the process that notifies, differ from connection to connection.
    if (type === 'K') return `K ${body.length}`;
    if (type === 'A') return `A ${body.toString('hex', 4)}`;
    return `${type} ${body.toString('hex')}`;
  });
}

async function same(conversation: Turn[], chunking: Chunking = 'whole'): Promise<string[]> {
  const { hostname, port } = new URL(db.superUrl);
  await reset();
  const direct = await talk(Number(port), hostname, conversation, chunking);
  await reset();
  const proxied = await talk(wire.port, wire.host, conversation, chunking);
  expect(proxied).toEqual(direct);
  return direct;
}

async function reset(): Promise<void> {
  await asSuperuser(db.name, (client) =>
    client.query(
      `TRUNCATE public.items, public.late;
       INSERT INTO public.items SELECT n, 'item ' || n, decode(lpad(to_hex(n), 4, '0'), 'hex') FROM generate_series(1, 50) n`,
    ),
  );
}

const binary = Buffer.from([0, 1, 0, 255, 0, 0x51, 0, 0, 0, 4]);
const conversations: Record<string, Turn[]> = {
  'simple queries': [
    turn(query('SELECT 1')),
    turn(query('SELECT id, name, data FROM items ORDER BY id')),
    turn(query("SELECT 1; SELECT 'two'; UPDATE items SET name = name WHERE id < 4")),
    turn(query('')),
    turn(query(';;')),
    turn(query('SELECT NULL, 5 & 3, 5 | 3, ARRAY[1] @> ARRAY[1]')),
  ],
  'simple errors': [
    turn(query('SELECT * FROM nowhere')),
    turn(query('SELEKT 1')),
    turn(query("SELECT 'a' ~> 1.5 FROM items")),
    turn(query('SELECT 1/0')),
    turn(query('SELECT 1; SELECT 1/0; SELECT 2')),
    turns(4, query('BEGIN'), query('SELECT bad'), query('SELECT 1'), query('ROLLBACK')),
  ],
  'transactions with deferred errors': [
    turns(4, query('BEGIN'), query('INSERT INTO late VALUES (1), (1)'), query('COMMIT'), query('SELECT 1')),
    turn(parse('INSERT INTO late VALUES (2), (2)'), bind(), execute(), sync),
  ],
  'extended protocol': [
    turn(
      parse('SELECT $1::int + 1', 's1'),
      describe('S', 's1'),
      bind(['41'], { statement: 's1' }),
      execute(),
      sync,
    ),
    turn(bind([int32(7)], { statement: 's1', binaryResult: true }), describe('P'), execute(), sync),
    turn(parse('SELECT $1::bytea, $2::text'), bind([binary, null]), describe('P'), execute(), sync),
    turn(parse(''), bind(), execute(), sync),
    turn(close('S', 's1'), close('P', 'none'), sync),
    turn(bind([], { statement: 's1' }), execute(), sync),
    turn(parse('SELECT 1', 'twice'), parse('SELECT 2', 'twice'), sync),
  ],
  'pipelines with errors': [
    turns(
      3,
      parse('SELECT 1'),
      bind(),
      execute(),
      parse('SELECT 1/0'),
      bind(),
      execute(),
      parse('SELECT 2'),
      bind(),
      execute(),
      sync,
      parse('SELECT 3'),
      bind(),
      execute(),
      sync,
      query('SELECT 4'),
    ),
    turn(parse('SELECT bad'), query('SELECT never'), sync),
    turns(2, parse('SELECT bad'), close('S', 'x'), sync, close('S', 'x'), sync),
  ],
  'flush without sync': [
    until('T', parse('SELECT generate_series(1, 5)'), bind([], { portal: 'p' }), describe('P', 'p'), flush),
    until('s', execute('p', 2), flush),
    until('s', execute('p', 2), flush),
    until('C', execute('p', 2), flush),
    until('E', parse('SELECT bad'), flush),
    turn(parse('SELECT 1'), sync),
  ],
  'portals and cursors': [
    turns(
      3,
      query('BEGIN'),
      query('DECLARE c CURSOR FOR SELECT id FROM items ORDER BY id'),
      query('FETCH 3 FROM c'),
    ),
    turn(describe('P', 'c'), execute('c', 2), sync),
    turns(2, query('MOVE 1 FROM c'), query('COMMIT')),
  ],
  notices: [
    turn(query("DO $$ BEGIN FOR i IN 1..200 LOOP RAISE NOTICE 'n %', i; END LOOP; END $$")),
    turn(query('DROP TABLE IF EXISTS nothing_here')),
    turn(query("SET standard_conforming_strings = off; SET escape_string_warning = on; SELECT 'a\\\\b'")),
    turn(query("SELECT 'a\\\\b'")),
    turns(2, query("SET client_encoding = 'LATIN1'"), query("SELECT 'x'")),
    turn(query(Buffer.from("SELECT 'caf\xe9', '\xe9' ~> caf\xe9", 'latin1'))),
  ],
  'listen and notify': [
    turns(3, query('LISTEN a'), query("NOTIFY a, 'one'"), query("SELECT pg_notify('a', 'two')")),
    turn(parse("SELECT pg_notify('a', 'three')"), bind(), execute(), sync),
  ],
  'copy out': [
    turn(query('COPY items TO STDOUT')),
    turn(query('COPY items TO STDOUT (FORMAT binary); SELECT 1')),
    turn(parse('COPY (SELECT 1) TO STDOUT'), bind(), execute(), sync),
  ],
  'copy in, simple': [
    until('G', query('COPY items (id, name) FROM STDIN')),
    turn(copyData('101\ta\n'), copyData('102\tb\n'), copyDone),
    until('G', query('COPY items (id, name) FROM STDIN')),
    turn(copyData('103\ta\n'), copyFail('changed my mind')),
    until('G', query('COPY items (id, name) FROM STDIN')),
    turn(copyData('bad\ta\n'), copyDone),
    until('G', query('COPY items (id, name) FROM STDIN; SELECT 1/0; SELECT 2')),
    turn(copyData('104\ta\n'), copyDone),
    turn(copyData('late'), copyDone, query('SELECT count(*) FROM items')),
  ],
  'copy in, extended': [
    until('G', parse('COPY items (id, name) FROM STDIN'), bind(), execute(), sync),
    turn(copyData('101\ta\n'), copyDone, sync),
    until('G', parse('COPY items (id, name) FROM STDIN'), bind(), execute(), sync),
    turn(copyData('bad\ta\n'), copyData('102\tx\n'), copyDone, sync),
    until('G', parse('COPY items (id, name) FROM STDIN'), bind(), execute(), flush),
    turn(copyFail('no'), sync),
    turns(2, parse('COPY nowhere FROM STDIN'), bind(), execute(), sync, copyData('x\n'), copyDone, sync),
    turn(query('SELECT count(*) FROM items')),
  ],
  'function call': [
    turn(functionCall(177, [int32(40), int32(2)])),
    turn(functionCall(154, [int32(1), int32(0)])),
    turn(functionCall(1, [])),
    turns(2, functionCall(177, [int32(1), int32(2)]), query('SELECT 1')),
  ],
  'text with a NUL in the middle': [turn(query('SELECT 1\0SELECT 2')), turn(query('SELECT 1'))],
};

for (const chunking of ['whole', 'bytes', 'random'] as const) {
  group(`the server's messages are the same through the proxy, sent ${chunking}`, () => {
    for (const [name, conversation] of Object.entries(conversations)) {
      test(name, async () => {
        if (chunking === 'random') console.log(`FC_SEED=${seed}`);
        await same(conversation, chunking);
      });
    }
  });
}

group("the server's last words on a broken protocol are the same", () => {
  const cases: Record<string, Buffer> = {
    'an unknown message type': message(0x21, Buffer.from('what')),
    'a query without its NUL': message(0x51, Buffer.from('SELECT 1')),
    'a length below four': Buffer.from([0x51, 0, 0, 0, 3, 0, 0]),
    'a length above the limit': Buffer.from([0x51, 0x7f, 0xff, 0xff, 0xff, 1, 2, 3]),
    'a negative length': Buffer.from([0x50, 0xff, 0xff, 0xff, 0xf0, 1, 2, 3]),
    'a Sync of 20 000 bytes': message(0x53, Buffer.alloc(20_000)),
    'a Bind cut short': message(0x42, Buffer.from([0])),
    'a Parse cut short': message(0x50, Buffer.from('name')),
    'a query during a copy': Buffer.concat([
      query('COPY items FROM STDIN'),
      query('SELECT 1'),
      query('SELECT 2'),
    ]),
  };
  for (const [name, bytes] of Object.entries(cases)) {
    test(name, async () => {
      const { hostname, port } = new URL(db.superUrl);
      const outcomes: string[][] = [];
      for (const target of [
        { host: hostname, port: Number(port) },
        { host: wire.host, port: wire.port },
      ]) {
        const client = await RawClient.login({
          ...target,
          user: role.name,
          password: role.password,
          database: db.name,
        });
        client.forget();
        client.send(bytes);
        client.send(query('SELECT 3'), sync);
        // Either the server goes on (with the Query or, after an error, with the Sync), or it closes.
        await client.waitFor('Z').catch(() => {});
        client.socket.end();
        await client.waitFor('nothing more').catch(() => {});
        outcomes.push(render(client));
      }
      expect(outcomes[1]).toEqual(outcomes[0]);
    });
  }
});

group('large messages', () => {
  test('rows of 10 MB, a statement of 10 MB and a parameter of 10 MB', async () => {
    const text = 'x'.repeat(10_000_000);
    await same([
      turn(query("SELECT repeat('r', 10000000) FROM generate_series(1, 2)")),
      turn(query(`SELECT length('${text}')`)),
      turn(query(`SELECT df_none('${text}')`)),
      turn(parse('SELECT $1::text'), bind([text]), execute(), sync),
      turn(parse('SELECT length($1::bytea)'), bind([Buffer.alloc(10_000_000)]), execute(), sync),
    ]);
  });

  test('a statement beyond the limit of what is read', async () => {
    const text = ' '.repeat(17 * 1024 * 1024);
    await same([
      turn(query(`SELECT 'a' ~> 'b'${text}`)),
      turn(parse(`SELECT 1${text}`), bind(), execute(), sync),
    ]);
  });

  test('65 535 parameters', async () => {
    const count = 65_535;
    const list = Array.from({ length: count }, (_, i) => `($${i + 1}::int)`).join(',');
    const values = Array.from({ length: count }, (_, i) => String(i));
    const head = Buffer.alloc(2);
    head.writeUInt16BE(count);
    const body = Buffer.concat([
      Buffer.from([0, 0, 0, 0]),
      head,
      ...values.map((value) => Buffer.concat([int32(value.length), Buffer.from(value)])),
      Buffer.from([0, 0]),
    ]);
    await same([
      turn(parse(`SELECT sum(v) FROM (VALUES ${list}) t(v)`), message(0x42, body), execute(), sync),
    ]);
  });
});
