import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { startProxy } from '../support/proxy.js';

/** The statements about the extension are run by superusers: nothing that others have put in their way may be called. */
let d: Durable;
let boss: pg.Client;
beforeAll(async () => {
  d = await Durable.open();
  boss = await d.connect(await d.user('boss', { superuser: true }));
});
afterAll(async () => {
  await boss?.end();
  await d?.close();
});

const SECRETS = [
  'upstream',
  'credentials_file',
  'credential_key_file',
  'credential_command',
  'auth_file',
  'auth_query',
];

test('settings that hold secrets, or say where one is, are shown to nobody', async () => {
  for (const name of SECRETS) {
    for (const client of [d.app, boss])
      for (const sql of [`SHOW pg_durable.${name}`, `SELECT current_setting('pg_durable.${name}')`])
        expect([sql, await client.query(sql).catch((error) => error.code)]).toEqual([sql, '42501']);
    for (const call of [`_df.setting('${name}', 'none')`, `_df.setting('launch_key', 'none')`])
      expect((await d.app.query(`SELECT ${call} AS s`)).rows).toEqual([{ s: 'none' }]);
  }
  const { password } = new URL(d.database.adminUrl);
  for (const table of ['_df.configuration', '_df.settings'])
    expect(String(await d.value(`SELECT json_agg(t)::text FROM ${table} AS t`))).not.toContain(password);
});

test('settings are changed by nobody else, by whichever statement', async () => {
  for (const sql of [
    `SET pg_durable.list_instances_max_limit = 5`,
    `SET LOCAL pg_durable.enable_superuser_instances = on`,
    `ALTER SYSTEM SET pg_durable.enable_superuser_instances = on`,
    `ALTER ROLE CURRENT_USER SET pg_durable.list_instances_max_limit = 5`,
    `SELECT set_config('pg_durable.list_instances_max_limit', '5', false)`,
    `SELECT _df.change_setting('list_instances_max_limit', '5', 'session')`,
    `SELECT _df.set_config('enable_superuser_instances', 'on', false)`,
    `RESET pg_durable.list_instances_max_limit`,
  ])
    expect([sql, await d.app.query(sql).catch((error) => error.code)]).toEqual([sql, '42501']);
});

test('nobody but the owner and superusers creates, updates or drops', async () => {
  for (const sql of [
    'CREATE EXTENSION pg_durable',
    'ALTER EXTENSION pg_durable UPDATE',
    'DROP EXTENSION pg_durable CASCADE',
  ])
    expect([sql, await d.app.query(sql).catch((error) => error.code)]).toEqual([sql, '42501']);
  expect(await d.value(`SELECT count(*)::int FROM pg_namespace WHERE nspname IN ('df', '_df')`)).toBe(2);
});

test('schemas that somebody has put in the place of dropped ones are called by no superuser’s statement', async () => {
  await boss.query('DROP EXTENSION pg_durable CASCADE');
  const trap = `LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.caught VALUES (current_user); RETURN 'off'; END$$`;
  const admin = d.database.adminRole;
  await d.app.query(
    `CREATE TABLE public.caught (who text);
     GRANT ALL ON public.caught TO PUBLIC;
     CREATE SCHEMA df; CREATE SCHEMA _df;
     GRANT USAGE ON SCHEMA df, _df TO PUBLIC;
     CREATE TABLE _df.migrations (number int, name text, checksum text);
     CREATE TABLE _df.settings (name text PRIMARY KEY, value text);
     CREATE FUNCTION _df.setting(text, text) RETURNS text ${trap}`,
  );
  for (const sql of [
    'CREATE EXTENSION pg_durable',
    'CREATE EXTENSION IF NOT EXISTS pg_durable',
    'ALTER EXTENSION pg_durable UPDATE',
  ])
    expect([sql, await boss.query(sql).catch((error: Error) => error.message)]).toEqual([
      sql,
      `the schemas df and _df belong to role "${d.role.name}", not to that of pg-durable-proxy`,
    ]);
  expect(await d.value('SELECT count(*)::int FROM public.caught')).toBe(0);
  expect(admin).not.toBe(d.role.name);

  // nor by the proxy, also when their owner has made its role a member of himself
  await d.root.query(`GRANT "${d.role.name}" TO "${admin}"`);
  const starting = startProxy({ database: d.database }).then((proxy) => proxy.stop());
  await expect(starting).rejects.toThrow(`the schemas df and _df belong to role "${d.role.name}"`);
  expect(await d.value('SELECT count(*)::int FROM public.caught')).toBe(0);
  expect(await d.value('SELECT count(*)::int FROM _df.migrations')).toBe(0);
});
