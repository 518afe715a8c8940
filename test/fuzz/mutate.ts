import type { Dice } from '../chaos/dice.js';

/** Lengths at which something changes in the proxy or the server, and some that are nonsense. */
export const LENGTHS: readonly number[] = [
  0, 1, 3, 4, 5, 7, 8, 9, 12, 13, 16, 268, 269, 10_000, 10_003, 10_004, 10_005, 65_535, 65_536, 0x3fffffff,
  0x40000000, 0x7fffffff, 0x80000000, 0xffffffff,
];

export function randomBytes(dice: Dice, length: number): Buffer {
  const out = Buffer.allocUnsafe(length);
  for (let i = 0; i < length; i++) out[i] = dice.between(0, 255);
  return out;
}

/** A big-endian 32-bit word, signed or not. */
export function word(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(value >>> 0);
  return out;
}

/** A request for encryption, or a cancel request without its key. */
export function request(code: number): Buffer {
  return Buffer.concat([word(8), word(code)]);
}

/** The bytes with one to three random changes; never the same length for sure, never empty. */
export function mutated(bytes: Buffer, dice: Dice): Buffer {
  let out: Buffer = Buffer.from(bytes);
  for (let i = dice.between(1, 3); i > 0; i--) out = once(out, dice);
  return out.length === 0 ? Buffer.from([dice.between(0, 255)]) : out;
}

function once(bytes: Buffer, dice: Dice): Buffer {
  if (bytes.length === 0) return randomBytes(dice, 3);
  const at = dice.between(0, bytes.length - 1);
  const to = Math.min(bytes.length, at + dice.between(1, 12));
  switch (dice.between(0, 7)) {
    case 0:
      bytes[at]! ^= 1 << dice.between(0, 7);
      return bytes;
    case 1:
      bytes[at] = dice.pick([0, 0xff, 0x7f, 0x80, 0x27, 0x24, 0x3b, 0x5c])!;
      return bytes;
    case 2:
      return bytes.subarray(0, at);
    case 3:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(to)]);
    case 4:
      return Buffer.concat([bytes.subarray(0, to), bytes.subarray(at)]);
    case 5:
      return Buffer.concat([
        bytes.subarray(0, at),
        randomBytes(dice, dice.between(1, 9)),
        bytes.subarray(at),
      ]);
    case 6: {
      // The length word of a start-up packet or of a message.
      const place = dice.once(2) ? 0 : 1;
      if (bytes.length < place + 4) return bytes;
      word(dice.pick(LENGTHS)!).copy(bytes, place);
      return bytes;
    }
    default: {
      // Any word.
      if (bytes.length < at + 4) return bytes;
      word(dice.pick(LENGTHS)!).copy(bytes, at);
      return bytes;
    }
  }
}
