import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { type OsUser, reachable, type ServerBinaries, serverBinaries } from '../../src/demo/binaries.js';
import { startEmbedded } from '../../src/demo/embedded.js';

/** The one real server of a run; its superuser URL is handed to the test processes in the environment. */
export interface RunningServer {
  readonly url: string;
  stop(): Promise<void>;
}

/** Name of the environment variable with the superuser URL of the server of this run. */
export const serverUrlVariable = 'TEST_POSTGRES_SERVER';

/**
 * Starts the server of the run (or takes the given one), sets TEST_POSTGRES_SERVER and prints one line.
 * Three ways, one interface: TEST_POSTGRES_URL (a given server, superuser URL), TEST_POSTGRES=testcontainers
 * (image TEST_POSTGRES_IMAGE, default postgres:18), otherwise the embedded server, of TEST_POSTGRES_BINARIES if given.
 * @param settings of the embedded server
 */
export async function startServer(
  settings: Readonly<Record<string, string>> = { max_connections: '200' },
): Promise<RunningServer> {
  const { url, stop, how } = await start(settings);
  const client = new pg.Client({ connectionString: url });
  try {
    await client.connect();
    const { rows } = await client.query<{ server_version: string }>('SHOW server_version');
    console.log(`PostgreSQL ${rows[0]!.server_version} (${how})`);
  } catch (error) {
    await stop();
    throw error;
  } finally {
    await client.end().catch(() => {});
  }
  process.env[serverUrlVariable] = url;
  return { url, stop };
}

async function start(settings: Readonly<Record<string, string>>): Promise<RunningServer & { how: string }> {
  const given = process.env.TEST_POSTGRES_URL;
  if (given) return { url: given, how: 'given by TEST_POSTGRES_URL', stop: async () => {} };
  if (process.env.TEST_POSTGRES === 'testcontainers') return await startContainer();
  if (process.env.TEST_POSTGRES && process.env.TEST_POSTGRES !== 'embedded') {
    throw new Error(`TEST_POSTGRES=${process.env.TEST_POSTGRES}: must be "embedded" or "testcontainers"`);
  }
  const { user } = await serverBinaries();
  const server = await startTemporary(user, settings);
  return { url: server.url, how: 'embedded', stop: () => server.stop() };
}

/** Those of another major version, for every server that tests start: TEST_POSTGRES_BINARIES is its `bin` directory. */
export async function otherBinaries(): Promise<{ binaries?: ServerBinaries }> {
  const directory = process.env.TEST_POSTGRES_BINARIES;
  if (!directory) return {};
  const { user } = await serverBinaries();
  return { binaries: { initdb: join(directory, 'initdb'), postgres: join(directory, 'postgres'), user } };
}

async function startTemporary(user: OsUser | undefined, settings: Readonly<Record<string, string>>) {
  const home = await temporaryHome(user);
  return await startEmbedded({
    dataDir: join(home, 'data'),
    password: randomBytes(12).toString('hex'),
    settings,
    removeWhenStopped: home,
    ...(await otherBinaries()),
  });
}

/** A new directory that the account of an embedded server can reach. */
export async function temporaryHome(user: OsUser | undefined): Promise<string> {
  const candidates = [tmpdir(), '/tmp', '/var/tmp'];
  for (const base of candidates) {
    if (!(await reachable(base, user))) continue;
    const home = await mkdtemp(join(base, 'pg-durable-test-'));
    // mkdtemp makes it private to us; the account that runs the server must pass through.
    await chmod(home, 0o711);
    return home;
  }
  throw new Error(`none of ${candidates.join(', ')} can be reached by the account ${user?.name}`);
}

async function startContainer(): Promise<RunningServer & { how: string }> {
  const { GenericContainer, Wait } = await import('testcontainers');
  const image = process.env.TEST_POSTGRES_IMAGE ?? 'postgres:18';
  const password = randomBytes(12).toString('hex');
  const container = await new GenericContainer(image)
    .withEnvironment({ POSTGRES_PASSWORD: password })
    .withCommand(['postgres', '-c', 'max_connections=200'])
    .withExposedPorts(5432)
    // The image starts the server once for its set-up scripts and then for good.
    .withWaitStrategy(Wait.forLogMessage(/database system is ready to accept connections/, 2))
    .start();
  const url = `postgresql://postgres:${password}@${container.getHost()}:${container.getMappedPort(5432)}/postgres`;
  return {
    url,
    how: `testcontainers ${image}`,
    stop: async () => {
      await container.stop();
    },
  };
}
