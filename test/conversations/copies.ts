import type { Dice } from '../chaos/dice.js';
import { copyData, copyDone, copyFail } from '../support/frontend.js';
import { chain } from './statements.js';

/** A COPY into the table items, and CopyData for it. */
export interface CopyFrom {
  readonly sql: string;
  readonly data: Buffer[];
}

/** In one of the formats; sometimes something is wrong with the data. @param dsl an operator may be in the statement */
export function copyFrom(dice: Dice, dsl: boolean): CopyFrom {
  const where = dsl && dice.once(4) ? ` WHERE name <> ${chain(dice)}` : '';
  const from = dice.between(2000, 9000);
  switch (dice.between(0, 5)) {
    case 0:
      return { sql: `COPY items (id, name) FROM STDIN (FORMAT csv)${where}`, data: csv(dice, from) };
    case 1:
      return { sql: `COPY items (id, name) FROM STDIN (FORMAT binary)${where}`, data: binary(dice, from) };
    default:
      return { sql: `COPY items (id, name) FROM STDIN${where}`, data: text(dice, from) };
  }
}

export function endOfCopy(dice: Dice): Buffer {
  return dice.once(4) ? copyFail('the client gave up') : copyDone;
}

function text(dice: Dice, from: number): Buffer[] {
  const lines = Array.from({ length: dice.between(0, 6) }, (_, i) => copyData(`${from + i}\tcopied\n`));
  if (dice.once(4)) lines.splice(dice.between(0, lines.length), 0, copyData('bad line\n'));
  if (dice.once(5)) lines.push(copyData(`${from + 90}\tin two`), copyData(' pieces\n'));
  if (dice.once(8)) lines.push(copyData(Buffer.from('x'.repeat(dice.between(1, 100_000)))));
  return lines;
}

function csv(dice: Dice, from: number): Buffer[] {
  const lines = Array.from({ length: dice.between(0, 6) }, (_, i) => copyData(`${from + i},"a, ""b""\nc"\n`));
  if (dice.once(4)) lines.push(copyData(dice.pick(['1\n', '1,2,3\n', 'x,y\n', '7,"never closed\n'])!));
  return lines;
}

/** "COPY", section "Binary Format". */
function binary(dice: Dice, from: number): Buffer[] {
  const bytes: Buffer[] = [Buffer.from('5047434f50590aff0d0a000000000000000000', 'hex')];
  for (let i = dice.between(0, 6); i > 0; i--) bytes.push(tuple(from + i, 'in binary'));
  bytes.push(Buffer.from('ffff', 'hex'));
  if (dice.once(3)) {
    const wrong: readonly (() => void)[] = [
      () => bytes.splice(0, 1),
      () => bytes.pop(),
      () => bytes.push(Buffer.from('more')),
      () => bytes.splice(1, 0, Buffer.from('0003', 'hex')),
    ];
    dice.pick(wrong)!();
  }
  if (dice.once(2)) return bytes.map(copyData);
  // Messages need not end where rows do.
  const all = Buffer.concat(bytes);
  const cut = dice.between(0, all.length);
  return [copyData(all.subarray(0, cut)), copyData(all.subarray(cut))];
}

function tuple(id: number, name: string): Buffer {
  const out = Buffer.alloc(14);
  out.writeInt16BE(2, 0);
  out.writeInt32BE(4, 2);
  out.writeInt32BE(id, 6);
  out.writeInt32BE(name.length, 10);
  return Buffer.concat([out, Buffer.from(name)]);
}
