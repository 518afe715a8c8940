import { afterAll, beforeAll, expect, test } from 'vitest';
import { FieldCode, fieldText, readFields } from '../../src/wire/fields.js';
import { bind, close, describe, execute, parse, query, sync } from '../support/frontend.js';
import {
  asSuperuser,
  createTestDatabase,
  type TestDatabase,
  type TestRole,
  urlFor,
} from '../support/postgres.js';
import { RawClient } from '../support/raw-client.js';
import { until } from '../support/wait.js';
import { startWireProxy, type WireProxy } from '../support/wire-proxy.js';

let db: TestDatabase;
let role: TestRole;
let wire: WireProxy;
let client: RawClient;

beforeAll(async () => {
  db = await createTestDatabase();
  role = await db.createRole('rewritten');
  // As much of df as the wire needs to see: one operator, one function.
  await asSuperuser(db.name, (admin) =>
    admin.query(`
      CREATE SCHEMA df;
      GRANT USAGE ON SCHEMA df TO PUBLIC;
      CREATE FUNCTION df.then(text, text) RETURNS text LANGUAGE sql AS $$ SELECT $1 || ' then ' || $2 $$;
      CREATE OPERATOR df.~> (LEFTARG = text, RIGHTARG = text, FUNCTION = df.then);
      CREATE FUNCTION df.start(text) RETURNS text LANGUAGE sql AS $$ SELECT left($1, 60) $$;
    `),
  );
  wire = await startWireProxy(urlFor(db.name));
  client = await connect();
});

afterAll(async () => {
  await client?.end();
  await wire?.close();
  await db?.drop();
});

function connect(database = db.name): Promise<RawClient> {
  return RawClient.login({
    host: wire.host,
    port: wire.port,
    user: role.name,
    password: role.password,
    database,
  });
}

async function run(readies: number, ...messages: Buffer[]): Promise<string> {
  client.forget();
  client.send(...messages);
  await client.ready(readies);
  return client.types();
}

function field(code: number): string | undefined {
  const last = client.messages.findLast((each) => each.type === 'E' || each.type === 'N');
  return last === undefined ? undefined : fieldText(readFields(last.body), code);
}

test('an operator reaches df in both protocols', async () => {
  await run(1, query("SELECT 'a' ~> 'b'"));
  expect(client.value()).toBe('a then b');
  await run(1, parse("SELECT 'a' ~> 'b' ~> $1", 's', [25]), bind(['c'], { statement: 's' }), execute(), sync);
  expect(client.value()).toBe('a then b then c');
  await run(1, parse("SELECT 'a' ~> 'b'"), describe('S'), bind(), describe('P'), execute(), sync);
  expect(client.types()).toBe('1tT2TDCZ');
});

test('one byte at a time as well', async () => {
  client.forget();
  await client.sendInChunks(
    Buffer.concat([query("SELECT 'a' ~> 'b'"), parse("SELECT 'c' ~> 'd'"), bind(), execute(), sync]),
    () => 1,
  );
  await client.ready(2);
  expect(client.types()).toBe('TDCZ12DCZ');
});

test("an error's position points into the text that the user wrote", async () => {
  const sql = "SELECT 'é' ~> 'b', nowhere";
  const position = String(sql.indexOf('nowhere') + 1);
  await run(1, query(sql));
  expect(client.error()).toMatchObject({ code: '42703', position });
  await run(1, parse(sql), bind(), execute(), sync);
  expect(client.error()).toMatchObject({ code: '42703', position });
});

test('only the error of the rewritten statement is moved', async () => {
  const rewritten = "SELECT 'a' ~> 'b' ~> 'c', nowhere";
  const plain = 'SELECT 1111111111, 2222222222, 3333333333, 4444444444, nowhere';
  const at = (sql: string) => String(sql.indexOf('nowhere') + 1);
  const errors = () =>
    client.messages
      .filter((each) => each.type === 'E')
      .map((each) => fieldText(readFields(each.body), FieldCode.Position));
  await run(4, query(rewritten), query(plain), query(rewritten), query(plain));
  expect(errors()).toEqual([at(rewritten), at(plain), at(rewritten), at(plain)]);
  await run(
    4,
    ...[parse("SELECT 'x' ~> 'y'"), bind(), execute(), parse(plain), bind(), execute(), query(plain), sync],
    ...[parse(rewritten), parse(plain), sync],
    ...[parse(plain), parse(rewritten), sync],
    query(rewritten),
  );
  expect(errors()).toEqual([at(plain), at(rewritten), at(plain), at(rewritten)]);
});

test('a position in a statement that fails when it is executed again', async () => {
  const sql = "SELECT 'a' ~> 'b', volatile_column FROM volatile_table";
  await asSuperuser(db.name, async (admin) => {
    await admin.query(
      `CREATE TABLE volatile_table (volatile_column int); GRANT ALL ON volatile_table TO ${role.name}`,
    );
  });
  await run(1, parse(sql, 'v'), bind([], { statement: 'v' }), execute(), sync);
  expect(client.types()).toBe('12CZ');
  await asSuperuser(db.name, (admin) =>
    admin.query('ALTER TABLE volatile_table RENAME COLUMN volatile_column TO other'),
  );
  await run(1, bind([], { statement: 'v' }), execute(), sync);
  expect(client.error()).toMatchObject({
    code: '42703',
    position: String(sql.indexOf('volatile_column') + 1),
  });
  await run(1, close('S', 'v'), sync);
});

test('an error inside a DO block shows the line that the user wrote', async () => {
  const inner = "'é' ~> 'b' || nowhere";
  const sql = `DO $$ DECLARE x text; BEGIN x := ${inner}; END $$`;
  await run(1, query(sql));
  expect(field(FieldCode.Code)).toBe('42703');
  expect(field(FieldCode.InternalQuery)).toBe(
    (await direct(`DO $$ DECLARE x text; BEGIN x := ${inner.replace('~>', '+')}; END $$`)).replace('+', '~>'),
  );
  const shown = field(FieldCode.InternalQuery)!;
  const position = Number(field(FieldCode.InternalPosition));
  expect([...shown].slice(position - 1, position + 6).join('')).toBe('nowhere');
});

test.each([
  [
    'PERFORM, which the server calls SELECT',
    "DO $$ BEGIN perform 'é' ~> 'b', nowhere; END $$",
    "SELECT 'é' ~> 'b', nowhere",
  ],
  ['a body in plain quotes', "DO 'BEGIN PERFORM ''é'' ~> ''b'', nowhere; END'", "SELECT 'é' ~> 'b', nowhere"],
  [
    'a line that comes twice',
    "DO $$ BEGIN IF false THEN PERFORM 'a' ~> 'b', nowhere; END IF; PERFORM 'a' ~> 'b', nowhere; END $$",
    "SELECT 'a' ~> 'b', nowhere",
  ],
])('an error inside a DO block shows what the user wrote: %s', async (_, sql, shown) => {
  await run(1, query(sql));
  expect(field(FieldCode.InternalQuery)).toBe(shown);
  expect(Number(field(FieldCode.InternalPosition))).toBe(shown.indexOf('nowhere') + 1);
});

test('a statement that is quoted in the context of an error is the one that the user wrote', async () => {
  await run(1, query("DO $$ BEGIN PERFORM 'a' ~> 'b', 1 / 0; END $$"));
  expect(field(FieldCode.Where)).toContain(`SQL statement "SELECT 'a' ~> 'b', 1 / 0"`);
});

/** The internal query that the server itself reports. */
async function direct(sql: string): Promise<string> {
  const { hostname, port } = new URL(db.superUrl);
  const straight = await RawClient.login({
    host: hostname,
    port: Number(port),
    user: role.name,
    password: role.password,
    database: db.name,
  });
  straight.send(query(sql));
  await straight.ready(2);
  const error = straight.messages.findLast((each) => each.type === 'E')!;
  await straight.end();
  return fieldText(readFields(error.body), FieldCode.InternalQuery)!;
}

test('the end of a transaction that mentioned df is told, once', async () => {
  const told = async (readies: number, ...messages: Buffer[]) => {
    const before = wire.commits();
    await run(readies, ...messages);
    return wire.commits() - before;
  };
  expect(await told(1, query('SELECT 1'))).toBe(0);
  expect(await told(1, query("SELECT df.start('x')"))).toBe(1);
  expect(await told(1, query("SELECT 'a' ~> 'b'"))).toBe(1);
  expect(await told(2, query('BEGIN'), query("SELECT df.start('x')"))).toBe(0);
  expect(await told(1, query('SELECT 1'))).toBe(0);
  expect(await told(1, query('COMMIT'))).toBe(1);
  expect(await told(1, query('SELECT 1'))).toBe(0);
  expect(await told(1, parse('SELECT df.start($1)', 'd'), sync)).toBe(0);
  expect(await told(1, bind(['x'], { statement: 'd' }), execute(), sync)).toBe(1);
  expect(await told(1, bind(['x'], { statement: 'd', portal: 'p' }), execute('p'), sync)).toBe(1);
  expect(await told(3, query('SELECT 1'), query("SELECT df.start('x')"), query('SELECT 1'))).toBe(1);
  expect(await told(1, close('S', 'd'), sync)).toBe(0);
});

test('in another database nothing is rewritten', async () => {
  const other = await connect('postgres');
  other.forget();
  other.send(query("SELECT 'a' ~> 'b'"));
  await other.ready();
  expect(other.error()).toMatchObject({ code: '42883', position: '12' });
  await other.end();
});

test('a large rewritten statement keeps its place among the others', async () => {
  const large = `SELECT ${"'a' ~> ".repeat(800)}'z' ${' '.repeat(200_000)}`;
  client.forget();
  client.send(
    query('SELECT 1'),
    query(large),
    query('SELECT 2'),
    parse(large),
    bind(),
    execute(),
    sync,
    query('SELECT 3'),
  );
  await client.ready(5);
  expect(client.types()).toBe('TDCZTDCZTDCZ12DCZTDCZ');
});

test('a client that goes away while its statement is being rewritten leaves nothing', async () => {
  const large = `SELECT ${"'a' ~> ".repeat(1500)}'z' ${' '.repeat(2_000_000)}`;
  for (const die of ['resetAndDestroy', 'end'] as const) {
    const hasty = await connect();
    hasty.send(query(large), query(large));
    hasty.socket[die]();
  }
  await until(() => wire.proxy.sessions() === 1, { what: 'the hasty sessions to end' });
});
