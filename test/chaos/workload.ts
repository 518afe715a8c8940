/**
 * Durable functions whose every step leaves a trace: a row in chaos.trace with the instance's number, the step's name
 * and the iteration. The table has no unique constraint, so that a step that ran twice is seen, not refused.
 *
 * The iteration comes from a named result or from the rows that are there, never from a counter outside the database.
 * A deferred trigger makes every COMMIT take a moment, so that some are hit in the middle of it.
 */
export const SCHEMA = `
CREATE SCHEMA chaos;
CREATE FUNCTION chaos.engine_now() RETURNS timestamptz LANGUAGE sql SECURITY DEFINER
    RETURN clock_timestamp() + (SELECT c.shift FROM _df.clock AS c);
CREATE TABLE chaos.trace (
    instance  int         NOT NULL,
    step      text        NOT NULL,
    iteration int         NOT NULL,
    at        timestamptz NOT NULL DEFAULT chaos.engine_now(),
    backend   int         NOT NULL DEFAULT pg_backend_pid()
);
CREATE INDEX ON chaos.trace (instance, step);
-- what the application writes in the transaction that starts an instance
CREATE TABLE chaos.orders (number int PRIMARY KEY, instance text NOT NULL);
-- and in the one that sends a signal
CREATE TABLE chaos.sent (number int, signal int, PRIMARY KEY (number, signal));
-- which attempt at a request the step behind it was given
CREATE TABLE chaos.replies (instance int NOT NULL, attempt int NOT NULL);
-- the times that schedules have chosen, and when
CREATE TABLE chaos.ticks (instance text NOT NULL, node text NOT NULL, tick timestamptz NOT NULL,
                          at timestamptz NOT NULL DEFAULT chaos.engine_now());
CREATE FUNCTION chaos.note_tick() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO chaos.ticks (instance, node, tick)
    VALUES (NEW.instance_id, NEW.node_id, to_timestamp(NEW.value::float8));
    RETURN NULL;
END $$;
CREATE TRIGGER note_tick AFTER INSERT OR UPDATE ON _df.journal
    FOR EACH ROW WHEN (NEW.kind = 't' AND NEW.value IS NOT NULL) EXECUTE FUNCTION chaos.note_tick();
CREATE FUNCTION chaos.dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(random() * 0.02);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON chaos.trace
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chaos.dawdle();
`;

/** A trace as text: number/step/iteration. */
export type Trace = string;

export interface Signal {
  readonly name: string;
  readonly data: string;
}

export interface Order {
  readonly number: number;
  readonly kind: string;
  /** The graph in the operators of df, as an application writes it: the proxy qualifies them. */
  readonly graph: string;
  readonly traces: readonly Trace[];
  /** What df.result must hold. */
  readonly total: number;
  /** To be sent to it, in any order. */
  readonly signals?: readonly Signal[];
  /** Requests that it makes, each with an Idempotency-Key of its own, at the path of the order. */
  readonly requests?: number;
}

/** The variable that holds where requests go. */
export const HTTP_BASE = 'chaos_http';

type Kind = (number: number) => Omit<Order, 'number' | 'kind'>;

const KINDS: Record<string, Kind> = {
  sequence: (n) => ({
    graph: [
      ...['a', 'b', 'c', 'd', 'e'].map((name, i) => named(insert(n, name, '1', `${i + 1} AS v`), name)),
      lit(insert(n, 'end', '1', '$a.v + $b.v + $c.v + $d.v + $e.v AS total')),
    ].join(' ~> '),
    traces: once(n, 'a', 'b', 'c', 'd', 'e', 'end'),
    total: 15,
  }),

  join: (n) => ({
    graph:
      `${named(insert(n, 'a', '1', '7 AS v'), 'a')} ~> df.join3(` +
      `${named(insert(n, 'b', '1', '$a.v + 1 AS v'), 'b')}, ` +
      `${lit(insert(n, 'c1', '1', '0 AS v'))} ~> ${named(insert(n, 'c2', '1', '$a.v + 2 AS v'), 'c')}, ` +
      `${named(insert(n, 'd', '1', '$a.v + 3 AS v'), 'd')}) ~> ` +
      lit(insert(n, 'end', '1', '$b.v + $c.v + $d.v AS total')),
    traces: once(n, 'a', 'b', 'c1', 'c2', 'd', 'end'),
    total: 27,
  }),

  // the iteration travels in a name that the body binds anew
  loop: (n) => ({
    graph:
      `${named(insert(n, 'a', '1', '1 AS v'), 'i')} ~> df.loop(` +
      `${named(insert(n, 'body', '$i.v', 'iteration + 1 AS v'), 'i')}, 'SELECT $i.v <= 4') ~> ` +
      lit(insert(n, 'end', '1', '$i.v AS total')),
    traces: [...once(n, 'a', 'end'), ...times(n, 'body', 4)],
    total: 5,
  }),

  sleep: (n) => ({
    graph:
      `${named(insert(n, 'a', '1', '1 AS v'), 'a')} ~> df.sleep(1) ~> ${lit(insert(n, 'b', '1', '1 AS v'))} ~> ` +
      `${lit(insert(n, 'c', '1', '1 AS v'))} ~> df.sleep(1) ~> ${lit(insert(n, 'd', '1', '1 AS v'))} ~> ` +
      lit(insert(n, 'end', '1', '$a.v + 10 AS total')),
    traces: once(n, 'a', 'b', 'c', 'd', 'end'),
    total: 11,
  }),

  // branches that sleep and loop; the join begins right after a timer, so its timer's end is written by itself
  mixed: (n) => ({
    graph:
      `df.sleep(1) ~> ((${lit(insert(n, 'b', '1', '1 AS v'))} ~> df.sleep(1) ~> ` +
      `${named(insert(n, 'c', '1', '3 AS v'), 'c')}) & (${named(insert(n, 'd', '1', '1 AS v'), 'i')} ~> df.loop(` +
      `${named(insert(n, 'body', '$i.v', 'iteration + 1 AS v'), 'i')} ~> df.sleep(1), 'SELECT $i.v <= 2'))) ~> ` +
      `('SELECT $i.v = 3' ?> ${lit(insert(n, 'yes', '1', '$c.v + $i.v AS total'))} ` +
      `!> ${lit(insert(n, 'no', '1', '0 AS total'))})`,
    traces: [...once(n, 'b', 'c', 'd', 'yes'), ...times(n, 'body', 2)],
    total: 6,
  }),

  // the last steps end the instance, in a join that ends with it
  finale: (n) => ({
    graph:
      `${lit(insert(n, 'a', '1', '1 AS v'))} ~> ${lit(insert(n, 'b', '1', '1 AS v'))} ~> ` +
      `(${lit(insert(n, 'c', '1', '1 AS v'))} & (${lit(insert(n, 'd', '1', '1 AS v'))} ~> ` +
      `${lit(insert(n, 'e', '1', '4 AS total'))}))`,
    traces: once(n, 'a', 'b', 'c', 'd', 'e'),
    total: 4,
  }),

  // every iteration of a root loop is an execution of its own
  root: (n) => ({
    graph:
      `df.loop(${lit(insert(n, 'a', rowsOf(n, 'a'), '1 AS v'))} ~> ${lit(insert(n, 'b', rowsOf(n, 'b'), 'iteration AS total'))}, ` +
      `'SELECT count(*) < 3 FROM chaos.trace WHERE instance = ${n} AND step = ''b''')`,
    traces: [...times(n, 'a', 3), ...times(n, 'b', 3)],
    total: 3,
  }),

  // two waits in a row need two signals, whichever came first and however early
  signals: (n) => ({
    graph:
      `${lit(insert(n, 'a', '1', '1 AS v'))} ~> (df.wait_for_signal('go') |=> 'one') ~> ` +
      `${lit(insert(n, 'b', '1', '1 AS v'))} ~> (df.wait_for_signal('go') |=> 'two') ~> ` +
      lit(insert(n, 'end', '1', `${dataOf('one')} + ${dataOf('two')} AS total`)),
    traces: once(n, 'a', 'b', 'end'),
    total: 30,
    signals: [10, 20].map((data) => ({ name: 'go', data: String(data) })),
  }),

  // one signal wakes both branches; the time-out of the third is nobody's signal
  fan: (n) => ({
    graph:
      `df.join3((df.wait_for_signal('go') |=> 'x') ~> ${lit(insert(n, 'b', '1', `${dataOf('x')} AS v`))}, ` +
      `df.sleep(1) ~> (df.wait_for_signal('go') |=> 'y'), (df.wait_for_signal('never', 1) |=> 'z')) ~> ` +
      lit(insert(n, 'end', '1', `${dataOf('x')} + ${dataOf('y')} + ($z.timed_out)::int AS total`)),
    traces: once(n, 'b', 'end'),
    total: 9,
    signals: [{ name: 'go', data: '4' }],
  }),

  // every iteration takes a signal; which one is in its trace
  inbox: (n) => ({
    graph:
      `df.loop((df.wait_for_signal('tick') |=> 's') ~> ${lit(insert(n, 'body', dataOf('s'), '5 AS total'))}, ` +
      `'SELECT count(*) < 3 FROM chaos.trace WHERE instance = ${n} AND step = ''body''')`,
    traces: times(n, 'body', 3),
    total: 5,
    signals: [1, 2, 3].map((data) => ({ name: 'tick', data: String(data) })),
  }),

  schedule: (n) => ({
    graph:
      `${lit(insert(n, 'a', '1', '1 AS v'))} ~> df.wait_for_schedule('* * * * *') ~> ` +
      `${lit(insert(n, 'b', '1', '1 AS v'))} ~> df.wait_for_schedule('* * * * *') ~> ` +
      lit(insert(n, 'end', '1', '8 AS total')),
    traces: once(n, 'a', 'b', 'end'),
    total: 8,
  }),

  // what the step behind a request was given is what the request's node shows
  request: (n) => ({
    graph:
      `${lit(insert(n, 'a', '1', '1 AS v'))} ~> (df.http('{${HTTP_BASE}}/${n}', 'POST', 'order ${n}') |=> 'r') ~> ` +
      lit(
        `WITH given AS (INSERT INTO chaos.replies SELECT ${n}, ($r.body)::int) ${insert(n, 'end', '1', '6 AS total')}`,
      ),
    traces: once(n, 'a', 'end'),
    total: 6,
    requests: 1,
  }),

  requests: (n) => ({
    graph:
      `df.loop((df.http('{${HTTP_BASE}}/${n}', 'GET') & ${lit(insert(n, 'a', rowsOf(n, 'a'), '1 AS v'))}) ~> ` +
      `${lit(insert(n, 'b', rowsOf(n, 'b'), '2 AS total'))}, ` +
      `'SELECT count(*) < 2 FROM chaos.trace WHERE instance = ${n} AND step = ''b''')`,
    traces: [...times(n, 'a', 2), ...times(n, 'b', 2)],
    total: 2,
    requests: 2,
  }),
};

const NAMES = Object.keys(KINDS);

/** The order with this number: the kinds take turns. */
export function order(number: number): Order {
  const kind = NAMES[number % NAMES.length] as string;
  return { number, kind, ...(KINDS[kind] as Kind)(number) };
}

export function labelOf(number: number): string {
  return `order-${number}`;
}

/** The `total` of the last step, wherever it stands in the result. */
export function totalOf(result: string | null): number | undefined {
  const found = /"total": ?(\d+)/.exec(result ?? '');
  return found === null ? undefined : Number(found[1]);
}

function insert(n: number, step: string, iteration: string, returning: string): string {
  // a short statement here, a longer one there: neither must always win
  const pause = step === 'b' || step === 'body' ? ' FROM pg_sleep(0.03)' : '';
  return `INSERT INTO chaos.trace (instance, step, iteration) SELECT ${n}, '${step}', ${iteration}${pause} RETURNING ${returning}`;
}

/** The number that a signal brought. */
function dataOf(name: string): string {
  return `($${name}.data)::int`;
}

function rowsOf(n: number, step: string): string {
  return `(SELECT count(*) + 1 FROM chaos.trace WHERE instance = ${n} AND step = '${step}')`;
}

function lit(sql: string): string {
  return `'${sql.replaceAll("'", "''")}'`;
}

function named(sql: string, name: string): string {
  return `(${lit(sql)} |=> '${name}')`;
}

function once(n: number, ...steps: string[]): Trace[] {
  return steps.map((step) => `${n}/${step}/1`);
}

function times(n: number, step: string, count: number): Trace[] {
  return Array.from({ length: count }, (_, i) => `${n}/${step}/${i + 1}`);
}
