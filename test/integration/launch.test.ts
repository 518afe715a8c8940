/** df.start(transaction_mode => 'new'): committed by itself, wherever it is called from. */
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Durable } from '../support/durable.js';
import * as say from '../support/frontend.js';
import { RawClient } from '../support/raw-client.js';
import { until } from '../support/wait.js';

const NEW = "transaction_mode => 'new'";

let d: Durable;
const notices: string[] = [];

beforeAll(async () => {
  d = await Durable.open();
  d.app.on('notice', ({ message }) => notices.push(message ?? ''));
  await d.app.query('CREATE TABLE public.seen (id serial, what text)');
});
afterAll(async () => {
  await d?.close();
});

async function launch(client: pg.Client = d.app, sql = 'SELECT 1'): Promise<string> {
  const { rows } = await client.query<{ id: string }>(`SELECT df.start($1, 'launched', ${NEW}) AS id`, [sql]);
  return rows[0]!.id;
}

async function error(client: pg.Client, sql: string, values: unknown[] = []): Promise<pg.DatabaseError> {
  return await client.query(sql, values).then(
    () => Promise.reject(new Error('no error')),
    (raised: pg.DatabaseError) => raised,
  );
}

async function count(label: string): Promise<number> {
  return Number(await d.value('SELECT count(*) FROM df.instances WHERE label = $1', [label]));
}

describe('a launched start', () => {
  it('gives an id, runs, and belongs to who called it', async () => {
    const id = await launch();
    expect(id).toMatch(/^[0-9a-f]{8}$/);
    expect(await d.ended(id)).toBe('completed');
    expect(await d.value('SELECT submitted_by::text FROM df.instances WHERE id = $1', [id])).toBe(
      d.role.name,
    );
  });

  it.each([
    'READ COMMITTED',
    'REPEATABLE READ',
    'SERIALIZABLE',
    'SERIALIZABLE READ ONLY',
    'READ COMMITTED READ ONLY',
  ])('survives the rollback of a transaction that is %s', async (mode) => {
    await d.app.query(`BEGIN ISOLATION LEVEL ${mode}`);
    await d.app.query('SELECT count(*) FROM pg_class');
    const id = await launch();
    await d.app.query('ROLLBACK');
    expect(await d.ended(id)).toBe('completed');
  });

  it('runs, and is seen by its caller, before the transaction has ended', async () => {
    await d.app.query('BEGIN');
    const id = await launch();
    expect((await d.app.query('SELECT df.status($1) AS s', [id])).rows[0].s).not.toBeNull();
    expect(await d.ended(id)).toBe('completed');
    await d.app.query('ROLLBACK');
  });

  it('survives the savepoint and the exception block that it was made in', async () => {
    await d.app.query('BEGIN');
    await d.app.query('SAVEPOINT s');
    const first = await launch();
    await d.app.query('ROLLBACK TO s');
    await d.app.query(`DO $$ BEGIN
        PERFORM df.start('SELECT 2', 'in a block', ${NEW});
        RAISE EXCEPTION 'undone';
      EXCEPTION WHEN OTHERS THEN
        PERFORM 1;
      END $$`);
    await d.app.query('ROLLBACK');
    expect(await d.ended(first)).toBe('completed');
    expect(await count('in a block')).toBe(1);
  });

  it('can be made in a DO block, a function, a procedure and a trigger, and its row is seen there', async () => {
    await d.app.query(`CREATE FUNCTION public.tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM df.start('SELECT 3', NEW.what, ${NEW}); RETURN NEW; END $$`);
    await d.app.query(
      'CREATE TRIGGER tell BEFORE INSERT ON public.seen FOR EACH ROW EXECUTE FUNCTION public.tell()',
    );
    await d.app.query(`CREATE PROCEDURE public.act() LANGUAGE plpgsql AS $$ BEGIN
        PERFORM df.start('SELECT 4', 'by procedure', ${NEW}); ROLLBACK;
        PERFORM df.start('SELECT 4', 'by procedure', ${NEW}); END $$`);
    await d.app.query(`CREATE FUNCTION public.sum_up() RETURNS text LANGUAGE sql AS $$
        SELECT df.start('SELECT 5', 'by function', ${NEW}) $$`);
    await d.app.query('BEGIN');
    await d.app.query("INSERT INTO public.seen (what) SELECT 'by trigger' FROM generate_series(1, 3)");
    await d.app.query('ROLLBACK');
    await d.app.query('CALL public.act()');
    await d.app.query('SELECT public.sum_up()');
    await d.app.query(`DO $$ DECLARE v text; BEGIN
        v := df.start('SELECT 6', 'by block', ${NEW});
        IF df.status(v) IS NULL THEN RAISE EXCEPTION 'not seen'; END IF;
      END $$`);
    expect(await Promise.all(['by trigger', 'by procedure', 'by function', 'by block'].map(count))).toEqual([
      3, 2, 1, 1,
    ]);
  });

  it('is made for each row of a statement', async () => {
    const { rows } = await d.app.query(
      `SELECT df.start('SELECT ' || n, 'many', ${NEW}) AS id FROM generate_series(1, 100) AS n`,
    );
    expect(new Set(rows.map(({ id }) => id)).size).toBe(100);
    expect(await count('many')).toBe(100);
  });

  it('takes a graph of a megabyte, and any text', async () => {
    const text = `SELECT '${'\u{1F600}é\\'.repeat(100_000)}' AS t, $a$'"%$a$ AS q`;
    const id = await launch(d.app, text);
    expect(await d.value('SELECT query FROM df.nodes WHERE instance_id = $1', [id])).toBe(text);
  });

  it('captures committed variables only', async () => {
    await d.app.query("SELECT df.setvar('a', 'before')");
    await d.app.query('BEGIN');
    await d.app.query("SELECT df.setvar('a', 'after'), df.setvar('b', 'new')");
    const id = await launch(d.app, "SELECT '{a}' AS a");
    await d.app.query('ROLLBACK');
    expect(await d.value('SELECT vars FROM _df.instances WHERE id = $1', [id])).toEqual({ a: 'before' });
    await d.app.query('SELECT df.clearvars()');
  });

  it('has the label and the database of the call', async () => {
    const { rows } = await d.app.query(`SELECT df.start('SELECT 1', NULL, 'postgres', 'NEW') AS id`);
    const row = await d.root.query('SELECT label, database FROM df.instances WHERE id = $1', [rows[0].id]);
    expect(row.rows[0]).toEqual({ label: null, database: 'postgres' });
  });

  it('does not wait for slots of steps', async () => {
    const busy = await Promise.all(Array.from({ length: 10 }, () => d.start(`'SELECT pg_sleep(30)'`)));
    await until(async () => (await d.running('pg_sleep(30)')) === 10);
    expect(await launch()).toMatch(/^[0-9a-f]{8}$/);
    for (const id of busy) await d.app.query('SELECT df.cancel($1)', [id]);
  });

  it('can be had by fifty sessions at once', async () => {
    const clients = await Promise.all(Array.from({ length: 50 }, () => d.connect()));
    const ids = await Promise.all(
      clients.map(async (client) => {
        await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
        const made = [await launch(client), await launch(client)];
        await client.query('ROLLBACK');
        return made;
      }),
    );
    expect(new Set(ids.flat()).size).toBe(100);
    await Promise.all(clients.map((client) => client.end()));
  });
});

describe('its errors', () => {
  it.each([
    [
      'an unknown node type',
      `'{"node_type":"NOPE"}'`,
      /^df\.start\(\) on new transaction failed: error returned from database: Invalid durable function: Unknown node_type 'NOPE'\. Valid types: SQL, /,
    ],
    [
      'a raw node without children',
      `'{"node_type":"THEN"}'`,
      /^df\.start\(\) on new transaction failed: error returned from database: new row for relation "nodes" violates check constraint "nodes_structure_chk"$/,
    ],
    [
      'an unknown database',
      `'SELECT 1', database => 'no such'`,
      /^df\.start\(\) on new transaction failed: error returned from database: database "no such" does not exist$/,
    ],
    [
      'no function',
      'NULL',
      /^df\.start\(\) on new transaction failed: error returned from database: unboxing fut argument failed$/,
    ],
  ])('%s is told as an error of the call', async (_, call, text) => {
    const raised = await error(d.app, `SELECT df.start(${call}, ${NEW})`);
    expect(raised.message).toMatch(text);
    expect(raised.code).toBe('XX000');
  });

  it('can be caught, with their text, and the transaction goes on', async () => {
    await d.app.query('BEGIN ISOLATION LEVEL SERIALIZABLE');
    await d.app.query(`CREATE TEMP TABLE caught AS SELECT ''::text AS t`);
    await d.app.query(`DO $do$ BEGIN
        PERFORM df.start('{"node_type":"ÄÖÜ€"}', ${NEW});
      EXCEPTION WHEN OTHERS THEN
        UPDATE caught SET t = SQLERRM;
      END $do$`);
    const { rows } = await d.app.query('SELECT t FROM caught');
    await d.app.query('ROLLBACK');
    expect(rows[0].t).toContain(`Unknown node_type 'ÄÖÜ€'. Valid types:`);
  });

  it('longer than a thousand bytes are cut between two characters', async () => {
    const raised = await error(d.app, `SELECT df.start($1, ${NEW})`, [
      JSON.stringify({ node_type: '€'.repeat(2000) }),
    ]);
    expect(raised.message).toMatch(/Unknown node_type '€+…$/);
  });

  it('a role without LOGIN', async () => {
    const group = await d.user('group', { login: false });
    await d.root.query(`GRANT ${group.name} TO ${d.role.name}`);
    await d.app.query(`SET ROLE ${group.name}`);
    const raised = await error(d.app, `SELECT df.start('SELECT 1', ${NEW})`);
    await d.app.query('RESET ROLE');
    expect(raised.message).toBe(
      `current_user "${group.name}" does not have LOGIN privilege. The background worker must connect as this role to execute SQL. Grant LOGIN to this role or call df.start() as a role with LOGIN.`,
    );
  });

  it('inside a workflow', async () => {
    expect(await d.failure(`$$SELECT df.start('SELECT 1', ${NEW})$$`)).toContain(
      "df.start() with transaction_mode => 'new' cannot be called inside a workflow - a df.sql() node already runs as a single autocommitted statement, so a plain df.start() there is already independent of any caller transaction",
    );
  });

  it('a role that the proxy cannot log in as', async () => {
    const stranger = await d.user('stranger');
    await d.root.query(`GRANT ${stranger.name} TO ${d.role.name}`);
    await d.app.query(`SET ROLE ${stranger.name}`);
    const raised = await error(d.app, `SELECT df.start('SELECT 1', ${NEW})`);
    await d.app.query('RESET ROLE');
    expect(raised.message).toContain(
      `Failed to connect to database '${d.database.name}' as '${stranger.name}'. Error: `,
    );
    // and once it has logged in
    await (await d.connect(stranger)).end();
    await d.app.query(`SET ROLE ${stranger.name}`);
    const id = await launch();
    await d.app.query('RESET ROLE');
    expect(await d.value('SELECT submitted_by::text FROM df.instances WHERE id = $1', [id])).toBe(
      stranger.name,
    );
  });

  it('a connection that does not come through a proxy: at once', async () => {
    const direct = new pg.Client({ connectionString: d.role.url });
    await direct.connect();
    const began = performance.now();
    const raised = await error(direct, `SELECT df.start('SELECT 1', 'direct', ${NEW})`);
    expect(raised.message).toBe(
      "df.start() with transaction_mode => 'new' needs a connection through pg-durable-proxy: no proxy has heard of it on this connection",
    );
    expect(raised.hint).toMatch(/^Connect through the proxy, or stay in the transaction of the caller\. /);
    expect(performance.now() - began).toBeLessThan(4500);
    expect(
      (await direct.query("SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"))
        .rowCount,
    ).toBe(0);
    await direct.end();
    expect(await count('direct')).toBe(0);
  });
});

describe('what the client sees', () => {
  it('is the answer and nothing else, whatever the settings and the encoding', async () => {
    const client = await d.connect();
    const seen: string[] = [];
    client.on('notice', ({ message }) => seen.push(message ?? ''));
    for (const level of ['error', 'notice', 'log', 'debug1']) {
      await client.query(`SET client_min_messages = ${level}`);
      seen.length = 0;
      const id = await launch(client);
      expect(id).toMatch(/^[0-9a-f]{8}$/);
      expect(seen.filter((text) => text.includes('pg_durable'))).toEqual([]);
    }
    await client.query('RESET client_min_messages');
    seen.length = 0;
    for (const encoding of ['LATIN1', 'SJIS', 'EUC_JP', 'WIN1252', 'SQL_ASCII', 'BIG5']) {
      await client.query(`SET client_encoding = '${encoding}'`);
      // the character is in none of them: it never leaves the server
      await client.query(`SELECT df.start('SELECT 1 AS ' || chr(128512), '${encoding}', ${NEW})`);
      expect(await count(encoding)).toBe(1);
    }
    await client.query("SET client_encoding = 'UTF8'");
    await client.query(
      `DO $$ BEGIN RAISE INFO 'one'; PERFORM df.start('SELECT 1', ${NEW}); RAISE NOTICE 'two'; END $$`,
    );
    expect(seen).toEqual(['one', 'two']);
    await client.end();
  });

  it('holds in a pipeline of the extended protocol, and within COPY in both directions', async () => {
    const { port } = d.proxy;
    const client = await RawClient.login({
      host: '127.0.0.1',
      port,
      user: d.role.name,
      password: d.role.password,
      database: d.database.name,
    });
    const types = async (...messages: Buffer[]): Promise<string> => {
      client.messages.length = 0;
      client.send(Buffer.concat(messages));
      await client.ready();
      return client.messages.map(({ type }) => type).join('');
    };
    const start = `SELECT df.start('SELECT 1', 'raw', ${NEW})`;
    const one = [say.parse(start), say.bind(), say.execute()];
    expect(await types(...one, ...one, ...one, say.sync)).toBe('12DC12DC12DCZ');
    expect(await types(say.query(`${start}; SELECT 1; ${start}`))).toBe('TDCTDCTDCZ');
    expect(
      await types(
        say.query(
          `COPY (SELECT n, df.start('SELECT 1', 'raw', ${NEW}) FROM generate_series(1, 2) AS n) TO STDOUT`,
        ),
      ),
    ).toMatch(/^Hddc?CZ$/);
    client.messages.length = 0;
    client.send(
      Buffer.concat([
        say.query('COPY public.seen (what) FROM STDIN'),
        say.copyData('copied\ncopied\n'),
        say.copyDone,
      ]),
    );
    await client.ready();
    expect(client.messages.map(({ type }) => type).join('')).toBe('GCZ');
    expect(await count('copied')).toBe(2);
    expect(await count('raw')).toBe(7);
    client.socket.destroy();
  });

  it('has never been a message of ours', () => {
    expect(notices).toEqual([]);
  });
});
