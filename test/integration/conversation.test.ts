import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Backend, Frontend } from '../../src/wire/codes.js';
import { Conversation } from '../../src/wire/conversation.js';
import { FieldCode, fieldText, readFields } from '../../src/wire/fields.js';
import { Framer } from '../../src/wire/framer.js';
import {
  bind,
  close,
  copyData,
  copyDone,
  copyFail,
  describe,
  execute,
  flush,
  parse,
  query,
  sync,
} from '../support/frontend.js';
import { asSuperuser, createTestDatabase, type TestDatabase } from '../support/postgres.js';
import { RawClient } from '../support/raw-client.js';
import { until } from '../support/wait.js';

let db: TestDatabase;
const seed = process.env.FC_SEED === undefined ? Date.now() : Number(process.env.FC_SEED);

beforeAll(async () => {
  db = await createTestDatabase();
  await asSuperuser(db.name, (client) => client.query('CREATE TABLE numbers (n int)'));
});

afterAll(async () => {
  await db?.drop();
});

/** Bytes to send, tagged with a number that an error of theirs shows in its message. */
type Piece = (tag: number) => [bytes: Buffer, tag: number][];

const bad = (tag: number) => `SELECT bad_${tag}`;
const pieces: Record<string, Piece> = {
  query: (tag) => [[query(`SELECT ${tag}`), tag]],
  badQuery: (tag) => [[query(`SELECT 1; ${bad(tag)}`), tag]],
  emptyQuery: (tag) => [[query(''), tag]],
  good: (tag) => [
    [parse('SELECT 1'), tag],
    [describe('S'), tag],
    [bind(), tag],
    [describe('P'), tag],
    [execute(), tag],
  ],
  noRows: (tag) => [
    [parse('SET work_mem = 1000'), tag],
    [bind(), tag],
    [describe('P'), tag],
    [execute(), tag],
  ],
  empty: (tag) => [
    [parse(''), tag],
    [bind(), tag],
    [execute(), tag],
  ],
  badParse: (tag) => [[parse(bad(tag)), tag]],
  badBind: (tag) => [[bind([], { statement: `bad_${tag}` }), tag]],
  badExecute: (tag) => [[execute(`bad_${tag}`), tag]],
  badDescribe: (tag) => [[describe('S', `bad_${tag}`), tag]],
  close: (tag) => [[close('P', 'none'), tag]],
  suspended: (tag) => [
    [parse('SELECT generate_series(1, 3)'), tag],
    [bind(), tag],
    [execute('', 2), tag],
    [execute('', 2), tag],
  ],
  flush: (tag) => [[flush, tag]],
  sync: (tag) => [[sync, tag]],
  copyOut: (tag) => [[query('COPY (SELECT 1) TO STDOUT'), tag]],
  strayCopy: (tag) => [
    [copyData('1\n'), tag],
    [copyDone, tag],
  ],
  copyIn: (tag) => [
    [query('COPY numbers FROM STDIN'), tag],
    [copyData('1\n'), tag],
    [copyData('2\n'), tag],
    [copyDone, tag],
  ],
  copyInSynced: (tag) => [
    [parse('COPY numbers FROM STDIN'), tag],
    [bind(), tag],
    [execute(), tag],
    [sync, tag],
    [copyData('1\n'), tag],
    [copyDone, tag],
    [sync, tag],
  ],
  copyInBad: (tag) => [
    [parse('COPY numbers FROM STDIN'), tag],
    [bind(), tag],
    [execute(), tag],
    [sync, tag],
    [copyData(`bad_${tag}\n`), tag],
    [copyDone, tag],
    [sync, tag],
  ],
  // The Sync is ignored in the first and in the third, as the copy still goes on when it is read.
  copyInFailedBehindSync: (tag) => [
    [query('COPY numbers FROM STDIN'), tag],
    [copyData('1\n'), tag],
    [sync, tag],
    [copyFail(`bad_${tag}`), tag],
  ],
  copyInBadBeforeSync: (tag) => [
    [query('COPY numbers FROM STDIN'), tag],
    [copyData(`bad_${tag}\n`), tag],
    [sync, tag],
    [copyDone, tag],
  ],
  copyInExtendedFailedBehindSync: (tag) => [
    [parse('COPY numbers FROM STDIN'), tag],
    [bind(), tag],
    [execute(), tag],
    [copyData('1\n'), tag],
    [sync, tag],
    [copyFail(`bad_${tag}`), tag],
    [sync, tag],
  ],
  copyInFailed: (tag) => [
    [query('COPY numbers FROM STDIN'), tag],
    [copyData('1\n'), tag],
    [copyFail(`bad_${tag}`), tag],
  ],
};

test('every error of a random pipeline belongs to the message that caused it, and nothing is left over', async () => {
  console.log(`FC_SEED=${seed}`);
  const { hostname, port, username, password } = new URL(db.superUrl);
  const property = fc.asyncProperty(
    fc.array(fc.constantFrom(...Object.keys(pieces)), { minLength: 1, maxLength: 25 }),
    fc.infiniteStream(fc.integer({ min: 0, max: 3 })),
    async (names, pauses) => {
      const client = await RawClient.login({
        host: hostname,
        port: Number(port),
        user: username,
        password: decodeURIComponent(password),
        database: db.name,
      });
      const conversation = new Conversation<number>();
      const found: [string, number | undefined][] = [];
      const framer = new Framer({
        header: (type, total) => {
          if (type === Backend.ErrorResponse) return total;
          conversation.answered(type);
          return 0;
        },
        message: (type, buf, start, end) => {
          const text = fieldText(readFields(buf.subarray(start + 5, end)), FieldCode.Message) ?? '';
          const context = fieldText(readFields(buf.subarray(start + 5, end)), FieldCode.Where) ?? '';
          found.push([/bad_(\d+)/.exec(text + context)?.[1] ?? text, conversation.tag]);
          conversation.answered(type);
          return undefined;
        },
        pass: () => {},
      });
      client.socket.on('data', (chunk) => void framer.push(chunk as Buffer));
      client.forget();
      // Some at once, and some when there may have been an answer to those before.
      const unsent: Buffer[] = [];
      const send = async (bytes: Buffer, tag: number) => {
        conversation.sent(bytes[0]!, tag);
        unsent.push(bytes);
        if (pauses.next().value !== 0) return;
        client.send(...unsent.splice(0));
        await delay(1);
      };
      for (const [i, name] of names.entries()) {
        for (const [bytes, tag] of pieces[name]!(i)) await send(bytes, tag);
      }
      // Whatever state that left: a Sync, and a query that answers. The one before it takes the error XX000 that the
      // server gives to the first query after an Execute, a Query and a Sync.
      await send(sync, 1000);
      await send(query(''), 1000);
      await send(query("SELECT 'the end'"), 1001);
      client.send(...unsent);
      const theEnd = () => client.messages.some((each) => each.type === 'D' && each.body.includes('the end'));
      await until(() => (theEnd() && client.messages.at(-1)!.type === 'Z') || client.closed, {
        what: `the end of ${names.join(' ')}, got ${client.types()}`,
        everyMs: 1,
      });
      const left = conversation.size;
      const wrong = found.filter(([shown, tag]) => /^\d+$/.test(shown) && Number(shown) !== tag);
      const lost = client.closed;
      client.socket.destroy();
      expect({ wrong, left: lost ? 0 : left }).toEqual({ wrong: [], left: 0 });
    },
  );
  await fc.assert(property, { seed, numRuns: 150 });
});

test('what the server ignores is not kept, however much of it there is', () => {
  const conversation = new Conversation<number>();
  const types = Object.values(Frontend).filter((type) => type !== Frontend.Sync);
  conversation.sent(Frontend.Parse, 1);
  conversation.answered(Backend.ParseComplete);
  conversation.sent(Frontend.Bind, 2);
  conversation.sent(Frontend.Execute, 3);
  conversation.answered(Backend.ErrorResponse);
  for (let i = 0; i < 1000; i++) for (const type of types) conversation.sent(type, 4);
  expect([conversation.size, conversation.idle]).toEqual([0, false]);
  conversation.sent(Frontend.Sync);
  conversation.sent(Frontend.Query, 5);
  expect(conversation.tag).toBe(undefined);
  conversation.answered(Backend.ReadyForQuery);
  expect(conversation.tag).toBe(5);
  conversation.answered(Backend.ReadyForQuery);
  expect(conversation.idle).toBe(true);
  for (let i = 0; i < 1000; i++) conversation.sent(i % 2 === 0 ? Frontend.CopyDone : Frontend.CopyFail);
  expect([conversation.size, conversation.idle]).toEqual([0, true]);
});

test('the ends of the tables: every kind of message is either noted or never answered', () => {
  const conversation = new Conversation<number>();
  for (const type of [Frontend.Flush, Frontend.Terminate, Frontend.Password, 0x21]) conversation.sent(type);
  expect(conversation.idle).toBe(true);
});
