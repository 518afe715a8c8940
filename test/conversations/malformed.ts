import { message } from '../../src/wire/message.js';
import type { Dice } from '../chaos/dice.js';
import { mutated } from '../fuzz/mutate.js';
import {
  bind,
  close,
  describe,
  execute,
  flush,
  functionCall,
  parse,
  query,
  sync,
} from '../support/frontend.js';

/**
 * A message whose frame is whole and whose body is not what it should be, among good ones. The server answers with an
 * error; what it skips then depends on the message. The unnamed portal is left alone, see `leftover` in pipelined.ts.
 */
export function malformed(dice: Dice): Buffer[] {
  const one = Buffer.from([0, 0, 0, 1]);
  // Not the text of statements: random ones could be random work.
  const changed = dice.pick([
    bind(['1', one], { statement: 'n1' }),
    bind([null]),
    execute('p1', 3),
    describe('S', 'n1'),
    describe('P'),
    close('S', 'n2'),
  ])!;
  const longer = dice.pick([
    ...[
      query('SELECT 1'),
      parse('SELECT 1'),
      bind(),
      execute('p1'),
      describe('P'),
      close('P', 'p1'),
      sync,
      flush,
    ],
    functionCall(177, [one, one]),
  ])!;
  const bad = dice.once(2)
    ? message(changed[0]!, mutated(changed.subarray(5), dice))
    : message(longer[0]!, spoiltEnd(longer.subarray(5), dice));
  const good = [parse('SELECT $1::int', 'n1'), query('SELECT 2'), sync, execute('p1'), flush];
  return [...(dice.once(2) ? [dice.pick(good)!] : []), bad, ...(dice.once(2) ? [dice.pick(good)!] : [])];
}

/** Something behind it, or less of it. */
function spoiltEnd(body: Buffer, dice: Dice): Buffer {
  if (body.length === 0 || dice.once(2))
    return Buffer.concat([body, Buffer.alloc(dice.between(1, 9), dice.between(0, 255))]);
  return body.subarray(0, dice.between(0, body.length - 1));
}
