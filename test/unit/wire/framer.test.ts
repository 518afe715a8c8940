import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type FrameReader, Framer, WHOLE } from '../../../src/wire/framer.js';
import { message } from '../../../src/wire/message.js';

const seed = process.env.FC_SEED === undefined ? Date.now() : Number(process.env.FC_SEED);
console.log(`FC_SEED=${seed}`);

/** What is done with a message is decided by its type. */
const PASS = 0x61;
const LOOK = 0x62;
const REPLACE = 0x63;
const LATER = 0x64;
const LATER_SAME = 0x65;
const PREFIX = 0x66;
/** Its first bytes are looked at, then all of it, then it is replaced. */
const THEN_WHOLE = 0x67;
const REMOVE = 0x68;
const TYPES = [PASS, LOOK, REPLACE, LATER, LATER_SAME, PREFIX, THEN_WHOLE, REMOVE];
const replacement = (raw: Buffer) => message(0x78, Buffer.from(`was ${raw.length}`));

class Recorder implements FrameReader {
  readonly headers: [number, number][] = [];
  readonly seen: string[] = [];
  readonly passed: Buffer[] = [];

  header(type: number, total: number): number {
    this.headers.push([type, total]);
    if (type === PASS) return 0;
    return type === PREFIX || type === THEN_WHOLE ? 9 : total;
  }

  message(type: number, buf: Buffer, start: number, end: number) {
    const raw = Buffer.from(buf.subarray(start, end));
    this.seen.push(raw.toString('hex'));
    switch (type) {
      case REPLACE:
        return replacement(raw);
      case THEN_WHOLE:
        return raw.length < 1 + raw.readUInt32BE(1) ? WHOLE : replacement(raw);
      case REMOVE:
        return Buffer.alloc(0);
      case LATER:
        return Promise.resolve(replacement(raw));
      case LATER_SAME:
        return Promise.resolve(undefined);
      default:
        return undefined;
    }
  }

  pass(bytes: Buffer): void {
    this.passed.push(bytes);
  }
}

const messages = fc.array(
  fc.record({ type: fc.constantFrom(...TYPES), body: fc.uint8Array({ maxLength: 40 }) }),
  { maxLength: 30 },
);

async function pushAll(framer: Framer, stream: Buffer, cuts: number[]): Promise<void> {
  let at = 0;
  for (let i = 0; at < stream.length; i++) {
    const stop = Math.min(stream.length, at + (cuts.length === 0 ? stream.length : cuts[i % cuts.length]!));
    await framer.push(Buffer.from(stream.subarray(at, stop)));
    at = stop;
  }
}

describe('framer', () => {
  test('however a stream is cut, each message is seen once and what passes is what should', async () => {
    await fc.assert(
      fc.asyncProperty(messages, fc.array(fc.integer({ min: 1, max: 60 })), async (list, cuts) => {
        const raw = list.map(({ type, body }) => message(type, Buffer.from(body)));
        const recorder = new Recorder();
        const framer = new Framer(recorder);
        await pushAll(framer, Buffer.concat(raw), cuts);
        expect(framer.atBoundary).toBe(true);
        expect(recorder.headers).toEqual(raw.map((each) => [each[0], each.length]));
        expect(recorder.seen).toEqual(
          raw
            .filter((each) => each[0] !== PASS)
            .flatMap((each) => {
              const first = each.subarray(0, 9);
              if (each[0] === PREFIX) return [first];
              return each[0] === THEN_WHOLE && each.length > 9 ? [first, each] : [each];
            })
            .map((each) => each.toString('hex')),
        );
        const expected = raw.map((each) =>
          each[0] === REMOVE
            ? Buffer.alloc(0)
            : each[0] === REPLACE || each[0] === LATER || each[0] === THEN_WHOLE
              ? replacement(each)
              : each,
        );
        expect(Buffer.concat(recorder.passed)).toEqual(Buffer.concat(expected));
      }),
      { seed, numRuns: 1000 },
    );
  });

  test('a chunk of many messages passes as the chunk itself', () => {
    const recorder = new Recorder();
    const chunk = Buffer.concat(Array.from({ length: 100 }, () => message(LOOK, Buffer.from('text'))));
    new Framer(recorder).push(chunk);
    expect(recorder.passed).toHaveLength(1);
    expect(recorder.passed[0]).toBe(chunk);
  });

  test('a message that passes unread is never held', () => {
    const recorder = new Recorder();
    const framer = new Framer(recorder);
    const whole = message(PASS, Buffer.alloc(1_000_000));
    for (let at = 0; at < whole.length; at += 1000) {
      const before = recorder.passed.length;
      framer.push(whole.subarray(at, at + 1000));
      expect(recorder.passed.length).toBe(before + 1);
    }
    expect(framer.atBoundary).toBe(true);
  });

  test.each([[[0, 0, 0, 3]], [[0, 0, 0, 0]], [[0xff, 0xff, 0xff, 0xff]], [[0x40, 0, 0, 0]]])(
    'after the impossible length %j everything passes and nothing is read',
    (length) => {
      for (const size of [1, 3, 100]) {
        const recorder = new Recorder();
        const framer = new Framer(recorder);
        const stream = Buffer.concat([
          message(LOOK, Buffer.from('fine')),
          Buffer.from([LOOK, ...length]),
          message(LOOK, Buffer.from('not a message any more')),
        ]);
        for (let at = 0; at < stream.length; at += size) framer.push(stream.subarray(at, at + size));
        expect(Buffer.concat(recorder.passed)).toEqual(stream);
        expect(recorder.seen).toHaveLength(1);
        expect(framer.atBoundary).toBe(false);
      }
    },
  );

  test('random bytes pass unchanged and cost no more memory than they are', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 200 })), (chunks) => {
        const passed: Buffer[] = [];
        // A gathered message that stays incomplete is the only thing that may be missing.
        const framer = new Framer({ header: () => 0, message: () => undefined, pass: (b) => passed.push(b) });
        for (const chunk of chunks) framer.push(Buffer.from(chunk));
        const sent = Buffer.concat(chunks);
        const got = Buffer.concat(passed);
        expect(got).toEqual(sent.subarray(0, got.length));
        expect(sent.length - got.length).toBeLessThan(5);
      }),
      { seed, numRuns: 500 },
    );
  });

  test('the announced length of a gathered message is not believed', () => {
    const recorder = new Recorder();
    const framer = new Framer(recorder);
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 100; i++) {
      const lazy = new Framer(new Recorder());
      lazy.push(Buffer.from([LOOK, 0x3f, 0xff, 0xff, 0xff, 1, 2, 3]));
    }
    framer.push(Buffer.from([LOOK, 0x3f, 0xff, 0xff, 0xff]));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(32 * 1024 * 1024);
  });
});
