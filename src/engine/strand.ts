/**
 * A strand of execution: the instance's own, or a branch of a join or race. It runs one step at a time, each in a
 * session of the submitting role, and has at most one transaction open.
 *
 * A step's transaction stays open when its SQL has succeeded: the checkpoint, the COMMIT and the next step's BEGIN and
 * SQL go to the server together. Until then what happened since the last commit is in `pending`. The walk goes on
 * meanwhile as if it were committed; if the commit then fails, the walk is halted and starts again from the journal.
 *
 * States of the session: none → clean → open (a step ran, not committed) → clean …; open → failed (the step's SQL
 * failed: ROLLBACK comes first in the next flight). Any → none, given back when the strand waits or ends.
 *
 * States of the strand: active → waiting (for a timer or a signal) → active …; active → suspended (its branches run) → active;
 * → ended (its work went over to its parent). stopped is for ever: nothing more is sent, every call throws Stopped.
 */
import type { End, Entry, InboxChange } from '../state/checkpoint.js';
import { checkpointCommand } from '../state/checkpoint.js';
import type { Command, CommandResult } from '../upstream/command.js';
import { ConnectionLost, type FlightResult, type ServerError, Session } from '../upstream/session.js';
import { isSsiConflict } from './conflict.js';
import { NO_LOGIN } from './failure.js';
import { endsTransaction, refusal, transactionControl, wrongEncoding } from './forbidden.js';
import type { Scope } from './scope.js';
import { commitFailed, conflict, connectionLost, sessionFailed } from './setbacks.js';
import type { Walk } from './walk.js';

/** The strand was stopped: a race was lost, the instance was cancelled, its lease was lost, its walk was halted. */
export class Stopped extends Error {}

export type StepResult =
  | { readonly kind: 'rows'; readonly result: CommandResult }
  /** Of several statements, which one has failed; 0 for the first, and where it cannot be told. */
  | { readonly kind: 'error'; readonly error: ServerError; readonly statement?: number }
  /** The step could not be begun; the text is the node's error. */
  | { readonly kind: 'refused'; readonly text: string; readonly code: string };

const BEGIN: Command = { sql: 'BEGIN' };
const COMMIT: Command = { sql: 'COMMIT' };
const ROLLBACK: Command = { sql: 'ROLLBACK' };
/**
 * What DISCARD ALL does, but for forgetting plans: those are not a thing that a step could see of another, and making
 * the checkpoint's anew costs as much as the rest of a step. In a transaction of its own, so that no rollback undoes it.
 */
export const RESET: readonly Command[] = [
  'BEGIN',
  'CLOSE ALL',
  'SET SESSION AUTHORIZATION DEFAULT',
  'RESET ALL',
  'DEALLOCATE ALL',
  'UNLISTEN *',
  'SELECT pg_catalog.pg_advisory_unlock_all()',
  'DISCARD TEMP',
  'DISCARD SEQUENCES',
  'COMMIT',
].map((sql) => ({ sql }));

/** Before a checkpoint whose session has a statement_timeout: that is for the step's statements. */
const LIFT_TIME_LIMIT: Command = { sql: 'SET LOCAL statement_timeout = 0' };
const SETS_TIME_LIMIT = /statement_timeout/i;

/** Statements that refuse a transaction block, and procedures that end one: run without, at-least-once. */
const NEEDS_NO_TRANSACTION = new Set(['25001', '2D000']);
const MENTIONS_DF = /\bdf"?\s*\./i;

export class Strand {
  readonly parent: Strand | null;
  state: 'active' | 'waiting' | 'suspended' | 'ended' = 'active';
  stopped = false;
  /** Entries that are not yet committed, in order. */
  pending: Entry[] = [];
  /** The root loop's new execution number, not yet committed. */
  generation: number | null = null;
  /** Composite nodes that are entered and not left, outermost first. */
  readonly path: Array<{ readonly node: string; readonly scope: Scope }> = [];
  /** Counts what takes time: SQL steps and waits. */
  work = 0;
  /** When the step under way was sent (performance.now); null between steps. */
  stepSince: number | null = null;
  /** Aborted when the strand is stopped; there while it waits for something outside the database. */
  outside: AbortController | null = null;

  readonly #walk: Walk;
  #session: Session | null = null;
  #open = false;
  #failed = false;
  /** Whether the open transaction may have a statement_timeout. */
  #timeLimited = false;
  /** The last step is done and its checkpoint is not: it ran outside a transaction, or outside this database. */
  #ahead = false;

  /** The open transaction has called functions of df: its commit may make instances due. */
  #mentions = false;

  constructor(walk: Walk, parent: Strand | null) {
    this.#walk = walk;
    this.parent = parent;
  }

  /** Whether it is the given strand, or a branch below it. */
  isWithin(other: Strand): boolean {
    return this === other || (this.parent?.isWithin(other) ?? false);
  }

  push(entry: Entry): void {
    this.pending.push(entry);
    this.#walk.made += 1;
    this.#walk.events.add();
  }

  /** @throws Stopped */
  check(): void {
    if (this.stopped) throw new Stopped();
  }

  /** Runs a step's statements in one transaction, after committing what came before; the result is the last one's. */
  async execute(statements: readonly string[]): Promise<StepResult> {
    this.check();
    const ending = statements.find(endsTransaction);
    if (ending !== undefined) return { kind: 'error', error: transactionControl() };
    if (this.#walk.leaving || this.#mustYield()) await this.#walk.waiting.yieldSlot(this);
    // what is committed already should be known to be done before anything else is
    if (this.#ahead) await this.flush();
    if (this.#walk.sessions.elsewhere) return this.#executeElsewhere(statements);

    const session = this.#session ?? (await this.#walk.sessions.acquire(this));
    if (!(session instanceof Session)) return session;
    this.#session = session;
    if (this.stopped) {
      this.releaseSession();
      throw new Stopped();
    }
    const lead = this.#lead(session);
    const commands = [...lead, BEGIN, ...statements.map((sql) => ({ sql, rows: true }))];
    this.stepSince = performance.now();
    session.dirty = true;
    const flight = await this.#fly(session, commands, this.#open ? this.#commitAt(lead) : -1);
    this.stepSince = null;
    if (flight.kind !== 'flight') return flight;
    const { results, error, status } = flight.result;
    if (error !== null) {
      if (results.length <= lead.length) return sessionFailed(this.#walk, error);
      this.#failed = status === 'E';
      if (isSsiConflict(error)) conflict(this.#walk, error);
      return NEEDS_NO_TRANSACTION.has(error.code) && statements.length === 1
        ? this.#executeAlone(session, statements[0] as string)
        : { kind: 'error', error, statement: results.length - lead.length - 1 };
    }
    if (status !== 'T') return { kind: 'error', error: transactionControl() };
    this.#open = true;
    const misread = wrongEncoding(session);
    if (misread !== null) {
      this.#failed = true; // rolls back
      this.#open = false;
      return { kind: 'error', error: misread };
    }
    this.#mentions ||= statements.some((sql) => MENTIONS_DF.test(sql));
    // one that a function of the user sets is found out the hard way: then the step is run again, under a limit lifted
    this.#timeLimited =
      session.timeLimited ||
      this.#walk.instance.attempts > 0 ||
      statements.some((sql) => SETS_TIME_LIMIT.test(sql));
    return { kind: 'rows', result: results.at(-1) as CommandResult };
  }

  /**
   * The error for a step whose result is not to be kept. What it did is rolled back with the next flight, but where it
   * is committed already: in another database, or without a transaction.
   */
  refuse(code: string, message: string, hint: string): ServerError {
    if (this.#open) {
      this.#failed = true;
      this.#open = false;
    }
    return refusal(code, message, hint);
  }

  /** Runs a query of the engine's own in the step's transaction, before its checkpoint. */
  async query(command: Command): Promise<CommandResult | ServerError> {
    const flight = await this.#fly(this.#session as Session, [command], -1);
    if (flight.kind !== 'flight') throw new Stopped();
    if (flight.result.error !== null) {
      this.#failed = true;
      this.#open = false;
      return flight.result.error;
    }
    return flight.result.results[0] as CommandResult;
  }

  /**
   * Commits what is pending, in the step's transaction if one is open.
   * @param end ends the executor's hold on the instance in the same transaction
   * @param inbox changes in the inbox: a step is committed before them
   * @throws Stopped when it could not be committed: the walk is halted then
   */
  async flush(end: End | null = null, inbox?: InboxChange): Promise<void> {
    this.check();
    if (inbox !== undefined && this.#open) await this.flush();
    if (!this.#open && this.pending.length === 0 && this.generation === null && end === null) return;
    if (this.#open) {
      const session = this.#session as Session;
      const commands = this.#commit(end);
      const flight = await this.#fly(session, commands, commands.length - 1, end !== null);
      if (flight.kind !== 'flight') throw new Stopped();
    } else {
      const checkpoint = this.#walk.checkpoint(this, end);
      await this.#walk.send(inbox === undefined ? checkpoint : { ...checkpoint, inbox });
      this.check();
      this.#confirm();
    }
  }

  /**
   * Something has been done that no transaction holds, and `pending` says so: it is committed before anything else that
   * may take long. Not at once, so that the composites which end with it are stamped in the same commit.
   */
  isAhead(): void {
    this.#ahead = true;
  }

  /** Gives the session back; nothing may be uncommitted. */
  releaseSession(): void {
    const session = this.#session;
    this.#session = null;
    if (session === null) return;
    if (this.#open || this.#failed) this.#walk.sessions.discard(session);
    else this.#walk.sessions.release(session);
    this.#open = false;
    this.#failed = false;
  }

  /** Takes over a branch's session and what it has not committed. */
  adopt(branch: Strand): void {
    this.releaseSession();
    this.#session = branch.#session;
    this.#open = branch.#open;
    this.#failed = branch.#failed;
    this.#ahead = branch.#ahead;
    this.#mentions = branch.#mentions;
    this.#timeLimited = branch.#timeLimited;
    branch.#session = null;
    branch.#open = false;
    this.pending.push(...branch.pending);
    this.generation ??= branch.generation;
    this.work += branch.work;
    branch.pending = [];
    branch.state = 'ended';
  }

  /** Stops for ever: a statement under way is cancelled on the server, an open transaction rolls back. */
  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    this.outside?.abort(new Stopped());
    const session = this.#session;
    this.#session = null;
    if (session !== null) this.#walk.sessions.discard(session);
  }

  #mustYield(): boolean {
    return (
      this.#session !== null && (this.#open || this.#ahead) && this.#walk.sessions.mustYield(this.#session)
    );
  }

  /** What must come before the next BEGIN: the commit of the step before, or its rollback, and a clean session. */
  #lead(session: Session): Command[] {
    const lead: Command[] = [];
    if (this.#failed) lead.push(ROLLBACK);
    if (this.#open) lead.push(...this.#commit(null));
    if (session.dirty) lead.push(...RESET);
    return lead;
  }

  /** The checkpoint of what is pending and the COMMIT of the step's transaction. */
  #commit(end: End | null): Command[] {
    const checkpoint = checkpointCommand(this.#walk.checkpoint(this, end));
    return this.#timeLimited ? [LIFT_TIME_LIMIT, checkpoint, COMMIT] : [checkpoint, COMMIT];
  }

  #commitAt(lead: readonly Command[]): number {
    return lead.indexOf(COMMIT);
  }

  /**
   * Sends a flight. When its command number `commitAt` is the COMMIT of what is pending, that is confirmed, or the walk
   * is halted with the reason; either way before this returns.
   * @param last nothing follows from this strand: the flight may go together with the first of whoever waits
   */
  async #fly(
    session: Session,
    commands: readonly Command[],
    commitAt: number,
    last = false,
  ): Promise<{ kind: 'flight'; result: FlightResult } | Extract<StepResult, { kind: 'error' }>> {
    let result: FlightResult;
    const handedOver = last && this.#walk.sessions.handOver(session);
    if (handedOver) this.#session = null;
    try {
      result = await (handedOver ? session.owe(commands) : session.run(commands));
    } catch (error) {
      this.check();
      if (!(error instanceof ConnectionLost)) throw error;
      if (commitAt >= 0 && error.completed > commitAt) this.#confirm();
      this.#session = null;
      this.#open = false;
      if (!handedOver) this.#walk.sessions.release(session);
      if (error.server?.severity === 'ERROR' && error.completed > commitAt) {
        return { kind: 'error', error: error.server };
      }
      return connectionLost(this.#walk, error);
    }
    this.check();
    this.#failed = false;
    if (commitAt >= 0) {
      const at = result.results.length;
      if (result.error !== null && at <= commitAt) {
        this.#open = false;
        this.#failed = result.status === 'E';
        return commitFailed(this.#walk, this, result.error, at < commitAt ? 'checkpoint' : 'commit');
      }
      this.#confirm();
    }
    return { kind: 'flight', result };
  }

  #confirm(): void {
    this.#walk.confirm(this.pending);
    if (this.#mentions) this.#walk.context.wake();
    this.#mentions = false;
    this.pending = [];
    this.generation = null;
    this.#open = false;
    this.#ahead = false;
  }

  /**
   * A step in another database: one transaction there, its checkpoint afterwards in the control database. The role is
   * looked at first, because the checkpoint cannot do that for a session that outlives its role.
   */
  async #executeElsewhere(statements: readonly string[]): Promise<StepResult> {
    const session = this.#session ?? (await this.#walk.sessions.acquire(this));
    if (!(session instanceof Session)) return session;
    this.#session = session;
    const gone = await this.#walk.sessions.roleIsGone();
    if (this.stopped) {
      this.releaseSession();
      throw new Stopped();
    }
    if (gone !== null) return { kind: 'refused', text: gone, code: NO_LOGIN };
    const lead = this.#lead(session);
    const commands = [...lead, BEGIN, ...statements.map((sql) => ({ sql, rows: true })), COMMIT];
    this.stepSince = performance.now();
    session.dirty = true;
    const flight = await this.#fly(session, commands, -1);
    this.stepSince = null;
    if (flight.kind !== 'flight') return flight;
    const { results, error, status } = flight.result;
    if (error !== null) {
      if (results.length <= lead.length) return sessionFailed(this.#walk, error);
      this.#failed = status === 'E';
      return NEEDS_NO_TRANSACTION.has(error.code) && statements.length === 1
        ? this.#executeAlone(session, statements[0] as string)
        : { kind: 'error', error, statement: results.length - lead.length - 1 };
    }
    this.#ahead = true;
    const misread = wrongEncoding(session);
    if (misread !== null) return { kind: 'error', error: misread };
    return { kind: 'rows', result: results.at(-2) as CommandResult };
  }

  /** A statement that cannot be in a transaction: by itself, its checkpoint afterwards. */
  async #executeAlone(session: Session, sql: string): Promise<StepResult> {
    const before = await this.#fly(session, this.#failed ? [ROLLBACK, ...RESET] : RESET, -1);
    if (before.kind !== 'flight') return before;
    this.stepSince = performance.now();
    const flight = await this.#fly(session, [{ sql, rows: true }], -1);
    this.stepSince = null;
    if (flight.kind !== 'flight') return flight;
    const { results, error, status } = flight.result;
    if (status !== 'I') this.#failed = true; // it has begun a transaction: the next flight rolls it back
    if (error !== null) return { kind: 'error', error };
    if (status !== 'I') return { kind: 'error', error: transactionControl() };
    if (MENTIONS_DF.test(sql)) this.#walk.context.wake();
    this.#ahead = true;
    const misread = wrongEncoding(session);
    if (misread !== null) return { kind: 'error', error: misread };
    return { kind: 'rows', result: results[0] as CommandResult };
  }
}
