import { type FileHandle, open, stat } from 'node:fs/promises';
import type { Logger } from 'pino';
import { parseScramVerifier, type ScramVerifier } from '../wire/scram-verifier.js';
import { VerifierError, type VerifierSource } from './verifiers.js';

/** Bytes; some hundred thousand roles. */
const MAX_FILE = 64 * 1024 * 1024;

interface Contents {
  readonly verifiers: ReadonlyMap<string, ScramVerifier>;
  /** Lines that hold something else than a SCRAM verifier. */
  readonly leftOut: readonly number[];
}

/**
 * Verifiers from a file as PgBouncer's `auth_file` (userlist.txt): lines of `"role" "SCRAM-SHA-256$…"`, a quote in a
 * name doubled; empty lines and lines that begin with `;` or `#` say nothing. Clear-text passwords and md5 hashes are
 * left out with a warning. The file is read again when it has changed; one that has become unreadable or malformed
 * is an error in the log, and what was read before stays.
 * @throws VerifierError when it cannot be read at first
 */
export async function verifierFile(path: string, log: Logger): Promise<VerifierSource> {
  let version = '';
  let contents: Contents = { verifiers: new Map(), leftOut: [] };
  let reading: Promise<void> | undefined;

  const read = async (): Promise<void> => {
    const next = await readVerifiers(path);
    version = next.version;
    contents = next.contents;
    if (contents.leftOut.length > 0) {
      log.warn(
        { file: path, lines: contents.leftOut.slice(0, 20) },
        'auth_file: lines without a SCRAM-SHA-256 verifier are left out',
      );
    }
  };
  const readIfChanged = async (): Promise<void> => {
    const now = await versionOf(path).catch(() => 'absent');
    if (now === version) return;
    try {
      await read();
      log.info({ file: path, roles: contents.verifiers.size }, 'auth_file read again');
    } catch (err) {
      // Said once for each state of the file.
      version = now;
      log.error({ err }, 'auth_file has changed and cannot be read; what it held before stays');
    }
  };

  const refresh = (): Promise<void> => {
    reading ??= readIfChanged().finally(() => {
      reading = undefined;
    });
    return reading;
  };

  await read();
  return {
    async find(role) {
      await refresh();
      return contents.verifiers.get(role);
    },
    refresh,
    async close() {},
  };
}

async function readVerifiers(path: string): Promise<{ version: string; contents: Contents }> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (error) {
    throw new VerifierError(`cannot read ${path}: ${(error as NodeJS.ErrnoException).code}`);
  }
  try {
    const status = await file.stat();
    if (!status.isFile()) throw new VerifierError(`${path} is not a file`);
    // PostgreSQL's rule for its key file: readable by nobody else, or root's and readable by a group.
    const others = status.uid === 0 ? 0o037 : 0o077;
    if ((status.mode & others) !== 0) {
      throw new VerifierError(
        `${path} has group or world access: permissions should be u=rw (0600) or less, ` +
          'or u=rw,g=r (0640) or less if root owns it',
      );
    }
    if (status.size > MAX_FILE) throw new VerifierError(`${path} is larger than 64 MiB`);
    return { version: versionText(status), contents: parseVerifiers(await file.readFile('utf8'), path) };
  } finally {
    await file.close();
  }
}

/** @throws VerifierError that names the line and quotes nothing */
export function parseVerifiers(text: string, path: string): Contents {
  const verifiers = new Map<string, ScramVerifier>();
  const leftOut: number[] = [];
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (/^\s*(?:[;#].*)?$/.test(line)) continue;
    const parts = /^\s*"((?:[^"]|"")+)"\s+"((?:[^"]|"")*)"/.exec(line);
    if (parts === null) {
      throw new VerifierError(`${path}, line ${index + 1}: must be "role" "SCRAM-SHA-256$…"`);
    }
    const verifier = parseScramVerifier(parts[2]!);
    if (verifier === undefined) leftOut.push(index + 1);
    else verifiers.set(parts[1]!.replaceAll('""', '"'), verifier);
  }
  return { verifiers, leftOut };
}

async function versionOf(path: string): Promise<string> {
  return versionText(await stat(path));
}

function versionText(status: { ino: number; size: number; mtimeMs: number; ctimeMs: number }): string {
  return `${status.ino}:${status.size}:${status.mtimeMs}:${status.ctimeMs}`;
}
