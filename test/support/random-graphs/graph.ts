import pg from 'pg';

/** What every node of a random graph may have: `id` is filled in when the instance has been started. */
interface Common {
  id?: string;
  name?: string;
}

export type Graph = Common &
  (
    | { readonly type: 'SQL'; readonly key: string; readonly kind: SqlKind }
    | { readonly type: 'THEN'; readonly left: Graph; readonly right: Graph }
    | { readonly type: 'JOIN'; readonly branches: readonly Graph[] }
    /** The other branch never ends by itself. */
    | { readonly type: 'RACE'; readonly branches: readonly [Graph, Graph]; readonly winner: 0 | 1 }
    | { readonly type: 'IF'; readonly condition: Graph | string; readonly yes: Graph; readonly no: Graph }
    | { readonly type: 'LOOP'; readonly body: Graph; readonly condition: Graph | null }
    | { readonly type: 'BREAK'; readonly value: string | null }
    | { readonly type: 'SLEEP'; readonly seconds: number }
    | { readonly type: 'WAIT_SCHEDULE'; readonly cron: string }
    | { readonly type: 'SIGNAL'; readonly signal: string; readonly timeout: number | null }
    | { readonly type: 'HTTP'; readonly path: string; readonly key: string; readonly method: string }
    | { readonly type: 'HTTP_MULTIPART'; readonly path: string; readonly key: string }
  );

export type SqlKind =
  /** A row of the table of traces; its result is a row, or none. */
  | { readonly is: 'row' | 'none' }
  /** Whether the number of rows that `of` has left is no multiple of this. */
  | { readonly is: 'count'; readonly of: string; readonly modulo: number }
  /** Nothing but a reference. */
  | { readonly is: 'lone'; readonly reference: string }
  | { readonly is: 'fails' }
  | { readonly is: 'fails at COMMIT' };

/** Names that a step writes down the values of. */
export const SEEN = ['n0', 'n1', 'n2', 's0', 's1', 'h0.body'] as const;
export const REFERENCES = SEEN.map((name) => `${name}:$${name}?`).join(' ');

export function sqlText(key: string, kind: SqlKind): string {
  const mine = `FROM trace WHERE instance = '{sys_instance_id}' AND key =`;
  const insert = `INSERT INTO trace (instance, key, seen) VALUES ('{sys_instance_id}', '${key}', $q$ ${REFERENCES} $q$)`;
  switch (kind.is) {
    case 'row':
      return `${insert} RETURNING (SELECT '${key}#' || count(*) ${mine} '${key}') AS v`;
    case 'none':
      return insert;
    case 'count':
      return `SELECT (SELECT count(*) ${mine} '${kind.of}') % ${kind.modulo} <> 0 AS more`;
    case 'lone':
      return `$${kind.reference}`;
    case 'fails':
      return `${insert}; SELECT 1 / (SELECT 0)`;
    case 'fails at COMMIT':
      return `${insert}; INSERT INTO child VALUES (1)`;
  }
}

/** The expression that builds it. */
export function expression(graph: Graph, web: string): string {
  const plain = builder(graph, web);
  return graph.name === undefined ? plain : `df.as(${plain}, '${graph.name}')`;
}

function builder(graph: Graph, web: string): string {
  const of = (child: Graph) => expression(child, web);
  switch (graph.type) {
    case 'SQL':
      return `df.sql(${pg.escapeLiteral(sqlText(graph.key, graph.kind))})`;
    case 'THEN':
      return `df.seq(${of(graph.left)}, ${of(graph.right)})`;
    case 'JOIN':
      return `df.${graph.branches.length === 3 ? 'join3' : 'join'}(${graph.branches.map(of).join(', ')})`;
    case 'RACE':
      return `df.race(${graph.branches.map(of).join(', ')})`;
    case 'IF':
      return typeof graph.condition === 'string'
        ? `df.if_rows('${graph.condition}', ${of(graph.yes)}, ${of(graph.no)})`
        : `df.if(${of(graph.condition)}, ${of(graph.yes)}, ${of(graph.no)})`;
    case 'LOOP':
      return `df.loop(${of(graph.body)}${graph.condition === null ? '' : `, ${of(graph.condition)}`})`;
    case 'BREAK':
      return `df.break(${graph.value === null ? 'NULL' : pg.escapeLiteral(graph.value)})`;
    case 'SLEEP':
      return `df.sleep(${graph.seconds})`;
    case 'WAIT_SCHEDULE':
      return `df.wait_for_schedule('${graph.cron}')`;
    case 'SIGNAL':
      return `df.wait_for_signal('${graph.signal}', ${graph.timeout ?? 'NULL'})`;
    case 'HTTP':
      return `df.http('${web}${graph.path}?${graph.key}', '${graph.method}', ${pg.escapeLiteral(REFERENCES)}, timeout_seconds => 1000)`;
    case 'HTTP_MULTIPART':
      return `df.http_multipart('${web}${graph.path}?${graph.key}', 'PUT', '[{"name": "f", "data_b64": "aGk="}]')`;
  }
}

export function childrenOf(graph: Graph): readonly Graph[] {
  switch (graph.type) {
    case 'THEN':
      return [graph.left, graph.right];
    case 'JOIN':
    case 'RACE':
      return graph.branches;
    case 'IF':
      return [...(typeof graph.condition === 'string' ? [] : [graph.condition]), graph.yes, graph.no];
    case 'LOOP':
      return graph.condition === null ? [graph.body] : [graph.body, graph.condition];
    default:
      return [];
  }
}

export function everyNode(graph: Graph): Graph[] {
  return [graph, ...childrenOf(graph).flatMap(everyNode)];
}

export interface StoredNode {
  readonly id: string;
  readonly node_type: string;
  readonly query: string | null;
  readonly left_node: string | null;
  readonly right_node: string | null;
}

/** The children of a stored node, in the order of `childrenOf`. Source: df-api §3.2. */
export function storedChildren(row: StoredNode): string[] {
  const sides = [row.left_node, row.right_node].filter((id) => id !== null);
  if (sides.length === 0 || row.query === null) return sides;
  const config = JSON.parse(row.query) as { condition_node?: string; extra_nodes?: string[] };
  const condition = config.condition_node === undefined ? [] : [config.condition_node];
  return row.node_type === 'IF'
    ? [...condition, ...sides]
    : [...sides, ...condition, ...(config.extra_nodes ?? [])];
}

/** Gives every node of the graph the id that it has in df.nodes. */
export function identify(graph: Graph, root: string, rows: ReadonlyMap<string, StoredNode>): void {
  graph.id = root;
  const row = rows.get(root);
  if (row?.node_type !== graph.type) throw new Error(`${root} is a ${row?.node_type}, not a ${graph.type}`);
  const ids = storedChildren(row);
  for (const [i, child] of childrenOf(graph).entries()) identify(child, ids[i] as string, rows);
}
