/**
 * Bugs that other proxies had again and again, as far as no other file has a test of them; docs/recurrent-bugs.md
 * names the test for each. Conversations are held directly and through the proxy, and the server must say the same.
 */
import { createServer, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, describe as group, test } from 'vitest';
import { Backend } from '../../src/wire/codes.js';
import { int32, message } from '../../src/wire/message.js';
import { cancelPacket, protocolVersion, startupPacket } from '../../src/wire/startup.js';
import type { Conversation, Step } from '../conversations/conversation.js';
import { compare } from '../conversations/differential.js';
import { openSides, type Sides } from '../conversations/sides.js';
import { talk } from '../conversations/talk.js';
import { holdings } from '../fuzz/health.js';
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
import { asSuperuser, urlFor } from '../support/postgres.js';
import { authenticationOk, open, RawClient, readToEnd } from '../support/raw-client.js';
import { until } from '../support/wait.js';
import { startWireProxy } from '../support/wire-proxy.js';

let sides: Sides;

beforeAll(async () => {
  sides = await openSides();
});

afterAll(async () => {
  await sides?.drop();
});

const connect = () => RawClient.login(sides.proxied);

const ended = () => until(() => sides.sessions() === 0, { what: 'all sessions to end' });

function inTurns(...turns: Step[][]): Conversation {
  const named = turns.map((steps, i) => ({ name: `turn ${i + 1}`, steps, loose: false }));
  return { number: 0, startup: {}, protocol: protocolVersion(3, 0), pieces: 0, turns: named };
}

/**
 * The server says the same on both sides, sent whole and byte by byte.
 * @returns the types of its messages through the proxy, turn by turn, without those of the fence
 */
async function same(...turns: Step[][]): Promise<string[]> {
  const conversation = inTurns(...turns);
  for (const pieces of [0, 1]) {
    const found = await compare(sides, { ...conversation, pieces });
    expect(found?.text).toBe(undefined);
  }
  await sides.reset();
  const transcript = await talk(sides.proxied, conversation);
  return transcript.slice(1, -1).map((turn) => {
    const types = turn.map((each) => each.type).join('');
    return types.replace(/I?Z31tnZ$/, '');
  });
}

const send = (...messages: Buffer[]): Step[] => [{ send: messages }];

group('COPY in each protocol and direction, with errors before and after its end', () => {
  const IN = 'COPY late (id) FROM STDIN';
  const starts: Record<string, Buffer[]> = {
    simple: [query(IN)],
    extended: [parse(IN), bind(), execute()],
    'extended with an early Sync': [parse(IN), bind(), execute(), sync],
  };
  const ends: Record<string, Buffer[]> = {
    'no error': [copyData('1\n'), copyData('2\n'), copyDone],
    'an error in the data': [copyData('bad\n'), copyData('2\n'), copyDone],
    'an error in a line that CopyDone ends': [copyData('1\nbad'), copyDone],
    'an error at commit': [copyData('1\n1\n'), copyDone],
    CopyFail: [copyData('1\n'), copyFail('enough')],
    'CopyDone twice': [copyData('1\n'), copyDone, copyDone],
    'late data': [copyData('bad\n'), copyDone, copyData('3\n'), copyDone],
  };
  for (const [protocol, start] of Object.entries(starts)) {
    for (const [error, data] of Object.entries(ends)) {
      test(`in, ${protocol}, ${error}`, async () => {
        const [atOnce, waited, after] = await same(
          send(...start, ...data, sync),
          [{ send: [...start, flush], wait: 'G' }, { send: data }, { send: [sync, sync] }],
          send(query('SELECT count(*) FROM late')),
        );
        expect(atOnce).toContain('G');
        expect(waited).toContain('G');
        expect(after).toBe('TDCZZ');
      });
    }
  }
  const HEADER = Buffer.concat([Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1'), int32(0), int32(0)]);
  const tuple = (value: Buffer) => Buffer.concat([Buffer.from([0, 1]), int32(value.length), value]);
  const END = Buffer.from([0xff, 0xff]);
  const formats: Record<string, Buffer[]> = {
    'csv, no error': [copyData('id\n"1"\n'), copyData('2\n'), copyDone],
    'csv, a quote that is not closed': [copyData('id\n1\n'), copyData('"2\n'), copyDone],
    'csv, an error in the data': [copyData('id\n1\n"bad'), copyData('"\n3\n'), copyDone],
    'binary, no error': [copyData(HEADER), copyData(tuple(int32(1))), copyData(END), copyDone],
    'binary, a value of the wrong length': [
      copyData(Buffer.concat([HEADER, tuple(Buffer.alloc(3))])),
      copyDone,
    ],
    'binary, no end': [copyData(Buffer.concat([HEADER, tuple(int32(1)).subarray(0, 5)])), copyDone],
    'binary, CopyFail': [copyData(HEADER), copyData(tuple(int32(1))), copyFail('enough')],
  };
  for (const [name, data] of Object.entries(formats)) {
    const format = name.startsWith('csv') ? 'csv, HEADER' : 'binary';
    const copy = (direction: string) => `COPY ${direction} (FORMAT ${format})`;
    test(`in, ${name}; and out`, async () => {
      const [types] = await same(
        send(query(copy('late (id) FROM STDIN')), ...data),
        send(parse(copy('late (id) FROM STDIN')), bind(), execute(), ...data, sync),
        send(query(copy('(SELECT n FROM generate_series(1, 100) n) TO STDOUT'))),
        send(
          query(copy('(SELECT 1 / (n - 90) FROM generate_series(1, 100) n) TO STDOUT')),
          query('SELECT 1'),
        ),
      );
      expect(types).toMatch(name.includes('no error') ? /^GC/ : /^GE/);
    });
  }
  const OUT: Record<string, string> = {
    'no error': 'COPY (SELECT n FROM generate_series(1, 1000) n) TO STDOUT',
    'an error before the first row': 'COPY (SELECT 1 / (n - 1) FROM generate_series(1, 1000) n) TO STDOUT',
    'an error between rows': 'COPY (SELECT 1 / (n - 900) FROM generate_series(1, 1000) n) TO STDOUT',
    'an error at the start': 'COPY nowhere TO STDOUT',
  };
  for (const [error, sql] of Object.entries(OUT)) {
    test(`out, both protocols, ${error}`, async () => {
      await same(
        send(query(sql), query('SELECT 1')),
        send(query(`${sql}; SELECT 2`)),
        send(parse(sql), bind(), execute(), parse('SELECT 3'), bind(), execute(), sync),
        [{ send: [parse(sql), bind(), execute(), flush], wait: 'C' }, { send: [sync] }],
      );
    });
  }
});

group('pipelines', () => {
  test('Describe of a portal behind a Flush, without a Sync', async () => {
    const step = (wait: string, ...messages: Buffer[]): Step => ({ send: [...messages, flush], wait });
    expect(
      await same(
        [
          step('1', parse('SELECT $1::int', 's1')),
          step('tT', describe('S', 's1')),
          step('2', bind(['1'], { statement: 's1', portal: 'p1' })),
          step('T', describe('P', 'p1')),
          step('C', execute('p1')),
          step('T', bind(['2'], { statement: 's1' }), describe('P')),
          step('C', execute()),
          { send: [close('P', 'p1'), describe('P'), sync], wait: 'Z' },
        ],
        send(
          ...['1', '2', '3'].flatMap((value) => [
            bind([value], { statement: 's1' }),
            describe('P'),
            execute(),
            flush,
          ]),
          describe('P'),
          sync,
        ),
      ),
    ).toEqual([expect.stringMatching(/^1tT2TDC2TDC3TZ/), expect.stringMatching(/^(2TDC){3}TZ/)]);
  });

  test('a Query between an error and its Sync is not answered', async () => {
    const [types] = await same(
      send(
        parse('SELECT nope'),
        query('SELECT 1'),
        parse('SELECT 2'),
        close('S', 'x'),
        sync,
        query('SELECT 3'),
      ),
    );
    expect(types).toMatch(/^EZTDCZ/);
  });

  test('a Parse of a name that is in use fails, and errors of the statement that has it stay where they are', async () => {
    const body = "SELECT df.if('SELECT true', 'a' ~> 'b', 'c' | 'd'), nope";
    const named = (sql: string) =>
      parse(`CREATE FUNCTION pg_temp.g() RETURNS text LANGUAGE sql AS $f$ ${sql} $f$`, 'n');
    const run = [bind([], { statement: 'n' }), execute(), sync];
    const [atOnce, waited, again] = await same(
      send(named(body), ...run, parse('SELECT 1', 'n'), sync, ...run),
      [{ send: [parse('SELECT 1', 'n'), sync], wait: 'Z' }, { send: run }],
      // As long as no Parse has given the name to another one.
      send(query('DEALLOCATE n'), named('SELECT nothing'), ...run, close('S', 'n'), named(body), ...run),
    );
    expect([atOnce, waited, again]).toEqual(['12EZEZ2EZZ', 'EZ2EZZ', 'CZ12EZ312EZZ']);
  });

  test("operators written without a blank between them are another operator: the server's own error", async () => {
    const [types] = await same(
      send(query("SELECT 'a' ~>@> 'b'"), query("SELECT 'a' ~>-1"), query('SELECT 1')),
    );
    expect(types).toMatch(/^EZEZTDCZ/);
  });

  test('the column of a rewritten statement keeps its name and type', async () => {
    const start = "SELECT length(df.start('a' ~> 'b')), df.start('a' ~> 'b') IS NOT NULL, 'a' ~> 'b'";
    await same(send(parse(start), describe('S'), bind(), describe('P'), execute(), sync), send(query(start)));
    const client = await connect();
    client.forget();
    client.send(query("SELECT df.start('SELECT 1' ~> 'SELECT 2')"));
    await client.ready();
    const columns = client.messages.find((each) => each.type === 'T')!.body;
    expect(columns.toString('latin1', 2, columns.indexOf(0, 2))).toBe('start');
    await client.end();
  });
});

group('messages of 100 MB', () => {
  const SIZE = 100_000_000;

  test('as a parameter, and as a value that is read', async () => {
    const client = await connect();
    client.forget();
    client.send(parse('SELECT length($1::bytea)'), bind([Buffer.alloc(SIZE, 7)]), execute(), sync);
    await client.waitFor('Z', 1, 60_000);
    expect(client.value()).toBe(String(SIZE));
    client.forget();
    client.counting = true;
    const before = client.received;
    client.send(query(`SELECT repeat('x', ${SIZE})`));
    await client.waitFor('Z', 1, 60_000);
    expect(client.types()).toBe('TDCZ');
    expect(client.received - before).toBeGreaterThan(SIZE);
    await client.end();
  });
});

group('cancel', () => {
  async function cancel(key: Buffer): Promise<void> {
    const socket = await open(sides.proxied.host, sides.proxied.port);
    socket.write(cancelPacket(key));
    await readToEnd(socket);
    socket.destroy();
  }
  const running = "DO $$ BEGIN RAISE NOTICE 'running'; PERFORM 'a' ~> 'b', pg_sleep(60); END $$";

  test('40 loops over eight sessions: each stops its own statement, a rewritten one, and no later one', async () => {
    const clients = await Promise.all(Array.from({ length: 8 }, connect));
    await Promise.all(
      clients.map(async (client) => {
        const key = client.key();
        for (let loop = 0; loop < 5; loop++) {
          client.forget();
          client.send(query(running));
          await client.waitFor('N');
          await cancel(key);
          await client.ready();
          expect(client.error().code).toBe('57014');
          client.forget();
          client.send(query("SELECT 'not hit', pg_sleep(0.02)"));
          await client.ready();
          expect(client.types()).toBe('TDCZ');
        }
      }),
    );
    await Promise.all(clients.map((client) => client.end()));
    await ended();
  });

  test('40 at once for a session that is idle do nothing to its next statement', async () => {
    const client = await connect();
    const key = client.key();
    client.forget();
    await Promise.all(Array.from({ length: 40 }, () => cancel(key)));
    client.send(query('SELECT pg_sleep(0.05)'));
    await client.ready();
    expect(client.types()).toBe('TDCZ');
    await client.end();
    await ended();
  });

  test('a key of 256 bytes passes both ways', async () => {
    const key = Buffer.concat([int32(4711), Buffer.alloc(256, 0xa5)]);
    const cancels: Buffer[] = [];
    const server = createServer((socket: Socket) => {
      socket.on('error', () => {});
      socket.once('data', (first: Buffer) => {
        if (first.readInt32BE(4) === 80877102) {
          cancels.push(first);
          socket.end();
        } else {
          const ready = message(Backend.ReadyForQuery, Buffer.from('I'));
          socket.write(Buffer.concat([authenticationOk, message(Backend.BackendKeyData, key), ready]));
          socket.resume().once('end', () => socket.end());
        }
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no address');
    const own = await startWireProxy(urlFor(sides.proxied.database), {
      upstream: { host: '127.0.0.1', port: address.port },
    });
    const client = new RawClient(await open(own.host, own.port));
    client.read();
    client.send(startupPacket({ user: 'someone', database: 'any' }, protocolVersion(3, 2)));
    await client.ready();
    expect(client.key()).toEqual(key);
    const canceller = await open(own.host, own.port);
    canceller.write(cancelPacket(key));
    await readToEnd(canceller);
    expect(cancels).toEqual([cancelPacket(key)]);
    canceller.destroy();
    await client.end();
    await own.close();
    await new Promise((resolve) => server.close(resolve));
  });
});

group('what comes without being asked', () => {
  test('20 000 notices between and within results', async () => {
    const storm = "DO $$ BEGIN FOR i IN 1..10000 LOOP RAISE NOTICE 'notice % é', i; END LOOP; END $$";
    const [first, second] = await same(
      send(query(storm), query('SELECT complain(5)')),
      send(
        parse(storm),
        bind(),
        execute(),
        parse('SELECT complain(5)'),
        bind(),
        describe('P'),
        execute(),
        sync,
      ),
    );
    expect(first).toMatch(/^N{10000}CZTN{5}DCZ/);
    expect(second).toMatch(/^12N{10000}C12TN{5}DCZ/);
  });

  test('notifications to a session that is idle, and to one in a transaction', async () => {
    const heard = await same(
      [{ send: [query('LISTEN outside')], wait: 'Z', act: 'notify' }],
      [{ send: [query('LISTEN outside')], wait: 'Z', act: 'notify' }],
      [{ send: [query('BEGIN'), query('SELECT 1')], wait: 'D', act: 'notify' }, { send: [query('COMMIT')] }],
    );
    expect(heard.map((types) => types.split('A').length - 1)).toEqual([1, 1, 1]);
  });

  test('idle_in_transaction_session_timeout is one FATAL, then a close', async () => {
    const client = await connect();
    client.send(query('SET idle_in_transaction_session_timeout = 200'), query('BEGIN'));
    await client.ready(3);
    client.forget();
    await until(() => client.closed, { what: 'the close' });
    expect(client.types()).toBe('E');
    expect(client.error().code).toBe('25P03');
    await ended();
  });
});

test('large objects, by SQL and by the fast path', async () => {
  const client = await connect();
  const run = async (readies: number, ...messages: Buffer[]) => {
    client.forget();
    client.send(...messages);
    await client.ready(readies);
    return client.types();
  };
  const answer = () => {
    const body = client.messages.find((each) => each.type === 'V')!.body;
    return body.subarray(4);
  };
  const content = Buffer.alloc(300_000, 'large object ');
  await run(1, query('BEGIN'));
  // lo_creat, lo_open, lowrite, lo_lseek, loread, lo_close
  expect(await run(1, functionCall(957, [int32(-1)]))).toBe('VZ');
  const oid = answer().readUInt32BE();
  expect(await run(1, functionCall(952, [int32(oid), int32(0x60000)]))).toBe('VZ');
  const descriptor = Buffer.from(answer());
  expect(await run(1, functionCall(955, [descriptor, content]))).toBe('VZ');
  expect(answer().readInt32BE()).toBe(content.length);
  expect(
    await run(
      2,
      functionCall(956, [descriptor, int32(0), int32(0)]),
      functionCall(954, [descriptor, int32(content.length)]),
    ),
  ).toBe('VZVZ');
  expect(
    client.messages
      .findLast((each) => each.type === 'V')!
      .body.subarray(4)
      .equals(content),
  ).toBe(true);
  expect(await run(1, functionCall(953, [descriptor]))).toBe('VZ');
  await run(1, query('COMMIT'));
  expect(await run(1, query(`SELECT length(lo_get(${oid})), lo_unlink(${oid})`))).toBe('TDCZ');
  expect(client.value()).toBe(String(content.length));
  await client.end();
});

test('clients that half-close, reset, vanish or leave politely leave no socket in the proxy', async () => {
  await (await connect()).end();
  await ended();
  const before = holdings().sockets;
  for (let round = 0; round < 3; round++) {
    const clients = await Promise.all(Array.from({ length: 16 }, connect));
    await Promise.all(
      clients.map(async (client, i) => {
        if (i % 2 === 1) client.send(query("SELECT repeat('x', 1000) FROM generate_series(1, 2000)"));
        if (i % 4 === 0) client.socket.end();
        else if (i % 4 === 1) client.socket.resetAndDestroy();
        else if (i % 4 === 2) client.socket.destroy();
        else await client.end();
        await until(() => client.closed, { what: 'the close of a client' });
      }),
    );
  }
  await ended();
  await until(
    async () => {
      const { rows } = await asSuperuser('postgres', (client) =>
        client.query('SELECT pid FROM pg_stat_activity WHERE datname = $1 AND usename = $2', [
          sides.proxied.database,
          sides.proxied.user,
        ]),
      );
      return rows.length === 0;
    },
    { what: 'the server processes to end' },
  );
  // No /proc, no count.
  await until(() => !(holdings().sockets > before), { what: 'the sockets to be given back' });
});
