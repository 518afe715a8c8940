import type { Dice } from '../chaos/dice.js';
import {
  bind,
  close,
  copyDone,
  describe,
  execute,
  flush,
  functionCall,
  parse,
  query,
  sync,
} from '../support/frontend.js';
import type { Mood } from './conversation.js';
import { copyFrom, endOfCopy } from './copies.js';
import { copyOut, POINTER, parameterised, preparable, statement } from './statements.js';

/** Messages that go out without a wait, in any order, whatever state the session is in. */

export type Messages = (mood: Mood) => Buffer[];

export const name = (dice: Dice) => dice.pick(['', '', 'n1', 'n2'])!;
export const portal = (dice: Dice) => dice.pick(['', '', 'p1'])!;
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

/** Shows whether the proxy still knows which message is being answered. */
export const pointer: Messages = ({ dice, dsl }) => {
  if (!dsl) return [sync];
  const message = dice.once(2) ? [query(POINTER)] : [parse(POINTER), sync];
  return dice.once(2) ? [sync, ...message] : message;
};

export const pieces: readonly Messages[] = [
  pointer,
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
