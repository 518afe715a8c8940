/**
 * The executor's sessions, pooled by role (its OID) and database, never more than a limit together.
 *
 * A slot is a session in use or being opened. A session given back is kept for its role and database until it has been
 * idle for too long, or until its place is needed for another role. Who waits gets a slot in turn by role (turns.ts).
 */

import { isDeepStrictEqual } from 'node:util';
import { cancelPacket } from '../wire/startup.js';
import type { UpstreamAddress } from './address.js';
import { forwardCancel } from './cancel.js';
import type { Command } from './command.js';
import type { CredentialStore } from './credentials.js';
import { Servers, type Target } from './dial.js';
import { type Delays, LoginWaits } from './login-waits.js';
import { OpenFailure, openSession } from './open.js';
import type { Session } from './session.js';
import { Turns } from './turns.js';

/** What can change while the pool is in use. */
export interface SessionPoolLimits {
  /** Sessions at most, in use and idle. */
  readonly limit: number;
  /** How long an idle session is kept; 0: it is closed when given back. */
  readonly idleTimeoutMs: number;
  /** Start-up parameters besides user and database. */
  readonly parameters: Readonly<Record<string, string>>;
}

export interface SessionPoolOptions extends SessionPoolLimits {
  readonly address: Target;
  readonly credentials: CredentialStore;
  readonly connectTimeoutMs: number;
  /** Idle sessions of other databases are soon closed: nobody could drop or copy such a database. */
  readonly controlDatabase: string;
  /** Takes from a session all that its last step has left in it; for one that stays idle. None: nothing is left. */
  readonly reset?: readonly Command[];
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

/** How long what its last step has left in an idle session may stay: session-level locks, temporary tables. */
const TIDY_AFTER_MS = 100;
/** How long an idle session of another than the control database is kept. */
const AWAY_IDLE_MS = 500;

interface Waiter {
  readonly key: string;
  readonly role: PooledRole;
  readonly roleId: string;
  place: number;
  readonly database: string;
  readonly resolve: (session: Session) => void;
  readonly reject: (error: unknown) => void;
  readonly timer: NodeJS.Timeout;
}

interface Idle {
  readonly key: string;
  readonly session: Session;
  readonly timer: NodeJS.Timeout;
  readonly tidying: NodeJS.Timeout | undefined;
}

export class SessionPool {
  /** Which roles' logins are refused now. */
  readonly logins = new LoginWaits();
  readonly #options: SessionPoolOptions;
  #limits: SessionPoolLimits;
  #used = 0;
  #idle: Idle[] = [];
  readonly #turns = new Turns<Waiter>();
  #closed = false;
  /** When a host ceased to be the one to work with (performance.now). */
  readonly #leftAt = new Map<UpstreamAddress, number>();
  /** What each session began with. */
  readonly #parametersOf = new WeakMap<Session, SessionPoolLimits['parameters']>();

  constructor(options: SessionPoolOptions) {
    this.#options = options;
    this.#limits = options;
    if (options.address instanceof Servers) options.address.on('left', (address) => this.#leave(address));
  }

  get limit(): number {
    return this.#limits.limit;
  }

  /** Sessions in use or being opened. */
  get used(): number {
    return this.#used;
  }

  /** How many wait for a slot. */
  get waiting(): number {
    return this.#turns.waiting;
  }

  /** Whether another role waits whose turn it would be if this one gave back a session now. */
  owed(roleId: string): boolean {
    return this.#turns.waiting > 0 && this.#turns.owed(roleId, performance.now());
  }

  /** Takes over new limits. Sessions in use that exceed them, or have other parameters, end when they are given back. */
  change(limits: SessionPoolLimits): void {
    const before = this.#limits.parameters;
    const parameters = isDeepStrictEqual(limits.parameters, before) ? before : limits.parameters;
    this.#limits = { ...limits, parameters };
    for (const { session } of [...this.#idle]) {
      if (limits.idleTimeoutMs === 0 || this.#isObsolete(session)) this.#closeIdle(session);
    }
    this.#makeRoom(0);
    this.#serve();
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
    const free = this.#used < this.limit && this.#turns.waiting === 0;
    if (at >= 0 && free) return Promise.resolve(this.#reuse(at));
    const closed = at < 0 ? this.logins.closed(role.name, database) : undefined;
    if (closed !== undefined) return Promise.reject(new LoginRefused(closed.failure, closed.retryInMs));
    if (free) return this.#open(role, database);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#turns.remove(waiter);
        reject(new AcquireTimeout());
      }, timeoutMs);
      const waiter: Waiter = { key, role, roleId: role.id, place: 0, database, resolve, reject, timer };
      this.#turns.add(waiter, performance.now());
    });
  }

  /**
   * Hands a session over to who waits for one of its role and database, if he is next; the caller then leaves what it
   * still has to send with `session.owe`, before it yields.
   */
  handOver(session: Session): boolean {
    if (this.#turns.waiting === 0 || session.closed || this.#isObsolete(session) || this.#used > this.limit)
      return false;
    const { roleId } = session;
    this.#turns.count(roleId, -1);
    const next = this.#turns.next(performance.now(), roleId);
    const fits = next?.key === keyOf(roleId, session.database);
    this.#turns.count(roleId, 1);
    if (fits) this.#takeWaiter(next).resolve(session);
    return fits;
  }

  /** Gives a session back; a closed one only frees its slot. It must be outside a transaction. */
  release(session: Session): void {
    if (session.indebted && !session.closed) {
      const again = () => this.release(session);
      session.run([]).then(again, again);
      return;
    }
    if (this.#isObsolete(session)) session.close();
    const { roleId } = session;
    this.#count(roleId, -1);
    const key = keyOf(roleId, session.database);
    if (!session.closed && this.#used < this.limit) {
      const next = this.#turns.next(performance.now(), roleId);
      if (next?.key === key) {
        this.#count(roleId, 1);
        this.#takeWaiter(next).resolve(session);
        return;
      }
    }
    if (!session.closed) {
      const surplus = this.#used + this.#idle.length >= this.limit;
      if (this.#closed || this.#limits.idleTimeoutMs === 0 || surplus) session.close();
      else this.#keep(key, session);
    }
    this.#serve(roleId);
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
    for (const waiter of this.#turns.clear()) {
      clearTimeout(waiter.timer);
      waiter.reject(new AcquireTimeout());
    }
    while (this.#idle.length > 0) this.#takeIdle(0).close();
  }

  /** Sessions on this host are not used again. */
  #leave(address: UpstreamAddress): void {
    this.#leftAt.set(address, performance.now());
    for (let at = this.#idle.length - 1; at >= 0; at--) {
      if (this.#isObsolete(this.#idle[at]!.session)) this.#takeIdle(at).close();
    }
  }

  /** Whether the session is on a host that is left, or began with other parameters. */
  #isObsolete(session: Session): boolean {
    const at = this.#leftAt.get(session.address);
    return (
      this.#parametersOf.get(session) !== this.#limits.parameters ||
      (at !== undefined && session.openedAt <= at)
    );
  }

  /** @param freedBy the role whose session was given back */
  #serve(freedBy?: string): void {
    while (this.#used < this.limit) {
      const waiter = this.#turns.next(performance.now(), freedBy);
      if (waiter === undefined) return;
      this.#takeWaiter(waiter);
      const at = this.#idle.findLastIndex((idle) => idle.key === waiter.key);
      if (at >= 0) waiter.resolve(this.#reuse(at));
      else this.#open(waiter.role, waiter.database).then(waiter.resolve, waiter.reject);
    }
  }

  #takeWaiter(waiter: Waiter): Waiter {
    clearTimeout(waiter.timer);
    this.#turns.take(waiter, performance.now());
    return waiter;
  }

  #count(roleId: string, change: 1 | -1): void {
    this.#used += change;
    this.#turns.count(roleId, change);
  }

  #reuse(at: number): Session {
    const session = this.#takeIdle(at);
    this.#count(session.roleId, 1);
    return session;
  }

  async #open({ name: role, id: roleId }: PooledRole, database: string): Promise<Session> {
    const closed = this.logins.closed(role, database);
    if (closed !== undefined) throw new LoginRefused(closed.failure, closed.retryInMs);
    const began = performance.now();
    this.#makeRoom(1);
    this.#count(roleId, 1);
    const { address, credentials, connectTimeoutMs } = this.#options;
    const { parameters } = this.#limits;
    try {
      const options = { address, credentials, connectTimeoutMs, parameters, role, roleId, database };
      const session = await openSession(options);
      this.#parametersOf.set(session, parameters);
      this.logins.succeeded(role, database);
      return session;
    } catch (error) {
      this.#count(roleId, -1);
      this.#serve();
      if (!(error instanceof OpenFailure) || !isRefusal(error)) throw error;
      const version = await credentials.version(role).catch(() => '');
      const delays = error.code === TOO_MANY_CONNECTIONS ? FULL : REFUSED;
      throw new LoginRefused(error, this.logins.failed(role, database, error, began, version, delays));
    }
  }

  /** Closes idle sessions, the oldest first, until so many more fit. */
  #makeRoom(more: number): void {
    while (this.#idle.length > 0 && this.#used + this.#idle.length + more > this.limit)
      this.#takeIdle(0).close();
  }

  #keep(key: string, session: Session): void {
    const { idleTimeoutMs } = this.#limits;
    const away = session.database !== this.#options.controlDatabase;
    const timer = setTimeout(
      () => this.#closeIdle(session),
      away ? Math.min(AWAY_IDLE_MS, idleTimeoutMs) : idleTimeoutMs,
    );
    timer.unref();
    const { reset } = this.#options;
    const tidying =
      session.dirty && reset !== undefined
        ? setTimeout(() => void this.#tidy(session, reset), TIDY_AFTER_MS)
        : undefined;
    tidying?.unref();
    this.#idle.push({ key, session, timer, tidying });
    session.onClose(() => {
      const at = this.#idle.findIndex((idle) => idle.session === session);
      if (at >= 0) this.#takeIdle(at);
    });
  }

  /** The next step in this session would do it, but may be long in coming. */
  async #tidy(session: Session, reset: readonly Command[]): Promise<void> {
    this.#reuse(this.#idle.findIndex((idle) => idle.session === session));
    const flight = await session.run(reset).catch(() => null);
    if (flight?.error === null) session.dirty = false;
    else session.close();
    this.release(session);
  }

  #closeIdle(session: Session): void {
    const at = this.#idle.findIndex((idle) => idle.session === session);
    if (at >= 0) this.#takeIdle(at).close();
  }

  #takeIdle(at: number): Session {
    const [idle] = this.#idle.splice(at, 1) as [Idle];
    clearTimeout(idle.timer);
    clearTimeout(idle.tidying);
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
