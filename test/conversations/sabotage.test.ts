import { afterAll, beforeAll, expect, test } from 'vitest';
import { FieldCode, fieldText, readFields, writeFields } from '../../src/wire/fields.js';
import { message } from '../../src/wire/message.js';
import { protocolVersion } from '../../src/wire/startup.js';
import { bind, describe, execute, flush, parse, query, sync } from '../support/frontend.js';
import type { Conversation } from './conversation.js';
import { difference } from './differential.js';
import { type Sabotage, startSaboteur } from './saboteur.js';
import { openSides, type Sides } from './sides.js';

// The comparison of random conversations is worth what it notices.

let sides: Sides;

beforeAll(async () => {
  sides = await openSides();
});

afterAll(async () => {
  await sides?.drop();
});

/** Something of everything. */
const CONVERSATION: Conversation = {
  number: 1,
  startup: {},
  protocol: protocolVersion(3, 0),
  pieces: 0,
  turns: [
    {
      name: 'simple',
      loose: true,
      steps: [
        'SELECT complain(2)',
        "SELECT n, 'row ' || n AS text FROM generate_series(1, 3) AS n",
        "SELECT 'é', 'a' ~> 'b', nope FROM items",
        "SET application_name = 'other'; LISTEN here; NOTIFY here, 'hello'",
        'COPY (SELECT id FROM items) TO STDOUT',
        'DELETE FROM items WHERE id < 4',
        '',
      ].map((sql) => ({ send: [query(sql)], wait: 'Z' })),
    },
    {
      name: 'extended',
      loose: false,
      steps: [
        {
          send: [parse('SELECT id, name FROM items ORDER BY id', 'n1'), describe('S', 'n1'), flush],
          wait: 'T',
        },
        { send: [bind([], { statement: 'n1' }), execute('', 2), flush], wait: 's' },
        {
          send: [execute('', 2), parse('SELECT 1 / 0'), bind(), execute(), sync, query('SELECT 1')],
          wait: 'E',
        },
      ],
    },
    {
      name: 'the end',
      loose: false,
      steps: [{ send: [query('SELECT pg_terminate_backend(pg_backend_pid())')] }],
    },
  ],
};

const type = (bytes: Buffer) => String.fromCharCode(bytes[0]!);

/** Does it to the nth message of the type. */
function nth(n: number, wanted: string, change: (bytes: Buffer) => Buffer[]): () => Sabotage {
  return () => {
    let seen = 0;
    return (messages) =>
      messages.flatMap((each) => (type(each) === wanted && ++seen === n ? change(each) : [each]));
  };
}

/** The last field with the code is changed. */
function withField(bytes: Buffer, code: number, change: (value: string) => string): Buffer[] {
  const fields = readFields(bytes.subarray(5)).map((each) =>
    each.code === code ? { code, value: Buffer.from(change(fieldText([each], code)!)) } : each,
  );
  return [message(bytes[0]!, writeFields(fields))];
}

/** Swaps the first two neighbours of these types that come together. */
function swap(first: string, second: string): () => Sabotage {
  return () => {
    let done = false;
    return (messages) => {
      const at = messages.findIndex(
        (each, i) => type(each) === first && messages[i + 1]?.[0] === second.charCodeAt(0),
      );
      if (done || at < 0) return messages;
      done = true;
      return messages.with(at, messages[at + 1]!).with(at + 1, messages[at]!);
    };
  };
}

const lost = () => [];
const twice = (bytes: Buffer) => [bytes, bytes];

const SABOTAGES: Readonly<Record<string, () => Sabotage>> = {
  'a byte of a row is lost': nth(4, 'D', (bytes) => [message(bytes[0]!, bytes.subarray(5, -1))]),
  'a byte of a row is another': nth(4, 'D', (bytes) => {
    const other = Buffer.from(bytes);
    other[other.length - 1]! ^= 1;
    return [other];
  }),
  'a row is lost': nth(6, 'D', lost),
  'a row comes twice': nth(6, 'D', twice),
  'ReadyForQuery comes twice': nth(3, 'Z', twice),
  'ReadyForQuery says another state': nth(3, 'Z', (bytes) => [message(bytes[0]!, Buffer.from('T'))]),
  'a notice is lost': nth(2, 'N', lost),
  'a notice comes twice': nth(2, 'N', twice),
  'a notification is lost': nth(1, 'A', lost),
  'a change of a parameter is lost': nth(16, 'S', lost),
  'a parameter of the login is lost': nth(3, 'S', lost),
  'the command tag is another': nth(2, 'C', (bytes) => [message(bytes[0]!, Buffer.from('SELECT 4\0'))]),
  'the command tag of a Query in the midst is lost': nth(3, 'C', lost),
  'a column has another name': nth(2, 'T', (bytes) => [
    message(bytes[0]!, Buffer.from(bytes.subarray(5).toString('latin1').replace('text', 'texT'), 'latin1')),
  ]),
  'an error points elsewhere': nth(1, 'E', (bytes) =>
    withField(bytes, FieldCode.Position, (value) => String(Number(value) + 1)),
  ),
  'an error has another text': nth(1, 'E', (bytes) =>
    withField(bytes, FieldCode.Message, (value) => `${value}!`),
  ),
  'an error lacks a field': nth(1, 'E', (bytes) => [
    message(bytes[0]!, writeFields(readFields(bytes.subarray(5)).slice(0, -1))),
  ]),
  'an error is lost': nth(2, 'E', lost),
  'FATAL is lost': nth(3, 'E', lost),
  'row and tag change places': swap('D', 'C'),
  'a description and a notice change places': swap('T', 'N'),
  'ParseComplete and its description change places': swap('1', 't'),
  'PortalSuspended is lost, and something else is what was waited for': nth(1, 's', () => [
    message(0x43, Buffer.from('SELECT 2\0')),
  ]),
  'the end of a COPY is lost': nth(1, 'c', lost),
  'two pieces of a COPY are one': () => {
    let done = false;
    return (messages) => {
      const at = messages.findIndex((each, i) => type(each) === 'd' && messages[i + 1]?.[0] === 0x64);
      if (done || at < 0) return messages;
      done = true;
      const both = Buffer.concat([messages[at]!.subarray(5), messages[at + 1]!.subarray(5)]);
      return messages.toSpliced(at, 2, message(0x64, both));
    };
  },
  'the empty query has no answer': nth(1, 'I', lost),
  'the key is shorter': nth(1, 'K', (bytes) => [message(bytes[0]!, bytes.subarray(5, -1))]),
};

async function through(sabotage: Sabotage, patience: { patienceMs?: number } = {}): Promise<string | null> {
  const { host, port } = sides.proxied;
  const saboteur = await startSaboteur(host, port, sabotage);
  try {
    const proxied = { ...sides.proxied, host: '127.0.0.1', port: saboteur.port, ...patience };
    return await difference({ ...sides, proxied }, CONVERSATION);
  } finally {
    await saboteur.close();
  }
}

test('nothing is wrong without a fault', async () => {
  expect(await through((messages) => messages)).toBe(null);
});

test.each(Object.keys(SABOTAGES))('noticed: %s', async (name) => {
  expect(await through(SABOTAGES[name]!(), { patienceMs: 1_000 })).toMatch(/differs in turn/);
});
