/** `credential_command`: a program that prints a password, as IAM tokens are made. */
import { CommandFailure, runForSecret } from './secret-command.js';
import { type PasswordSource, SourceFailure, type Wanted } from './source.js';

export interface PasswordCommandOptions {
  /** Program and arguments; no shell. */
  readonly command: readonly string[];
  readonly timeoutMs: number;
  /** How long a password is used; 0: for one login. */
  readonly ttlMs: number;
}

interface Kept {
  readonly password: Promise<string | undefined>;
  until: number;
  uses: number;
}

/**
 * The program gets PGUSER, PGHOST, PGPORT and PGDATABASE in its environment; the first line of its output is the
 * password. No output: it knows none for the role, and the next source is asked. Asked at the same time it runs once.
 */
export class PasswordCommand implements PasswordSource {
  readonly name = 'credential_command';
  readonly #options: PasswordCommandOptions;
  readonly #kept = new Map<string, Kept>();

  constructor(options: PasswordCommandOptions) {
    this.#options = options;
  }

  mayHave(): boolean {
    return true;
  }

  find(wanted: Wanted): Promise<string | undefined> {
    const key = keyOf(wanted);
    const now = performance.now();
    for (const [old, { until }] of this.#kept) if (until <= now) this.#kept.delete(old);
    const kept = this.#kept.get(key);
    if (kept !== undefined) {
      kept.uses += 1;
      return kept.password;
    }
    const fresh: Kept = { password: this.#run(wanted), until: Number.POSITIVE_INFINITY, uses: 1 };
    this.#kept.set(key, fresh);
    fresh.password.then(
      () => {
        fresh.until = performance.now() + this.#options.ttlMs;
      },
      () => this.#forget(key, fresh),
    );
    return fresh.password;
  }

  /** A kept one may have run out earlier than its time; a new one would be no better. */
  refused(wanted: Wanted): boolean {
    const kept = this.#kept.get(keyOf(wanted));
    return kept !== undefined && this.#kept.delete(keyOf(wanted)) && kept.uses > 1;
  }

  async stamp(): Promise<string> {
    return '';
  }

  async #run({ role, database, address }: Wanted): Promise<string | undefined> {
    const { command, timeoutMs } = this.#options;
    const environment = {
      ...process.env,
      PGUSER: role,
      PGHOST: address.host,
      PGPORT: String(address.port),
      PGDATABASE: database,
    };
    try {
      const output = await runForSecret(command, environment, timeoutMs);
      const line = output.toString('utf8').split(/\r?\n/, 1)[0];
      output.fill(0);
      return line === '' ? undefined : line;
    } catch (error) {
      if (!(error instanceof CommandFailure)) throw error;
      throw new SourceFailure(`credential_command: ${error.how}`, `credential_command ${error.message}`);
    }
  }

  #forget(key: string, kept: Kept): void {
    if (this.#kept.get(key) === kept) this.#kept.delete(key);
  }
}

function keyOf({ role, database, address }: Wanted): string {
  return [role, database, address.host, address.port].join('\0');
}
