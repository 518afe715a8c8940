/** The sessions of a walk's steps: where they come from, and what happens when there is none to be had. */
import { OpenFailure } from '../upstream/open.js';
import { AcquireTimeout, LoginRefused } from '../upstream/pool.js';
import type { Session } from '../upstream/session.js';
import { NO_LOGIN, NO_SLOT } from './failure.js';
import { type StepResult, Stopped, type Strand } from './strand.js';
import type { Walk } from './walk.js';

/** A strand that has had its session for this long gives way to others that wait. */
const QUANTUM_MS = 1000;

export class StepSessions {
  readonly #walk: Walk;
  #since = performance.now();

  constructor(walk: Walk) {
    this.#walk = walk;
  }

  /** A session for the strand's step; when there is none to be had, the step's failure, or the walk is halted. */
  async acquire(strand: Strand): Promise<Session | Extract<StepResult, { kind: 'refused' }>> {
    const { pool, settings } = this.#walk.context;
    const { role, roleId } = this.#walk.instance;
    if (role === null || roleId === null)
      return {
        kind: 'refused',
        text: this.noConnection(`role "${this.#walk.instance.graph.role}" does not exist`),
        code: NO_LOGIN,
      };
    const database = this.#database;
    const first = !this.#walk.progressed && this.#walk.hasOneStrand;
    const captures = this.#walk.context.captures(role);
    const patience = first ? Math.min(QUANTUM_MS, settings.acquireTimeoutMs) : settings.acquireTimeoutMs;
    try {
      const session = await pool.acquire({ name: role, id: roleId }, database, patience);
      if (strand.stopped) {
        pool.release(session);
        throw new Stopped();
      }
      this.#since = performance.now();
      return session;
    } catch (error) {
      strand.check();
      if (error instanceof AcquireTimeout) {
        // claimed too early: give it back rather than let it time out in the queue
        if (first) return this.#walk.haltHere({ retryIn: 0.2, counts: false });
        return { kind: 'refused', text: this.#noSlot(), code: NO_SLOT };
      }
      if (error instanceof LoginRefused) return await this.#awaitLogin(strand, error, captures);
      if (!(error instanceof OpenFailure)) throw error;
      if (error.kind === 'unavailable') {
        this.#walk.context.log.warn(
          { instance: this.#walk.instance.id, code: error.code },
          'no session for a step, trying again',
        );
        return this.#walk.haltHere({ retryIn: 1, counts: false });
      }
      return { kind: 'refused', text: this.noConnection(error.message), code: error.code };
    }
  }

  /**
   * The role's login is not taken now: the instance waits, and says why, until that may have changed. Of a role that
   * is gone, or that may not log in any more, the step has failed.
   * @param captures logins of the role that had been seen before the attempt
   */
  async #awaitLogin(
    strand: Strand,
    { failure, retryInMs }: LoginRefused,
    captures: number,
  ): Promise<Extract<StepResult, { kind: 'refused' }>> {
    const role = this.#walk.instance.role as string;
    const { login, expired } = await this.#walk.ask(this.#walk.context.roleState(role));
    strand.check();
    if (!login) return { kind: 'refused', text: this.noConnection(failure.message), code: NO_LOGIN };
    const why = whyNoLogin(role, failure, expired);
    await this.#walk.send({
      ...this.#walk.checkpoint(strand, null),
      entries: [],
      end: { kind: 'waiting', why, wake: Math.max(0.1, retryInMs / 1000) },
    });
    // a login since then has found nothing waiting
    if (this.#walk.context.captures(role) !== captures) this.#walk.context.resume(role);
    else this.#walk.context.due(retryInMs);
    return this.#walk.haltHere('released');
  }

  /** Whether the steps run in another database than the engine's tables are in. */
  get elsewhere(): boolean {
    return this.#database !== this.#walk.context.settings.controlDatabase;
  }

  /** Why the role can have no session any more; null while it can. */
  async roleIsGone(): Promise<string | null> {
    const { role, graph } = this.#walk.instance;
    if (role !== null && (await this.#walk.ask(this.#walk.context.roleState(role))).login) return null;
    const name = role ?? graph.role;
    return this.noConnection(
      `role "${name}" ${role === null ? 'does not exist' : 'is not permitted to log in'}`,
    );
  }

  get #database(): string {
    return this.#walk.instance.database ?? this.#walk.context.settings.controlDatabase;
  }

  /** The error of a step that could not be connected, to the letter of df-api §4.2. */
  noConnection(why: string): string {
    const role = this.#walk.instance.role ?? this.#walk.instance.graph.role;
    return `Failed to connect to database '${this.#database}' as '${role}'. Error: ${why}`;
  }

  #noSlot(): string {
    const { pool, settings } = this.#walk.context;
    return `pg_durable: connection limit reached (max_user_connections=${pool.limit}). Timed out after ${settings.acquireTimeoutMs / 1000}s waiting for an available execution slot.`;
  }

  release(session: Session): void {
    this.#walk.context.pool.release(session);
  }

  handOver(session: Session): boolean {
    return this.#walk.context.pool.handOver(session);
  }

  discard(session: Session): void {
    this.#walk.context.pool.discard(session);
  }

  /** Whether others have waited long enough for the strand's session: of the same role, or of one whose turn it is. */
  mustYield(session: Session): boolean {
    const { pool, backlog } = this.#walk.context;
    if (pool.owed(session.roleId)) return true;
    return performance.now() - this.#since > QUANTUM_MS && (pool.waiting > 0 || backlog());
  }
}

/** What an instance that waits for a login shows. */
function whyNoLogin(role: string, { kind, source, message }: OpenFailure, expired: string | null): string {
  if (expired !== null)
    return `role "${role}" cannot log in: its password has expired (VALID UNTIL ${expired}); it is tried again`;
  if (kind === 'barred') return `role "${role}" cannot log in now: ${message}; it is tried again`;
  if (source === null || source === 'captured')
    return `role "${role}" has no usable credential: ${message}; it goes on at the role's next login through the proxy`;
  return `role "${role}" has no usable credential: ${message} (with the password from ${source}); it is tried again`;
}
