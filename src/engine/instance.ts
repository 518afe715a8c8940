/**
 * An instance that this executor holds: from the claim until it is finished, given back or lost.
 *
 * claimed → walking → finished | released | lost, with walking → walking when something uncommitted was given up.
 */
import type { Checkpoint, End } from '../state/checkpoint.js';
import type { ClaimedInstance } from '../state/claim.js';
import type { EngineContext } from './context.js';
import { buildGraph, type Graph, GraphError } from './graph.js';
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
  #walk: Walk | null = null;
  #lost = false;
  #released = false;

  constructor(claimed: ClaimedInstance, context: EngineContext) {
    this.claimed = claimed;
    this.#context = context;
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
    const walk = new Walk(this.claimed, graph, journal, this.#context);
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
    return this.#lost ? 'lost' : halt;
  }

  async #toEnd(walk: Walk): Promise<void> {
    const { id, generation } = this.claimed;
    const strand = walk.begin();
    const scope = new Scope(id, walk.graph.root.id, generation, []);
    const outcome = await walk.run(walk.graph.root, scope, strand);
    await strand.flush(endOf(outcome.kind === 'break' ? failed(OUTSIDE_LOOP) : outcome));
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
    const { id, token, events } = this.claimed;
    return { instance: id, token, entries: [], end, generation: null, events };
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
