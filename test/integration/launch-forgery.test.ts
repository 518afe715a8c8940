/**
 * Requests to leave the transaction that are made by hand: what `_df.launch` says can be said by everybody. The first
 * test shows that these requests are made well; each of the others changes one thing.
 */
import { createHash, randomInt } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Durable } from '../support/durable.js';
import type { TestRole } from '../support/postgres.js';
import { until } from '../support/wait.js';

let d: Durable;
let other: TestRole;
/** The application's second session, which makes requests by hand. */
let forger: pg.Client;

beforeAll(async () => {
  d = await Durable.open();
  other = await d.user('other');
  await (await d.connect(other)).end();
  forger = await d.connect();
});
afterAll(async () => {
  await forger?.end();
  await d?.close();
});

interface Request {
  role: string;
  pid: number;
  seal: string;
  about: string;
  body: string;
}

function base64(argumentsOf: unknown): string {
  return Buffer.from(JSON.stringify(argumentsOf)).toString('base64');
}

/** What `_df.launch` would say, sealed in the session of the client, which also holds the lock from now on. */
async function request(
  label: string,
  {
    client = forger,
    kind = 'start',
    ageSeconds = 0,
  }: { client?: pg.Client; kind?: string; ageSeconds?: number } = {},
): Promise<Request> {
  const body = base64(['SELECT 1', label, null]);
  const waiting = randomInt(2 ** 47);
  const time = Math.floor(Number(await d.value('SELECT extract(epoch FROM clock_timestamp())'))) - ageSeconds;
  const about = `${kind} ${waiting} ${time} ${createHash('sha256').update(body).digest('hex')}`;
  await client.query('SELECT pg_advisory_lock($1)', [waiting]);
  await client.query("SELECT set_config('df.launch', $1, false)", [about]);
  const { rows } = await client.query('SELECT role::text, pid, seal FROM _df.launch_seal');
  return { ...rows[0], about, body };
}

async function say({ role, pid, seal, about, body }: Request, client = forger): Promise<void> {
  const head = pg.escapeLiteral(`pg_durable ${role} ${pid} ${seal} ${about}`);
  await client.query(
    `DO $$ BEGIN RAISE INFO USING ERRCODE = 'DF100', MESSAGE = ${head}, DETAIL = ${pg.escapeLiteral(body)}; END $$`,
  );
}

/** Instances with that label, by role, once all that was said before has been worked on. */
async function launched(label: string): Promise<string[]> {
  // requests are taken in the order in which they come: what comes behind them has been done after them
  await d.app.query("SELECT df.start('SELECT 1', 'behind', transaction_mode => 'new')");
  await until(async () => (await pending()) === 0);
  const { rows } = await d.root.query(
    'SELECT submitted_by::text AS role FROM df.instances WHERE label = $1',
    [label],
  );
  return rows.map(({ role }) => role);
}

async function pending(): Promise<number> {
  return Number(
    await d.value(`SELECT count(*) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
                   WHERE l.locktype = 'advisory' AND a.application_name = 'pg_durable:backend:launches'
                     AND a.datname = current_database() AND l.classid <> 1146504275`),
  );
}

it('made with care, one is as good as the call', async () => {
  await say(await request('made'));
  expect(await launched('made')).toEqual([d.role.name]);
});

it('another role in it', async () => {
  const id = String(await d.value(`SELECT '${other.name}'::regrole::oid`));
  await say({ ...(await request('role')), role: id });
  expect(await launched('role')).toEqual([]);
});

it('another role by its name in the arguments of the view', async () => {
  await forger.query("SELECT set_config('df.launch', '', false)");
  const { rows } = await forger.query('SELECT role::regrole::text AS role FROM _df.launch_seal');
  expect(rows).toEqual([{ role: d.role.name }]);
});

it('a seal of one who is a member of the role, without SET ROLE, is his own; behind SET ROLE the role’s', async () => {
  await d.root.query(`GRANT ${other.name} TO ${d.role.name}`);
  await say(await request('member'));
  await forger.query(`SET ROLE ${other.name}`);
  const asOther = await request('member');
  await forger.query('RESET ROLE');
  await say(asOther);
  expect((await launched('member')).sort()).toEqual([d.role.name, other.name].sort());
  await d.root.query(`REVOKE ${other.name} FROM ${d.role.name}`);
});

it('another seal, none, and that of another request', async () => {
  const [one, two] = [await request('seal'), await request('seal')];
  await say({ ...one, seal: 'f'.repeat(64) });
  await say({ ...one, seal: '' });
  await say({ ...one, seal: two.seal });
  expect(await launched('seal')).toEqual([]);
});

it('other arguments than those that were sealed', async () => {
  await say({ ...(await request('body')), body: base64(['SELECT 2', 'body', null]) });
  expect(await launched('body')).toEqual([]);
});

it('another kind, time or lock than those that were sealed', async () => {
  const made = await request('about');
  const [kind, waiting, time, digest] = made.about.split(' ');
  await say({ ...made, about: `stop ${waiting} ${time} ${digest}` });
  await say({ ...made, about: `${kind} ${Number(waiting) + 1} ${time} ${digest}` });
  await say({ ...made, about: `${kind} ${waiting} ${Number(time) + 1} ${digest}` });
  expect(await launched('about')).toEqual([]);
});

it('an old one, and one from the future', async () => {
  await say(await request('old', { ageSeconds: 65 }));
  await say(await request('old', { ageSeconds: -65 }));
  expect(await launched('old')).toEqual([]);
});

it('a second time', async () => {
  const made = await request('twice');
  await say(made);
  await say(made);
  expect(await launched('twice')).toEqual([d.role.name]);
  await say(made);
  expect(await launched('twice')).toEqual([d.role.name]);
});

it('that of another session, which does not wait, by one who holds the lock in its place', async () => {
  const client = await d.connect(other);
  const made = await request('session', { client });
  await client.query('SELECT pg_advisory_unlock_all()');
  await forger.query('SELECT pg_advisory_lock($1)', [made.about.split(' ')[1]]);
  await say(made);
  await say({ ...made, pid: (await request('x')).pid });
  expect(await launched('session')).toEqual([]);
  await client.end();
});

it('one whose caller does not wait', async () => {
  const made = await request('gone');
  await forger.query('SELECT pg_advisory_unlock_all()');
  await say(made);
  expect(await launched('gone')).toEqual([]);
});

it('one of a kind that there is not, and arguments that are none', async () => {
  await say(await request('kind', { kind: 'drop' }));
  const made = await request('kind');
  for (const body of ['', 'x', base64({ a: 1 }), base64([{}]), base64([])]) {
    const digest = createHash('sha256').update(body).digest('hex');
    const about = `${made.about.split(' ').slice(0, 3).join(' ')} ${digest}`;
    await forger.query("SELECT set_config('df.launch', $1, false)", [about]);
    const { rows } = await forger.query('SELECT seal FROM _df.launch_seal');
    await say({ ...made, about, body, seal: rows[0].seal });
  }
  expect(await launched('kind')).toEqual([]);
});

it('junk of any form does no harm, and is not shown', async () => {
  const shown: unknown[] = [];
  const see = (notice: unknown) => shown.push(notice);
  forger.on('notice', see);
  const big = '9'.repeat(30);
  for (const head of [
    '',
    'pg_durable',
    `pg_durable ${big} 1 ${'0'.repeat(64)} start 1 1 ${'0'.repeat(64)}`,
    `pg_durable 4294967295 2147483647 ${'0'.repeat(64)} start 1999999999999999999 1 ${'0'.repeat(64)}`,
    `pg_durable 10 1 ${'0'.repeat(64)} start 1 999999999999 ${'0'.repeat(64)}`,
    'x'.repeat(1_000_000),
  ]) {
    await forger.query(
      `DO $$ BEGIN RAISE INFO USING ERRCODE = 'DF100', MESSAGE = ${pg.escapeLiteral(head)}; END $$`,
    );
  }
  forger.off('notice', see);
  expect(shown).toEqual([]);
  expect(await launched('junk')).toEqual([]);
});

it('by a role without rights on df: told so by the server, when it is logged in as that role', async () => {
  const stranger = await d.database.createRole('stranger');
  const client = await d.connect(stranger);
  await say(await request('stranger', { client }), client);
  expect(await launched('stranger')).toEqual([]);
  const raised = await client
    .query(`SELECT _df.launch('it', 'start', ARRAY['SELECT 1', 'stranger', NULL])`)
    .catch(({ message }) => message);
  expect(raised).toBe(
    'df.start() on new transaction failed: error returned from database: permission denied for schema df',
  );
  await client.end();
});

it('the key is nobody’s but the owner’s, and neither are the functions of the proxy', async () => {
  await d.root.query(`GRANT pg_read_all_data TO ${other.name}`);
  const reader = await d.connect(other);
  expect((await reader.query('SELECT key FROM _df.launch_key').catch(() => ({ rows: [] }))).rows).toEqual([]);
  await reader.end();
  for (const call of [
    "_df.launch_mac('a', '')",
    "_df.launch_cover('a', 1)",
    "_df.launch_take(1, 1, '', '', '', 1, '{}')",
    "_df.launch_slot(1, '{}', 1)",
    "_df.launch_answer('a', 'b', 1)",
    "_df.launch_settle('{}', '{}', '{}')",
  ]) {
    await expect(d.app.query(`SELECT ${call}`)).rejects.toMatchObject({ code: '42501' });
  }
  await expect(d.app.query('SELECT key FROM _df.launch_key')).rejects.toMatchObject({ code: '42501' });
});

it('one that was sealed with a key of yesterday; those of today count in old snapshots, too', async () => {
  const old = await d.connect();
  await old.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
  const keys = async () =>
    (await d.root.query('SELECT key FROM _df.launch_key ORDER BY made_at')).rows.length;
  const renew = async (age: string) => {
    await d.root.query('UPDATE _df.launch_key SET made_at = made_at - $1::interval', [age]);
    await d.root.query('SELECT _df.launch_renew()');
  };
  await old.query('SELECT 1');
  const before = await request('yesterday');
  expect(await keys()).toBe(1);
  await renew('2 hours');
  expect(await keys()).toBe(2);
  const { rows } = await old.query(
    `SELECT df.start('SELECT 1', 'old snapshot', transaction_mode => 'new') AS id`,
  );
  expect(await launched('old snapshot')).toEqual([d.role.name]);
  expect(rows[0].id).toMatch(/^[0-9a-f]{8}$/);
  await old.end();
  await renew('24 hours');
  expect(await keys()).toBe(2);
  await say(before);
  expect(await launched('yesterday')).toEqual([]);
});

it('a SECURITY DEFINER function launches as its owner, whoever calls it, and only what it launches', async () => {
  const owner = await d.connect(other);
  await owner.query(`CREATE FUNCTION public.as_other() RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
    AS $$ SELECT df.start('SELECT 1', 'definer', transaction_mode => 'new') $$`);
  await d.app.query("SELECT set_config('df.launch', 'start 1 1 mine', false), public.as_other()");
  expect(await launched('definer')).toEqual([other.name]);
  await owner.end();
});

it('an answer that somebody else gives is not believed', async () => {
  const made = await request('answer');
  const { rows } = await forger.query('SELECT answer FROM _df.launch_keys($1)', [made.seal]);
  await d.app.query(
    'SELECT pg_advisory_lock_shared($1, 10), pg_advisory_lock_shared($1, 65536 * n) FROM generate_series(1, 5) AS n',
    [rows[0].answer],
  );
  expect((await forger.query('SELECT _df.launch_read($1) AS text', [made.seal])).rows[0].text).toBeNull();
  await d.app.query('SELECT pg_advisory_unlock_all()');
});

it('what has been answered cannot be read by others, and nothing stays behind', async () => {
  const watcher = await d.connect(other);
  const texts = new Set<string>();
  let watching = true;
  const watch = (async () => {
    while (watching) {
      const { rows } = await watcher.query(`SELECT string_agg(chr(32 + ((objid::bigint >> 8) & 127)::int)
          || chr(32 + (objid::bigint & 127)::int), '' ORDER BY objid::bigint) AS t
        FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND objid::bigint >= 65536 GROUP BY classid`);
      for (const { t } of rows) texts.add(t);
    }
  })();
  for (let n = 0; n < 20; n++) {
    await d.app
      .query(`SELECT df.start('{"node_type":"QQQQQQQQQQ"}', transaction_mode => 'new')`)
      .catch(() => {});
  }
  watching = false;
  await watch;
  await watcher.end();
  expect([...texts].filter((text) => /qqqq/i.test(text))).toEqual([]);
  await until(async () => (await pending()) === 0);
});
