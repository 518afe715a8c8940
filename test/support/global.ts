import { type RunningServer, startServer } from './server.js';

/** One server per run, although vitest calls this once for each project that names it. */
interface Shared {
  users: number;
  server: Promise<RunningServer>;
}

const key = Symbol.for('pg-durable-proxy.test-server');
const registry = globalThis as unknown as Record<symbol, Shared | undefined>;

export async function setup(): Promise<void> {
  registry[key] ??= { users: 0, server: startServer() };
  registry[key].users++;
  await registry[key].server;
}

export async function teardown(): Promise<void> {
  const shared = registry[key];
  if (shared === undefined || --shared.users > 0) return;
  registry[key] = undefined;
  await (await shared.server).stop();
}
