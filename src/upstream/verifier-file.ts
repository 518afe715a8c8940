import type { Logger } from 'pino';
import { parseScramVerifier, type ScramVerifier } from '../wire/scram-verifier.js';
import { PrivateFileError, readPrivateFile } from './credentials/private-file.js';
import { VerifierError, type VerifierSource } from './verifiers.js';

/** Some hundred thousand roles. */
const RULE = { maxMiB: 64, rootsGroupMayRead: true } as const;

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
  let stamp = '';
  let problem = '';
  let verifiers: ReadonlyMap<string, ScramVerifier> = new Map();
  let reading: Promise<void> | undefined;

  /** @returns whether it has changed */
  const read = async (): Promise<boolean> => {
    const file = await readPrivateFile(path, stamp, RULE).catch((error: unknown) => {
      throw error instanceof PrivateFileError ? new VerifierError(error.message) : error;
    });
    if (file === null) return false;
    stamp = file.stamp; // also of one that is malformed: it is not read again before it changes
    const contents = parseVerifiers(file.content.toString('utf8'), path);
    verifiers = contents.verifiers;
    if (contents.leftOut.length > 0) {
      log.warn(
        { file: path, lines: contents.leftOut.slice(0, 20) },
        'auth_file: lines without a SCRAM-SHA-256 verifier are left out',
      );
    }
    return true;
  };
  const readIfChanged = async (): Promise<void> => {
    try {
      if (await read()) log.info({ file: path, roles: verifiers.size }, 'auth_file read again');
      problem = '';
    } catch (err) {
      const { message } = err as Error;
      if (message !== problem) {
        log.error({ err }, 'auth_file has changed and cannot be read; what it held before stays');
      }
      problem = message;
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
      return verifiers.get(role);
    },
    refresh,
    async close() {},
  };
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
