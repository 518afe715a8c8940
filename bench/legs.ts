/** The ways to the server that are compared. No leg has TLS: the bench measures proxies, not ciphers. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { TestDatabase, TestRole } from '../test/support/postgres.js';
import { startPgBouncer } from './pgbouncer.js';
import { startProxyProcess } from './proxy-process.js';

export interface Leg {
  readonly name: string;
  readonly port: number;
  /** Processes between client and server, now. */
  pids(): readonly number[];
  stop(): Promise<void>;
}

/** The role's URL by way of a leg. */
export function through(leg: Leg, role: TestRole): string {
  const url = new URL(role.url);
  url.hostname = '127.0.0.1';
  url.port = String(leg.port);
  return url.href;
}

export function direct(role: TestRole): Leg {
  return { name: 'direct', port: Number(new URL(role.url).port), pids: () => [], stop: async () => {} };
}

export async function startForwarder(role: TestRole): Promise<Leg> {
  const script = fileURLToPath(new URL('./forwarder.mjs', import.meta.url));
  const child = spawn(process.execPath, [script, new URL(role.url).port], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  return {
    name: 'forwarder',
    port: Number(line),
    pids: () => [child.pid!],
    stop: async () => {
      child.kill('SIGTERM');
      if (child.exitCode === null) await once(child, 'exit');
    },
  };
}

export async function startProxy(
  name: string,
  database: TestDatabase,
  sets: readonly string[] = [],
): Promise<Leg> {
  const proxy = await startProxyProcess(database, sets);
  return { name, port: proxy.port, pids: () => [proxy.pid, ...childrenOf(proxy.pid)], stop: proxy.stop };
}

/** direct, PgBouncer (if there), bare forwarder, proxy, proxy with two workers. */
export async function startLegs(database: TestDatabase, role: TestRole): Promise<Leg[]> {
  const pgBouncer = await startPgBouncer('PgBouncer', role);
  if (pgBouncer === undefined) console.log('\nPgBouncer is not on the PATH: its columns are missing');
  return [
    direct(role),
    ...(pgBouncer === undefined ? [] : [pgBouncer]),
    await startForwarder(role),
    await startProxy('proxy', database),
    await startProxy('2 workers', database, ['workers=2']),
  ];
}

export async function stopLegs(legs: readonly Leg[]): Promise<void> {
  for (const leg of legs) await leg.stop();
}

function childrenOf(pid: number): number[] {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return children === '' ? [] : children.split(' ').map(Number);
  } catch {
    return [];
  }
}

/** CPU time that these processes have taken so far, all threads, microseconds; NaN where there is no /proc. */
export function cpuMicroseconds(pids: readonly number[]): number {
  let nanoseconds = 0;
  try {
    for (const pid of pids) {
      for (const task of readdirSync(`/proc/${pid}/task`)) {
        nanoseconds += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
      }
    }
  } catch {
    return Number.NaN;
  }
  return nanoseconds / 1000;
}

/** Memory of these processes, kB; NaN where there is no /proc. */
export function residentKb(pids: readonly number[]): number {
  let sum = 0;
  try {
    for (const pid of pids) {
      sum += Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
    }
  } catch {
    return Number.NaN;
  }
  return sum;
}
