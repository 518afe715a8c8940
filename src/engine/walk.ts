/**
 * One walk over an instance's graph: what the journal has is skipped, what it lacks is run.
 *
 * A walk ends in one of the ways of `Halt`. It is halted from inside a strand (which then throws Stopped) or from
 * outside; the first reason counts, and every strand is stopped. Strands that are stopped write nothing any more.
 *
 * Activity: `active` counts the strands that run a step or compute. When the last of them begins to wait for a timer or
 * a signal, nothing can happen before the earliest timer or a signal: the instance is parked, which is a row with a time
 * and no memory. A signal that has come meanwhile is not numbered yet, and wakes the parked instance by that.
 */
import type { Checkpoint, End, Entry, InboxChange } from '../state/checkpoint.js';
import type { ClaimedInstance, SignalRow } from '../state/claim.js';
import { OpenFailure } from '../upstream/open.js';
import { AcquireTimeout, LoginRefused } from '../upstream/pool.js';
import type { ConnectionLost, ServerError, Session } from '../upstream/session.js';
import { isSsiConflict } from './conflict.js';
import type { EngineContext } from './context.js';
import { codeDetail, failureDetail, judgeCommitFailure, NO_LOGIN, NO_SLOT, sqlFailure } from './failure.js';
import { floorOf } from './floor.js';
import type { Graph, Node } from './graph.js';
import type { Inbox } from './inbox.js';
import type { Journal } from './journal.js';
import { visit } from './nodes/visit.js';
import { type Outcome, outcomeText } from './outcome.js';
import type { Scope } from './scope.js';
import { type StepResult, Stopped, Strand } from './strand.js';
import type { Bindings } from './substitute.js';

export type Halt =
  /** Completed or failed, and committed. */
  | 'finished'
  /** The lease was given back in the database. */
  | 'released'
  /** The instance belongs to somebody else now, or was cancelled: nothing more may be written. */
  | 'lost'
  /** Something uncommitted was given up: walk again from the journal. */
  | 'again'
  /** The connection was lost; the database knows what was committed: release, and load again. */
  | { readonly retryIn: number; readonly counts: boolean };

/** The instance shows as running: said once per claim, with what is written first. */
export const SHOWN: Entry = { node: '', stamp: '', kind: 's', value: null, due: null };
/** Spares a short instance the look into the journal when it ends. */
const UNJOURNALED: Entry = { node: '', stamp: '', kind: 'n', value: null, due: null };
/** A timer that ends within this time is waited for in memory. */
const HOLD_MS = 50;
/** So many signals in memory are looked through for those that nobody can take any more. */
const TIDY_AT = 64;
/** A strand that has had its session for this long gives way to others that wait. */
const QUANTUM_MS = 1000;
/** Attempts at a serializable step; fewer than the lost connections that a step survives. */
const MAX_CONFLICTS = 8;

/** What a strand waits for: a time, or that `ready` holds, which is looked at when signals come. */
interface Wait {
  readonly dueAt: number;
  readonly ready: (() => boolean) | undefined;
  timer: NodeJS.Timeout | undefined;
  /** Its strand is active from now on. */
  over(): void;
}

export class Walk {
  readonly instance: ClaimedInstance;
  readonly graph: Graph;
  readonly journal: Journal;
  readonly inbox: Inbox;
  readonly context: EngineContext;
  /** Entries made in this walk: a composite during which none was made has been stamped before. */
  made = 0;
  /** Whether all that is active waits for something outside the database. */
  isAway = false;
  /** Resolves once, with the reason for which the walk ended. */
  readonly halted: Promise<Halt>;

  #halt!: (halt: Halt) => void;
  #isHalted = false;
  #parking = false;
  #ending = false;
  #active = 0;
  /** Of these, how many wait for something outside the database. */
  #outside = 0;
  /** Whether something was committed since the claim. */
  progressed = false;
  #since = performance.now();
  readonly #strands = new Set<Strand>();
  readonly #waits = new Map<Strand, Wait>();
  readonly #marked = new Map<string, string>();

  constructor(
    instance: ClaimedInstance,
    graph: Graph,
    journal: Journal,
    inbox: Inbox,
    context: EngineContext,
  ) {
    this.instance = instance;
    this.graph = graph;
    this.journal = journal;
    this.inbox = inbox;
    this.context = context;
    this.halted = new Promise((resolve) => {
      this.#halt = resolve;
    });
  }

  // ---- the way through the graph ------------------------------------------------------------------------------

  /** Runs a node in a scope: binds its name, and stamps a composite that has ended. */
  async run(node: Node, scope: Scope, strand: Strand): Promise<Outcome> {
    strand.check();
    const made = this.made;
    strand.path.push({ node: node.id, scope });
    const outcome = await visit(this, node, scope, strand);
    strand.path.pop();
    if (outcome.kind === 'done' && node.resultName !== null) scope.names.set(node.resultName, outcome.result);
    // a failure at COMMIT is in the journal before the nodes around it are stamped
    if (isComposite(node) && (this.made !== made || outcome.kind === 'failed')) {
      this.stamp(node, scope.stamp, outcome, strand);
    }
    return outcome;
  }

  /** The end of a node whose result follows from others'. */
  stamp(node: Node, stamp: string, outcome: Outcome, strand: Strand): void {
    const kind = outcome.kind === 'failed' ? 'F' : 'C';
    strand.push({ node: node.id, stamp, kind, value: outcomeText(outcome), due: null });
  }

  bindings(scope: Scope): Bindings {
    const { id, label, vars } = this.instance;
    return { instanceId: id, label, variables: new Map(Object.entries(vars)), names: scope.names };
  }

  /** The first strand. */
  begin(): Strand {
    this.#active = 1;
    return this.#strand(null);
  }

  /** Strands for the branches of a join or race; the parent is suspended until it adopts one of them. */
  fork(parent: Strand, count: number): Strand[] {
    parent.state = 'suspended';
    parent.releaseSession();
    this.#active += count - 1;
    this.#weigh();
    return Array.from({ length: count }, () => this.#strand(parent));
  }

  /** A branch has ended and others go on. Its work must be committed. */
  async endBranch(branch: Strand): Promise<void> {
    branch.releaseSession();
    branch.state = 'ended';
    this.#strands.delete(branch);
    await this.#deactivate(branch);
  }

  /** The parent goes on with what its last branch has. */
  resume(parent: Strand, branch: Strand): void {
    this.#strands.delete(branch);
    parent.adopt(branch);
    parent.state = 'active';
  }

  /** Stops a branch that has lost a race, with the branches below it. */
  abandon(branch: Strand): void {
    for (const strand of this.#strands) {
      if (!strand.isWithin(branch)) continue;
      if (strand.state === 'active' && !strand.stopped) this.#active -= 1;
      this.#strands.delete(strand);
      clearTimeout(this.#waits.get(strand)?.timer);
      this.#waits.delete(strand);
      strand.stop();
      this.#comeBack(strand);
    }
    this.#weigh();
  }

  // ---- waiting --------------------------------------------------------------------------------------------------

  /**
   * Waits for a time that the journal knows, or until `ready` holds. Parks the instance when nothing else can happen.
   * @param milliseconds may be infinite
   */
  async wait(strand: Strand, milliseconds: number, ready?: () => boolean): Promise<void> {
    const dueAt = performance.now() + Math.max(0, milliseconds);
    if (ready?.()) return;
    const alone = this.#active === 1 && !this.inbox.busy;
    if (this.leaving && alone && this.#waits.size === 0) await this.#park(strand, dueAt, ready);
    if (milliseconds <= 0) return;
    if (alone && milliseconds > HOLD_MS) await this.#park(strand, dueAt, ready);
    await strand.flush();
    if (ready?.()) return;
    strand.releaseSession();
    strand.state = 'waiting';
    const over = this.#waitUntil(strand, dueAt, ready);
    // what came while nothing listened has not been asked for
    if (ready !== undefined) this.context.wake();
    await this.#deactivate(strand);
    await over;
    strand.check();
  }

  /**
   * Does something that needs no session, with everything before it committed. While all that is active does so, the
   * instance takes no room of the executor's.
   * @param work is told by the signal when the strand is stopped
   */
  async outside<T>(strand: Strand, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    await strand.flush();
    strand.releaseSession();
    const controller = new AbortController();
    strand.outside = controller;
    this.#outside += 1;
    this.#weigh();
    try {
      return await work(controller.signal);
    } finally {
      if (!strand.stopped) this.#comeBack(strand);
      strand.check();
    }
  }

  /** While the executor is stopping, gives back an instance of which nothing else is under way. */
  leaveNow(): void {
    if (this.leaving && this.#active === 1 && this.#waits.size === 0)
      this.haltHere({ retryIn: 0, counts: false });
  }

  #comeBack(strand: Strand): void {
    if (strand.outside === null) return;
    strand.outside = null;
    this.#outside -= 1;
    this.#weigh();
  }

  #weigh(): void {
    const isAway = this.#outside > 0 && this.#active === this.#outside && !this.#isHalted;
    if (isAway === this.isAway) return;
    this.isAway = isAway;
    this.context.away(isAway ? 1 : -1);
  }

  /** Gives the instance back for this time, if nothing else of it can happen before. */
  async standAside(strand: Strand, milliseconds: number): Promise<void> {
    if (this.#active === 1 && this.#waits.size === 0 && !this.inbox.busy)
      await this.#park(strand, performance.now() + milliseconds);
  }

  #waitUntil(strand: Strand, dueAt: number, ready: Wait['ready']): Promise<void> {
    return new Promise((resolve) => {
      const wait: Wait = {
        dueAt,
        ready,
        timer: undefined,
        over: () => {
          if (this.#parking || this.#isHalted) return;
          clearTimeout(wait.timer);
          this.#waits.delete(strand);
          strand.state = 'active';
          this.#active += 1;
          this.#weigh();
          resolve();
        },
      };
      this.#waits.set(strand, wait);
      if (dueAt < Number.POSITIVE_INFINITY) setTimer(wait);
    });
  }

  async #deactivate(strand: Strand): Promise<void> {
    if (strand.stopped) return;
    this.#active -= 1;
    this.#weigh();
    while (this.#active === 0 && this.inbox.busy) await this.inbox.settled();
    if (this.#active > 0 || this.#isHalted || this.#parking) return;
    const due = this.#earliest(Number.POSITIVE_INFINITY);
    if (due - performance.now() > HOLD_MS) await this.#park(strand, due);
  }

  #earliest(dueAt: number): number {
    return Math.min(dueAt, ...[...this.#waits.values()].map((wait) => wait.dueAt));
  }

  async #park(strand: Strand, dueAt: number, ready?: Wait['ready']): Promise<never> {
    this.#parking = true;
    const earliest = this.#earliest(dueAt);
    const listens = ready !== undefined || this.listens;
    strand.pending.unshift(...this.#marks()); // first: a timer that begins shows by itself
    const gone = this.inbox.gone((name) => floorOf(name, this.graph, this.#strands, false));
    const inbox: InboxChange | undefined = gone.length > 0 ? { gone } : undefined;
    const seconds = Math.max(0, earliest - performance.now()) / 1000;
    await strand.flush({ kind: 'parked', wake: seconds < Number.POSITIVE_INFINITY ? seconds : null }, inbox);
    strand.releaseSession();
    if (listens) this.context.wake();
    this.context.due(Math.max(0, earliest - performance.now()));
    this.halt('released');
    throw new Stopped();
  }

  // ---- signals --------------------------------------------------------------------------------------------------

  /** Whether a strand waits for a signal. */
  get listens(): boolean {
    for (const wait of this.#waits.values()) if (wait.ready !== undefined) return true;
    return false;
  }

  /** Whether signals can still be taken in this walk. */
  get hears(): boolean {
    return !this.#parking && !this.#ending && !this.#isHalted;
  }

  /** The instance ends now: resolves when it is known what has to go with it. */
  async ends(): Promise<InboxChange | undefined> {
    this.#ending = true;
    await this.inbox.settled();
    return this.inbox.used ? { all: true } : undefined;
  }

  /** Signals have come into the inbox. */
  heard(): void {
    for (const wait of [...this.#waits.values()]) if (wait.ready?.()) wait.over();
  }

  /** The oldest signal of a name beyond a position. */
  async signal(
    name: string,
    after: number,
    strand: Strand,
  ): Promise<{ readonly pos: number; readonly data: string } | null> {
    const found = this.inbox.next(name, after);
    if (found !== undefined && found.data !== null) return { pos: found.pos, data: found.data };
    if (found === undefined && !this.inbox.partial) return null;
    let row: SignalRow | null;
    try {
      row = await this.context.readSignal(this.instance.id, name, after);
    } catch {
      return this.haltHere({ retryIn: 1, counts: false });
    }
    strand.check();
    if (row === null) return null;
    const [seq, pos, , data] = row;
    this.inbox.note({ seq, pos, name, data: null });
    return { pos, data: data ?? 'null' };
  }

  /** A last look before a wait is given up for its time. */
  async lookForSignals(strand: Strand): Promise<void> {
    await this.context.look();
    await this.inbox.settled();
    strand.check();
  }

  /** A loop that is never parked must not keep what it has taken. */
  tidyInbox(): void {
    if (this.inbox.size < TIDY_AT) return;
    const gone = this.inbox.gone((name) => floorOf(name, this.graph, this.#strands, true));
    if (gone.length === 0) return;
    this.inbox.drop(gone);
    const { id, token } = this.instance;
    const change = { instance: id, token, entries: [], end: null, generation: null, events: null };
    this.context.outbox.send({ ...change, inbox: { gone } }).then(
      (lost) => lost && this.hears && this.halt('lost'),
      () => {}, // they come again with the next claim
    );
  }

  // ---- ends -----------------------------------------------------------------------------------------------------

  /** Ends the walk; the first reason counts. Safe to call at any time, from anywhere. */
  halt(halt: Halt): void {
    if (this.#isHalted) return;
    this.#isHalted = true;
    for (const wait of this.#waits.values()) clearTimeout(wait.timer);
    this.#waits.clear();
    for (const strand of this.#strands) strand.stop();
    this.#strands.clear();
    this.#weigh();
    this.#halt(halt);
  }

  /** Halts and unwinds the strand that calls. */
  haltHere(halt: Halt): never {
    this.halt(halt);
    throw new Stopped();
  }

  checkpoint(strand: Strand, end: End | null): Checkpoint {
    const { id, token } = this.instance;
    const events = this.instance.events + this.made;
    const entries = [...strand.pending];
    if (!this.progressed && entries.length > 0 && (end === null || end.kind === 'parked'))
      entries.unshift(SHOWN);
    // while there is only one strand, what it has not heard of has not happened: it would have been halted
    const ends = end !== null && (end.kind === 'completed' || end.kind === 'failed');
    if (ends && !this.progressed && this.journal.isEmpty && this.#strands.size === 1)
      entries.unshift(UNJOURNALED);
    return { instance: id, token, entries, end, generation: strand.generation, events };
  }

  confirm(entries: readonly Entry[]): void {
    this.journal.confirm(entries);
    this.progressed = true;
  }

  /** Writes a checkpoint that belongs to no step. */
  async send(checkpoint: Checkpoint): Promise<void> {
    if (await this.context.outbox.send(checkpoint)) this.haltHere('lost');
  }

  // ---- sessions -------------------------------------------------------------------------------------------------

  /** A session for the strand's step; when there is none to be had, the step's failure, or the walk is halted. */
  async acquire(strand: Strand): Promise<Session | Extract<StepResult, { kind: 'refused' }>> {
    const { pool, settings } = this.context;
    const { role, roleId } = this.instance;
    if (role === null || roleId === null)
      return {
        kind: 'refused',
        text: this.#noConnection(`role "${this.instance.graph.role}" does not exist`),
        code: NO_LOGIN,
      };
    const database = this.#database;
    const first = !this.progressed && this.#strands.size === 1;
    const captures = this.context.captures(role);
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
        if (first) return this.haltHere({ retryIn: 0.2, counts: false });
        return { kind: 'refused', text: this.#noSlot(), code: NO_SLOT };
      }
      if (error instanceof LoginRefused) return await this.#awaitLogin(strand, error, captures);
      if (!(error instanceof OpenFailure)) throw error;
      if (error.kind === 'unavailable') {
        this.context.log.warn(
          { instance: this.instance.id, code: error.code },
          'no session for a step, trying again',
        );
        return this.haltHere({ retryIn: 1, counts: false });
      }
      return { kind: 'refused', text: this.#noConnection(error.message), code: error.code };
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
    const role = this.instance.role as string;
    const { login, expired } = await this.context.roleState(role);
    strand.check();
    if (!login) return { kind: 'refused', text: this.#noConnection(failure.message), code: NO_LOGIN };
    const why = whyNoLogin(role, failure, expired);
    await this.send({
      ...this.checkpoint(strand, null),
      entries: [],
      end: { kind: 'waiting', why, wake: Math.max(0.1, retryInMs / 1000) },
    });
    // a login since then has found nothing waiting
    if (this.context.captures(role) !== captures) this.context.resume(role);
    else this.context.due(retryInMs);
    return this.haltHere('released');
  }

  /** Whether the steps run in another database than the engine's tables are in. */
  get elsewhere(): boolean {
    return this.#database !== this.context.settings.controlDatabase;
  }

  /** Why the role can have no session any more; null while it can. */
  async roleIsGone(): Promise<string | null> {
    const { role, graph } = this.instance;
    if (role !== null && (await this.context.roleState(role)).login) return null;
    const name = role ?? graph.role;
    return this.#noConnection(
      `role "${name}" ${role === null ? 'does not exist' : 'is not permitted to log in'}`,
    );
  }

  get #database(): string {
    return this.instance.database ?? this.context.settings.controlDatabase;
  }

  #noConnection(why: string): string {
    const role = this.instance.role ?? this.instance.graph.role;
    return `Failed to connect to database '${this.#database}' as '${role}'. Error: ${why}`;
  }

  #noSlot(): string {
    const { pool, settings } = this.context;
    return `pg_durable: connection limit reached (max_user_connections=${pool.limit}). Timed out after ${settings.acquireTimeoutMs / 1000}s waiting for an available execution slot.`;
  }

  release(session: Session): void {
    this.context.pool.release(session);
  }

  handOver(session: Session): boolean {
    return this.context.pool.handOver(session);
  }

  discard(session: Session): void {
    this.context.pool.discard(session);
  }

  /** Whether the executor is stopping: no step may begin that need not. */
  get leaving(): boolean {
    return this.context.leaving();
  }

  /** Whether others have waited long enough for the strand's session: of the same role, or of one whose turn it is. */
  mustYield(session: Session): boolean {
    const { pool, backlog } = this.context;
    if (pool.owed(session.roleId)) return true;
    return performance.now() - this.#since > QUANTUM_MS && (pool.waiting > 0 || backlog());
  }

  /** Gives way: the whole instance goes to the end of the queue, or, while it has other strands, just this session. */
  async yieldSlot(strand: Strand): Promise<void> {
    if (this.#active === 1 && (this.leaving || this.#waits.size === 0))
      await this.#park(strand, performance.now());
    await strand.flush();
    strand.releaseSession();
  }

  // ---- failures of the connection and of commits --------------------------------------------------------------------

  connectionLost(_strand: Strand, lost: ConnectionLost): never {
    const { id, attempts } = this.instance;
    this.context.log.warn({ instance: id, code: lost.server?.code }, 'the connection of a step was lost');
    const counts = !this.progressed;
    return this.haltHere({ retryIn: counts ? Math.min(5, 0.1 * 2 ** attempts) : 0, counts });
  }

  /**
   * A serializable step was given up by the server: run it again, unless that has been tried too often in a row; then
   * it goes back to the caller as the step's error.
   */
  conflict(error: ServerError): void {
    const { id, attempts } = this.instance;
    if (!this.progressed && attempts >= MAX_CONFLICTS) return;
    this.context.log.debug({ instance: id, code: error.code }, 'a serializable step is run again');
    this.haltHere({
      retryIn: Math.random() * 0.02 * 2 ** (this.progressed ? 0 : attempts),
      counts: !this.progressed,
    });
  }

  /** BEGIN, ROLLBACK or DISCARD ALL failed: the session is of no use. */
  sessionFailed(_strand: Strand, error: ServerError): never {
    this.context.log.warn({ instance: this.instance.id, code: error.code }, 'a session could not be reset');
    return this.haltHere({ retryIn: 0.1, counts: true });
  }

  /**
   * The commit of a step failed: it is the step's error, unless it was ours. Nothing of the step has taken effect. The
   * strand has already gone on as if it had, so the walk starts again from the journal.
   */
  async commitFailed(strand: Strand, error: ServerError, stage: 'checkpoint' | 'commit'): Promise<never> {
    if (isSsiConflict(error)) this.conflict(error);
    const entries = strand.pending;
    const at = entries.findLastIndex((entry) => entry.step === true);
    const step = entries[at];
    const verdict = judgeCommitFailure(error, stage);
    if (verdict === 'lost') return this.haltHere('lost');
    if (typeof verdict === 'object') return this.haltHere(verdict);
    if (verdict === 'checkpoint may follow') {
      await this.send({ ...this.checkpoint(strand, null) });
      this.confirm(entries);
      return this.#again();
    }
    if (step === undefined) return this.haltHere({ retryIn: 0.1, counts: true });
    const text = verdict === 'no role' ? this.#noConnection(error.message) : sqlFailure(error.message);
    // the context of a failed checkpoint is ours, and with log_parameter_max_length_on_error it would show the token
    const told = stage === 'checkpoint' ? { ...error, where: undefined } : error;
    const detail = verdict === 'no role' ? codeDetail(NO_LOGIN) : failureDetail(told, step.statement);
    const failure: Entry = { ...step, kind: 'f', value: text, detail };
    const written = [...entries.slice(0, at), failure];
    await this.send({ ...this.checkpoint(strand, null), entries: written, generation: null });
    this.confirm(written);
    return this.#again();
  }

  /**
   * From the journal anew. With other strands under way under a new token: what they have sent and we have given up may
   * still reach the server.
   */
  #again(): never {
    return this.haltHere(this.#strands.size > 1 ? { retryIn: 0, counts: false } : 'again');
  }

  // ---- what shows as running ----------------------------------------------------------------------------------------

  /** Whether a step has run for so long that users should see it; the entries that say so. */
  overdueMarks(milliseconds: number): Entry[] {
    const now = performance.now();
    for (const strand of this.#strands) {
      if (strand.stepSince !== null && now - strand.stepSince > milliseconds) return this.#marks();
    }
    return [];
  }

  #marks(): Entry[] {
    const marks: Entry[] = [];
    for (const strand of this.#strands) {
      for (const { node, scope } of strand.path) {
        const stamp = scope.stamp;
        if (this.#marked.get(node) === stamp) continue;
        this.#marked.set(node, stamp);
        marks.push({ node, stamp, kind: 'r', value: null, due: null });
      }
    }
    return marks;
  }

  #strand(parent: Strand | null): Strand {
    const strand = new Strand(this, parent);
    this.#strands.add(strand);
    return strand;
  }
}

/** In steps, because a timer of Node holds 24 days at most. */
function setTimer(wait: Wait): void {
  const left = wait.dueAt - performance.now();
  wait.timer = setTimeout(
    () => (performance.now() < wait.dueAt ? setTimer(wait) : wait.over()),
    Math.min(Math.max(left, 0), 1e9),
  );
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

function isComposite(node: Node): boolean {
  // a loop stamps itself, in the scope of its iterations
  return node.type === 'THEN' || node.type === 'IF' || node.type === 'JOIN' || node.type === 'RACE';
}
