import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase, urlFor } from '../support/postgres.js';
import { root } from '../support/program.js';
import { startWireProxy, type WireProxy } from '../support/wire-proxy.js';

// What the image asks a container whether it lives.

const [program, ...args] = JSON.parse(
  /^HEALTHCHECK .* CMD (\[.*\])$/m.exec(readFileSync(join(root, 'Dockerfile'), 'utf8'))![1]!,
) as string[];

let directory: string;
let db: TestDatabase;
let wire: WireProxy;

beforeAll(async () => {
  db = await createTestDatabase();
  // Short: the path of a Unix socket has little room.
  directory = mkdtempSync('/tmp/docker-');
  wire = await startWireProxy(urlFor(db.name), {
    listen: [
      { host: '127.0.0.1', port: 0 },
      { host: directory, port: 6432 },
    ],
  });
});

afterAll(async () => {
  await wire?.close();
  await db?.drop();
  if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
});

/** Exit status of the health check. */
function status(listen: string | undefined): Promise<number> {
  const { PG_DURABLE_LISTEN: _, ...env } = process.env;
  const set = listen === undefined ? {} : { PG_DURABLE_LISTEN: listen };
  return new Promise((resolve) => {
    execFile(program!, args, { env: { ...env, ...set } }, (error) => resolve(Number(error?.code ?? 0)));
  });
}

test('the health check finds the proxy where it listens, and nothing where it does not', async () => {
  const { port } = wire;
  expect(await status(`127.0.0.1:${port}`)).toBe(0);
  expect(await status(`0.0.0.0:${port}, [::1]:1`)).toBe(0);
  expect(await status(directory)).toBe(0);
  expect(await status(`${directory}:6432`)).toBe(0);
  expect(await status(`${directory}:6433`)).toBe(1);
  expect(await status('127.0.0.1:1')).toBe(1);
  expect(await status('[::1]:1')).toBe(1);
});
