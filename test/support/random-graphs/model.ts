/**
 * What a random graph must do, step by step in one thread: results, names, places in the inbox, stamps. Written from
 * df-api §4 to §6, §8.2 and decisions #3, #9 and #10; it shares no code with the engine.
 */
import { everyNode, type Graph, REFERENCES } from './graph.js';

export type Outcome =
  | { readonly kind: 'done' | 'break'; readonly text: string }
  | { readonly kind: 'failed'; readonly text: string };

/** What a node's row must show. */
export interface Visit {
  readonly status: 'completed' | 'failed';
  readonly text: string;
  readonly stamp: string;
}

/** What is left behind, and in which order: one after the other, or at the same time. */
export type Trace =
  | { readonly step: { readonly key: string; readonly nth: number; readonly seen: string } }
  | { readonly inTurn: Trace[] }
  | { readonly beside: Trace[] };

/** The n-th signal of a name carries this, n from 1. */
export const payload = (n: number): string => PAYLOADS[(n - 1) % PAYLOADS.length] as string;
const PAYLOADS = ['true', '7', '{"n":"it\'s"}', 'null', '"x"', '[]', '["y",null]', '0', '"no"'];

export class TooMuch extends Error {}

const MOST_VISITS = 90;
const MOST_WAITS = 4;

class Scope {
  generation = 1;
  readonly path: string;
  readonly root: Graph;
  readonly names: Map<string, string>;
  readonly positions: Map<string, number>;

  constructor(path: string, root: Graph, from?: Scope) {
    this.path = path;
    this.root = root;
    this.names = new Map(from?.names);
    this.positions = new Map(from?.positions);
  }

  get stamp(): string {
    return `${this.path}::${this.generation}`;
  }

  child(root: Graph): Scope {
    return new Scope(`${this.stamp}::${root.id}`, root, this);
  }

  merge(child: Scope): void {
    for (const [name, text] of child.names) this.names.set(name, text);
    for (const [signal, position] of child.positions) this.advance(signal, position);
  }

  advance(signal: string, position: number): void {
    this.positions.set(signal, Math.max(position, this.positions.get(signal) ?? 0));
  }
}

/** @throws TooMuch when it would take too long */
export class Model {
  readonly outcome: Outcome;
  readonly trace: Trace[] = [];
  /** By node; nodes that are not here are as they were stored, or belong to a loser. */
  readonly visits = new Map<Graph, Visit>();
  /** Nodes of losers: whatever they have done. */
  readonly losers = new Set<Graph>();
  /** By name, how many signals must be sent. */
  readonly signals = new Map<string, number>();
  /** Bodies of requests, by what makes their Idempotency-Key. */
  readonly requests = new Map<string, string>();
  schedules = 0;

  readonly #instance: string;
  readonly #web: string;
  readonly #root: Graph;
  readonly #counts = new Map<string, number>();
  #trace: Trace[];
  #visited = 0;
  #waits = 0;

  constructor(root: Graph, instance: string, web: string) {
    this.#instance = instance;
    this.#web = web;
    this.#root = root;
    this.#trace = this.trace;
    const outcome = this.#run(root, new Scope(instance, root));
    this.outcome =
      outcome.kind === 'break'
        ? {
            kind: 'failed',
            text: 'df.break() was called outside of a loop. df.break() may only be used inside df.loop().',
          }
        : outcome;
  }

  #run(node: Graph, scope: Scope): Outcome {
    this.#visited += 1;
    if (this.#visited > MOST_VISITS) throw new TooMuch();
    const outcome = this.#visit(node, scope);
    if (outcome.kind === 'done' && node.name !== undefined && !NAMELESS.has(node.type))
      scope.names.set(node.name, outcome.text);
    if (node.type !== 'LOOP') this.#stamp(node, scope.stamp, outcome);
    return outcome;
  }

  #stamp(node: Graph, stamp: string, { kind, text }: Outcome): void {
    this.visits.set(node, { status: kind === 'failed' ? 'failed' : 'completed', text, stamp });
  }

  #visit(node: Graph, scope: Scope): Outcome {
    switch (node.type) {
      case 'SQL':
        return this.#sql(node, scope);
      case 'THEN': {
        const left = this.#run(node.left, scope);
        return left.kind === 'done' ? this.#run(node.right, scope) : left;
      }
      case 'JOIN':
        return this.#join(node.branches, scope);
      case 'RACE':
        return this.#race(node, scope);
      case 'IF': {
        const holds = this.#judge(node.condition, scope);
        if (typeof holds !== 'boolean') return holds;
        return this.#run(holds ? node.yes : node.no, scope);
      }
      case 'LOOP':
        return this.#loop(node, scope);
      case 'BREAK': {
        if (node.value === null) return { kind: 'break', text: 'null' };
        const text = substitute(node.value, scope.names, 'raw');
        return { kind: 'break', text: compact(text) ?? JSON.stringify(text) };
      }
      case 'SLEEP':
        if (node.seconds > 0) this.#wait();
        return done(`{"slept":true,"seconds":${node.seconds}}`);
      case 'WAIT_SCHEDULE':
        this.schedules += 1;
        this.#wait();
        return done('{"scheduled":true}');
      case 'SIGNAL':
        return this.#signal(node.signal, scope);
      case 'HTTP':
      case 'HTTP_MULTIPART': {
        const generations = scope.stamp.split('::').filter((_, i) => i % 2 === 1);
        const body = node.type === 'HTTP' ? substitute(REFERENCES, scope.names, 'raw') : '';
        if (node.type === 'HTTP')
          this.requests.set(`${this.#instance}:${node.id}:${generations.join('.')}`, body);
        const status = Number(node.path.slice(1));
        if (status < 500) return done(answer(status, node.key));
        return {
          kind: 'failed',
          text: `HTTP POST ${this.#web}${node.path}?${node.key} returned ${status}: ${node.key}`,
        };
      }
    }
  }

  #sql({ key, kind }: Graph & { type: 'SQL' }, scope: Scope): Outcome {
    switch (kind.is) {
      case 'row':
      case 'none': {
        const nth = this.#counts.get(key) ?? 0;
        this.#counts.set(key, nth + 1);
        this.#trace.push({ step: { key, nth, seen: ` ${substitute(REFERENCES, scope.names, 'sql')} ` } });
        return done(kind.is === 'row' ? rows({ v: `${key}#${nth}` }) : '{"rows":[],"row_count":0}');
      }
      case 'count':
        return done(rows({ more: (this.#counts.get(kind.of) ?? 0) % kind.modulo !== 0 }));
      case 'fails':
        return sqlError('division by zero');
      case 'fails at COMMIT':
        return sqlError(
          'insert or update on table "child" violates foreign key constraint "child_parent_fkey"',
        );
      case 'lone': {
        const [name, field] = kind.reference.replace('?', '').split('.') as [string, string];
        const value = (JSON.parse(scope.names.get(name) as string) as Record<string, unknown>)[field];
        return done(JSON.stringify(value));
      }
    }
  }

  #signal(signal: string, scope: Scope): Outcome {
    const result = (timedOut: boolean, data: string) =>
      done(`{"signal_name":"${signal}","timed_out":${timedOut},"data":${data}}`);
    if (signal === 'unsent') {
      this.#wait();
      return result(true, 'null');
    }
    const position = (scope.positions.get(signal) ?? 0) + 1;
    scope.advance(signal, position);
    this.signals.set(signal, Math.max(position, this.signals.get(signal) ?? 0));
    return result(false, payload(position));
  }

  #join(branches: readonly Graph[], scope: Scope): Outcome {
    const outside = this.#trace;
    const traces: Trace[][] = [];
    const ends = branches.map((branch) => {
      this.#trace = [];
      traces.push(this.#trace);
      const inner = scope.child(branch);
      return { inner, outcome: this.#run(branch, inner) };
    });
    this.#trace = outside;
    this.#trace.push({ beside: traces.map((inTurn) => ({ inTurn })) });
    for (const { inner } of ends) scope.merge(inner);
    for (const [i, { outcome }] of ends.entries()) {
      if (outcome.kind === 'break') return outcome;
      if (outcome.kind === 'failed')
        return { kind: 'failed', text: `JOIN branch ${i + 1} failed: ${outcome.text}` };
    }
    return done(`[${ends.map(({ outcome }) => outcome.text).join(',')}]`);
  }

  #race({ branches, winner }: Graph & { type: 'RACE' }, scope: Scope): Outcome {
    const loser = branches[1 - winner] as Graph;
    this.#lose(loser);
    const inner = scope.child(branches[winner]);
    const outcome = this.#run(branches[winner], inner);
    if (loser.type === 'LOOP') {
      const text = 'Loop branch cancelled after losing RACE';
      this.#stamp(loser, scope.child(loser).stamp, { kind: 'failed', text });
    }
    if (outcome.kind === 'failed')
      return {
        kind: 'failed',
        text: `RACE ${winner === 0 ? 'left' : 'right'} branch failed: ${outcome.text}`,
      };
    scope.merge(inner);
    return outcome;
  }

  #lose(node: Graph): void {
    for (const one of everyNode(node)) {
      this.losers.add(one);
      this.visits.delete(one);
    }
  }

  #loop(node: Graph & { type: 'LOOP' }, scope: Scope): Outcome {
    const own = scope.root === node;
    const inner = own ? scope : scope.child(node);
    let outcome: Outcome;
    for (;;) {
      const body = this.#run(node.body, inner);
      outcome = body.kind === 'break' ? done(body.text) : body;
      if (body.kind !== 'done') break;
      if (node.condition !== null) {
        const holds = this.#judge(node.condition, inner);
        if (typeof holds !== 'boolean') {
          outcome = holds.kind === 'break' ? done(holds.text) : holds;
          break;
        }
        if (!holds) break;
      }
      inner.generation += 1;
      if (node === this.#root) inner.names.clear();
    }
    if (outcome.kind === 'failed' && !own)
      outcome = { kind: 'failed', text: `Loop sub-orchestration failed: ${outcome.text}` };
    this.#stamp(node, inner.stamp, outcome);
    if (!own) scope.merge(inner);
    return outcome;
  }

  #judge(condition: Graph | string, scope: Scope): boolean | Outcome {
    if (typeof condition !== 'string') {
      const outcome = this.#run(condition, scope);
      return outcome.kind === 'done' ? isTrue(JSON.parse(outcome.text)) : outcome;
    }
    const text = scope.names.get(condition);
    if (text === undefined) return { kind: 'failed', text: `df.if_rows: result '${condition}' not found` };
    const count = (JSON.parse(text) as { row_count?: number } | null)?.row_count;
    if (count !== undefined) return count > 0;
    return {
      kind: 'failed',
      text: `df.if_rows: result '${condition}' is not a SQL result (missing row_count)`,
    };
  }

  #wait(): void {
    this.#waits += 1;
    if (this.#waits > MOST_WAITS) throw new TooMuch();
  }
}

const NAMELESS = new Set(['SLEEP', 'WAIT_SCHEDULE', 'BREAK']);
const done = (text: string): Outcome => ({ kind: 'done', text });
const rows = (row: object): string => JSON.stringify({ rows: [row], row_count: 1 });
const sqlError = (message: string): Outcome => ({
  kind: 'failed',
  text: `SQL execution failed: error returned from database: ${message}`,
});

/** An answer's headers and duration are left out of comparisons. */
function answer(status: number, body: string): string {
  return JSON.stringify({ status, body, encoding: 'text', ok: status < 300 });
}

function compact(text: string): string | undefined {
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** df-api §5.4, of what random graphs refer to. */
function substitute(text: string, names: ReadonlyMap<string, string>, mode: 'sql' | 'raw'): string {
  const show = (value: unknown): string => {
    if (value === null || value === undefined) return 'NULL';
    if (typeof value === 'number' || typeof value === 'boolean') return String(value);
    const plain = typeof value === 'string' ? value : JSON.stringify(value);
    return mode === 'sql' ? `'${plain.replaceAll("'", "''")}'` : plain;
  };
  return text.replace(/\$(\w+)(?:\.(\w+))?\?/g, (whole, name: string, field?: string) => {
    const found = names.get(name);
    if (found === undefined) return whole;
    const value = JSON.parse(found) as unknown;
    if (field !== undefined) return show((value as Record<string, unknown>)[field]);
    const set = (value as { rows?: object[] } | null)?.rows;
    if (set !== undefined) return show(set[0] === undefined ? null : Object.values(set[0])[0]);
    if (mode === 'sql') return `'${found.replaceAll("'", "''")}'`;
    return typeof value === 'string' ? value : found;
  });
}

/** df-api §6. */
function isTrue(value: unknown): boolean {
  const set = (value as { rows?: object[] } | null)?.rows;
  if (set !== undefined) return set[0] !== undefined && isTrue(Object.values(set[0])[0]);
  if (typeof value === 'string') {
    const word = value.trim().toLowerCase();
    return !['', 'false', 'f', 'no'].includes(word) && !(word !== '' && Number(word) === 0);
  }
  if (typeof value === 'object' && value !== null) return Object.keys(value).length > 0;
  return Boolean(value);
}
