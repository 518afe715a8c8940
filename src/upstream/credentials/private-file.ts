import { open } from 'node:fs/promises';

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

const MAX_BYTES = 1024 * 1024;

/**
 * Reads a file that nobody but its owner may read or write, by the rule that libpq has for `.pgpass`: a plain file,
 * no rights for group and world. What is checked is what is read: the file is opened first.
 * @param unless its stamp: then nothing is read and the answer is null
 * @throws PrivateFileError
 */
export async function readPrivateFile(path: string, unless?: string): Promise<PrivateFile | null> {
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    throw new PrivateFileError(error.code ?? 'unknown', `could not open file "${path}": ${reasonOf(error)}`);
  });
  try {
    const stat = await file.stat();
    const { mode, size, mtimeMs, ctimeMs, ino } = stat;
    if (!stat.isFile()) throw new PrivateFileError('kind', `file "${path}" is not a plain file`);
    if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
      throw new PrivateFileError(
        'mode',
        `file "${path}" has group or world access; permissions should be u=rw (0600) or less`,
      );
    }
    if (size > MAX_BYTES) throw new PrivateFileError('size', `file "${path}" is larger than 1 MiB`);
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
