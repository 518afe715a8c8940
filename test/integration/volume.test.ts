import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Frontend } from '../../src/wire/codes.js';
import { int32 } from '../../src/wire/message.js';
import { copyData, copyDone, execute, parse, query, sync } from '../support/frontend.js';
import {
  asSuperuser,
  createTestDatabase,
  type TestDatabase,
  type TestRole,
  urlFor,
} from '../support/postgres.js';
import { RawClient } from '../support/raw-client.js';
import { until } from '../support/wait.js';
import { startWireProxy, type WireProxy } from '../support/wire-proxy.js';

const MB = 1024 * 1024;
const GB = 1024 * MB;
/** Client, proxy and test are one process; what they hold at a time must not depend on the volume. */
const BOUND = 200 * MB;

let db: TestDatabase;
let role: TestRole;
let wire: WireProxy;

beforeAll(async () => {
  db = await createTestDatabase();
  role = await db.createRole('volume');
  await asSuperuser(db.name, (client) =>
    client.query(`CREATE TABLE sink (line text); GRANT ALL ON sink TO ${role.name}`),
  );
  wire = await startWireProxy(urlFor(db.name));
});

afterAll(async () => {
  await wire?.close();
  await db?.drop();
});

function connect(): Promise<RawClient> {
  return RawClient.login({
    host: wire.host,
    port: wire.port,
    user: role.name,
    password: role.password,
    database: db.name,
  });
}

/** Runs the work and gives by how much the process grew meanwhile. */
async function growthDuring(work: () => Promise<void>): Promise<number> {
  const before = process.memoryUsage.rss();
  let peak = before;
  const timer = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage.rss());
  }, 20);
  try {
    await work();
  } finally {
    clearInterval(timer);
  }
  return peak - before;
}

async function sendMuch(client: RawClient, piece: Buffer, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    if (!client.socket.write(piece)) await once(client.socket, 'drain');
  }
}

test('1 GB goes in by COPY with bounded memory', async () => {
  const client = await connect();
  client.forget();
  // The rows are read by the server and dropped.
  client.send(query('COPY sink FROM STDIN WHERE false'));
  await client.waitFor('G');
  const row = copyData(`${'x'.repeat(8_000)}\n`);
  const piece = Buffer.concat(Array.from({ length: 32 }, () => row));
  const growth = await growthDuring(async () => {
    await sendMuch(client, piece, Math.ceil(GB / piece.length));
    client.send(copyDone);
    await client.ready();
  });
  console.log(`grew by ${Math.round(growth / MB)} MB`);
  expect(client.types()).toBe('GCZ');
  expect(growth).toBeLessThan(BOUND);
  await client.end();
});

test('1 GB comes out by COPY with bounded memory', async () => {
  const client = await connect();
  client.forget();
  client.socket.removeAllListeners('data');
  let bytes = 0;
  let tail: Buffer = Buffer.alloc(0);
  client.socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    tail = chunk.length >= 6 ? chunk.subarray(-6) : Buffer.concat([tail, chunk]).subarray(-6);
  });
  const growth = await growthDuring(async () => {
    client.send(query(`COPY (SELECT repeat('x', 8000) FROM generate_series(1, ${GB / 8192})) TO STDOUT`));
    await until(() => tail.equals(Buffer.from('Z\0\0\0\x05I')), {
      timeoutMs: 50_000,
      what: 'the end of the copy',
    });
  });
  console.log(`grew by ${Math.round(growth / MB)} MB`);
  expect(bytes).toBeGreaterThan(0.97 * GB);
  expect(growth).toBeLessThan(BOUND);
  await client.end();
});

test('a Bind of 256 MB is not held', async () => {
  const client = await connect();
  client.forget();
  const size = 256 * MB;
  const head = Buffer.concat([Buffer.from([0, 0, 0, 1, 0, 1, 0, 1]), int32(size)]);
  const length = int32(4 + head.length + size + 2);
  const piece = Buffer.alloc(MB);
  const growth = await growthDuring(async () => {
    client.send(parse('SELECT length($1::bytea)'), Buffer.from([Frontend.Bind]), length, head);
    await sendMuch(client, piece, size / MB);
    client.send(Buffer.from([0, 0]), execute(), sync);
    await client.ready();
  });
  console.log(`grew by ${Math.round(growth / MB)} MB`);
  expect(client.value()).toBe(String(size));
  expect(growth).toBeLessThan(BOUND);
  await client.end();
});

test('a reader that stands still costs no memory, and disturbs nobody', async () => {
  const stalled = await connect();
  stalled.socket.pause();
  const other = await connect();
  other.forget();
  const growth = await growthDuring(async () => {
    stalled.send(query("SELECT repeat('x', 8000) FROM generate_series(1, 1000000)"));
    await until(
      () =>
        asSuperuser(db.name, async (admin) => {
          const { rows } = await admin.query(
            "SELECT FROM pg_stat_activity WHERE usename = $1 AND wait_event = 'ClientWrite'",
            [role.name],
          );
          return rows.length === 1;
        }),
      { what: 'the server to be held back' },
    );
    for (let i = 1; i <= 50; i++) {
      other.send(query('SELECT 1'));
      await other.ready(i);
    }
    await delay(200);
  });
  console.log(`grew by ${Math.round(growth / MB)} MB`);
  expect(growth).toBeLessThan(50 * MB);
  stalled.socket.resetAndDestroy();
  await other.end();
  await until(() => wire.proxy.sessions() === 0, { what: 'the sessions to end' });
});

test('a writer whose server does not read is held back', async () => {
  const client = await connect();
  client.forget();
  client.send(query('SELECT pg_sleep(1.5)'));
  const piece = query(`SELECT '${'x'.repeat(50_000)}'`);
  let written = 0;
  const growth = await growthDuring(async () => {
    const deadline = Date.now() + 1_000;
    while (Date.now() < deadline) {
      written++;
      if (!client.socket.write(piece)) {
        await Promise.race([once(client.socket, 'drain'), delay(deadline - Date.now())]);
      }
    }
  });
  console.log(`grew by ${Math.round(growth / MB)} MB`);
  expect(growth).toBeLessThan(100 * MB);
  await client.ready(1 + written);
  await client.end();
});
