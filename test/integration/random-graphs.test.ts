/**
 * Random graphs over all types of nodes, all at the same time, with signals that come at random moments and proxies
 * that are killed: each must come to what a model in one thread says of it. RANDOM_GRAPHS_SEED repeats a run,
 * RANDOM_GRAPHS sets how many.
 */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Dice } from '../chaos/dice.js';
import { Durable } from '../support/durable.js';
import { HttpStandIn } from '../support/http-stand-in.js';
import { type SpawnedProxy, spawnProxy } from '../support/proxy.js';
import { differences } from '../support/random-graphs/differences.js';
import { Generator } from '../support/random-graphs/generate.js';
import { everyNode, expression, type Graph } from '../support/random-graphs/graph.js';
import { Model, payload, TooMuch } from '../support/random-graphs/model.js';
import { until } from '../support/wait.js';

const SEED = Number(process.env.RANDOM_GRAPHS_SEED ?? Math.floor(Math.random() * 1e9));
const COUNT = Number(process.env.RANDOM_GRAPHS ?? 60);
const KILLS = Number(process.env.RANDOM_GRAPHS_KILLS ?? 2);
const SETTINGS = { 'http.mode': 'all', 'http.block_private': 'off', lease_duration: '2s' } as const;

let d: Durable;
let web: HttpStandIn;
let direct: pg.Pool;

beforeAll(async () => {
  d = await Durable.open(SETTINGS);
  await d.app.end();
  await d.proxy.stop();
  await d.root.query('SELECT df.grant_usage($1, include_http => true)', [d.role.name]);
  direct = new pg.Pool({ connectionString: d.role.url, max: 8 });
  await direct.query(`CREATE TABLE trace (id bigserial, instance text, key text, seen text)`);
  await direct.query(`CREATE INDEX ON trace (instance, key)`);
  await direct.query(`CREATE TABLE parent (id int PRIMARY KEY)`);
  await direct.query(`CREATE TABLE child (parent int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)`);
  web = await HttpStandIn.start();
  for (const status of [200, 404, 500])
    web.on(`/${status}`, ({ path }) => ({
      status,
      body: path.split('?')[1] as string,
      headers: { 'content-type': 'text/plain' },
      afterMs: Math.random() * 30,
    }));
  web.on('/never', { hold: true });
});
afterAll(async () => {
  await direct?.end();
  await web?.close();
  await d?.close();
});

interface Case {
  readonly text: string;
  readonly graph: Graph;
  readonly dice: Dice;
  readonly signals: ReadonlyMap<string, number>;
  id: string;
}

test(`random graphs come to what a model says, seed ${SEED}`, async () => {
  const dice = new Dice(SEED);
  const cases = Array.from({ length: COUNT }, () => randomCase(dice.fork()));
  let ended = false;
  const proxies: SpawnedProxy[] = [await nextProxy()];
  const clock = (async () => {
    while (!ended) {
      await delay(700);
      await d.root.query(`UPDATE _df.clock SET shift = shift + interval '1 minute'`);
    }
  })();
  const killer = (async () => {
    for (let n = 0; n < KILLS && !ended; n += 1) {
      await delay(dice.between(700, 1500));
      const killed = proxies.at(-1) as SpawnedProxy;
      const next = dice.once(2) ? nextProxy() : null; // it is there already, or comes afterwards
      await next;
      killed.child.kill('SIGKILL');
      proxies.push(await (next ?? nextProxy()));
    }
  })();
  try {
    await Promise.all(cases.map(run));
    await allEnd(cases.map(({ id }) => id));
    await killer;
  } finally {
    ended = true;
    await clock;
    await killer.catch(() => {});
    for (const proxy of proxies) await proxy.stop();
  }
  const wrong: string[] = [];
  for (const { id, graph, text } of cases) {
    const found = await differences(d, web, id, graph);
    if (found.length > 0) wrong.push(`instance ${id}: ${text}\n${found.join('\n')}`);
  }
  expect(wrong.join('\n\n'), `seed ${SEED}`).toBe('');
}, 120_000);

async function allEnd(ids: readonly string[]): Promise<void> {
  const unfinished = async () =>
    (
      await d.root.query<{ id: string }>(
        `SELECT id FROM df.instances WHERE id = ANY($1) AND status IN ('pending', 'running')`,
        [ids],
      )
    ).rows.map(({ id }) => id);
  await until(async () => (await unfinished()).length === 0, { timeoutMs: 40_000, everyMs: 50 }).catch(
    async (error: Error) => {
      const shown = (await unfinished()).slice(0, 3).map((id) => d.describe(id));
      throw new Error(`seed ${SEED}: ${error.message}; ${(await Promise.all(shown)).join('; ')}`);
    },
  );
}

function isEndlessRequest(node: Graph): boolean {
  return node.type === 'HTTP' && node.path === '/never';
}

function randomCase(dice: Dice): Case {
  const generator = new Generator(dice);
  for (;;) {
    const graph = generator.graph();
    try {
      const { signals, schedules } = new Model(graph, 'i', web.url);
      // the test's clock moves what is parked, and a request under way keeps its instance in memory
      if (schedules > 2 || (schedules > 0 && everyNode(graph).some(isEndlessRequest))) continue;
      return { graph, dice, signals, text: expression(graph, web.url), id: '' };
    } catch (error) {
      if (!(error instanceof TooMuch)) throw error;
    }
  }
}

/** A proxy of its own, which the role has logged in through. */
async function nextProxy(): Promise<SpawnedProxy> {
  const proxy = await spawnProxy({ database: d.database, settings: SETTINGS });
  const client = new pg.Client({ connectionString: proxy.url(d.role) });
  await client.connect();
  await client.end();
  return proxy;
}

/** Starts it, and sends its signals, some of them in the transaction that starts it. */
async function run(one: Case): Promise<void> {
  const { dice } = one;
  const waiting = [...one.signals].flatMap(([signal, count]) =>
    Array.from({ length: count + dice.between(0, 2) }, (_, n) => ({ signal, data: payload(n + 1) })),
  );
  const inOrder = shuffled(waiting, dice);
  const early = dice.once(2) ? dice.between(0, inOrder.length) : 0;
  await delay(dice.between(0, 800));
  const client = await direct.connect();
  try {
    await client.query('BEGIN');
    const answer = await client.query<{ id: string }>(`SELECT df.start(${one.text}, 'label') AS id`);
    one.id = (answer.rows[0] as { id: string }).id;
    for (const { signal, data } of inOrder.slice(0, early))
      await client.query('SELECT df.signal($1, $2, $3)', [one.id, signal, data]);
    await client.query('COMMIT');
  } finally {
    client.release();
  }
  for (const { signal, data } of inOrder.slice(early)) {
    if (!dice.once(3)) await delay(dice.between(0, 300));
    await direct.query('SELECT df.signal($1, $2, $3)', [one.id, signal, data]);
  }
}

/** Mixed, but those of a name in their order. */
function shuffled(signals: Array<{ signal: string; data: string }>, dice: Dice) {
  const queues = new Map<string, Array<{ signal: string; data: string }>>();
  for (const one of signals) queues.set(one.signal, [...(queues.get(one.signal) ?? []), one]);
  const mixed: Array<{ signal: string; data: string }> = [];
  while (queues.size > 0) {
    const [name, queue] = dice.pick([...queues]) as [string, Array<{ signal: string; data: string }>];
    mixed.push(queue.shift() as { signal: string; data: string });
    if (queue.length === 0) queues.delete(name);
  }
  return mixed;
}
