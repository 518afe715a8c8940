/** What needs a server of its own: its restart under open sessions, and replication. */
import { afterAll, beforeAll, expect, describe as group, test } from 'vitest';
import { Frontend } from '../../src/wire/codes.js';
import { message } from '../../src/wire/message.js';
import { bind, copyDone, execute, parse, query, sync } from '../support/frontend.js';
import { OwnServer } from '../support/own-server.js';
import { RawClient } from '../support/raw-client.js';
import { until } from '../support/wait.js';
import { startWireProxy, type WireProxy } from '../support/wire-proxy.js';

let server: OwnServer;
let wire: WireProxy;

beforeAll(async () => {
  server = await OwnServer.start({ settings: { wal_level: 'logical', max_wal_senders: '6' } });
  await server.query('CREATE TABLE t (n int PRIMARY KEY); CREATE PUBLICATION p FOR TABLE t');
  wire = await startWireProxy(server.url());
});

afterAll(async () => {
  await wire?.close();
  await server?.remove();
});

function connect(parameters: Record<string, string> = {}): Promise<RawClient> {
  return RawClient.login({
    host: wire.host,
    port: wire.port,
    user: 'postgres',
    password: server.password,
    database: 'postgres',
    parameters,
  });
}

const noSessions = () => until(() => wire.proxy.sessions() === 0, { what: 'all sessions to end' });

/** Columns of the first row as text. */
function row(client: RawClient): string[] {
  const body = client.messages.find((each) => each.type === 'D')!.body;
  const columns: string[] = [];
  let at = 2;
  for (let i = body.readInt16BE(0); i > 0; i--) {
    const length = body.readInt32BE(at);
    columns.push(length < 0 ? '' : body.toString('latin1', at + 4, at + 4 + length));
    at += 4 + Math.max(length, 0);
  }
  return columns;
}

test('a restart of the server is one FATAL 57P01 to every session, whatever it does; new ones go on', async () => {
  const busy: Record<string, Buffer[]> = {
    idle: [query('SELECT 1')],
    'in a transaction': [query('BEGIN; SELECT 1')],
    'in a failed transaction': [query('BEGIN; SELECT nope')],
    listening: [query('LISTEN something')],
    'in a statement': [query("DO $$ BEGIN RAISE NOTICE 'running'; PERFORM pg_sleep(60); END $$")],
    'in a pipeline': [
      parse("DO $$ BEGIN RAISE NOTICE 'running'; PERFORM pg_sleep(60); END $$"),
      bind(),
      execute(),
      parse('SELECT 1'),
      bind(),
      execute(),
      sync,
      query('SELECT 2'),
    ],
    'in a copy': [query('COPY t FROM STDIN')],
  };
  const sessions = await Promise.all(
    Object.entries(busy).map(async ([state, messages]) => {
      const client = await connect();
      client.forget();
      client.send(...messages);
      await client.waitFor(
        state.startsWith('in a ') && /statement|pipeline/.test(state)
          ? 'N'
          : state === 'in a copy'
            ? 'G'
            : 'Z',
      );
      client.forget();
      return { state, client };
    }),
  );
  await server.stop();
  for (const { state, client } of sessions) {
    await until(() => client.closed, { what: `the close of the session ${state}` });
    expect([state, client.types(), client.error().code]).toEqual([state, 'E', '57P01']);
  }
  await noSessions();
  await server.start();
  const client = await connect();
  client.forget();
  client.send(query('SELECT 1'));
  await client.ready();
  expect(client.types()).toBe('TDCZ');
  await client.end();
});

group('replication', () => {
  test('a logical slot streams changes, both sides talk during CopyBoth, and the session goes on behind it', async () => {
    const client = await connect({ replication: 'database' });
    const run = async (sql: string) => {
      client.forget();
      client.send(query(sql));
      await client.ready();
      return client.types();
    };
    expect(await run('IDENTIFY_SYSTEM')).toBe('TDCZ');
    expect(await run('CREATE_REPLICATION_SLOT talk TEMPORARY LOGICAL pgoutput')).toBe('TDCZ');
    expect(row(client)[0]).toBe('talk');
    client.forget();
    client.send(query("START_REPLICATION SLOT talk LOGICAL 0/0 (proto_version '1', publication_names 'p')"));
    await client.waitFor('W');
    await server.query('INSERT INTO t VALUES (1), (2)');
    const changes = () =>
      client.messages.filter((each) => each.type === 'd' && each.body[0] === 0x77 && each.body[25] === 0x49)
        .length;
    await until(() => changes() === 2, { what: 'the rows' });
    // A status update that asks for an answer (r): it comes as a keepalive (k).
    const keepalives = () =>
      client.messages.filter((each) => each.type === 'd' && each.body[0] === 0x6b).length;
    const before = keepalives();
    const status = Buffer.alloc(34);
    status[0] = 0x72;
    status[33] = 1;
    client.send(message(Frontend.CopyData, status));
    await until(() => keepalives() > before, { what: 'a keepalive' });
    client.send(copyDone);
    await client.ready();
    // The server's CopyDone, which a keepalive may follow; then CommandComplete for the copy and for the command.
    expect(client.types()).toMatch(/^Wd+cd*C+Z$/);
    expect(await run('SELECT count(*) FROM t')).toBe('TDCZ');
    expect(await run('SELECT nope')).toBe('EZ');
    await client.end();
    await noSessions();
  });

  test('physical replication streams, and ends in good order or by the end of the client', async () => {
    for (const politely of [true, false]) {
      const client = await connect({ replication: 'true' });
      client.forget();
      client.send(query('IDENTIFY_SYSTEM'));
      await client.ready();
      const [, timeline, place] = row(client);
      expect(timeline).toBe('1');
      client.forget();
      client.send(query(`START_REPLICATION PHYSICAL ${place}`));
      await client.waitFor('W');
      await server.query('INSERT INTO t SELECT coalesce(max(n), 0) + 1 FROM t');
      await until(() => client.messages.some((each) => each.type === 'd' && each.body[0] === 0x77), {
        what: 'log',
      });
      if (politely) {
        client.send(copyDone);
        await client.ready();
        expect(client.types()).toMatch(/^Wd+cd*C+Z$/);
        await client.end();
      } else {
        client.socket.destroy();
      }
      await noSessions();
      await until(async () => (await server.query('SELECT pid FROM pg_stat_replication')).rows.length === 0, {
        what: 'the walsender to end',
      });
    }
  });

  test('a text that looks like an operator of df is no business of the proxy in a replication session', async () => {
    const client = await connect({ replication: 'database' });
    client.forget();
    client.send(query("SELECT 'a' ~> 'b'"));
    await client.ready();
    expect(client.types()).toBe('EZ');
    expect(client.error()).toMatchObject({
      code: '42883',
      message: 'operator does not exist: unknown ~> unknown',
    });
    await client.end();
  });
});
