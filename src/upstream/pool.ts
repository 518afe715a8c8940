/**
 * The executor's sessions, pooled by role (its OID) and database, never more than a limit together.
 *
 * A slot is a session in use or being opened. A session given back is kept for its role and database until it has been
 * idle for too long, or until its place is needed for another role. Waiting is first come, first served.
 */

import { cancelPacket } from '../wire/startup.js';
import type { UpstreamAddress } from './address.js';
import { forwardCancel } from './cancel.js';
import type { CredentialStore } from './credentials.js';
import { Servers, type Target } from './dial.js';
import { type Delays, LoginWaits } from './login-waits.js';
import { OpenFailure, openSession } from './open.js';
import type { Session } from './session.js';

export interface SessionPoolOptions {
  readonly address: Target;
  readonly credentials: CredentialStore;
  /** Sessions at most, in use and idle. */
  readonly limit: number;
  readonly connectTimeoutMs: number;
  /** How long an idle session is kept; 0: it is closed when given back. */
  readonly idleTimeoutMs: number;
  /** Start-up parameters besides user and database. */
  readonly parameters: Readonly<Record<string, string>>;
}

/** No slot became free in time. */
export class AcquireTimeout extends Error {}

/** A login as the role is not taken now, or was not a moment ago. */
export class LoginRefused extends Error {
  readonly failure: OpenFailure;
  readonly retryInMs: number;
  constructor(failure: OpenFailure, retryInMs: number) {
    super(failure.message);
    this.failure = failure;
    this.retryInMs = retryInMs;
  }
}

/** From a second to half a minute: a credential that is wrong stays wrong, and some servers count failed logins. */
const REFUSED: Delays = { firstMs: 1000, mostMs: 30_000 };
/** Connections end all the time. */
const FULL: Delays = { firstMs: 250, mostMs: 8000 };

/** Whose session is wanted. */
export interface PooledRole {
  readonly name: string;
  /** OID; what was a session of this name yesterday may be another role's today. */
  readonly id: string;
}

interface Waiter {
  readonly key: string;
  readonly role: PooledRole;
  readonly database: string;
  readonly resolve: (session: Session) => void;
  readonly reject: (error: unknown) => void;
  readonly timer: NodeJS.Timeout;
}

interface Idle {
  readonly key: string;
  readonly session: Session;
  readonly timer: NodeJS.Timeout;
}

export class SessionPool {
  /** Which roles' logins are refused now. */
  readonly logins = new LoginWaits();
  readonly #options: SessionPoolOptions;
  #used = 0;
  #idle: Idle[] = [];
  #waiters: Waiter[] = [];
  #closed = false;
  /** When a host ceased to be the one to work with (performance.now). */
  readonly #leftAt = new Map<UpstreamAddress, number>();

  constructor(options: SessionPoolOptions) {
    this.#options = options;
    if (options.address instanceof Servers) options.address.on('left', (address) => this.#leave(address));
  }

  get limit(): number {
    return this.#options.limit;
  }

  /** Sessions in use or being opened. */
  get used(): number {
    return this.#used;
  }

  /** How many wait for a slot. */
  get waiting(): number {
    return this.#waiters.length;
  }

  /**
   * A session of the role in the database, to be given back with `release`.
   * @param timeoutMs how long to wait for a slot
   * @throws AcquireTimeout when no slot became free; LoginRefused when a credential is missing or not taken, or the
   * server lets the role in later only; what `openSession` throws when the login failed otherwise
   */
  acquire(role: PooledRole, database: string, timeoutMs: number): Promise<Session> {
    const key = keyOf(role.id, database);
    const at = this.#idle.findLastIndex((idle) => idle.key === key);
    if (at >= 0 && this.#waiters.length === 0) {
      this.#used += 1;
      return Promise.resolve(this.#takeIdle(at));
    }
    const closed = at < 0 ? this.logins.closed(role.name, database) : undefined;
    if (closed !== undefined) return Promise.reject(new LoginRefused(closed.failure, closed.retryInMs));
    if (this.#used < this.#options.limit && this.#waiters.length === 0) return this.#open(role, database);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters = this.#waiters.filter((one) => one !== waiter);
        reject(new AcquireTimeout());
      }, timeoutMs);
      const waiter: Waiter = { key, role, database, resolve, reject, timer };
      this.#waiters.push(waiter);
    });
  }

  /**
   * Hands a session over to who waits for one of its role and database, if he is next; the caller then leaves what it
   * still has to send with `session.owe`, before it yields.
   */
  handOver(session: Session): boolean {
    const next = this.#waiters[0];
    if (session.closed || this.#isLeft(session) || next?.key !== keyOf(session.roleId, session.database)) {
      return false;
    }
    this.#waiters.shift();
    clearTimeout(next.timer);
    next.resolve(session);
    return true;
  }

  /** Gives a session back; a closed one only frees its slot. It must be outside a transaction. */
  release(session: Session): void {
    if (session.indebted && !session.closed) {
      const again = () => this.release(session);
      session.run([]).then(again, again);
      return;
    }
    if (this.#isLeft(session)) session.close();
    this.#used -= 1;
    const next = this.#waiters[0];
    const key = keyOf(session.roleId, session.database);
    if (!session.closed && next?.key === key) {
      this.#waiters.shift();
      clearTimeout(next.timer);
      this.#used += 1;
      next.resolve(session);
      return;
    }
    if (!session.closed) {
      if (this.#closed || this.#options.idleTimeoutMs === 0) session.close();
      else this.#keep(key, session);
    }
    this.#serve();
  }

  /** Ends a session in the midst of what it does: the statement is cancelled on the server, its transaction rolls back. */
  discard(session: Session): void {
    if (session.indebted) {
      this.release(session);
      return;
    }
    const key = session.flying ? session.cancelKey : null;
    session.close();
    if (key !== null) {
      forwardCancel(this.#options.address, cancelPacket(key), undefined, session.exact).catch(() => {});
    }
    this.release(session);
  }

  /** Closes the idle sessions of a role: after its credential changed, or to let go of a database. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const waiter of this.#waiters.splice(0)) {
      clearTimeout(waiter.timer);
      waiter.reject(new AcquireTimeout());
    }
    while (this.#idle.length > 0) this.#takeIdle(0).close();
  }

  /** Sessions on this host are not used again. */
  #leave(address: UpstreamAddress): void {
    this.#leftAt.set(address, performance.now());
    for (let at = this.#idle.length - 1; at >= 0; at--) {
      if (this.#isLeft(this.#idle[at]!.session)) this.#takeIdle(at).close();
    }
  }

  #isLeft(session: Session): boolean {
    const at = this.#leftAt.get(session.address);
    return at !== undefined && session.openedAt <= at;
  }

  #serve(): void {
    while (this.#waiters.length > 0 && this.#used < this.#options.limit) {
      const waiter = this.#waiters.shift() as Waiter;
      clearTimeout(waiter.timer);
      const at = this.#idle.findLastIndex((idle) => idle.key === waiter.key);
      if (at >= 0) {
        this.#used += 1;
        waiter.resolve(this.#takeIdle(at));
      } else {
        this.#open(waiter.role, waiter.database).then(waiter.resolve, waiter.reject);
      }
    }
  }

  async #open({ name: role, id: roleId }: PooledRole, database: string): Promise<Session> {
    const closed = this.logins.closed(role, database);
    if (closed !== undefined) throw new LoginRefused(closed.failure, closed.retryInMs);
    const began = performance.now();
    if (this.#used + this.#idle.length >= this.#options.limit && this.#idle.length > 0)
      this.#takeIdle(0).close();
    this.#used += 1;
    const { address, credentials, connectTimeoutMs, parameters } = this.#options;
    try {
      const options = { address, credentials, connectTimeoutMs, parameters, role, roleId, database };
      const session = await openSession(options);
      this.logins.succeeded(role, database);
      return session;
    } catch (error) {
      this.#used -= 1;
      this.#serve();
      if (!(error instanceof OpenFailure) || !isRefusal(error)) throw error;
      const version = await credentials.version(role).catch(() => '');
      const delays = error.code === TOO_MANY_CONNECTIONS ? FULL : REFUSED;
      throw new LoginRefused(error, this.logins.failed(role, database, error, began, version, delays));
    }
  }

  #keep(key: string, session: Session): void {
    const timer = setTimeout(() => {
      const at = this.#idle.findIndex((idle) => idle.session === session);
      if (at >= 0) this.#takeIdle(at).close();
    }, this.#options.idleTimeoutMs);
    timer.unref();
    this.#idle.push({ key, session, timer });
    session.onClose(() => {
      const at = this.#idle.findIndex((idle) => idle.session === session);
      if (at >= 0) this.#takeIdle(at);
    });
  }

  #takeIdle(at: number): Session {
    const [idle] = this.#idle.splice(at, 1) as [Idle];
    clearTimeout(idle.timer);
    return idle.session;
  }
}

const TOO_MANY_CONNECTIONS = '53300';

function isRefusal({ kind }: OpenFailure): boolean {
  return kind === 'credential' || kind === 'barred';
}

function keyOf(roleId: string, database: string): string {
  return `${roleId}\0${database}`;
}
