import { constants, open } from 'node:fs/promises';

/** A file with secrets cannot be used; the message is for people, and without its content. */
export class PrivateFileError extends Error {
  /** `ENOENT` and the like, or `mode`, `kind`, `size`. */
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.name = 'PrivateFileError';
    this.code = code;
  }
}

export interface PrivateFile {
  readonly content: Buffer;
  /** Another one after each change of the file. */
  readonly stamp: string;
}

/** Without waiting for somebody to write into a named pipe, which would be for ever. */
const READ_AT_ONCE = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

export interface PrivateFileRule {
  /** Default 1 MiB. */
  readonly maxMiB?: number;
  /** A group may read what root owns (0640), as PostgreSQL allows for its own key file. Default: nobody may. */
  readonly rootsGroupMayRead?: boolean;
}

/**
 * Reads a file that nobody but its owner may read or write, by the rule that libpq has for `.pgpass`: a plain file,
 * no rights for group and world. What is checked is what is read: the file is opened first.
 * @param unless its stamp: then nothing is read and the answer is null
 * @throws PrivateFileError
 */
export async function readPrivateFile(
  path: string,
  unless?: string,
  { maxMiB = 1, rootsGroupMayRead = false }: PrivateFileRule = {},
): Promise<PrivateFile | null> {
  const file = await open(path, READ_AT_ONCE).catch((error: NodeJS.ErrnoException) => {
    throw new PrivateFileError(error.code ?? 'unknown', `could not open file "${path}": ${reasonOf(error)}`);
  });
  try {
    const stat = await file.stat();
    const { mode, uid, size, mtimeMs, ctimeMs, ino } = stat;
    if (!stat.isFile()) throw new PrivateFileError('kind', `file "${path}" is not a plain file`);
    const others = rootsGroupMayRead && uid === 0 ? 0o037 : 0o077;
    if (process.platform !== 'win32' && (mode & others) !== 0) {
      throw new PrivateFileError(
        'mode',
        `file "${path}" has group or world access; permissions should be u=rw (0600) or less` +
          (rootsGroupMayRead ? ', or u=rw,g=r (0640) or less if root owns it' : ''),
      );
    }
    if (size > maxMiB * 1024 * 1024) {
      throw new PrivateFileError('size', `file "${path}" is larger than ${maxMiB} MiB`);
    }
    const stamp = [ino, size, mtimeMs, ctimeMs].join(':');
    if (stamp === unless) return null;
    return { content: await file.readFile(), stamp };
  } finally {
    await file.close();
  }
}

function reasonOf({ code, message }: NodeJS.ErrnoException): string {
  switch (code) {
    case 'ENOENT':
      return 'no such file or directory';
    case 'EACCES':
      return 'permission denied';
    default:
      return code ?? message;
  }
}
