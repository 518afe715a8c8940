/** PgBouncer in session mode, from the PATH, with SCRAM on both sides and no TLS on either. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, chownSync, constants } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { serverBinaries } from '../src/demo/binaries.js';
import { dial } from '../src/upstream/dial.js';
import { asSuperuser, type TestRole } from '../test/support/postgres.js';
import { until } from '../test/support/wait.js';
import type { Leg } from './legs.js';

/** The program's path, or undefined where it is not on the PATH. */
export function programOnPath(name: string): string | undefined {
  for (const directory of [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin']) {
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not here
    }
  }
  return undefined;
}

/**
 * @param sets further lines of its configuration
 * @returns undefined where it is not installed
 */
export async function startPgBouncer(
  name: string,
  role: TestRole,
  sets: readonly string[] = [],
): Promise<Leg | undefined> {
  const program = programOnPath('pgbouncer');
  if (program === undefined) return undefined;
  const { hostname, port: serverPort } = new URL(role.url);
  const port = await freePort();
  const home = await mkdtemp(join(tmpdir(), 'bench-pgbouncer-'));
  const users = join(home, 'users.txt');
  await writeFile(users, await verifierLine(role), { mode: 0o600 });
  const ini = join(home, 'pgbouncer.ini');
  await writeFile(
    ini,
    [
      '[databases]',
      `* = host=${hostname} port=${serverPort}`,
      '[pgbouncer]',
      'listen_addr = 127.0.0.1',
      `listen_port = ${port}`,
      'unix_socket_dir =',
      'pool_mode = session',
      'auth_type = scram-sha-256',
      `auth_file = ${users}`,
      'client_tls_sslmode = disable',
      'server_tls_sslmode = disable',
      'max_client_conn = 5000',
      'default_pool_size = 5000',
      'ignore_startup_parameters = extra_float_digits',
      'log_connections = 0',
      'log_disconnections = 0',
      ...sets,
      '',
    ].join('\n'),
    { mode: 0o600 },
  );
  // It refuses to run as root, like the server.
  const { user } = process.getuid?.() === 0 ? await serverBinaries() : { user: undefined };
  if (user !== undefined) {
    await chmod(home, 0o711);
    for (const file of [home, users, ini]) chownSync(file, user.uid, user.gid);
  }
  const child = spawn(program, ['-q', ini], {
    stdio: ['ignore', 'ignore', 'inherit'],
    ...(user === undefined ? {} : { uid: user.uid, gid: user.gid }),
  });
  const exited = once(child, 'exit');
  await until(async () => (await dial({ host: '127.0.0.1', port }, 1000)).socket.destroy(), {
    what: 'PgBouncer to listen',
  });
  return {
    name,
    port,
    pids: () => [child.pid!],
    stop: async () => {
      child.kill('SIGTERM');
      await exited;
      await rm(home, { recursive: true, force: true });
    },
  };
}

/**
 * A line of an auth_file, PgBouncer's or ours, with the verifier that the server has: so the client's proof serves for
 * the server as well.
 */
export async function verifierLine(role: TestRole): Promise<string> {
  const verifier = await asSuperuser('postgres', async (client) => {
    const { rows } = await client.query('SELECT rolpassword FROM pg_authid WHERE rolname = $1', [role.name]);
    return rows[0].rolpassword as string;
  });
  return `"${role.name}" "${verifier}"\n`;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
