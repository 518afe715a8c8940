/**
 * An instance that this executor holds: from the claim until it is finished, given back or lost.
 *
 * claimed → walking → finished | released | lost, with walking → walking when something uncommitted was given up.
 */
import type { Checkpoint, End } from '../state/checkpoint.js';
import type { ClaimedInstance, SignalRow } from '../state/claim.js';
import type { EngineContext } from './context.js';
import { EventCount } from './event-count.js';
import { buildGraph, type Graph, GraphError } from './graph.js';
import { Inbox } from './inbox.js';
import { Journal } from './journal.js';
import { type Done, type Failed, failed } from './outcome.js';
import { Scope } from './scope.js';
import { Stopped } from './strand.js';
import { type Halt, SHOWN, Walk } from './walk.js';

/** In a row, without getting any further. A step whose connection is lost has a lower limit of its own. */
const MAX_ATTEMPTS = 20;
const OUTSIDE_LOOP = 'df.break() was called outside of a loop. df.break() may only be used inside df.loop().';

export class Instance {
  readonly claimed: ClaimedInstance;
  readonly #context: EngineContext;
  readonly #inbox: Inbox;
  readonly #events: EventCount;
  /** Signals have come while they could not be taken in. */
  #missed = false;
  /** When signals were last numbered (performance.now). */
  #numberedAt = 0;
  #walk: Walk | null = null;
  #lost = false;
  #released = false;

  /** @param signals the new ones of this claim */
  constructor(claimed: ClaimedInstance, signals: readonly SignalRow[], context: EngineContext) {
    this.claimed = claimed;
    this.#context = context;
    this.#inbox = new Inbox(claimed.inbox, signals);
    this.#events = new EventCount(claimed.events);
  }

  /** Runs until the executor's hold has ended. Never throws. */
  async run(): Promise<void> {
    try {
      if (this.claimed.attempts >= MAX_ATTEMPTS) {
        await this.#write({
          kind: 'failed',
          output: `given up after ${this.claimed.attempts} attempts to continue`,
        });
        return;
      }
      const graph = this.#load();
      if (typeof graph === 'string') {
        await this.#write({ kind: 'failed', output: graph });
        return;
      }
      const journal = new Journal(this.claimed.journal ?? []);
      for (;;) {
        const halt = await this.#walkOnce(graph, journal);
        if (halt === 'again') continue;
        if (typeof halt === 'object') await this.#giveBack(halt);
        return;
      }
    } catch (error) {
      this.#context.log.error(
        { instance: this.claimed.id, err: error },
        'an instance could not be continued',
      );
      await this.#giveBack({ retryIn: 5, counts: true }).catch(() => {});
    }
  }

  /** Whether it does nothing but wait for answers to requests. */
  get isAway(): boolean {
    return this.#walk?.waiting.isAway ?? false;
  }

  /** It is not ours any more (cancelled, lease lost): stop everything, write nothing. */
  lose(): void {
    this.#lost = true;
    this.#walk?.halt('lost');
  }

  /** Gives it back at the next possible moment: what is under way is rolled back. For a shutdown. */
  release(): void {
    this.#released = true;
    this.#walk?.halt({ retryIn: 0, counts: false });
  }

  /** Whether something in it waits for a signal. */
  get listens(): boolean {
    return this.#walk?.waiting.listens ?? false;
  }

  /**
   * New signals, with the positions that they are to have: they are numbered under the token, then they are heard. One
   * list at a time, because waits take signals in their order; what is left out here comes again with a later claim.
   * @param askedAt when they were asked for (performance.now): what was numbered later may be among them
   */
  deliver(signals: readonly SignalRow[], askedAt: number): void {
    if (signals.length === 0) return;
    if (!(this.#walk?.hears ?? false) || this.#inbox.busy || askedAt <= this.#numberedAt) {
      this.#missed = true;
      return;
    }
    const numbered = signals.map(([seq, pos]) => [seq, pos] as const);
    const written = this.#context.outbox.send({ ...this.#checkpoint(null), inbox: { numbered } }).then(
      (lost) => {
        if (lost) return this.lose();
        this.#inbox.add(signals);
        this.#walk?.waiting.heard(); // before anybody can find that nothing is being numbered any more
      },
      () => {},
    );
    this.#inbox.numbering(
      written.finally(() => {
        this.#numberedAt = performance.now();
        this.#missed = false;
        this.#context.wake(); // for what has come since
      }),
    );
  }

  /** Shows the nodes on the way to a step that has run for longer than this as running. */
  markOverdue(milliseconds: number): void {
    // a step under a snapshot fails when its node's row is marked meanwhile: the second time it is left in peace
    if (this.claimed.attempts > 0) return;
    const entries = this.#walk?.overdueMarks(milliseconds) ?? [];
    if (entries.length === 0) return;
    this.#context.outbox.send({ ...this.#checkpoint(null), entries: [SHOWN, ...entries] }).then(
      (lost) => lost && this.lose(),
      () => {},
    );
  }

  /** The graph, or why there is none to run. */
  #load(): Graph | string {
    const { id, role, superuser, graph } = this.claimed;
    // what changes later counts where it matters: a role dropped meanwhile fails the next step
    if (isFresh(this.claimed)) {
      if (role === null) return `Instance ${id}: submitted_by role no longer exists in pg_roles`;
      if (superuser === true && !this.#context.settings.enableSuperuserInstances) {
        return `pg_durable blocked instance ${id}: submitted_by role "${role}" is a superuser, but pg_durable.enable_superuser_instances is off`;
      }
    }
    try {
      return buildGraph(graph);
    } catch (error) {
      if (error instanceof GraphError) return `Instance ${id}: ${error.message}`;
      throw error;
    }
  }

  async #walkOnce(graph: Graph, journal: Journal): Promise<Halt> {
    const walk = new Walk(this.claimed, graph, journal, this.#inbox, this.#events, this.#context);
    this.#walk = walk;
    if (this.#lost) return 'lost';
    if (this.#released) return { retryIn: 0, counts: false };
    this.#toEnd(walk).catch((error: unknown) => {
      if (error instanceof Stopped) return;
      this.#context.log.error(
        { instance: this.claimed.id, err: error },
        'an instance could not be continued',
      );
      walk.halt({ retryIn: 5, counts: true });
    });
    const halt = await walk.halted;
    this.#walk = null;
    if (this.#missed) this.#context.wake();
    this.#missed = false;
    return this.#lost ? 'lost' : halt;
  }

  async #toEnd(walk: Walk): Promise<void> {
    const { id, generation } = this.claimed;
    const strand = walk.begin();
    const scope = new Scope(id, walk.graph.root.id, generation, []);
    const outcome = await walk.run(walk.graph.root, scope, strand);
    const inbox = await walk.ends();
    await strand.flush(endOf(outcome.kind === 'break' ? failed(OUTSIDE_LOOP) : outcome), inbox);
    strand.releaseSession();
    walk.halt('finished');
  }

  async #giveBack(halt: Extract<Halt, object>): Promise<void> {
    await this.#write(
      halt.counts ? { kind: 'retry', wake: halt.retryIn } : { kind: 'parked', wake: halt.retryIn },
    );
    this.#context.due(halt.retryIn * 1000);
  }

  async #write(end: End): Promise<void> {
    await this.#context.outbox.send(this.#checkpoint(end));
  }

  #checkpoint(end: End | null): Checkpoint {
    const { id, token } = this.claimed;
    const ends = end !== null && (end.kind === 'completed' || end.kind === 'failed');
    const inbox = ends && this.#inbox.used ? ({ all: true } as const) : undefined;
    return { instance: id, token, entries: [], end, generation: null, events: null, inbox };
  }
}

/** Whether nothing of it has been done. */
function isFresh({ journal, generation }: ClaimedInstance): boolean {
  return journal === null && generation === 1;
}

function endOf(outcome: Done | Failed): End {
  return outcome.kind === 'done'
    ? { kind: 'completed', output: outcome.result.text }
    : { kind: 'failed', output: outcome.error };
}
