/**
 * The signals of an instance, in memory: those that are numbered, in the order of their positions. It belongs to the
 * executor's hold, as the journal does; what a walk has taken is in the walk's scopes, not here.
 *
 * Very many signals may wait: then only the first are here (`partial`), and the database is asked for the others.
 *
 * Signals that come while the instance is held are numbered before they are here. While that is under way (`busy`) the
 * instance is not parked: a numbered signal wakes nobody who has not seen it.
 */
import { SIGNALS_AT_ONCE, type SignalRow } from '../state/claim.js';

/** More than these are not kept in memory. */
const LIMIT = 1000;

export interface Signal {
  readonly seq: number;
  readonly pos: number;
  readonly name: string;
  /** null: to be read. */
  readonly data: string | null;
}

export class Inbox {
  /** Counts what came. */
  version = 0;
  /** Whether there was ever anything: then rows may be left in the database. */
  used = false;
  /** Taken since the last look which of them nobody can take any more. */
  taken = 0;
  #signals: Signal[] = [];
  /** Here are all up to this position. */
  #through = Number.POSITIVE_INFINITY;
  #numbering: Promise<void> | null = null;

  /** @param lists as they came with a claim, in the order of their positions */
  constructor(...lists: ReadonlyArray<readonly SignalRow[] | null | undefined>) {
    for (const list of lists) this.add(list ?? []);
  }

  /** Whether there may be more in the database than here. */
  get partial(): boolean {
    return this.#through !== Number.POSITIVE_INFINITY;
  }

  /** Known and not yet dropped. */
  get size(): number {
    return this.#signals.length;
  }

  get busy(): boolean {
    return this.#numbering !== null;
  }

  /** Numbered signals; their positions are higher than all before. */
  add(rows: readonly SignalRow[]): void {
    if (rows.length === 0) return;
    this.version += 1;
    this.used = true;
    if (this.partial) return;
    for (const [seq, pos, name, data] of rows) this.#signals.push({ seq, pos, name, data });
    if (rows.length >= SIGNALS_AT_ONCE || this.#signals.length >= LIMIT)
      this.#through = rows.at(-1)?.[1] ?? 0;
  }

  /** One that was read from the database, beyond those that are here. */
  note(signal: Signal): void {
    if (!this.#signals.some((one) => one.seq === signal.seq)) this.#signals.push(signal);
  }

  /** The oldest of a name beyond a position. */
  next(name: string, after: number): Signal | undefined {
    return this.#signals.find((one) => one.pos > after && one.pos <= this.#through && one.name === name);
  }

  /** seq of those that nobody can take any more. @param floor every scope has gone beyond this position of a name */
  gone(floor: (name: string) => number): number[] {
    if (this.#signals.length === 0) return [];
    const floors = new Map<string, number>();
    const gone: number[] = [];
    for (const { seq, pos, name } of this.#signals) {
      const known = floors.get(name) ?? floor(name);
      floors.set(name, known);
      if (pos <= known) gone.push(seq);
    }
    return gone;
  }

  drop(gone: readonly number[]): void {
    const dropped = new Set(gone);
    this.#signals = this.#signals.filter(({ seq }) => !dropped.has(seq));
  }

  /** Signals are being numbered until this promise settles. */
  numbering(written: Promise<void>): void {
    const mine = written.finally(() => {
      if (this.#numbering === mine) this.#numbering = null;
    });
    this.#numbering = mine;
  }

  /** Resolves when nothing is being numbered. */
  async settled(): Promise<void> {
    while (this.#numbering !== null) await this.#numbering;
  }
}
