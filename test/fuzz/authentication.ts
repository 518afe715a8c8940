import { Backend, Frontend } from '../../src/wire/codes.js';
import { cstring, int32, message } from '../../src/wire/message.js';
import { ScramClient } from '../../src/wire/scram.js';
import type { Dice } from '../chaos/dice.js';
import { LENGTHS, mutated, randomBytes, word } from './mutate.js';

/** A write, or what makes it of all that the proxy has said so far. */
export type Write = Buffer | ((said: Buffer) => Promise<Buffer>);

const MECHANISMS = [
  'SCRAM-SHA-256',
  'SCRAM-SHA-256',
  'SCRAM-SHA-256',
  'SCRAM-SHA-256-PLUS',
  'OAUTHBEARER',
  '',
];

const first = (mechanism: string, text: string | Buffer) => {
  const data = Buffer.from(text as string);
  return message(Frontend.Password, Buffer.concat([cstring(mechanism), int32(data.length), data]));
};

/** Behind a good start-up packet of a client that is asked for its password: nonsense instead of it. */
export function badPassword(dice: Dice, password: string): Write[] {
  const good = message(Frontend.Password, cstring(password));
  switch (dice.between(0, 8)) {
    case 0:
      return [mutated(good, dice)];
    case 1:
      return [message(Frontend.Password, Buffer.from(password))];
    case 2:
      return [message(Frontend.Password, Buffer.alloc(0))];
    case 3:
      return [message(Frontend.Password, randomBytes(dice, dice.between(1, 70_000)))];
    case 4:
      return [message(dice.between(0, 255), cstring(password))];
    case 5:
      return [
        message(
          Frontend.Password,
          Buffer.concat([cstring('SCRAM-SHA-256'), word(dice.pick(LENGTHS)!), Buffer.from('n,,n=,r=')]),
        ),
      ];
    case 6:
      return [framedBadly(dice)];
    case 7:
      return [Buffer.concat([good, good, randomBytes(dice, 30)])];
    default:
      return [randomBytes(dice, dice.between(1, 100))];
  }
}

/** Behind a good start-up packet of a client that is asked for SCRAM-SHA-256: an exchange with something wrong in it. */
export function badScram(dice: Dice, password: string): Write[] {
  // `y` says that the client could bind the channel and the server could not: wrong where it offers that.
  const client = new ScramClient({ password }, undefined, dice.once(6) ? 'unused' : 'none');
  const start = client.first();
  const good = first('SCRAM-SHA-256', start);
  switch (dice.between(0, 9)) {
    case 0:
      return [mutated(good, dice)];
    case 1:
      return [first(dice.pick(MECHANISMS)!, mutated(Buffer.from(start), dice))];
    case 2:
      return [
        first(
          dice.pick(MECHANISMS)!,
          dice.pick(['', 'n,,', 'p=tls-unique,,n=,r=x', 'n,a=x,n=x,r=y', 'n,,m=1,n=,r=x'])!,
        ),
      ];
    case 3:
      return [
        message(
          Frontend.Password,
          Buffer.concat([cstring('SCRAM-SHA-256'), word(dice.pick(LENGTHS)!), Buffer.from(start)]),
        ),
      ];
    case 4:
      return [Buffer.concat([good, good])];
    case 5:
      return [framedBadly(dice)];
    case 6:
      return [good, message(Frontend.Password, randomBytes(dice, dice.between(0, 5_000)))];
    default:
      return [
        good,
        async (said) => {
          const final = Buffer.from(await client.final(continued(said)).catch(() => 'c=biws,r=x,p=x'));
          switch (dice.between(0, 3)) {
            case 0:
              return message(Frontend.Password, cstring(final.toString()));
            case 1:
              return mutated(message(Frontend.Password, final), dice);
            default:
              return message(Frontend.Password, mutated(final, dice));
          }
        },
      ];
  }
}

/** The text of the AuthenticationSASLContinue that came last; empty if none did. */
function continued(said: Buffer): string {
  let text = '';
  for (let at = 0; at + 5 <= said.length; ) {
    const end = at + 1 + said.readUInt32BE(at + 1);
    if (said[at] === Backend.Authentication && said.readInt32BE(at + 5) === 11)
      text = said.toString('latin1', at + 9, end);
    at = end;
  }
  return text;
}

function framedBadly(dice: Dice): Buffer {
  return Buffer.concat([Buffer.of(Frontend.Password), word(dice.pick(LENGTHS)!), randomBytes(dice, 40)]);
}
