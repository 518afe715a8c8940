/**
 * The schemas df and _df come and go with CREATE and DROP EXTENSION, by whichever proxy or session. This follows them.
 *
 * - *present*: the executor works. When they are gone, or others are in their place, it is paused: what it held is lost,
 *   its steps are rolled back. Then *absent*, or *arriving*.
 * - *absent*: nothing is asked of the database but whether they are there. When they are: *arriving*.
 * - *arriving*: brought up to date, settings and captured credentials written, the executor works, and df.start accepts
 *   work. Ends in *present*; when it fails, in *absent*, from which it is tried again.
 *
 * It looks every two seconds, and at once when a transaction has ended that came through this proxy and named the
 * extension, or when a statement of the executor finds nothing to work on.
 */
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import type { Executor } from './engine/executor.js';
import { MigrationError, migrate, NotInstalled } from './state/migrate.js';
import { isMissing } from './state/missing.js';
import { installedAs } from './state/presence.js';
import { markReady, writeConfiguration, writeSettings } from './state/ready.js';
import type { CredentialStore } from './upstream/credentials.js';

const LOOK_EVERY_MS = 2000;
const ANSWER_MS = 5000;

/** What SQL functions know of the configuration. */
export interface WrittenSettings {
  /** As they read it, by name. */
  readonly read: ReadonlyMap<string, string>;
  /** As SHOW has it; null: not to be shown. */
  readonly shown: ReadonlyMap<string, string | null>;
}

export interface InstallationOptions {
  /** Connections of the admin role. */
  readonly database: Pool;
  readonly credentials: CredentialStore;
  readonly settings: WrittenSettings;
  readonly log: Logger;
}

export class Installation {
  readonly #options: InstallationOptions;
  #settings: WrittenSettings;
  #executor: Executor | null = null;
  #state: 'present' | 'absent' | 'arriving' = 'absent';
  /** Which installation is present. */
  #oid: string | null = null;
  #looking: Promise<void> | null = null;
  #again = false;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;
  #said = '';

  constructor(options: InstallationOptions) {
    this.#options = options;
    this.#settings = options.settings;
  }

  /** Whether the executor has something to work on. */
  get present(): boolean {
    return this.#state === 'present';
  }

  /**
   * Begins to follow them.
   * @param executor not started yet
   * @param required they have just been installed
   * @throws what the database says, where `required`
   */
  async begin(executor: Executor, required: boolean): Promise<void> {
    this.#executor = executor;
    const oid = await installedAs(this.#options.database, ANSWER_MS);
    if (oid !== null) await this.#arrive(oid, required);
    else this.#options.log.warn('nothing is installed: idle until CREATE EXTENSION pg_durable');
    this.#timer = setInterval(() => this.look(), LOOK_EVERY_MS);
  }

  /** Looks now, or once more when it is looking already. */
  look(): void {
    if (this.#closed || this.#executor === null) return;
    if (this.#looking !== null) {
      this.#again = true;
      return;
    }
    this.#looking = this.#look()
      .catch((error: unknown) => {
        this.#options.log.debug({ code: (error as { code?: string }).code }, 'installation not seen');
      })
      .finally(() => {
        this.#looking = null;
        if (!this.#again) return;
        this.#again = false;
        this.look();
      });
  }

  /** A transaction has ended in which df or the extension was named. */
  worked(): void {
    if (this.#state === 'absent') this.look();
  }

  /** From now on these are the settings. @throws what the database says when it cannot write them */
  async change(settings: WrittenSettings): Promise<void> {
    this.#settings = settings;
    if (this.#state === 'present') await this.#write();
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#looking;
  }

  async #look(): Promise<void> {
    const { database, log } = this.#options;
    const oid = await installedAs(database, ANSWER_MS);
    if (this.#closed || (oid === this.#oid && this.#state === 'present')) return;
    if (this.#state === 'present') {
      this.#state = 'absent';
      this.#executor!.pause();
      if (oid === null) log.warn('the schemas df and _df are gone: idle until they are installed again');
      else
        log.warn(
          'the schemas df and _df are others than before: what was under way is gone with the old ones',
        );
    }
    this.#oid = null;
    if (oid !== null) await this.#arrive(oid, false);
  }

  async #arrive(oid: string, required: boolean): Promise<void> {
    const { database, credentials, log } = this.#options;
    this.#state = 'arriving';
    try {
      const client = await database.connect();
      try {
        await migrate(client, undefined, { onlyIfInstalled: true });
      } finally {
        client.release();
      }
      await this.#write();
      await this.#executor!.start();
      credentials.saveAgain();
      await markReady(database);
      this.#state = 'present';
      this.#oid = oid;
      this.#said = '';
      if (!required) log.info('the schemas df and _df are there: at work');
    } catch (error) {
      this.#state = 'absent';
      this.#executor!.pause();
      if (required) throw error;
      // dropped again meanwhile: the next look sees it
      if (error instanceof NotInstalled || isMissing(error)) return;
      const reason = (error as Error).message;
      if (reason !== this.#said) log.error({ err: error }, 'what is installed cannot be worked with');
      this.#said = reason;
      if (!(error instanceof MigrationError)) this.#said = '';
    }
  }

  async #write(): Promise<void> {
    await writeSettings(this.#options.database, this.#settings.read);
    await writeConfiguration(this.#options.database, this.#settings.shown);
  }
}
