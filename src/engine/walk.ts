/**
 * One walk over an instance's graph: what the journal has is skipped, what it lacks is run.
 *
 * A walk ends in one of the ways of `Halt`. It is halted from inside a strand (which then throws Stopped) or from
 * outside; the first reason counts, and every strand is stopped. Strands that are stopped write nothing any more.
 *
 * Here are the way through the graph, the strands, and the ends; what strands wait for is in waiting.ts, their sessions
 * in step-sessions.ts, failures of connections and commits in setbacks.ts, signals in taking.ts.
 */
import type { Checkpoint, End, Entry, InboxChange } from '../state/checkpoint.js';
import type { ClaimedInstance } from '../state/claim.js';
import type { EngineContext } from './context.js';
import type { EventCount } from './event-count.js';
import { floorOf } from './floor.js';
import type { Graph, Node } from './graph.js';
import type { Inbox } from './inbox.js';
import type { Journal } from './journal.js';
import { visit } from './nodes/visit.js';
import { type Outcome, outcomeText } from './outcome.js';
import type { Scope } from './scope.js';
import { StepSessions } from './step-sessions.js';
import { Stopped, Strand } from './strand.js';
import type { Bindings } from './substitute.js';
import { Waiting } from './waiting.js';

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
/** Characters of all results that an instance keeps: they are in memory together, and come with one claim. */
const MOST_KEPT = 128 * 1024 * 1024;
/** A result of at most so many characters is not worth counting: there are no more than 10 000 of them. */
const SMALL = 8 * 1024;
/** Why a step or a composite fails whose result does not fit. */
export const TOO_MUCH_KEPT = 'the results of the instance are larger than 128 MiB together';

/** SQLSTATEs of a server that cannot answer now. */
const UNAVAILABLE = /^(?:08|53|55|57)/;

export class Walk {
  readonly instance: ClaimedInstance;
  readonly graph: Graph;
  readonly journal: Journal;
  readonly inbox: Inbox;
  readonly context: EngineContext;
  readonly events: EventCount;
  /** Entries made in this walk: a composite during which none was made has been stamped before. */
  made = 0;
  readonly waiting: Waiting;
  readonly sessions: StepSessions;
  /** Resolves once, with the reason for which the walk ended. */
  readonly halted: Promise<Halt>;

  #halt!: (halt: Halt) => void;
  #isHalted = false;
  #ending = false;
  /** Whether something was committed since the claim. */
  progressed = false;
  /** A strand was given up: what it had sent may be committed without its being heard of. */
  #abandoned = false;
  readonly #strands = new Set<Strand>();
  readonly #marked = new Map<string, string>();

  constructor(
    instance: ClaimedInstance,
    graph: Graph,
    journal: Journal,
    inbox: Inbox,
    events: EventCount,
    context: EngineContext,
  ) {
    this.instance = instance;
    this.graph = graph;
    this.journal = journal;
    this.inbox = inbox;
    this.events = events;
    this.context = context;
    this.waiting = new Waiting(this);
    this.sessions = new StepSessions(this);
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
    return this.#strand(null);
  }

  /** Strands for the branches of a join or race; the parent is suspended until it adopts one of them. */
  fork(parent: Strand, count: number): Strand[] {
    parent.state = 'suspended';
    parent.releaseSession();
    this.waiting.added(count - 1);
    return Array.from({ length: count }, () => this.#strand(parent));
  }

  /** A branch has ended and others go on. Its work must be committed. */
  async endBranch(branch: Strand): Promise<void> {
    branch.releaseSession();
    branch.state = 'ended';
    this.#strands.delete(branch);
    await this.waiting.deactivate(branch);
  }

  /** The parent goes on with what its last branch has. */
  resume(parent: Strand, branch: Strand): void {
    this.#strands.delete(branch);
    parent.adopt(branch);
    parent.state = 'active';
  }

  /** Whether nothing runs beside it. */
  get hasOneStrand(): boolean {
    return this.#strands.size === 1;
  }

  /** Stops a branch that has lost a race, with the branches below it. */
  abandon(branch: Strand): void {
    this.#abandoned = true;
    for (const strand of this.#strands) {
      if (!strand.isWithin(branch)) continue;
      const wasActive = strand.state === 'active' && !strand.stopped;
      this.#strands.delete(strand);
      strand.stop();
      this.waiting.abandoned(strand, wasActive);
    }
  }

  // ---- signals --------------------------------------------------------------------------------------------------

  /** Whether signals can still be taken in this walk. */
  get hears(): boolean {
    return !this.waiting.isParking && !this.#ending && !this.#isHalted;
  }

  /** The position of a name that whatever may still take signals of it has gone beyond (see floor.ts). */
  floorOf(name: string, committed: boolean): number {
    return floorOf(name, this.graph, this.#strands, committed);
  }

  /** The instance ends now: resolves when it is known what has to go with it. */
  async ends(): Promise<InboxChange | undefined> {
    this.#ending = true;
    await this.inbox.settled();
    return this.inbox.used ? { all: true } : undefined;
  }

  // ---- ends -----------------------------------------------------------------------------------------------------

  /** Ends the walk; the first reason counts. Safe to call at any time, from anywhere. */
  halt(halt: Halt): void {
    if (this.#isHalted) return;
    this.#isHalted = true;
    for (const strand of this.#strands) strand.stop();
    this.#strands.clear();
    this.waiting.end();
    this.#halt(halt);
  }

  get isHalted(): boolean {
    return this.#isHalted;
  }

  /** Halts and unwinds the strand that calls. */
  haltHere(halt: Halt): never {
    this.halt(halt);
    throw new Stopped();
  }

  checkpoint(strand: Strand, end: End | null): Checkpoint {
    const { id, token } = this.instance;
    const events = this.events.of(strand.generation);
    const entries = [...strand.pending];
    if (!this.progressed && entries.length > 0 && (end === null || end.kind === 'parked'))
      entries.unshift(SHOWN);
    // while there was only ever one strand, what it has not heard of has not happened: it would have been halted
    const ends = end !== null && (end.kind === 'completed' || end.kind === 'failed');
    const unheard = !this.hasOneStrand || this.#abandoned;
    if (ends && !this.progressed && this.journal.isEmpty && !unheard) entries.unshift(UNJOURNALED);
    return { instance: id, token, entries, end, generation: strand.generation, events };
  }

  /** Whether one more result can be kept besides those that are. */
  hasRoomFor(result: string): boolean {
    if (result.length <= SMALL) return true;
    let size = this.journal.size + result.length;
    for (const { pending } of this.#strands) {
      let before: string | null = null;
      for (const { value } of pending) {
        // what a composite takes over from its last part is the same text in memory
        if (value !== null && value !== before) size += value.length;
        before = value;
      }
    }
    return size <= MOST_KEPT;
  }

  confirm(entries: readonly Entry[]): void {
    this.journal.confirm(entries);
    this.progressed = true;
  }

  /**
   * The answer to a question of the engine's to the database. Where there is none (the connection was cut, say), the
   * instance is given back and goes on from there soon: that is nobody's fault, and counts as no attempt.
   * @throws what the database says of the question; Stopped
   */
  async ask<T>(question: Promise<T>): Promise<T> {
    try {
      return await question;
    } catch (error) {
      const { code, severity } = error as { code?: string; severity?: string };
      if (severity !== undefined && !UNAVAILABLE.test(code ?? '')) throw error;
      if (!this.#isHalted)
        this.context.log.warn(
          { instance: this.instance.id, code },
          'the database did not answer, trying again',
        );
      return this.haltHere({ retryIn: 1, counts: false });
    }
  }

  /** Writes a checkpoint that belongs to no step. */
  async send(checkpoint: Checkpoint): Promise<void> {
    if (await this.context.outbox.send(checkpoint)) this.haltHere('lost');
  }

  /** Whether the executor is stopping: no step may begin that need not. */
  get leaving(): boolean {
    return this.context.leaving();
  }

  // ---- what shows as running ----------------------------------------------------------------------------------------

  /** Whether a step has run for so long that users should see it; the entries that say so. */
  overdueMarks(milliseconds: number): Entry[] {
    const now = performance.now();
    for (const strand of this.#strands) {
      if (strand.stepSince !== null && now - strand.stepSince > milliseconds) return this.marks();
    }
    return [];
  }

  /** The entries that show as running what is entered, and is not shown yet. */
  marks(): Entry[] {
    const marks: Entry[] = [];
    for (const strand of this.#strands) {
      for (const { node, scope } of strand.path) {
        const stamp = node === scope.root && node !== this.graph.root.id ? scope.firstStamp : scope.stamp;
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

function isComposite(node: Node): boolean {
  // a loop stamps itself, in the scope of its iterations
  return node.type === 'THEN' || node.type === 'IF' || node.type === 'JOIN' || node.type === 'RACE';
}
