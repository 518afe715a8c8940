import { isDeepStrictEqual } from 'node:util';
import type { Durable } from '../durable.js';
import type { HttpStandIn } from '../http-stand-in.js';
import { childrenOf, everyNode, type Graph, identify } from './graph.js';
import { infer, type ShownNode } from './inference.js';
import { Model, type Trace } from './model.js';

interface Shown extends ShownNode {
  readonly result: string | null;
}

/** What an instance has done otherwise than the model of its graph says, one line each. */
export async function differences(d: Durable, web: HttpStandIn, id: string, graph: Graph): Promise<string[]> {
  const found: string[] = [];
  const differ = (what: string, got: unknown, wanted: unknown) =>
    found.push(`${what}: ${JSON.stringify(got)}, not ${JSON.stringify(wanted)}`);

  const instance = (
    await d.root.query(
      `SELECT u.status, u.root_node, i.output, df.result(u.id) AS result
       FROM df.instances AS u JOIN _df.instances AS i USING (id) WHERE u.id = $1`,
      [id],
    )
  ).rows[0] as { status: string; root_node: string; output: string; result: string | null };
  const nodes = await d.root.query<Shown>(
    `SELECT node_id AS id, node_type, query, left_node, right_node, status, result,
            status_details::json ->> 'execution_id' AS stamp,
            inferred_status AS inferred, inferred_status_from_ancestor_id AS ancestor
     FROM df.instance_nodes($1)`,
    [id],
  );
  const rows = new Map(nodes.rows.map((row) => [row.id, row]));
  identify(graph, instance.root_node, rows);
  const model = new Model(graph, id, web.url);

  const { kind, text } = model.outcome;
  const status = kind === 'failed' ? 'failed' : 'completed';
  if (instance.status !== status) differ('status', instance.status, status);
  const output =
    kind === 'failed' || instance.status !== 'completed' ? instance.output : withoutTimes(instance.output);
  if (output !== text) differ('output', output, text);
  if (kind !== 'failed' && !same(instance.result, text)) differ('df.result', instance.result, text);

  const failsAtCommit = everyNode(graph).some(
    (node) => node.type === 'SQL' && node.kind.is === 'fails at COMMIT',
  );
  everyRow(graph, (node, row) => {
    const what = `${node.type} ${row.id}`;
    const visit = model.visits.get(node);
    if (visit === undefined) {
      // a step goes to the server with the COMMIT before it: it may show as running before that one fails
      if (!model.losers.has(node) && !(failsAtCommit && row.status === 'running') && row.stamp !== null)
        differ(what, [row.status, row.stamp], ['pending', null]);
      return;
    }
    if (row.status !== visit.status) differ(`${what} status`, row.status, visit.status);
    if (row.stamp !== visit.stamp) differ(`${what} stamp`, row.stamp, visit.stamp);
    const wanted = visit.status === 'failed' ? JSON.stringify(visit.text) : visit.text;
    if (!same(row.result, wanted)) differ(`${what} result`, row.result, wanted);
  });

  for (const [node, inferred] of infer(instance.root_node, rows)) {
    const row = rows.get(node) as Shown;
    const shown = row.inferred === 'skipped' ? `skipped from ${row.ancestor}` : row.inferred;
    if (shown !== inferred) differ(`${row.node_type} ${node} inferred`, shown, inferred);
    if (status === 'completed' && ['pending', 'running'].includes(inferred))
      differ(`${row.node_type} ${node} inferred in a completed instance`, inferred, 'an end');
  }

  await compareTraces();
  const sent = new Map<string, string>();
  for (const { headers, body, path } of web.requests) {
    const key = headers['idempotency-key'] as string;
    if (!key.startsWith(`${id}:`) || path.startsWith('/never')) continue;
    if (!model.requests.has(key)) continue;
    if (sent.has(key) && sent.get(key) !== body.toString())
      differ(`request ${key}`, body.toString(), sent.get(key));
    sent.set(key, body.toString());
  }
  for (const [key, body] of model.requests)
    if (sent.get(key) !== body) differ(`request ${key}`, sent.get(key), body);
  // signals that came after the end are removed by the way
  const left = await d.value(
    `SELECT (SELECT count(*)::int FROM _df.journal WHERE instance_id = $1)
          + (SELECT count(*)::int FROM _df.signals WHERE instance_id = $1 AND pos IS NOT NULL)`,
    [id],
  );
  if (left !== 0) differ('rows left behind', left, 0);
  return found;

  function everyRow(node: Graph, visit: (node: Graph, row: Shown) => void): void {
    visit(node, rows.get(node.id as string) as Shown);
    for (const child of childrenOf(node)) everyRow(child, visit);
  }

  /** Each step has left its rows as often as it ran, and in an order that the graph allows. */
  async function compareTraces(): Promise<void> {
    const traces = await d.root.query<{ id: string; key: string; seen: string }>(
      'SELECT id, key, seen FROM public.trace WHERE instance = $1 ORDER BY id',
      [id],
    );
    const ofLosers = new Set([...model.losers].map((node) => ('key' in node ? node.key : '')));
    const byKey = new Map<string, Array<{ id: number; seen: string }>>();
    for (const { id: at, key, seen } of traces.rows)
      byKey.set(key, [...(byKey.get(key) ?? []), { id: Number(at), seen }]);
    const span = (trace: Trace): [number, number] => {
      if ('step' in trace) {
        const { key, nth, seen } = trace.step;
        const row = byKey.get(key)?.[nth];
        if (row?.seen !== seen) differ(`what ${key} has seen, time ${nth + 1}`, row?.seen, seen);
        return [row?.id ?? 0, row?.id ?? 0];
      }
      const spans = ('inTurn' in trace ? trace.inTurn : trace.beside)
        .map(span)
        .filter(([from]) => from !== Infinity);
      if ('inTurn' in trace)
        for (const [i, [from]] of spans.entries())
          if (i > 0 && from <= (spans[i - 1] as [number, number])[1]) differ('order', from, spans);
      return [Math.min(...spans.map(([from]) => from)), Math.max(...spans.map(([, to]) => to))];
    };
    span({ inTurn: model.trace });
    const count = (trace: Trace): number =>
      'step' in trace
        ? 1
        : ('inTurn' in trace ? trace.inTurn : trace.beside).reduce((n, one) => n + count(one), 0);
    const kept = traces.rows.filter(({ key }) => !ofLosers.has(key)).length;
    if (kept !== count({ inTurn: model.trace })) differ('steps', kept, count({ inTurn: model.trace }));
  }
}

function same(json: string | null, wanted: string): boolean {
  return json !== null && isDeepStrictEqual(JSON.parse(withoutTimes(json)), JSON.parse(wanted));
}

/** What requests have answered, without what the model cannot know. */
function withoutTimes(json: string): string {
  return JSON.stringify(JSON.parse(json), (key, value: unknown) =>
    key === 'headers' || key === 'duration_ms' ? undefined : value,
  );
}
