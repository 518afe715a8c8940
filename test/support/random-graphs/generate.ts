import type { Dice } from '../../chaos/dice.js';
import type { Graph, SqlKind } from './graph.js';

/** What may be where. */
interface Place {
  readonly depth: number;
  readonly inLoop: boolean;
  readonly mayFail: boolean;
}

const SIGNALS = ['a', 'b'] as const;
const CONDITION_NAMES = ['n0', 'n1', 'n2', 's0', 'absent'] as const;

/** Random graphs over all types of nodes. Every one ends: what never ends is the loser of a race. */
export class Generator {
  readonly #dice: Dice;
  #keys = 0;

  constructor(dice: Dice) {
    this.#dice = dice;
  }

  graph(): Graph {
    const place = { depth: this.#dice.between(2, 5), inLoop: false, mayFail: this.#dice.once(4) };
    return this.#any(place);
  }

  #any(place: Place): Graph {
    if (place.depth <= 0 || this.#dice.once(8)) return this.#leaf(place);
    const below = { ...place, depth: place.depth - 1 };
    const made = this.#composite(below);
    // a name would make what a request has answered part of later texts, and that says how long it took
    if (!made.isHttp && this.#dice.once(3)) made.graph.name = this.#name();
    return made.graph;
  }

  #composite(place: Place): { graph: Graph; isHttp: boolean } {
    const any = () => this.#any(place);
    let graph: Graph;
    switch (this.#dice.between(0, 9)) {
      case 0:
      case 1:
      case 2:
        graph = { type: 'THEN', left: any(), right: any() };
        break;
      case 3:
      case 4:
        graph = { type: 'JOIN', branches: this.#dice.once(3) ? [any(), any(), any()] : [any(), any()] };
        break;
      case 5:
      case 6:
        graph = this.#race(place);
        break;
      case 7:
        graph = this.#choice(place);
        break;
      default:
        graph = this.#loop({ ...place, inLoop: true });
    }
    return { graph, isHttp: mayBeHttp(graph) };
  }

  #race(place: Place): Graph {
    const wins = this.#any(place);
    const loses = this.#endless({ ...place, inLoop: false, mayFail: false });
    return this.#dice.once(2)
      ? { type: 'RACE', branches: [wins, loses], winner: 0 }
      : { type: 'RACE', branches: [loses, wins], winner: 1 };
  }

  /** What never ends, and may do something before. */
  #endless(place: Place): Graph {
    const wait = this.#wait();
    const before = (): Graph => this.#any({ ...place, depth: place.depth - 1 });
    switch (this.#dice.between(0, 4)) {
      case 0:
        return wait;
      case 1:
        return { type: 'THEN', left: before(), right: wait };
      case 2:
        return { type: 'LOOP', body: { type: 'THEN', left: before(), right: wait }, condition: null };
      case 3:
        return {
          type: 'LOOP',
          body: { type: 'THEN', left: this.#sql({ is: 'row' }), right: { type: 'SLEEP', seconds: 1 } },
          condition: null,
        };
      default:
        return { type: 'JOIN', branches: [before(), wait] };
    }
  }

  #wait(): Graph {
    const never: readonly Graph[] = [
      { type: 'SIGNAL', signal: 'never', timeout: this.#dice.once(2) ? null : 1_000_000 },
      { type: 'SLEEP', seconds: 1_000_000 },
      { type: 'WAIT_SCHEDULE', cron: '0 0 1 1 * 2099' },
      { type: 'HTTP', path: '/never', key: this.#key(), method: 'GET' },
    ];
    return { ...(this.#dice.pick(never) as Graph) };
  }

  #choice(place: Place): Graph {
    const yes = this.#any(place);
    const no = this.#any(place);
    if (place.mayFail && this.#dice.once(4)) {
      return { type: 'IF', condition: this.#dice.pick(CONDITION_NAMES) as string, yes, no };
    }
    switch (this.#dice.between(0, 3)) {
      case 0: {
        const name = this.#name();
        const left: Graph = { ...this.#sql({ is: this.#dice.once(2) ? 'row' : 'none' }), name };
        return { type: 'THEN', left, right: { type: 'IF', condition: name, yes, no } };
      }
      case 1: {
        const name = this.#dice.once(2) ? 's0' : 's1';
        const condition = this.#sql({ is: 'lone', reference: `${name}.data?` });
        return { type: 'THEN', left: this.#signal(name), right: { type: 'IF', condition, yes, no } };
      }
      case 2:
        return { type: 'IF', condition: this.#leaf(place), yes, no };
      default:
        return { type: 'IF', condition: this.#any({ ...place, depth: place.depth - 1 }), yes, no };
    }
  }

  #loop(place: Place): Graph {
    const body = this.#any(place);
    const step = this.#sql({ is: this.#dice.once(2) ? 'row' : 'none' });
    const modulo = this.#dice.between(1, 3);
    const more: SqlKind = { is: 'count', of: step.key, modulo };
    switch (this.#dice.between(0, 3)) {
      case 0: {
        const name = this.#dice.once(2) ? 's0' : 's1';
        return {
          type: 'LOOP',
          body: { type: 'THEN', left: this.#signal(name), right: body },
          condition: this.#sql({ is: 'lone', reference: `${name}.data?` }),
        };
      }
      case 1:
        return {
          type: 'LOOP',
          body: { type: 'THEN', left: step, right: body },
          condition: this.#sql(more),
        };
      default: {
        const end: Graph = { type: 'IF', condition: this.#sql(more), yes: body, no: this.#break() };
        const within = this.#within(end, place);
        return { type: 'LOOP', body: { type: 'THEN', left: step, right: within }, condition: null };
      }
    }
  }

  /** Between a break and its loop. */
  #within(end: Graph, place: Place): Graph {
    const beside = () => this.#any({ ...place, depth: place.depth - 2, inLoop: false });
    switch (this.#dice.between(0, 3)) {
      case 0:
        return { type: 'JOIN', branches: this.#dice.once(2) ? [end, beside()] : [beside(), end] };
      case 1:
        return { type: 'RACE', branches: [end, this.#wait()], winner: 0 };
      case 2:
        return { type: 'THEN', left: end, right: beside() };
      default:
        return end;
    }
  }

  #leaf(place: Place): Graph {
    const leaf = this.#namelessLeaf(place);
    if (leaf.type === 'SIGNAL') leaf.name ??= this.#dice.once(2) ? 's0' : 's1';
    else if (leaf.type === 'HTTP') leaf.name = 'h0';
    else if (leaf.type !== 'HTTP_MULTIPART' && this.#dice.once(2)) leaf.name = this.#name();
    return leaf;
  }

  #namelessLeaf({ inLoop, mayFail }: Place): Graph {
    if (mayFail && this.#dice.once(8)) return this.#failure();
    if (inLoop && this.#dice.once(12)) return this.#break();
    switch (this.#dice.between(0, 13)) {
      case 0:
        return { type: 'SLEEP', seconds: this.#dice.once(3) ? 1 : 0 };
      case 1:
        return { type: 'WAIT_SCHEDULE', cron: this.#dice.once(2) ? '* * * * *' : '*/2 * * * *' };
      case 2:
      case 3:
        return this.#signal();
      case 4:
        return { type: 'SIGNAL', signal: 'unsent', timeout: 1 };
      case 5:
        return { type: 'HTTP', path: this.#dice.once(3) ? '/404' : '/200', key: this.#key(), method: 'POST' };
      case 6:
        return { type: 'HTTP_MULTIPART', path: '/200', key: this.#key() };
      case 7:
        return this.#sql({ is: 'none' });
      default:
        return this.#sql({ is: 'row' });
    }
  }

  #failure(): Graph {
    switch (this.#dice.between(0, 3)) {
      case 0:
        return this.#sql({ is: 'fails at COMMIT' });
      case 1:
        return { type: 'HTTP', path: '/500', key: this.#key(), method: 'POST' };
      case 2:
        return { type: 'BREAK', value: null };
      default:
        return this.#sql({ is: 'fails' });
    }
  }

  #signal(name?: string): Graph & { type: 'SIGNAL' } {
    const signal = this.#dice.pick(SIGNALS) as string;
    const wait: Graph & { type: 'SIGNAL' } = {
      type: 'SIGNAL',
      signal,
      timeout: this.#dice.once(3) ? 1_000_000 : null,
    };
    if (name !== undefined) wait.name = name;
    return wait;
  }

  #sql(kind: SqlKind): Graph & { type: 'SQL' } {
    return { type: 'SQL', key: this.#key(), kind };
  }

  #break(): Graph {
    const values = [null, '42', '{"x": [1, 2]}', 'plain', 'with $n0? and $s0.data?', '$n1?'];
    return { type: 'BREAK', value: this.#dice.pick(values) as string | null };
  }

  #name(): string {
    return this.#dice.pick(['n0', 'n1', 'n2']) as string;
  }

  #key(): string {
    this.#keys += 1;
    return `k${this.#keys}`;
  }
}

/** Whether its result may have that of a request in it. */
function mayBeHttp(graph: Graph): boolean {
  switch (graph.type) {
    case 'HTTP':
    case 'HTTP_MULTIPART':
      return true;
    case 'THEN':
      return mayBeHttp(graph.right);
    case 'IF':
      return mayBeHttp(graph.yes) || mayBeHttp(graph.no);
    case 'LOOP':
      return mayBeHttp(graph.body);
    case 'JOIN':
    case 'RACE':
      return graph.branches.some(mayBeHttp);
    default:
      return false;
  }
}
