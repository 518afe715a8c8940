/** How the nodes of a walk come to their signals, and which of them the database may forget. */
import type { Strand } from './strand.js';
import type { Walk } from './walk.js';

/** So many signals in memory are looked through for those that nobody can take any more. */
const TIDY_AT = 64;

/** The oldest signal of a name beyond a position. */
export async function nextSignal(
  walk: Walk,
  name: string,
  after: number,
  strand: Strand,
): Promise<{ readonly pos: number; readonly data: string } | null> {
  const found = walk.inbox.next(name, after);
  if (found !== undefined && found.data !== null) return { pos: found.pos, data: found.data };
  if (found === undefined && !walk.inbox.partial) return null;
  const row = await walk.ask(walk.context.readSignal(walk.instance.id, name, after));
  strand.check();
  if (row === null) return null;
  const [seq, pos, , data] = row;
  walk.inbox.note({ seq, pos, name, data: null });
  return { pos, data: data ?? 'null' };
}

/** A last look before a wait is given up for its time. */
export async function lookForSignals(walk: Walk, strand: Strand): Promise<void> {
  if (!(await walk.context.look())) walk.haltHere({ retryIn: 0, counts: false });
  await walk.inbox.settled();
  strand.check();
}

/** A loop that is never parked must not keep what it has taken. */
export function tidyInbox(walk: Walk): void {
  // a look costs the number of names times that of strands: not at each signal, where few of many can go
  walk.inbox.taken += 1;
  if (walk.inbox.size < TIDY_AT || walk.inbox.taken < walk.inbox.size / 8) return;
  walk.inbox.taken = 0;
  const gone = walk.inbox.gone((name) => walk.floorOf(name, true));
  if (gone.length === 0) return;
  walk.inbox.drop(gone);
  const { id, token } = walk.instance;
  const change = { instance: id, token, entries: [], end: null, generation: null, events: null };
  walk.context.outbox.send({ ...change, inbox: { gone } }).then(
    (lost) => lost && walk.hears && walk.halt('lost'),
    () => {}, // they come again with the next claim
  );
}
