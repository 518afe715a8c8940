/**
 * Counts what has happened in the current execution of an instance (df.instance_executions): what its journal was told.
 * Each iteration of a loop at the root is an execution, whose count begins anew. The count outlives a walk that begins
 * again from the journal.
 */
export class EventCount {
  #current: number;
  #closed = 0;

  /** @param recorded as the instance's row has it */
  constructor(recorded: number) {
    this.#current = recorded;
  }

  add(): void {
    this.#current += 1;
  }

  /** The next execution begins. */
  close(): void {
    this.#closed = this.#current;
    this.#current = 0;
  }

  /** What goes with a checkpoint: with one that brings a new execution, the count of the one before. */
  of(generation: number | null): number {
    return generation === null ? this.#current : this.#closed;
  }
}
