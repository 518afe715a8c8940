/**
 * Brings instances that wait for a login of their role on their way again: when a login of it is captured or succeeds,
 * and, where nobody says so, by looking.
 */
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import { type WaitingRole, waitingRoles } from '../state/credentials.js';
import { resumeRole } from '../state/role.js';
import type { CredentialStore } from '../upstream/credentials.js';
import type { SessionPool } from '../upstream/pool.js';

/** Between two looks at the roles whose instances wait for a login. */
const WATCH_EVERY_MS = 1000;

export interface LoginWatchOptions {
  readonly database: Pool;
  readonly sessions: SessionPool;
  readonly credentials: CredentialStore;
  readonly log: Logger;
}

export class LoginWatch {
  readonly #options: LoginWatchOptions;
  readonly #answerMs: number;
  readonly #wake: () => void;
  #timer: NodeJS.Timeout | null = null;
  #watching = false;
  #hasEnded = false;
  /** Roles with instances that wait, when it was last looked. */
  #waitingRoles: ReadonlySet<string> = new Set();

  /** @param wake called when instances have become due */
  constructor(options: LoginWatchOptions, answerMs: number, wake: () => void) {
    this.#options = options;
    this.#answerMs = answerMs;
    this.#wake = wake;
    options.credentials.onCapture((role, changed) => {
      if (changed || this.#waitingRoles.has(role)) this.resume(role);
    });
    options.sessions.logins.onRecovered((role) => this.resume(role));
  }

  /** Begins to look. */
  start(): void {
    this.#timer = setInterval(() => this.#look(), WATCH_EVERY_MS);
  }

  /** Looks no more; what it hears of still counts. */
  pause(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#waitingRoles = new Set();
  }

  /** Nothing is resumed any more. */
  end(): void {
    this.pause();
    this.#hasEnded = true;
  }

  #look(): void {
    if (this.#watching) return;
    this.#watching = true;
    this.#watchOnce()
      .catch((error: unknown) => {
        this.#options.log.debug({ code: (error as { code?: string }).code }, 'waiting roles not seen');
      })
      .finally(() => {
        this.#watching = false;
      });
  }

  /**
   * Instances wait for a login of their role, and what they wait for may have come without this executor hearing of
   * it: another proxy has captured a login, the credentials file has changed, or this proxy knows what the one did not
   * that has tried.
   */
  async #watchOnce(): Promise<void> {
    const { database, credentials } = this.#options;
    const waiting = await waitingRoles(database, credentials.upstream, this.#answerMs);
    this.#waitingRoles = new Set(waiting.map(({ role }) => role));
    for (const one of waiting) if (await this.#mayGoOn(one)) this.resume(one.role);
  }

  async #mayGoOn({ role, sealed }: WaitingRole): Promise<boolean> {
    const { credentials, sessions } = this.#options;
    const version = await credentials.version(role, sealed ?? '');
    const refused = sessions.logins.refusedWith(role);
    if (refused.length > 0) return refused.some((one) => one !== version);
    return credentials.mayHave(role, sealed ?? '');
  }

  /** Makes the instances due that wait for a login of the role, and lets it be tried. */
  resume(role: string): void {
    if (this.#hasEnded) return;
    this.#options.sessions.logins.reopen(role);
    resumeRole(this.#options.database, role).then(
      (count) => count > 0 && this.#wake(),
      () => {}, // they wake by themselves, later
    );
  }
}
