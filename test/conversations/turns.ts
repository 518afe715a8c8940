import { Frontend } from '../../src/wire/codes.js';
import { message } from '../../src/wire/message.js';
import {
  bind,
  close,
  copyData,
  copyDone,
  describe,
  execute,
  flush,
  parse,
  query,
  sync,
} from '../support/frontend.js';
import type { Mood, Step, Turn } from './conversation.js';
import { copyFrom, endOfCopy } from './copies.js';
import { malformed } from './malformed.js';
import { name, pieces, pointer, portal } from './pipelined.js';
import {
  BACKSLASH,
  BACKSLASH_POINTER,
  manyGraphs,
  POINTER,
  parameterised,
  single,
  statement,
} from './statements.js';

/** Turns of a conversation: one pipeline, or messages that wait for answers. */

export type MakeTurn = (mood: Mood) => Turn;

const pipeline: MakeTurn = (mood) => {
  const count = mood.dice.between(1, 9);
  const steps = Array.from({ length: count }, () => ({ send: mood.dice.pick(pieces)!(mood) }));
  if (mood.dice.once(2)) steps.push({ send: pointer(mood) });
  return { name: 'pipeline', loose: true, steps };
};

const interactive = (named: string, ...steps: Step[]): Turn => ({ name: named, loose: false, steps });

/** Some simple queries, each waited for. */
const dialogue: MakeTurn = ({ dice, dsl }) => ({
  name: 'dialogue',
  loose: true,
  steps: Array.from({ length: dice.between(1, 4) }, () => ({
    send: [query(statement(dice, dsl))],
    wait: 'Z',
  })),
});

/** Everything waited for without a Sync: Parse, then Describe, then rows in portions. */
const flushed: MakeTurn = ({ dice, dsl }) => {
  const made = dice.once(2) ? parameterised(dice, dsl) : { sql: single(dice), types: [], values: [] };
  const statement = name(dice);
  const target = portal(dice);
  const steps: Step[] = [
    { send: [parse(made.sql, statement, made.types), flush], wait: '1' },
    { send: [bind(made.values, { statement, portal: target }), flush], wait: '2' },
    { send: [describe('P', target), flush], wait: 'Tn' },
  ];
  if (dice.once(3)) steps.splice(1, 0, { send: [describe('S', statement), flush], wait: 'Tn' });
  for (let i = dice.between(1, 3); i > 0; i--) {
    steps.push({ send: [execute(target, dice.between(1, 4)), flush], wait: 'sCI' });
  }
  return interactive('flush without sync', ...steps);
};

/** A portal that is left open over other messages; with operators, and with an error in a later portion. */
const portals: MakeTurn = ({ dice, dsl }) => {
  const sql = dsl && dice.once(2) ? manyGraphs(dice) : 'SELECT id, name FROM items ORDER BY id';
  return interactive(
    'portal with row limits',
    { send: [query('BEGIN')], wait: 'Z' },
    {
      send: [
        parse(sql, 'n1'),
        describe('S', 'n1'),
        bind([], { portal: 'p1', statement: 'n1' }),
        execute('p1', dice.between(1, 9)),
        flush,
      ],
      wait: 'sC',
    },
    { send: [parse('SELECT 1'), bind(), execute(), sync], wait: 'Z' },
    {
      send: [describe('P', 'p1'), execute('p1', dice.between(0, 20)), close('P', 'p1'), sync],
      wait: 'Z',
    },
    { send: [query(dice.pick(['COMMIT', 'ROLLBACK'])!)], wait: 'Z' },
  );
};

const copyWaiting: MakeTurn = ({ dice, dsl }) => {
  const copy = copyFrom(dice, dsl);
  const start = dice.once(2)
    ? [query(copy.sql)]
    : [parse(copy.sql), bind(), execute(), dice.once(2) ? sync : flush];
  const steps: Step[] = [{ send: start, wait: 'G' }];
  for (const piece of copy.data) steps.push({ send: [piece] });
  steps.push({ send: [endOfCopy(dice), sync] });
  // Late ones are ignored.
  if (dice.once(4)) steps.push({ send: [copyData('late\n'), copyDone] });
  return interactive('copy in, waiting for G', ...steps);
};

/** The notice comes at once, and shows that the statement runs. */
const RUNNING = "DO $$ BEGIN RAISE NOTICE 'running'; PERFORM pg_sleep(60); END $$";
const RUNNING_DSL = `DO $$ BEGIN RAISE NOTICE 'running'; PERFORM 'a' ~> 'b', pg_sleep(60); END $$`;

const cancelled: MakeTurn = ({ dice, dsl }) => {
  const text = dsl && dice.once(2) ? RUNNING_DSL : RUNNING;
  const send = dice.once(2)
    ? [query(text), query('SELECT 1')]
    : [parse(text), bind(), execute(), parse('SELECT 2'), bind(), execute(), flush, sync];
  return interactive('cancel', { send, wait: 'N', act: 'cancel' });
};

const cancelledIdle: MakeTurn = () =>
  interactive('cancel while idle', { send: [query('SELECT 1')], wait: 'Z', act: 'cancel' });

const cancelledCopy: MakeTurn = ({ dice }) => {
  const text = 'COPY items (id, name) FROM STDIN';
  const start = dice.once(2) ? [query(text)] : [parse(text), bind(), execute(), flush];
  return interactive(
    'cancel of a copy',
    { send: start, wait: 'G' },
    { send: [copyData('9999\tcancelled\n')], act: 'cancel' },
    { send: [copyDone, sync] },
  );
};

const listening: MakeTurn = () =>
  interactive('notified', { send: [query('LISTEN outside')], wait: 'Z', act: 'notify' });

const bigValue: MakeTurn = ({ dice }) => {
  const size = dice.between(100_000, 1_500_000);
  return interactive(
    'big values',
    { send: [parse('SELECT $1::text'), bind(['v'.repeat(size)]), execute(), sync], wait: 'Z' },
    { send: [query(`SELECT length('${'w'.repeat(size)}'), repeat('x', ${size})`)], wait: 'Z' },
  );
};

/** Statements with operators that are long, or have many: from some size on they are read in another thread. */
const bigGraph: MakeTurn = ({ dice, dsl }) => {
  if (!dsl) return bigValue({ dice, dsl });
  const sql = dice.once(2)
    ? `SELECT 'é', length('${'w'.repeat(dice.between(300, 200_000))}' ~> 'b')`
    : `SELECT 'é', length(${Array.from({ length: dice.between(10, 700) }, () => "'x'").join(' ~> ')})`;
  return interactive(
    'big statements',
    // What is behind them must not overtake them.
    {
      send: [query(sql), query('SELECT 2'), parse(`${sql}, nope`), bind(), sync, query(sql), query(POINTER)],
    },
    { send: [parse(sql), bind(), execute(), sync], wait: 'Z' },
  );
};

/** A character in each that is not UTF-8; two have a byte of ASCII in it. */
const ENCODINGS = { LATIN1: '\xe9', WIN1252: '\xe9', SJIS: '\x83\x5c', BIG5: '\xa5\x5c' } as const;

/** Encodings in which bytes mean something else; and back, so that later turns are readable again. */
const encodings: MakeTurn = ({ dice, dsl }) => {
  const encoding = dice.pick(['LATIN1', 'WIN1252', 'SJIS', 'BIG5'] as const)!;
  const text = (latin1: string) => query(Buffer.from(latin1, 'latin1'));
  const pointing = text(`SELECT '${ENCODINGS[encoding]}' ~> 'b' ~> 'c', nope`);
  return interactive(
    'another encoding',
    { send: [query(`SET client_encoding = '${encoding}'`)], wait: 'Z' },
    { send: [text('SELECT \'a\xe9~>\' AS "\xe9"')], wait: 'Z' },
    ...(dsl ? [{ send: [pointing], wait: 'Z' }] : []),
    { send: [query("SET client_encoding = 'UTF8'; SELECT 'é'")], wait: 'Z' },
  );
};

/** A text in which operators are outside of a literal or inside, as this setting says; and back. */
const backslashes: MakeTurn = ({ dsl }) =>
  interactive(
    'another meaning of backslashes',
    { send: [query('SET standard_conforming_strings = off')], wait: 'Z' },
    { send: [query(BACKSLASH)], wait: 'Z' },
    { send: [parse(BACKSLASH), bind(), execute(), sync], wait: 'Z' },
    ...(dsl ? [{ send: [query(BACKSLASH_POINTER)], wait: 'Z' }] : []),
    { send: [query('SET standard_conforming_strings = on')], wait: 'Z' },
  );

const spoilt: MakeTurn = ({ dice }) => ({
  name: 'malformed messages',
  loose: true,
  steps: Array.from({ length: dice.between(1, 4) }, () => ({ send: malformed(dice) })),
});

export const TURNS: readonly MakeTurn[] = [
  ...Array<MakeTurn>(8).fill(pipeline),
  ...Array<MakeTurn>(4).fill(dialogue),
  flushed,
  flushed,
  flushed,
  portals,
  copyWaiting,
  copyWaiting,
  listening,
  encodings,
  backslashes,
  spoilt,
];
/** These cost more. */
export const RARE_TURNS: readonly MakeTurn[] = [
  cancelled,
  cancelled,
  cancelledIdle,
  cancelledCopy,
  bigValue,
  bigGraph,
  bigGraph,
];

/** After these the server closes. */
export const LAST: readonly (() => Turn)[] = [
  () =>
    interactive('the end of its own process', {
      send: [query('SELECT pg_terminate_backend(pg_backend_pid())')],
    }),
  () => interactive('an unknown message type', { send: [message(0x21, Buffer.from('what'))] }),
  () => interactive('a length above the limit', { send: [Buffer.from([0x51, 0x7f, 0xff, 0xff, 0xff])] }),
  () => interactive('a length below four', { send: [Buffer.from([0x50, 0, 0, 0, 3])] }),
  () =>
    interactive('Terminate in a transaction', {
      send: [query('BEGIN'), message(Frontend.Terminate, Buffer.alloc(0))],
    }),
];
