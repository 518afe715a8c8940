/**
 * The graph of an instance, from the rows that df.start wrote, as the interpreter walks it. Immutable. Source: df-api
 * §3.2 (how an envelope is stored).
 */
import type { GraphRows } from '../state/claim.js';
import { Takers } from './takers.js';

interface Common {
  readonly id: string;
  /** Name under which the result is kept; null when unnamed or when the type of node has no effect on names. */
  readonly resultName: string | null;
}

export type SqlNode = Common & { readonly type: 'SQL'; readonly query: string };
export type ThenNode = Common & { readonly type: 'THEN'; readonly left: Node; readonly right: Node };
export type IfNode = Common & {
  readonly type: 'IF';
  /** A step to run and judge, or the name of a result to look at (df.if_rows). */
  readonly condition:
    | { readonly kind: 'step'; readonly node: Node }
    | { readonly kind: 'rows'; readonly name: string };
  readonly yes: Node;
  readonly no: Node;
};
export type JoinNode = Common & { readonly type: 'JOIN'; readonly branches: readonly Node[] };
export type RaceNode = Common & { readonly type: 'RACE'; readonly branches: readonly [Node, Node] };
export type LoopNode = Common & {
  readonly type: 'LOOP';
  readonly body: Node;
  readonly condition: Node | null;
};
export type BreakNode = Common & { readonly type: 'BREAK'; readonly value: string | null };
export type SleepNode = Common & { readonly type: 'SLEEP'; readonly seconds: number };
export type WaitScheduleNode = Common & { readonly type: 'WAIT_SCHEDULE'; readonly expression: string };
/** The query is a JSON config (df-api §1.1), read when the node executes. */
export type HttpNode = Common & { readonly type: 'HTTP' | 'HTTP_MULTIPART'; readonly query: string };
export type SignalNode = Common & {
  readonly type: 'SIGNAL';
  readonly name: string;
  /** null: it waits for ever. */
  readonly timeoutSeconds: number | null;
};

export type Node =
  | SqlNode
  | ThenNode
  | IfNode
  | JoinNode
  | RaceNode
  | LoopNode
  | BreakNode
  | SleepNode
  | WaitScheduleNode
  | HttpNode
  | SignalNode;

export interface Graph {
  readonly root: Node;
  /** Whether a node's text expands a row set (`$x.*`): only then the columns of empty results are kept. */
  readonly expandsRowSets: boolean;
  /** Names for which something waits: no other signal can be taken. */
  readonly signals: ReadonlySet<string>;
  readonly takers: Takers;
  readonly races: ReadonlySet<string>;
}

export class GraphError extends Error {}

/** As df.start allows (df-api §0.2): rows written by hand keep to the same. */
const MAX_DEPTH = 256;
const MAX_NODES = 10_000;
/** As integer of SQL. */
const LONGEST_TIMEOUT_S = 2_147_483_647;
const NAMELESS = new Set(['SLEEP', 'WAIT_SCHEDULE', 'BREAK']);

/**
 * Builds the graph.
 * @throws GraphError when rows are missing or contradict each other (they were written by hand).
 */
export function buildGraph(rows: GraphRows): Graph {
  if (rows.large === true)
    throw new GraphError(`there are more than ${MAX_NODES} nodes, or they are larger than 16 MiB`);
  const byId = new Map((rows.nodes ?? []).map((row) => [row[0], row] as const));
  const seen = new Set<string>();
  let expandsRowSets = false;
  const signals = new Set<string>();
  const races = new Set<string>();

  const build = (id: string | null | undefined, of: string, depth: number): Node => {
    if (typeof id !== 'string') throw new GraphError(`node ${of} lacks a child`);
    const row = byId.get(id);
    if (row === undefined) throw new GraphError(`node ${id} of ${of} does not exist`);
    if (seen.has(id)) throw new GraphError(`node ${id} is used twice`);
    if (depth > MAX_DEPTH) throw new GraphError(`nesting is deeper than ${MAX_DEPTH}`);
    seen.add(id);
    return assemble(row, depth + 1);
  };

  const assemble = (row: NonNullable<GraphRows['nodes']>[number], depth: number): Node => {
    const [id, type, query, name, left, right] = row;
    const common = { id, resultName: NAMELESS.has(type) ? null : name };
    if (query !== null && /\$\w+\.\*/.test(query)) expandsRowSets = true;
    switch (type) {
      case 'SQL':
        return { ...common, type, query: query ?? '' };
      case 'THEN':
        return { ...common, type, left: build(left, id, depth), right: build(right, id, depth) };
      case 'IF': {
        const config = configOf(query, id);
        const condition =
          config.condition_type === 'result_has_rows'
            ? ({ kind: 'rows', name: String(config.result_name ?? '') } as const)
            : ({ kind: 'step', node: build(config.condition_node as string, id, depth) } as const);
        return { ...common, type, condition, yes: build(left, id, depth), no: build(right, id, depth) };
      }
      case 'JOIN': {
        const extras = configOf(query, id).extra_nodes;
        const ids = [left, right, ...(Array.isArray(extras) ? (extras as string[]) : [])];
        return { ...common, type, branches: ids.map((branch) => build(branch, id, depth)) };
      }
      case 'RACE':
        races.add(id);
        return { ...common, type, branches: [build(left, id, depth), build(right, id, depth)] };
      case 'LOOP': {
        const condition = configOf(query, id).condition_node;
        return {
          ...common,
          type,
          body: build(left, id, depth),
          condition: typeof condition === 'string' ? build(condition, id, depth) : null,
        };
      }
      case 'BREAK': {
        const value = configOf(query, id).break_value;
        return { ...common, type, value: typeof value === 'string' ? value : null };
      }
      case 'SLEEP': {
        const seconds = /^\d{1,19}$/.test(query ?? '') ? Number(query) : Number.NaN;
        if (Number.isNaN(seconds)) throw new GraphError(`node ${id}: bad duration`);
        return { ...common, type, seconds };
      }
      case 'WAIT_SCHEDULE': {
        const expression = configOf(query, id).cron_expr;
        return { ...common, type, expression: typeof expression === 'string' ? expression : '' };
      }
      case 'HTTP':
      case 'HTTP_MULTIPART':
        return { ...common, type, query: query ?? '' };
      case 'SIGNAL': {
        const { signal_name: signal, timeout_seconds: timeout = null } = configOf(query, id);
        if (typeof signal !== 'string' || signal === '') throw new GraphError(`node ${id}: bad signal name`);
        if (timeout !== null && !(typeof timeout === 'number' && timeout > 0))
          throw new GraphError(`node ${id}: bad timeout`);
        signals.add(signal);
        const timeoutSeconds = timeout === null ? null : Math.min(timeout, LONGEST_TIMEOUT_S);
        return { ...common, type, name: signal, timeoutSeconds };
      }
      default:
        throw new GraphError(`node ${id}: unknown type ${type}`);
    }
  };

  const root = build(rows.root, 'the instance', 0);
  return { root, expandsRowSets, signals, takers: new Takers(root), races };
}

function configOf(query: string | null, id: string): Record<string, unknown> {
  if (query === null) return {};
  try {
    const config: unknown = JSON.parse(query);
    if (typeof config === 'object' && config !== null && !Array.isArray(config)) {
      return config as Record<string, unknown>;
    }
  } catch {
    // named below
  }
  throw new GraphError(`node ${id}: query is not a JSON config object`);
}
