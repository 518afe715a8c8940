import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  cancelPacket,
  MAX_STARTUP_LENGTH,
  majorVersion,
  protocolVersion,
  readStartup,
  startupPacket,
} from '../../../src/wire/startup.js';

const seed = process.env.FC_SEED === undefined ? Date.now() : Number(process.env.FC_SEED);
console.log(`FC_SEED=${seed}`);

const name = fc.string({ minLength: 1, maxLength: 20, unit: 'grapheme' }).filter((s) => !s.includes('\0'));

describe('start-up packets', () => {
  test('what is built is what is read', () => {
    fc.assert(
      fc.property(
        fc.dictionary(
          name,
          fc.string({ maxLength: 40, unit: 'grapheme' }).map((s) => s.replaceAll('\0', '')),
        ),
        fc.uint8Array({ maxLength: 20 }),
        (parameters, more) => {
          const packet = startupPacket(parameters);
          const read = readStartup(Buffer.concat([packet, more]));
          if (read.state !== 'packet' || read.packet.kind !== 'startup') throw new Error(read.state);
          expect(read.length).toBe(packet.length);
          expect(read.packet.packet).toEqual(packet);
          expect(majorVersion(read.packet.protocol)).toBe(3);
          expect(Object.fromEntries(read.packet.parameters)).toEqual({ ...parameters });
        },
      ),
      { seed },
    );
  });

  test('every beginning of a packet is partial', () => {
    const packet = startupPacket({ user: 'u', database: 'd' });
    for (let n = 0; n < packet.length; n++) expect(readStartup(packet.subarray(0, n)).state).toBe('partial');
  });

  test('random bytes are a packet, garbage or partial, and partial never beyond the longest packet', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 64 }),
          fc.uint8Array({ maxLength: 64 }).map((tail) => Uint8Array.from([0, 0, ...tail])),
          fc
            .tuple(fc.integer({ min: 0, max: 80 }), fc.uint8Array({ maxLength: 100 }))
            .map(([length, tail]) => Uint8Array.from([0, 0, 0, length, ...tail])),
        ),
        (bytes) => {
          const read = readStartup(Buffer.from(bytes));
          if (read.state === 'packet') expect(read.length).toBeLessThanOrEqual(bytes.length);
          if (read.state === 'partial') expect(bytes.length).toBeLessThan(MAX_STARTUP_LENGTH);
        },
      ),
      { seed, numRuns: 2000 },
    );
  });

  test.each([
    ['direct TLS', [0x16, 3, 1]],
    ['HTTP', [...Buffer.from('GET ')]],
    ['length 7', [0, 0, 0, 7, 0, 3, 0, 0]],
    ['length 10 005', [0, 0, 0x27, 0x15]],
    ['length -1', [0xff]],
    ['length 65536', [0, 1]],
    ['an SSLRequest of 9 bytes', [0, 0, 0, 9, 4, 0xd2, 0x16, 0x2f, 0]],
    ['a cancel without a secret', [0, 0, 0, 12, 4, 0xd2, 0x16, 0x2e, 0, 0, 0, 1]],
  ])('%s is garbage', (_, bytes) => {
    expect(readStartup(Buffer.from(bytes)).state).toBe('garbage');
  });

  test('cancel packets with short and long secrets', () => {
    for (const length of [8, 36, 260]) {
      const read = readStartup(cancelPacket(Buffer.alloc(length, 7)));
      expect(read).toMatchObject({ state: 'packet', packet: { kind: 'cancel' } });
    }
    expect(readStartup(cancelPacket(Buffer.alloc(261))).state).toBe('garbage');
  });

  test('parameters that are cut off end the list and leave the packet as it is', () => {
    const packet = Buffer.concat([Buffer.alloc(8), Buffer.from('user\0me\0database\0cut')]);
    packet.writeInt32BE(packet.length, 0);
    packet.writeInt32BE(protocolVersion(3, 0), 4);
    const read = readStartup(packet);
    if (read.state !== 'packet' || read.packet.kind !== 'startup') throw new Error(read.state);
    expect([...read.packet.parameters]).toEqual([['user', 'me']]);
    expect(read.packet.packet).toEqual(packet);
  });

  test('what cannot be sent is refused', () => {
    expect(() => startupPacket({ user: 'a\0b' })).toThrow(RangeError);
    expect(() => startupPacket({ user: 'a'.repeat(10_001) })).toThrow(RangeError);
  });
});
