import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { until } from '../support/wait.js';

/** Roles that change while their instances run, and the guard against helpers that are taken for steps. */
let d: Durable;
beforeAll(async () => {
  d = await Durable.open();
  await d.app.query('CREATE TABLE public.ran (what text); GRANT ALL ON public.ran TO PUBLIC');
});
afterAll(() => d?.close());

const quote = (sql: string) => `'${sql.replaceAll("'", "''")}'`;
const ran = (what: string) => d.value('SELECT count(*)::int FROM public.ran WHERE what = $1', [what]);

/** A role with grants, an instance of it that waits for a second, and what happens meanwhile. */
async function meanwhile(prefix: string, then: string, work: (role: string) => Promise<unknown>) {
  const role = await d.user(prefix);
  const client = await d.connect(role);
  const id = await d.start(`${quote('SELECT 1')} ~> df.sleep(1) ~> ${then}`, client);
  await client.end();
  await d.parked(id);
  await work(role.name);
  return { id, status: await d.ended(id), role: role.name };
}

describe('while an instance waits', () => {
  test('its role loses its grants: the steps go on, and only what is of df in them is refused', async () => {
    const { id, status } = await meanwhile(
      'ungranted',
      `${quote(`INSERT INTO public.ran VALUES ('ungranted')`)} ~> ${quote('SELECT current_user::text AS c')}`,
      (role) => d.root.query('SELECT df.revoke_usage($1)', [role]),
    );
    expect(status).toBe('completed');
    expect(await ran('ungranted')).toBe(1);
    expect((await d.nodes(id)).every((node) => node.status === 'completed')).toBe(true);

    const refused = await meanwhile('ungranted', quote(`SELECT df.start('SELECT 1')`), (role) =>
      d.root.query('SELECT df.revoke_usage($1)', [role]),
    );
    expect(refused.status).toBe('failed');
    expect(await d.output(refused.id)).toContain('permission denied for schema df');
  });

  test('its role loses CONNECT: it fails, and says so', async () => {
    const { id, status } = await meanwhile('unconnected', quote('SELECT 1'), async (role) => {
      await d.root.query(`REVOKE CONNECT ON DATABASE ${d.database.name} FROM PUBLIC, ${role}`);
      await d.root.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1', [role]);
    });
    await d.root.query(`GRANT CONNECT ON DATABASE ${d.database.name} TO PUBLIC`);
    expect(status).toBe('failed');
    expect(await d.output(id)).toMatch(
      /^Failed to connect to database '.*' as '.*'. Error: permission denied for database/,
    );
  });

  test('it is renamed: the steps are its own, under its new name; who takes the old one gets nothing', async () => {
    const { id, status } = await meanwhile(
      'renamed',
      quote(`INSERT INTO public.ran VALUES ('as ' || current_user)`),
      async (role) => {
        await d.root.query(`ALTER ROLE ${role} RENAME TO ${role}_new`);
        await d.root.query(`CREATE ROLE ${role} LOGIN PASSWORD 'x'`);
        await d.root.query('SELECT df.grant_usage($1)', [role]);
      },
    );
    const name = (await d.value(
      'SELECT r.rolname FROM df.instances AS u JOIN pg_roles AS r ON r.oid = u.submitted_by WHERE u.id = $1',
      [id],
    )) as string;
    expect(status).toBe('completed');
    expect(await ran(`as ${name}`)).toBe(1);
    expect(name).toMatch(/_new$/);
    expect(await ran(`as ${name.replace(/_new$/, '')}`)).toBe(0);
    for (const role of [name, name.replace(/_new$/, '')])
      await d.root.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  });
});

test('a role whose only right is membership of one that may use df, uses it as itself', async () => {
  const group = await d.user('users', { login: false });
  const member = await d.database.createRole('member');
  await d.root.query(`GRANT ${group.name} TO ${member.name}`);
  const client = await d.connect(member);
  const id = await d.start(`'SELECT current_user::text AS c'`, client);
  expect(await d.ended(id)).toBe('completed');
  expect(JSON.parse((await d.output(id))!).rows).toEqual([{ c: member.name }]);
  await d.root.query(`REVOKE ${group.name} FROM ${member.name}`);
  await expect(client.query('SELECT df.status($1)', [id])).rejects.toThrow('permission denied for schema df');
  expect((await client.query('SELECT * FROM _df.visible_instances')).rows).toEqual([]);
  await client.end();
});

test('HTTP: the right counts when the request is made, whatever it was at the start, and hand-written nodes need it too', async () => {
  const envelope = JSON.stringify({
    node_type: 'HTTP',
    query: JSON.stringify({
      url: 'https://h.test/',
      method: 'GET',
      body: null,
      headers: null,
      timeout_seconds: 5,
    }),
  });
  const role = await d.user('Web "1"');
  const client = await d.connect(role);
  const id = await d.start('$1', client, [envelope]);
  expect(await d.ended(id)).toBe('failed');
  expect(await d.output(id)).toContain(
    `Blocked: role '${role.name}' does not have EXECUTE privilege on df.http()`,
  );
  await d.root.query('SELECT df.grant_usage($1, include_http => true)', [role.name]);
  const later = await d.start(`df.sleep(1) ~> df.http('https://h.test/')`, client);
  await d.parked(later);
  await d.root.query('SELECT df.revoke_usage($1)', [role.name]);
  expect(await d.ended(later)).toBe('failed');
  expect(await d.output(later)).toContain('does not have EXECUTE privilege on df.http()');
  await client.end();
});

describe('a helper that is taken for a step', () => {
  const HELPERS = ['df.setvar', 'df.unsetvar', 'df.clearvars'];
  const call = {
    'df.setvar': `df.setvar('a', 'b')`,
    'df.unsetvar': `df.unsetvar('a')`,
    'df.clearvars': 'df.clearvars()',
  };
  const refused = (helper: string) =>
    `${helper} cannot be used as a workflow step. Call ${helper} before df.start().`;
  const fails = async (sql: string) =>
    await d.app.query(sql).then(
      () => 'no error',
      (error: pg.DatabaseError) => `${error.code}: ${error.message}`,
    );

  test('is refused, by composers and by df.start, wherever it stands', async () => {
    for (const helper of HELPERS) {
      const text = call[helper as keyof typeof call];
      for (const composed of [
        `${text} ~> 'SELECT 1'`,
        `'SELECT 1' ~> ${text}`,
        `df.join('SELECT 1', ${text})`,
        `df.loop(${text})`,
        `df.if(${text}, 'SELECT 1', 'SELECT 2')`,
        `df.as(${text}, 'x')`,
      ])
        expect([composed, await fails(`SELECT df.start(${composed})`)]).toEqual([
          composed,
          `XX000: ${refused(helper)}`,
        ]);
      expect(await fails(`SELECT df.start(${text})`)).toBe(
        `XX000: Invalid durable function: ${refused(helper)}`,
      );
    }
    const id = await d.complete(`'SELECT 1'`);
    for (const waits of ['df.await_instance', 'df.wait_for_completion'])
      expect(await fails(`SELECT df.seq(${waits}('${id}'), 'SELECT 1')`)).toBe(
        `XX000: ${refused('df.await_instance')}`,
      );
  });

  test('and nothing else in its statement is: what it did not return is a step', async () => {
    // one statement, to the server, is a whole DO block, or all that a simple query has: a mark of its time alone would
    // refuse the steps in it
    await d.app.query(`DO $$ BEGIN PERFORM df.setvar('a', 'b'); PERFORM df.start('SELECT 1'); END $$`);
    await d.app.query(`SELECT df.setvar('a', 'b'); SELECT df.start('SELECT 1' ~> 'SELECT 2')`);
    await d.app.query(`SELECT df.setvar('a', 'b'), df.start('SELECT ''OK''')`);
    expect(await fails(`SELECT df.getvar('a'), df.seq('OK', 'SELECT 1')`)).toBe('no error'); // the text OK, from elsewhere
  });

  test('nor in the next statement', async () => {
    await d.app.query('BEGIN');
    await d.app.query(`SELECT df.setvar('a', 'b')`);
    await d.app.query(`SELECT df.seq('OK', 'completed')`);
    await d.app.query('ROLLBACK');
  });
});

test('nothing of this is left running', async () => {
  await until(
    async () =>
      (await d.value(`SELECT count(*)::int FROM df.instances WHERE status IN ('pending', 'running')`)) === 0,
  ); // prettier-ignore
});
