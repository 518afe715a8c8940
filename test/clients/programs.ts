import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, readdirSync, realpathSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { test } from 'vitest';
import { until } from '../support/wait.js';

/** A client program of PostgreSQL, as found on this machine. */
export interface ClientProgram {
  readonly name: string;
  readonly path: string;
  /** Major version, such as 15. */
  readonly major: number;
}

const debian = '/usr/lib/postgresql';
const found = new Map<string, ClientProgram | undefined>();

/**
 * Looks on PATH, then in Debian's directories, newest version first. Debian's wrapper on PATH is passed over:
 * it chooses the version by the clusters of the machine, and what it starts cannot be sent a signal.
 */
export function find(name: string): ClientProgram | undefined {
  if (!found.has(name)) found.set(name, search(name));
  return found.get(name);
}

function search(name: string): ClientProgram | undefined {
  for (const directory of [...(process.env.PATH ?? '').split(delimiter), ...debianDirectories()]) {
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      if (realpathSync(path).endsWith('pg_wrapper')) continue;
    } catch {
      continue;
    }
    const { stdout } = spawnSync(path, ['--version'], { encoding: 'utf8' });
    const version = /\(PostgreSQL\) (\d+)/.exec(stdout ?? '');
    if (version !== null) return { name, path, major: Number(version[1]) };
  }
  return undefined;
}

function debianDirectories(): string[] {
  try {
    const versions = readdirSync(debian).filter((name) => /^\d+$/.test(name));
    return versions.sort((a, b) => Number(b) - Number(a)).map((version) => join(debian, version, 'bin'));
  } catch {
    return [];
  }
}

/** The program; only for tests that are skipped where it is missing. */
export function the(name: string): ClientProgram {
  const program = find(name);
  if (program === undefined) throw new Error(`${name} is not installed`);
  return program;
}

/** Why tests that need these programs cannot run here; undefined if they can. */
export function lacking(...names: string[]): string | undefined {
  const missing = names.filter((name) => find(name) === undefined);
  if (missing.length === 0) return undefined;
  return `${missing.join(', ')} not found on PATH or in ${debian}/*/bin (Debian: postgresql-client, postgresql-contrib)`;
}

/**
 * `test` where `reason` is undefined; otherwise each test is reported as skipped under a name that says why,
 * and a line is printed.
 */
export function testUnless(
  reason: string | undefined,
): (name: string, body: () => Promise<void> | void, timeoutMs?: number) => void {
  return (name, body, timeoutMs) => {
    if (reason === undefined) {
      test(name, body, timeoutMs);
      return;
    }
    console.log(`skipped: ${name}: ${reason}`);
    test.skip(`${name} (skipped: ${reason})`, body);
  };
}

export interface Outcome {
  readonly status: number | NodeJS.Signals;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** postgresql:// of the server or the proxy; handed over in PGHOST, PGPORT and so on. */
  readonly url: string;
  /** Written to standard input, which is closed then. */
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** The run is an error after this many milliseconds; default 60 000. */
  readonly timeoutMs?: number;
}

/** A run of a client program that is still going on. */
export interface Running {
  readonly child: ChildProcessWithoutNullStreams;
  stdout(): string;
  stderr(): string;
  readonly ended: Promise<Outcome>;
  /** Waits until one of the outputs holds a match. */
  says(pattern: RegExp, timeoutMs?: number): Promise<void>;
}

/** Starts it in a session of its own, without a terminal: what asks for a password then reads standard input. */
export function start(program: ClientProgram, args: readonly string[], options: RunOptions): Running {
  const child = spawn(program.path, args, {
    cwd: options.cwd ?? '/',
    env: environment(options),
    detached: true,
    stdio: 'pipe',
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
    });
  }
  child.stdin.on('error', () => {});
  if (options.input !== undefined) child.stdin.end(options.input);
  let over = false;
  const ended = new Promise<Outcome>((resolve, reject) => {
    const limit = options.timeoutMs ?? 60_000;
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`${program.name} still ran after ${limit} ms: ${output.stdout}${output.stderr}`));
    }, limit);
    child.once('error', reject);
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      over = true;
      resolve({ status: signal ?? code!, ...output });
    });
  });
  return {
    child,
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    ended,
    says: async (pattern, timeoutMs = 15_000) => {
      const told = () => pattern.test(output.stdout) || pattern.test(output.stderr);
      await until(() => over || told(), { timeoutMs, what: `${program.name} to say ${pattern}` });
      if (!told()) throw new Error(`ended without ${pattern}: ${output.stdout}${output.stderr}`);
    },
  };
}

/** Runs it to its end. */
export async function run(
  program: ClientProgram,
  args: readonly string[],
  options: RunOptions,
): Promise<Outcome> {
  return await start(program, args, { input: '', ...options }).ended;
}

/** Runs it to its end, which must be a good one. @returns standard output */
export async function succeed(
  program: ClientProgram,
  args: readonly string[],
  options: RunOptions,
): Promise<string> {
  const { status, stdout, stderr } = await run(program, args, options);
  if (status !== 0)
    throw new Error(`${program.name} ${args.join(' ')}: status ${status}: ${stderr}${stdout}`);
  return stdout;
}

function environment({ url, env }: RunOptions): NodeJS.ProcessEnv {
  const { hostname, port, username, password, pathname } = new URL(url);
  const inherited = Object.entries(process.env).filter(([name]) => !/^(PG|LC_|LANG)/.test(name));
  return {
    ...Object.fromEntries(inherited),
    LC_ALL: 'C',
    PGCLIENTENCODING: 'UTF8',
    PGHOST: hostname,
    PGPORT: port,
    PGUSER: decodeURIComponent(username),
    PGPASSWORD: decodeURIComponent(password),
    PGDATABASE: decodeURIComponent(pathname.slice(1)),
    ...env,
  };
}
