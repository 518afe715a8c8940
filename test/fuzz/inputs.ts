import { Request } from '../../src/wire/codes.js';
import { message } from '../../src/wire/message.js';
import { protocolVersion, startupPacket } from '../../src/wire/startup.js';
import type { Dice } from '../chaos/dice.js';
import { conversation } from '../conversations/generate.js';
import { badPassword, badScram, type Write } from './authentication.js';
import { LENGTHS, mutated, randomBytes, request, word } from './mutate.js';

/** Whom a start-up packet names. */
export interface Identity {
  readonly user: string;
  readonly password: string;
  readonly database: string;
  /** Asked for SCRAM-SHA-256 instead of the password itself. */
  readonly scram: boolean;
}

const ODD = [
  '',
  ' ',
  "'",
  '"',
  '%s%n',
  '../../etc',
  'é',
  '漢字',
  '\\',
  '$user',
  'x'.repeat(64),
  'y'.repeat(5_000),
];

/**
 * What a client sends first, each with something wrong.
 * @returns its writes: each goes out when the proxy has answered the one before, or has had time to
 */
export function beforeLogin(dice: Dice, who: Identity): Write[] {
  const startup = startupPacket({ user: who.user, database: who.database });
  const encryption = () => request(dice.pick([Request.SSL, Request.GSSENC])!);
  switch (dice.between(0, 11)) {
    case 0:
      return [randomBytes(dice, dice.between(1, 200))];
    case 1:
      return [randomBytes(dice, dice.between(200, 20_000))];
    case 2:
    case 3:
      return [mutated(startup, dice)];
    case 4:
      return [
        Buffer.concat([
          word(dice.pick(LENGTHS)!),
          word(dice.pick([Request.Cancel, Request.SSL, Request.GSSENC, 0x30000, 0x30002, 0x20000, 0x40000])!),
          randomBytes(dice, dice.between(0, 400)),
        ]),
      ];
    case 5:
      return dice.once(2)
        ? [Buffer.concat([encryption(), randomBytes(dice, dice.between(1, 50))])]
        : [encryption(), dice.once(2) ? encryption() : randomBytes(dice, 20), mutated(startup, dice)];
    case 6:
      // The beginning of a TLS handshake, and of protocols that are not ours.
      return [
        dice.pick([
          Buffer.concat([Buffer.from('16030100', 'hex'), randomBytes(dice, dice.between(0, 600))]),
          Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
          Buffer.from('PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n'),
          Buffer.concat([Buffer.from('0d0a0d0a000d0a515549540a2111000c', 'hex'), randomBytes(dice, 12)]),
          Buffer.from('*1\r\n$4\r\nPING\r\n'),
        ])!,
      ];
    case 7:
      return [Buffer.concat([word(12 + dice.between(0, 300)), word(Request.Cancel), randomBytes(dice, 300)])];
    case 8:
      return [startup.subarray(0, dice.between(1, startup.length - 1))];
    case 9:
      return [oddStartup(dice, who)];
    default:
      // A good start-up packet, and then nonsense.
      return [startup, ...(who.scram ? badScram : badPassword)(dice, who.password)];
  }
}

function oddStartup(dice: Dice, who: Identity): Buffer {
  const parameters: string[] = [];
  const names = [
    'user',
    'database',
    'options',
    'replication',
    'client_encoding',
    '_pq_.x',
    'application_name',
  ];
  for (let i = dice.between(0, 12); i > 0; i--) {
    parameters.push(dice.pick(names)!, dice.once(3) ? who.user : dice.pick(ODD)!);
  }
  const text = Buffer.from(parameters.map((each) => `${each}\0`).join(''));
  const body = dice.once(4) ? text : Buffer.concat([text, Buffer.alloc(1)]);
  const minor = dice.pick([0, 0, 1, 2, 3, 9999, 0xffff])!;
  return Buffer.concat([word(8 + body.length), word(protocolVersion(3, minor)), body]);
}

/** A message of a session. */
export interface Input {
  readonly bytes: Buffer;
  /** Something is wrong with it. */
  readonly malformed: boolean;
}

/** Messages of a session, most with something wrong; all are sent, in this order. */
export function afterLogin(dice: Dice, seed: number): Input[] {
  const { turns } = conversation(seed, dice.between(0, 2 ** 30));
  const good = turns
    .flatMap((turn) => turn.steps.flatMap((step) => step.send))
    .filter((each) => each.length < 20_000);
  return good.slice(0, 30).map((each) => {
    const bytes = spoilt(each, dice);
    return { bytes, malformed: !bytes.equals(each) };
  });
}

function spoilt(bytes: Buffer, dice: Dice): Buffer {
  switch (dice.between(0, 9)) {
    case 0:
    case 1:
    case 2:
    case 3:
      // The frame stays whole, so that the session goes on.
      return message(bytes[0]!, mutated(bytes.subarray(5), dice));
    case 4:
      return message(dice.pick([...'QPBEDCSHFdcfXp!'])!.charCodeAt(0), bytes.subarray(5));
    case 5:
      return message(bytes[0]!, randomBytes(dice, dice.between(0, 300)));
    case 6:
      return dice.once(4) ? mutated(bytes, dice) : Buffer.concat([bytes, bytes]);
    case 7:
      return dice.once(8)
        ? Buffer.concat([bytes.subarray(0, 1), word(dice.pick(LENGTHS)!), bytes.subarray(5)])
        : bytes;
    case 8:
      return dice.once(8)
        ? randomBytes(dice, dice.between(1, 60))
        : message(bytes[0]!, bytes.subarray(5, 5 + dice.between(0, 40)));
    default:
      return bytes;
  }
}
