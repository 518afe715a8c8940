import type { Dice } from '../chaos/dice.js';

/**
 * Random statements on the tables of sides.ts. What they answer depends on nothing but the statements before them in
 * the session and the tables' first contents: no clock, no random(), no process id, no OID of a new object.
 */

/** A statement with parameters, and values for them: text as string, binary as Buffer. */
export interface Parameterised {
  readonly sql: string;
  readonly types: number[];
  readonly values: (string | Buffer | null)[];
}

type Make = (dice: Dice) => string;

const id = (dice: Dice) => dice.between(1, 60);
const savepoint = (dice: Dice) => dice.pick(['s1', 's2'])!;
const cursor = (dice: Dice) => dice.pick(['c1', 'c2'])!;
const prepared = (dice: Dice) => dice.pick(['q1', 'q2'])!;

/** One literal without standard_conforming_strings, and no statement at all with them. */
export const BACKSLASH = "SELECT 'a\\' ~> ''b'";

const READS: readonly Make[] = [
  () => BACKSLASH,
  (dice) => `SELECT ${dice.between(0, 9999)}`,
  (dice) => `SELECT id, name, data FROM items WHERE id < ${id(dice)} ORDER BY id`,
  (dice) => `SELECT n, 'row ' || n AS text FROM generate_series(1, ${dice.between(0, 300)}) AS n`,
  () => 'SELECT 5 & 3, 5 | 3, ARRAY[1, 2] @> ARRAY[1], NULL, true, 1.5, 2 <> 3',
  () => `SELECT '{"a": 1}'::jsonb @> '{"a": 1}', B'101' & B'110', inet '10.0.0.1' | inet '0.0.0.7'`,
  () => "SELECT 'é', '漢字', U&'\\00e9', E'a\\tb', $$it's$$, 'semi;colon' -- comment ~> with 'a' |=> 'b'",
  (dice) => `SELECT repeat('x', ${dice.between(1, 20_000)})`,
  (dice) => `SELECT repeat('long ', ${dice.between(1, 40_000)}) FROM generate_series(1, 2)`,
  () => 'VALUES (1, 2), (3, NULL)',
  () => 'SELECT FROM items WHERE id < 4',
  () => 'SELECT count(*) AS "of all", max(name) FROM items',
  () => 'EXPLAIN (COSTS OFF) SELECT name FROM items WHERE id = 7',
  () => 'TABLE late',
  () => 'SHOW work_mem',
  () => 'SELECT complain(3)',
];

const WRITES: readonly Make[] = [
  (dice) => `INSERT INTO items (id, name) VALUES (${dice.between(40, 90)}, 'new') RETURNING id, name`,
  (dice) => `UPDATE items SET name = name || '!' WHERE id < ${id(dice)}`,
  (dice) => `DELETE FROM items WHERE id = ${id(dice)} RETURNING *`,
  (dice) => `INSERT INTO late VALUES (${dice.between(1, 3)}), (${dice.between(1, 3)})`,
  () => 'TRUNCATE late',
  () => "SELECT pg_notify('here', 'by function')",
  () => "INSERT INTO items SELECT n, 'many' FROM generate_series(1000, 1200) AS n ON CONFLICT DO NOTHING",
];

const ERRORS: readonly Make[] = [
  () => 'SELECT * FROM nowhere',
  () => 'SELEKT 1',
  () => "SELECT 'é', nope FROM items",
  () => 'SELECT 1 / 0',
  () => "SELECT 'not a number'::int",
  () => 'INSERT INTO items (id) VALUES (1)',
  () => "SELECT 'unterminated",
  (dice) => `SELECT n / (n - ${dice.between(1, 200)}) FROM generate_series(1, 200) AS n`,
  () => 'SELECT 1; SELECT 1 / 0; SELECT 2',
  () => "SELECT 1.5 ~> 'a'",
  () => "DO $$ BEGIN\n  RAISE NOTICE 'before';\n  PERFORM 1 / 0;\nEND $$",
  () => 'DO $$ BEGIN PERFORM no_such_function(); END $$',
  () => "DO $$ BEGIN RAISE EXCEPTION 'custom' USING ERRCODE = 'ZZ001', DETAIL = 'd', HINT = 'h'; END $$",
  () => 'FETCH 1 FROM no_such_cursor',
  () => 'CREATE TABLE items ()',
];

const CONTROL: readonly Make[] = [
  () => 'BEGIN',
  () => 'BEGIN ISOLATION LEVEL REPEATABLE READ',
  () => 'START TRANSACTION READ ONLY',
  () => 'COMMIT',
  () => 'ROLLBACK',
  () => 'COMMIT AND CHAIN',
  (dice) => `SAVEPOINT ${savepoint(dice)}`,
  (dice) => `ROLLBACK TO ${savepoint(dice)}`,
  (dice) => `RELEASE ${savepoint(dice)}`,
  () => 'SET LOCAL work_mem = 2000',
  () => 'SET CONSTRAINTS ALL IMMEDIATE',
];

const SESSION: readonly Make[] = [
  (dice) => `SET work_mem = ${dice.between(1000, 2000)}`,
  (dice) => `SET application_name = 'name ${dice.between(1, 9)}'`,
  () => "SET datestyle = 'German, DMY'",
  () => "SET timezone = 'Asia/Tokyo'; SELECT timestamptz '2020-01-01 00:00Z', date '2020-12-31'",
  () => "SET intervalstyle = 'iso_8601'",
  () => 'RESET ALL',
  () => 'LISTEN here',
  () => "NOTIFY here, 'hello'",
  () => 'UNLISTEN *',
  (dice) => `DECLARE ${cursor(dice)} CURSOR FOR SELECT id FROM items ORDER BY id`,
  (dice) => `DECLARE ${cursor(dice)} CURSOR WITH HOLD FOR SELECT id, name FROM items ORDER BY id`,
  (dice) => `FETCH ${dice.between(1, 5)} FROM ${cursor(dice)}`,
  (dice) => `MOVE 2 FROM ${cursor(dice)}`,
  (dice) => `CLOSE ${cursor(dice)}`,
  (dice) => `PREPARE ${prepared(dice)} AS SELECT name FROM items WHERE id < 4 ORDER BY id`,
  (dice) => `EXECUTE ${prepared(dice)}`,
  (dice) => `DEALLOCATE ${prepared(dice)}`,
  () => 'DEALLOCATE ALL',
  () => 'DISCARD ALL',
  () => 'CREATE TEMP TABLE scratch AS SELECT n FROM generate_series(1, 5) AS n',
  () => 'SELECT count(*) FROM scratch',
  () => 'DROP TABLE IF EXISTS scratch',
  () => "DO $$ BEGIN FOR i IN 1..20 LOOP RAISE NOTICE 'notice %', i; END LOOP; END $$",
  () => 'ALTER TABLE items ADD COLUMN extra int',
  () => 'ALTER TABLE items DROP COLUMN IF EXISTS extra',
];

const COPY_OUT: readonly Make[] = [
  () => 'COPY (SELECT id, name FROM items ORDER BY id) TO STDOUT',
  () => 'COPY (SELECT id, name FROM items ORDER BY id) TO STDOUT (FORMAT csv, HEADER)',
  () => 'COPY (SELECT id, data FROM items ORDER BY id) TO STDOUT (FORMAT binary)',
  (dice) => `COPY (SELECT 10 / (n - ${dice.between(1, 400)}) FROM generate_series(1, 300) n) TO STDOUT`,
  () => "COPY (SELECT repeat('y', 9000) FROM generate_series(1, 20)) TO STDOUT",
];

const STEP: readonly Make[] = [
  () => "'SELECT 1'",
  () => "'a'",
  () => "'SELECT ''é'' AS x'",
  () => '$q$UPDATE items SET name = name$q$',
  () => 'df.sleep(5)',
  () => "df.sql('SELECT 2')",
  () => "df.seq('a', 'b')",
  () => 'df.break()',
];

/** An expression of the DSL. */
function step(dice: Dice, depth = 0): string {
  if (depth > 2 || dice.once(3)) return dice.pick(STEP)!(dice);
  const inner = () => step(dice, depth + 1);
  switch (dice.between(0, 7)) {
    case 0:
      return `${inner()} & ${inner()}`;
    case 1:
      return `(${inner()} | ${inner()})`;
    case 2:
      return `(${inner()} |=> 'name')`;
    case 3:
      return `('SELECT true' ?> ${inner()} !> ${inner()})`;
    case 4:
      return `(@> ${inner()})`;
    case 5:
      return `df.if('SELECT true', ${inner()}, ${inner()})`;
    case 6:
      return `df.join(${inner()}, ${inner()})`;
    default:
      return `(${inner()}~>${inner()})`;
  }
}

/** Always with an operator on string literals, which both sides take for the DSL's. */
export const chain = (dice: Dice): string => `('a' ~> ${step(dice)})`;

/** An error that points behind operators: to the right place only if the proxy knows which statement it answers. */
export const POINTER = "SELECT 'é' ~> 'b' ~> 'c', nope";

/** The same where `'it\\'s'` is one literal. */
export const BACKSLASH_POINTER = "SELECT 'it\\'s' ~> 'b' ~> 'c', nope";

/** Fifty rows with an operator, or fewer and then an error. */
export function manyGraphs(dice: Dice): string {
  return `SELECT id, ${chain(dice)}, 10 / (id - ${dice.between(1, 99)}) FROM items ORDER BY id`;
}

const DSL: readonly Make[] = [
  (dice) => `SELECT ${chain(dice)}`,
  (dice) => `SELECT ${chain(dice)} AS graph, id FROM items WHERE id < 3 ORDER BY id`,
  (dice) => `SELECT length(df.start(${chain(dice)}))`,
  (dice) => `SELECT df.start(${chain(dice)}, 'label') IS NOT NULL AS started`,
  (dice) => `WITH q AS (SELECT ${chain(dice)} AS g) SELECT g, 5 & 3 FROM q`,
  (dice) => `SELECT 1; SELECT ${chain(dice)}; SELECT 'é' ~> 'b'`,
  (dice) => `INSERT INTO items (id, name) VALUES (${dice.between(40, 90)}, ${chain(dice)}) RETURNING name`,
  (dice) => `DO $d$ BEGIN PERFORM ${chain(dice)};\n RAISE NOTICE 'done'; END $d$`,
  (dice) => `PREPARE ${prepared(dice)} AS SELECT ${chain(dice)}`,
  (dice) => `DECLARE ${cursor(dice)} CURSOR FOR SELECT ${chain(dice)} FROM items WHERE id < 9`,
  (dice) => `COPY (SELECT ${chain(dice)}) TO STDOUT`,
  (dice) => `/* é */ SELECT ${chain(dice)} -- ~> 'c'`,
  (dice) =>
    `CREATE OR REPLACE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql AS $f$ SELECT ${chain(dice)} $f$`,
  () => 'SELECT pg_temp.f()',
  () => "SELECT df.setvar('v', 'x'), df.getvar('v')",
  (dice) => `SELECT df.status(df.start(${chain(dice)}))`,
  (dice) => `SELECT df.cancel(df.start(${chain(dice)}), 'no more') IS NOT NULL AS said`,
  () => 'SELECT count(*) >= 0 AS ok FROM df.list_instances()',
  (dice) => `SELECT df.explain(${chain(dice)})`,
];

const DSL_ERRORS: readonly Make[] = [
  (dice) => `SELECT ${chain(dice)}, nope`,
  (dice) => `SELECT 'é', ${chain(dice)} FROM nowhere`,
  (dice) => `SELECT ${chain(dice)}, 1 / 0`,
  (dice) => `SELECT ${chain(dice)} +`,
  (dice) => `SELECT ${chain(dice)}; SELECT ${chain(dice)}, nope`,
  () => "SELECT 'a' ~> nope FROM items",
  (dice) => `DO $d$ BEGIN\n  PERFORM ${chain(dice)};\n  PERFORM ${chain(dice)}, nope;\nEND $d$`,
  (dice) => `DO $d$ BEGIN PERFORM ${chain(dice)}; PERFORM 1 / 0; END $d$`,
  (dice) => `DO $d$ BEGIN PERFORM ${chain(dice)}, 'é', 1 / 0; END $d$`,
  () => `DO 'DECLARE x text; BEGIN x := ''é'' || (''a'' ~> ''b'') || nope; END'`,
  (dice) => `DO $d$ BEGIN IF ${chain(dice)} = nope THEN NULL; END IF; END $d$`,
  (dice) => `CREATE FUNCTION pg_temp.g() RETURNS text LANGUAGE sql AS $f$ SELECT ${chain(dice)}, nope $f$`,
  (dice) =>
    `CREATE FUNCTION pg_temp.g() RETURNS text LANGUAGE sql AS 'SELECT ''a'' ~> ''b'', ${id(dice)} nope.'`,
  () => "SELECT df.start('a' ~> 'b', 'label', 'x', 'y', 'z')",
  () => "SELECT length(df.start('' ~> 'b'))",
  (dice) => `INSERT INTO items (id, name) VALUES (1, ${chain(dice)})`,
  (dice) => `SELECT ${chain(dice)} FROM generate_series(1, 5) n WHERE 1 / (n - 4) > -9`,
  (dice) => `SELECT ${chain(dice)}::int`,
];

/** One or more statements for a Query message. @param dsl whether operators of df may be in it */
export function statement(dice: Dice, dsl: boolean): string {
  if (dsl && dice.once(3)) return dice.pick(dice.once(3) ? DSL_ERRORS : DSL)!(dice);
  if (dice.once(12)) return dice.pick(['', ';', ' ; ;', '-- nothing', '/* a */'])!;
  if (dice.once(10)) return `${single(dice)}; ${single(dice)}`;
  return single(dice);
}

/** One statement without parameters. */
export function single(dice: Dice): string {
  const kind = dice.pick([READS, READS, READS, WRITES, WRITES, ERRORS, CONTROL, CONTROL, SESSION, SESSION]);
  return dice.pick(kind!)!(dice);
}

/** For Parse: one statement, rarely an error. */
export function preparable(dice: Dice, dsl: boolean): string {
  if (dsl && dice.once(3)) {
    const text = dice.pick(dice.once(4) ? DSL_ERRORS : DSL)!(dice);
    // Several statements in one Parse are an error, which is worth having now and then.
    if (!text.includes('; ') || dice.once(4)) return text;
  }
  if (dice.once(15)) return '';
  return single(dice);
}

export function copyOut(dice: Dice): string {
  return dice.pick(COPY_OUT)!(dice);
}

const INT4 = 23;
const TEXT = 25;
const BYTEA = 17;

function int4(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeInt32BE(value);
  return out;
}

export function parameterised(dice: Dice, dsl: boolean): Parameterised {
  switch (dice.between(0, dsl ? 9 : 6)) {
    case 0:
      return {
        sql: 'SELECT $1::int + 1, $2::text',
        types: [],
        values: [`${id(dice)}`, dice.once(3) ? null : 'two'],
      };
    case 1:
      return { sql: 'SELECT $1 * 2', types: [INT4], values: [int4(id(dice))] };
    case 2:
      return {
        sql: 'SELECT name FROM items WHERE id < $1 ORDER BY id',
        types: [INT4],
        values: [`${id(dice)}`],
      };
    case 3:
      return { sql: 'SELECT $1', types: [BYTEA], values: [Buffer.alloc(dice.between(0, 5_000), 0x51)] };
    case 4:
      return { sql: 'SELECT length($1)', types: [TEXT], values: ['é'.repeat(dice.between(0, 60_000))] };
    case 5:
      return {
        sql: 'INSERT INTO items (id, name) VALUES ($1, $2)',
        types: [],
        values: [`${id(dice)}`, 'bound'],
      };
    case 6:
      return { sql: 'SELECT $1::int', types: [], values: ['not a number'] };
    case 7:
      return { sql: `SELECT df.seq($1, ${chain(dice)})`, types: [TEXT], values: ['SELECT 1'] };
    case 8:
      return {
        sql: `SELECT length(df.start($1 ~> ${chain(dice)}, $2))`,
        types: [],
        values: ['SELECT 1', 'label'],
      };
    default:
      return { sql: `SELECT ${chain(dice)}, 10 / $1`, types: [INT4], values: [`${dice.between(0, 1)}`] };
  }
}
