import { createHash, randomInt } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { until } from '../support/wait.js';

/**
 * The channel by which a SQL function asks the proxy for work outside of its transaction, used by hand: anybody can raise
 * the notice. `mallory` may use df, `stranger` may not; both talk to the server directly and through the proxy.
 */
let d: Durable;
let mallory: pg.Client;
let stranger: pg.Client;
let malloryName: string;

beforeAll(async () => {
  d = await Durable.open();
  await d.app.query('CREATE TABLE public.ran (what text); GRANT ALL ON public.ran TO PUBLIC');
  const role = await d.user('mallory');
  malloryName = role.name;
  mallory = await d.connect(role);
  stranger = await d.connect(await d.database.createRole('stranger'));
});
afterAll(async () => {
  await mallory?.end();
  await stranger?.end();
  await d?.close();
});

const instances = () => d.value('SELECT count(*)::int FROM df.instances') as Promise<number>;
const oid = async (name: string) =>
  Number(await d.value('SELECT oid FROM pg_roles WHERE rolname = $1', [name]));
const pid = async (client: pg.Client) =>
  (await client.query('SELECT pg_backend_pid() AS p')).rows[0].p as number;

interface Request {
  role: number;
  pid: number;
  seal: string;
  about: string;
  body: string;
}

/** A request of `client`, sealed as who he is; by hand, so that it is not sent. He holds `waiting` from then on. */
async function sealed(
  client: pg.Client,
  sql: string,
  kind = 'start',
): Promise<Request & { waiting: string }> {
  const body = Buffer.from(JSON.stringify([sql, null, null])).toString('base64');
  const waiting = String(randomInt(2 ** 40));
  const digest = createHash('sha256').update(body).digest('hex');
  const about = `${kind} ${waiting} ${Math.floor(Date.now() / 1000)} ${digest}`;
  await client.query('SELECT pg_advisory_lock($1)', [waiting]);
  await client.query(`SELECT set_config('df.launch', $1, false)`, [about]);
  const { rows } = await client.query('SELECT role::int, pid, seal FROM _df.launch_seal');
  return { ...rows[0], about, body, waiting };
}

/** Raises the notice in a session, and gives what the client saw of it. */
async function say(client: pg.Client, { role, pid: of, seal, about, body }: Request): Promise<string[]> {
  const heard: string[] = [];
  const listener = ({ message }: { message?: string | undefined }) => heard.push(message ?? '');
  client.on('notice', listener);
  await client.query(
    `DO $do$ BEGIN RAISE INFO USING ERRCODE = 'DF100', MESSAGE = 'pg_durable ${role} ${of} ${seal} ${about}', DETAIL = '${body}'; END $do$`,
  );
  client.off('notice', listener);
  return heard;
}

/** That what was said before has been dealt with: a launch of one's own, which comes behind it. */
async function afterwards(): Promise<number> {
  await d.app.query(`SELECT df.start('SELECT 1', 'behind', transaction_mode => 'new')`);
  return (await instances()) - 1;
}

describe('a notice by hand', () => {
  test('that is well sealed does what its speaker could do anyhow, as himself', async () => {
    const before = await instances();
    const mine = await sealed(mallory, `INSERT INTO public.ran VALUES (current_user)`);
    expect(await say(mallory, mine)).toEqual([]);
    await until(async () => (await instances()) === before + 1);
    expect(
      await d.value('SELECT submitted_by::text FROM df.instances ORDER BY created_at DESC LIMIT 1'),
    ).toBe(malloryName); // prettier-ignore
    await mallory.query('SELECT pg_advisory_unlock_all()');
  });

  test('does nothing with another role, process, content, kind, time or seal', async () => {
    const victim = await oid(d.role.name);
    const mine = await sealed(mallory, `INSERT INTO public.ran VALUES ('forged')`);
    const other = Buffer.from(
      JSON.stringify([`INSERT INTO public.ran VALUES ('other')`, null, null]),
    ).toString('base64');
    const digest = createHash('sha256').update(other).digest('hex');
    const forged: Request[] = [
      { ...mine, role: victim },
      { ...mine, role: 10 },
      { ...mine, role: 0 },
      { ...mine, pid: await pid(d.app) },
      { ...mine, role: victim, pid: await pid(d.app) },
      { ...mine, body: other },
      { ...mine, body: other, about: mine.about.replace(/[0-9a-f]{64}$/, digest) },
      { ...mine, about: mine.about.replace('start', 'cancel') },
      { ...mine, about: mine.about.replace(/ (\d+) (?=[0-9a-f]{64})/, (_, at) => ` ${Number(at) + 30} `) },
      { ...mine, about: mine.about.replace(mine.waiting, `${Number(mine.waiting) + 1}`) },
      { ...mine, seal: '0'.repeat(64) },
      { ...mine, seal: createHash('sha256').update(mine.seal).digest('hex') },
    ];
    const before = await instances();
    for (const request of forged) expect(await say(mallory, request)).toEqual([]);
    expect(await afterwards()).toBe(before);
    await mallory.query('SELECT pg_advisory_unlock_all()');
  });

  test('that is another’s, heard on his connection past the proxy, is of no use in another session', async () => {
    // the victim's function, called past the proxy: the caller sees the request with its seal, and copies it
    await d.app.query(
      `CREATE FUNCTION public.as_victim() RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
       AS $$BEGIN RETURN df.start('INSERT INTO public.ran VALUES (''copied'')', transaction_mode => 'new'); END$$`,
    );
    const direct = new pg.Client({ connectionString: d.database.superUrl });
    await direct.connect();
    await direct.query(`SET SESSION AUTHORIZATION ${malloryName}`);
    const copies: Request[] = [];
    direct.on('notice', (notice) => {
      const found = /^pg_durable (\d+) (\d+) (\w+) (.*)$/.exec(notice.message ?? '');
      if (found === null) return;
      const [, role, of, seal, about] = found as unknown as [string, string, string, string, string];
      copies.push({
        role: Number(role),
        pid: Number(of),
        seal,
        about,
        body: (notice.detail ?? '').replaceAll('\n', ''),
      });
    });
    const before = await instances();
    await expect(direct.query('SELECT public.as_victim()')).rejects.toThrow('no proxy has heard of it');
    expect(copies).toHaveLength(1);
    expect(copies[0]!.role).toBe(await oid(d.role.name));
    // he is not waiting any more; nor is it worth anything with a lock of the same key
    await say(mallory, copies[0]!);
    await mallory.query('SELECT pg_advisory_lock($1)', [copies[0]!.about.split(' ')[1]]);
    await say(mallory, copies[0]!);
    await say(mallory, { ...copies[0]!, pid: await pid(mallory) });
    expect(await afterwards()).toBe(before);
    await mallory.query('SELECT pg_advisory_unlock_all()');
    await direct.end();
  });

  test('that is old, or whose speaker holds no lock, or only shares it, does nothing', async () => {
    const before = await instances();
    const mine = await sealed(mallory, `INSERT INTO public.ran VALUES ('old')`);
    await mallory.query('SELECT pg_advisory_unlock($1)', [mine.waiting]);
    await say(mallory, mine);
    await mallory.query('SELECT pg_advisory_lock_shared($1)', [mine.waiting]);
    await say(mallory, mine);
    await mallory.query('SELECT pg_advisory_unlock_all()');
    await d.app.query('SELECT pg_advisory_lock($1)', [mine.waiting]); // somebody else has it
    await say(mallory, mine);
    await d.app.query('SELECT pg_advisory_unlock_all()');
    const late = await sealed(mallory, 'SELECT 1');
    const past = late.about.replace(/ (\d+) (?=[0-9a-f]{64})/, (_, at) => ` ${Number(at) - 90} `);
    await mallory.query(`SELECT set_config('df.launch', $1, false)`, [past]);
    const { rows } = await mallory.query('SELECT role::int, pid, seal FROM _df.launch_seal');
    await say(mallory, { ...late, ...rows[0], about: past });
    expect(await afterwards()).toBe(before);
    await mallory.query('SELECT pg_advisory_unlock_all()');
  });

  test('that is nonsense, however well sealed, harms no other: the proxy goes on answering', async () => {
    const before = await instances();
    for (const about of [
      '',
      'start',
      'start x y z',
      `start ${2n ** 63n} ${Math.floor(Date.now() / 1000)} ${'0'.repeat(64)}`,
      `start 1 999999999999 ${'0'.repeat(64)}`,
      `start -1 0 ${'0'.repeat(64)}`,
      `'; DROP TABLE public.ran; --`.replaceAll("'", ''),
    ]) {
      await mallory.query(`SELECT set_config('df.launch', $1, false)`, [about]);
      const { rows } = await mallory.query('SELECT role::bigint, pid, seal FROM _df.launch_seal');
      await say(mallory, { ...rows[0], about, body: 'bm90IEpTT04=' });
      await say(mallory, { ...rows[0], role: 99999999999, about, body: '' });
    }
    const broken = await sealed(mallory, 'SELECT 1');
    const body = Buffer.from('{"a": [').toString('base64');
    const about = broken.about.replace(/[0-9a-f]{64}$/, createHash('sha256').update(body).digest('hex'));
    await mallory.query(`SELECT set_config('df.launch', $1, false)`, [about]);
    const { rows } = await mallory.query('SELECT role::int, pid, seal FROM _df.launch_seal');
    await say(mallory, { ...rows[0], about, body });
    expect(await afterwards()).toBe(before);
    await mallory.query('SELECT pg_advisory_unlock_all()');
  });
});

test('a request that is too large is refused where it is made; a message by hand of any size harms nobody', async () => {
  await expect(
    mallory.query(`SELECT df.start(repeat('x', 13000000), transaction_mode => 'new')`),
  ).rejects.toMatchObject({ code: '54000' });
  const before = await instances();
  const heard: number[] = [];
  stranger.on('notice', ({ detail }) => heard.push(detail?.length ?? 0));
  for (const bytes of [1_000_000, 15_000_000, 20_000_000])
    await stranger.query(
      `DO $do$ BEGIN RAISE INFO USING ERRCODE = 'DF100', MESSAGE = 'pg_durable 1 1 ${'0'.repeat(64)} start 1 1 ${'0'.repeat(64)}',
         DETAIL = repeat('x', ${bytes}); END $do$`,
    );
  expect(heard).toEqual([20_000_000]); // longer than any request: it is passed on as what it is
  expect(await afterwards()).toBe(before);
});

test('a role without grants launches nothing: it is asked again, as itself, by the server', async () => {
  const before = await instances();
  await expect(stranger.query(`SELECT df.start('SELECT 1', transaction_mode => 'new')`)).rejects.toThrow(
    'permission denied for schema df',
  );
  await expect(
    stranger.query(`SELECT _df.launch('x', 'start', ARRAY['SELECT 1', NULL, NULL])`),
  ).rejects.toThrow('permission denied for schema df');
  await expect(stranger.query(`SELECT _df.start_new('SELECT 1', NULL, NULL)`)).rejects.toThrow(
    'permission denied for schema df',
  );
  expect(await instances()).toBe(before);
});

test('SET ROLE and SECURITY DEFINER launch as who it is then, who must be able to log in', async () => {
  const started = async (sql: string) => {
    const id = (await mallory.query(sql)).rows[0].id as string;
    return await d.value('SELECT submitted_by::text FROM df.instances WHERE id = $1', [id]);
  };
  expect(await started('SELECT public.as_victim() AS id')).toBe(d.role.name);
  await d.root.query(`GRANT ${d.role.name} TO ${malloryName}`);
  await mallory.query(`SET ROLE ${d.role.name}`);
  expect(await started(`SELECT df.start('SELECT 1', transaction_mode => 'new') AS id`)).toBe(d.role.name);
  await mallory.query('RESET ROLE');
  await d.root.query(`REVOKE ${d.role.name} FROM ${malloryName}`);
  const group = await d.user('nobody', { login: false });
  await d.root.query(`GRANT ${group.name} TO ${malloryName}`);
  await mallory.query(`SET ROLE ${group.name}`);
  await expect(mallory.query(`SELECT df.start('SELECT 1', transaction_mode => 'new')`)).rejects.toThrow(
    'does not have LOGIN privilege',
  );
  await mallory.query('RESET ROLE');
});

test('the answer is for who asked: the locks that carry it show no other what it says', async () => {
  // all have been read and are taken back
  await until(async () => {
    const { rows } = await mallory.query(
      `SELECT count(*)::int AS n FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND mode = 'ShareLock'
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
         AND classid::bigint NOT IN (1146504275, 1346982470)`,
    );
    return rows[0].n === 0;
  });
  expect((await mallory.query(`SELECT _df.launch_read(repeat('0', 64)) AS a`)).rows).toEqual([{ a: null }]);
  for (const call of [`_df.launch_mac('request', '')`, `_df.launch_cover(repeat('0', 64), 10)`])
    await expect(mallory.query(`SELECT ${call}`)).rejects.toThrow('permission denied for function');
  await expect(mallory.query('SELECT * FROM _df.launch_key')).rejects.toThrow('permission denied for table');
});
