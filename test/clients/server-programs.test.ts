import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import type { EmbeddedServer } from '../../src/demo/embedded.js';
import {
  asSuperuser,
  createTestDatabase,
  type TestDatabase,
  type TestRole,
  urlFor,
} from '../support/postgres.js';
import { until } from '../support/wait.js';
import { startWireProxy, type WireProxy } from '../support/wire-proxy.js';
import { lacking, run, start, succeed, testUnless, the } from './programs.js';
import { lackingServerOf, startServerOf } from './server-of.js';

// Backup, replication and maintenance: the programs that use more of the protocol than queries.

const replication =
  lacking('pg_basebackup', 'pg_receivewal', 'pg_recvlogical') ?? lackingServerOf('pg_basebackup');
const maintenance =
  lacking(
    'pg_isready',
    'vacuumdb',
    'reindexdb',
    'clusterdb',
    'createdb',
    'dropdb',
    'createuser',
    'dropuser',
    'psql',
  ) ?? lackingServerOf('psql');
const withReplication = testUnless(replication);
const withMaintenance = testUnless(maintenance);

let server: EmbeddedServer;
let db: TestDatabase;
let root: TestRole;
let wire: WireProxy;
let home: string;

beforeAll(async () => {
  if (replication !== undefined && maintenance !== undefined) return;
  home = await mkdtemp(join(tmpdir(), 'pg-durable-programs-'));
  server = await startServerOf(the(replication === undefined ? 'pg_basebackup' : 'psql'));
  db = await createTestDatabase();
  root = await db.createRole('operator', { superuser: true });
  await asSuperuser(db.name, (client) =>
    client.query(`
      ALTER ROLE ${root.name} REPLICATION;
      CREATE TABLE rows (id int PRIMARY KEY, name text);
      INSERT INTO rows SELECT g, 'row ~> ' || g FROM generate_series(1, 1000) AS g;
      CREATE TABLE more AS SELECT * FROM rows;
      CREATE INDEX ON more (name);
      CLUSTER rows USING rows_pkey;
    `),
  );
  wire = await startWireProxy(urlFor(db.name));
});

afterAll(async () => {
  await wire?.close();
  await db?.drop();
  await server?.stop();
  if (home !== undefined) await rm(home, { recursive: true, force: true });
});

const through = (role: TestRole = root, database = db.name) =>
  `postgresql://${role.name}:${role.password}@${wire.host}:${wire.port}/${database}`;

async function value(sql: string, parameters: unknown[] = []): Promise<unknown> {
  return await asSuperuser(db.name, async (client) => {
    const { rows } = await client.query({ text: sql, values: parameters, rowMode: 'array' });
    return rows[0]?.[0];
  });
}

withMaintenance('pg_isready', async () => {
  const ready = await run(the('pg_isready'), [], { url: through() });
  expect(ready).toMatchObject({ status: 0, stderr: '' });
  expect(ready.stdout).toMatch(/accepting connections/);
  await until(() => wire.proxy.sessions() === 0, { what: 'the session of pg_isready to end' });
});

withReplication('pg_basebackup: a whole backup with its WAL, checked by its manifest', async () => {
  const target = join(home, 'backup');
  const args = ['-D', target, '-X', 'stream', '--checkpoint', 'fast', '--manifest-checksums', 'SHA256'];
  await succeed(the('pg_basebackup'), args, { url: through() });
  // Every file of the manifest is there, as long as it should be and with its checksum.
  const manifest = JSON.parse(await readFile(join(target, 'backup_manifest'), 'utf8')) as {
    Files: { Path?: string; Size: number; Checksum: string }[];
  };
  expect(manifest.Files.length).toBeGreaterThan(900);
  for (const file of manifest.Files) {
    if (file.Path === undefined) continue;
    const bytes = await readFile(join(target, file.Path));
    const sum = createHash('sha256').update(bytes).digest('hex');
    expect([file.Path, bytes.length, sum]).toEqual([file.Path, file.Size, file.Checksum]);
  }
  expect((await readdir(join(target, 'pg_wal'))).some((name) => /^[0-9A-F]{24}$/.test(name))).toBe(true);
  await rm(target, { recursive: true });
});

withReplication('pg_basebackup as compressed tar, WAL fetched', async () => {
  const target = join(home, 'tar');
  await succeed(the('pg_basebackup'), ['-D', target, '-Ft', '-z', '-X', 'fetch', '-c', 'fast', '-P'], {
    url: through(),
  });
  expect((await stat(join(target, 'base.tar.gz'))).size).toBeGreaterThan(1_000_000);
  await rm(target, { recursive: true });
});

withReplication('pg_receivewal: a slot, and the WAL up to a position', async () => {
  const directory = await mkdtemp(join(home, 'wal-'));
  const url = through();
  await succeed(the('pg_receivewal'), ['--create-slot', '-S', 'received'], { url });
  // At the very beginning of a segment there is nothing to send.
  const write = "INSERT INTO more SELECT -1, repeat('x', 100)";
  await asSuperuser(db.name, (client) => client.query(write));
  const receiving = start(the('pg_receivewal'), ['-D', directory, '-S', 'received', '--synchronous'], {
    url,
  });
  const files = () => readdir(directory);
  await until(async () => (await files()).some((name) => name.endsWith('.partial')), {
    what: 'the first WAL to arrive',
  });
  const end = await asSuperuser(db.name, async (client) => {
    await client.query(write);
    const { rows } = await client.query('SELECT pg_walfile_name(pg_switch_wal()) AS file');
    return rows[0].file as string;
  });
  await until(async () => (await files()).includes(end), { what: `the file ${end}` });
  expect((await stat(join(directory, end))).size).toBe(16 * 1024 * 1024);
  receiving.child.kill('SIGINT');
  expect((await receiving.ended).status).toBe(0);
  await succeed(the('pg_receivewal'), ['--drop-slot', '-S', 'received'], { url });
  expect(await value('SELECT count(*)::int FROM pg_replication_slots')).toBe(0);
});

withReplication('pg_recvlogical: rows are decoded while they are written', async () => {
  const url = through();
  const slot = ['-d', db.name, '-S', 'decoded'];
  await succeed(the('pg_recvlogical'), [...slot, '--create-slot', '-P', 'test_decoding'], { url });
  const decoding = start(the('pg_recvlogical'), [...slot, '--start', '-f', '-', '-o', 'skip-empty-xacts=1'], {
    url,
  });
  await until(() => value('SELECT active FROM pg_replication_slots'), { what: 'the slot to be used' });
  await asSuperuser(db.name, async (client) => {
    await client.query("INSERT INTO rows VALUES (2001, 'a ~> b')");
    await client.query('BEGIN');
    await client.query("UPDATE rows SET name = 'c' WHERE id = 2001");
    await client.query('DELETE FROM rows WHERE id = 2001');
    await client.query('COMMIT');
  });
  await decoding.says(/DELETE: id\[integer\]:2001/);
  decoding.child.kill('SIGINT');
  const { status, stdout } = await decoding.ended;
  expect(status).toBe(0);
  expect(
    stdout
      .replace(/\d+$/gm, (digits) => (digits === '2001' ? digits : 'x'))
      .trim()
      .split('\n'),
  ).toEqual([
    'BEGIN x',
    "table public.rows: INSERT: id[integer]:2001 name[text]:'a ~> b'",
    'COMMIT x',
    'BEGIN x',
    "table public.rows: UPDATE: id[integer]:2001 name[text]:'c'",
    'table public.rows: DELETE: id[integer]:2001',
    'COMMIT x',
  ]);
  await succeed(the('pg_recvlogical'), [...slot, '--drop-slot'], { url });
  expect(await value('SELECT count(*)::int FROM pg_replication_slots')).toBe(0);
});

withMaintenance('large objects: \\lo_import, \\lo_export, \\lo_unlink', async () => {
  const bytes = randomBytes(3_000_001);
  await writeFile(join(home, 'in.bin'), bytes);
  const script = `\\lo_import in.bin 'a ~> comment'
    SELECT :LASTOID AS oid \\gset
    \\lo_export :oid out.bin
    SELECT length(lo_get(:oid));
    \\lo_unlink :oid
    SELECT count(*) FROM pg_largeobject_metadata;\n`;
  const args = ['-X', '-At', '-v', 'ON_ERROR_STOP=1'];
  const stdout = await succeed(the('psql'), args, { url: through(), input: script, cwd: home });
  expect(stdout).toMatch(/^lo_import \d+\nlo_export\n3000001\nlo_unlink \d+\n0\n$/);
  expect((await readFile(join(home, 'out.bin'))).equals(bytes)).toBe(true);
});

withMaintenance('vacuumdb, reindexdb and clusterdb, with jobs at the same time', async () => {
  const url = through();
  const vacuumed = () =>
    value('SELECT count(*)::int FROM pg_stat_user_tables WHERE last_analyze IS NOT NULL');
  await succeed(the('vacuumdb'), ['--analyze', '--jobs', '4', '--dbname', db.name], { url });
  expect(await vacuumed()).toBe(2);
  const before = await value("SELECT relfilenode FROM pg_class WHERE relname = 'more_name_idx'");
  await succeed(
    the('reindexdb'),
    ['--schema', 'public', '--jobs', '3', '--concurrently', '--dbname', db.name],
    {
      url,
    },
  );
  expect(await value("SELECT relfilenode FROM pg_class WHERE relname = 'more_name_idx'")).not.toBe(before);
  await succeed(the('clusterdb'), ['--dbname', db.name, '--verbose'], { url });
});

withMaintenance(
  'createuser, createdb, dropdb, dropuser: the new role logs in through the proxy at once',
  async () => {
    const url = through();
    const name = `made_${randomBytes(4).toString('hex')}`;
    const made = await run(the('createuser'), ['--createdb', '--pwprompt', name], {
      url,
      input: 'secret ~> 1\nsecret ~> 1\n',
    });
    expect(made.status).toBe(0);
    const role = { name, password: encodeURIComponent('secret ~> 1'), url: '' };
    await succeed(the('createdb'), [name, 'a ~> comment'], { url: through(role, 'postgres') });
    const seen = await succeed(the('psql'), ['-XAtc', 'SELECT current_user, current_database()'], {
      url: through(role, name),
    });
    expect(seen).toBe(`${name}|${name}\n`);
    await until(() => wire.proxy.sessions() === 0, { what: 'the sessions to end' });
    await succeed(the('dropdb'), ['--force', name], { url });
    await succeed(the('dropuser'), [name], { url });
    const again = await run(the('dropuser'), [name], { url });
    expect(again.status).toBe(1);
    expect(again.stderr).toContain(`role "${name}" does not exist`);
  },
);
