import { Frontend } from '../../src/wire/codes.js';
import { message } from '../../src/wire/message.js';
import { protocolVersion } from '../../src/wire/startup.js';
import { Dice } from '../chaos/dice.js';
import {
  bind,
  close,
  copyData,
  copyDone,
  describe,
  execute,
  flush,
  functionCall,
  parse,
  query,
  sync,
} from '../support/frontend.js';
import type { Conversation, Step, Turn } from './conversation.js';
import { copyFrom, endOfCopy } from './copies.js';
import { malformed } from './malformed.js';
import {
  BACKSLASH,
  copyOut,
  manyGraphs,
  parameterised,
  preparable,
  single,
  statement,
} from './statements.js';

/** What a turn may depend on. */
interface Mood {
  readonly dice: Dice;
  /** Operators of df may occur: the session reads text as the rewriter does. */
  readonly dsl: boolean;
}

type Messages = (mood: Mood) => Buffer[];
type MakeTurn = (mood: Mood) => Turn;

const name = (dice: Dice) => dice.pick(['', '', 'n1', 'n2'])!;
const portal = (dice: Dice) => dice.pick(['', '', 'p1'])!;
const kind = (dice: Dice) => dice.pick(['S', 'P'] as const)!;

/** Parse, and what may follow it in any combination. */
const extended: Messages = ({ dice, dsl }) => {
  const statement = name(dice);
  const target = portal(dice);
  const out: Buffer[] = [];
  let values: (string | Buffer | null)[] = [];
  if (dice.once(2)) {
    const made = parameterised(dice, dsl);
    out.push(parse(made.sql, statement, made.types));
    values = made.values;
  } else {
    out.push(parse(preparable(dice, dsl), statement));
  }
  if (dice.once(3)) out.push(describe('S', statement));
  if (dice.once(8)) return out;
  out.push(bind(values, { portal: target, statement, binaryResult: dice.once(4) }));
  if (dice.once(2)) out.push(describe('P', target));
  if (dice.once(10)) return out;
  out.push(execute(target, dice.once(3) ? dice.between(1, 5) : 0));
  if (dice.once(4)) out.push(execute(target, dice.between(0, 5)));
  if (dice.once(6)) out.push(flush);
  return out;
};

/**
 * On what an earlier turn has left, or on nothing. Never an Execute of the unnamed portal without a Bind before it: a
 * Query that failed in a transaction leaves it with a text that is gone, of which the server may die (seen with 18.4).
 */
const leftover: Messages = ({ dice }) => {
  switch (dice.between(0, 4)) {
    case 0: {
      const target = portal(dice);
      return [bind([], { statement: name(dice), portal: target }), execute(dice.once(3) ? 'p1' : target)];
    }
    case 1:
      return [describe(kind(dice), name(dice))];
    case 2:
      return [close(kind(dice), dice.pick(['', 'n1', 'n2', 'p1'])!)];
    case 3:
      return [execute(dice.pick(['p1', 'c1', 'none'])!, dice.between(0, 3))];
    default:
      return [describe('P', 'c1'), execute('c1', 2)];
  }
};

const copyIn: Messages = ({ dice, dsl }) => {
  const copy = copyFrom(dice, dsl);
  const data = [...copy.data, endOfCopy(dice)];
  if (dice.once(10)) data.push(copyDone);
  // Sync and Flush are ignored during the copy.
  if (dice.once(6)) data.splice(dice.between(0, data.length - 1), 0, dice.once(2) ? sync : flush);
  if (dice.once(2)) {
    const text = dice.pick([
      copy.sql,
      copy.sql,
      `${copy.sql}; SELECT 'behind'`,
      `SELECT 'before'; ${copy.sql}`,
      'COPY nowhere FROM STDIN',
    ])!;
    return [query(text), ...data];
  }
  const start = [parse(dice.once(8) ? 'COPY nowhere FROM STDIN' : copy.sql), bind(), execute()];
  // Some clients send a Sync before the data, which the server ignores.
  if (dice.once(2)) start.push(sync);
  return [...start, ...data, sync];
};

const fastPath: Messages = ({ dice }) => {
  const int = (value: number) => {
    const out = Buffer.alloc(4);
    out.writeInt32BE(value);
    return out;
  };
  // int4pl, int4div, none
  return dice.pick([
    [functionCall(177, [int(40), int(2)])],
    [functionCall(154, [int(1), int(0)])],
    [functionCall(1, [])],
  ])!;
};

const pieces: readonly Messages[] = [
  ({ dice, dsl }) => [query(statement(dice, dsl))],
  ({ dice, dsl }) => [query(statement(dice, dsl))],
  extended,
  extended,
  extended,
  (mood) => [...extended(mood), sync],
  leftover,
  () => [sync],
  ({ dice }) => [query(copyOut(dice))],
  ({ dice }) => [parse(copyOut(dice)), bind(), execute(), sync],
  copyIn,
  copyIn,
  fastPath,
  // Outside a copy these are ignored.
  ({ dice, dsl }) => [...copyFrom(dice, dsl).data.slice(0, 2), endOfCopy(dice)],
];

const pipeline: MakeTurn = (mood) => {
  const count = mood.dice.between(1, 9);
  return {
    name: 'pipeline',
    loose: true,
    steps: Array.from({ length: count }, () => ({ send: mood.dice.pick(pieces)!(mood) })),
  };
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

/** Encodings in which bytes mean something else; and back, so that later turns are readable again. */
const encodings: MakeTurn = ({ dice }) =>
  interactive(
    'another encoding',
    {
      send: [query(`SET client_encoding = '${dice.pick(['LATIN1', 'SJIS', 'WIN1252', 'BIG5'])}'`)],
      wait: 'Z',
    },
    { send: [query(Buffer.from('SELECT \'a\xe9~>\' AS "\xe9"', 'latin1'))], wait: 'Z' },
    { send: [query("SET client_encoding = 'UTF8'; SELECT 'é'")], wait: 'Z' },
  );

/** A text in which operators are outside of a literal or inside, as this setting says; and back. */
const backslashes: MakeTurn = () =>
  interactive(
    'another meaning of backslashes',
    { send: [query('SET standard_conforming_strings = off')], wait: 'Z' },
    { send: [query(BACKSLASH)], wait: 'Z' },
    { send: [parse(BACKSLASH), bind(), execute(), sync], wait: 'Z' },
    { send: [query('SET standard_conforming_strings = on')], wait: 'Z' },
  );

const spoilt: MakeTurn = ({ dice }) => ({
  name: 'malformed messages',
  loose: true,
  steps: Array.from({ length: dice.between(1, 4) }, () => ({ send: malformed(dice) })),
});

const TURNS: readonly MakeTurn[] = [
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
const RARE_TURNS: readonly MakeTurn[] = [cancelled, cancelled, cancelledIdle, cancelledCopy, bigValue];

/** After these the server closes. */
const LAST: readonly (() => Turn)[] = [
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

const STARTUPS: readonly Record<string, string>[] = [
  {},
  {},
  { application_name: '' },
  { application_name: 'talk', DateStyle: 'SQL, DMY' },
  { options: '-c extra_float_digits=1 -c work_mem=1234' },
  { options: '--work-mem=1234', TimeZone: 'Europe/Paris' },
  { '_pq_.unheard_of': 'x' },
];

/** With these the server ends the login, before or after it has asked for the password. */
const REFUSED: readonly Record<string, string>[] = [
  { database: 'no_such_database' },
  { database: 'template0' },
  { user: 'no_such_role' },
  { options: '-c work_mem=little' },
  { options: '-c no_such_setting=1' },
  { options: '--unknown' },
  { TimeZone: 'Nowhere/Land' },
  { client_encoding: 'KLINGON' },
  { replication: 'perhaps' },
  { replication: 'true' },
];

/** The number-th conversation of a seed; the same each time. */
export function conversation(seed: number, number: number): Conversation {
  const dice = new Dice(Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) + number);
  const startup = { ...dice.pick(STARTUPS)! };
  if (dice.once(6)) startup.client_encoding = dice.pick(['LATIN1', 'SQL_ASCII', 'EUC_JP'])!;
  if (dice.once(8)) startup.options = '-c standard_conforming_strings=off';
  // In this encoding errors in the code of a DO block quote the qualified operators.
  const dsl = startup.client_encoding !== 'EUC_JP' && !dice.once(8);
  if (dice.once(25)) Object.assign(startup, dice.pick(REFUSED)!);
  const mood = { dice, dsl };
  const turns = Array.from({ length: dice.between(1, 6) }, () =>
    dice.once(10) ? dice.pick(RARE_TURNS)!(mood) : dice.pick(TURNS)!(mood),
  );
  if (dice.once(12)) turns.push(dice.pick(LAST)!());
  return {
    number,
    startup,
    protocol: dice.once(6) ? protocolVersion(3, dice.pick([2, 1, 9])!) : protocolVersion(3, 0),
    pieces: dice.pick([0, 0, 0, 1, 7, 60, 2000])!,
    turns,
  };
}
