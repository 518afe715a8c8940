/**
 * `credentials_file`: passwords in the format of libpq's `.pgpass` (documentation chapter "The Password File"), one
 * line each, `host:port:database:role:password`. `*` matches anything, a backslash takes the meaning off the next
 * character, the first line that matches counts.
 */
import { PrivateFileError, readPrivateFile } from './private-file.js';
import type { PasswordSource, Wanted } from './source.js';

export interface PasswordLine {
  /** null: anything. */
  readonly host: string | null;
  readonly port: string | null;
  readonly database: string | null;
  readonly role: string | null;
  readonly password: string;
}

/** Lines that are comments, empty or without five fields are passed over, as libpq does. */
export function parsePasswordLines(text: string): PasswordLine[] {
  const lines: PasswordLine[] = [];
  for (const line of text.split(/\r?\n/)) {
    if (line === '' || line.startsWith('#')) continue;
    const match = /^((?:\\.|[^:\\])*):((?:\\.|[^:\\])*):((?:\\.|[^:\\])*):((?:\\.|[^:\\])*):(.*)$/.exec(line);
    if (match === null) continue;
    const [host, port, database, role] = match.slice(1, 5).map(field) as [string, string, string, string];
    lines.push({ host, port, database, role, password: plain(match[5]!) });
  }
  return lines;
}

const field = (text: string) => (text === '*' ? null : plain(text));
const plain = (text: string) => text.replace(/\\(.)/g, '$1');

/** A Unix socket is `localhost` or its directory. */
export function matches(line: PasswordLine, wanted: Wanted): boolean {
  const { host, port } = wanted.address;
  return (
    (line.host === null || line.host === host || (host.startsWith('/') && line.host === 'localhost')) &&
    (line.port === null || line.port === String(port)) &&
    (line.database === null || line.database === wanted.database) &&
    (line.role === null || line.role === wanted.role)
  );
}

/** Reads the file again when it has changed; a file that may not be used is as if empty, with one warning. */
export class PasswordFile implements PasswordSource {
  readonly name = 'credentials_file';
  readonly #path: string;
  readonly #warn: (text: string) => void;
  #lines: readonly PasswordLine[] = [];
  #stamp = '';
  #problem = '';

  constructor(path: string, warn: (text: string) => void) {
    this.#path = path;
    this.#warn = warn;
  }

  mayHave(role: string): boolean {
    return this.#lines.some((line) => line.role === null || line.role === role);
  }

  async find(wanted: Wanted): Promise<string | undefined> {
    await this.#read();
    return this.#lines.find((line) => matches(line, wanted))?.password;
  }

  refused(): boolean {
    return false;
  }

  async stamp(): Promise<string> {
    await this.#read();
    return this.#stamp;
  }

  async #read(): Promise<void> {
    try {
      const file = await readPrivateFile(this.#path, this.#stamp);
      if (file === null) return;
      this.#lines = parsePasswordLines(file.content.toString('utf8'));
      file.content.fill(0);
      this.#stamp = file.stamp;
      this.#problem = '';
    } catch (error) {
      if (!(error instanceof PrivateFileError)) throw error;
      this.#lines = [];
      this.#stamp = error.code;
      if (error.message !== this.#problem) this.#warn(`credentials_file is not used: ${error.message}`);
      this.#problem = error.message;
    }
  }
}
