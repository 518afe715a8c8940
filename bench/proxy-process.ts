/** The proxy under test, as users run it: a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { TestDatabase, TestRole } from '../test/support/postgres.js';

const program = fileURLToPath(new URL('../dist/main.js', import.meta.url));

export interface ProxyProcess {
  readonly port: number;
  readonly pid: number;
  /** The role's URL, through the proxy. */
  url(role: TestRole): string;
  stop(): Promise<void>;
}

export async function startProxyProcess(
  database: TestDatabase,
  sets: readonly string[] = [],
): Promise<ProxyProcess> {
  const settings = sets.flatMap((set) => ['--set', set]);
  const child: ChildProcess = spawn(
    process.execPath,
    [
      program,
      'serve',
      '--listen',
      '127.0.0.1:0',
      '--upstream',
      database.adminUrl,
      '--set',
      'log_level=error',
      ...settings,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
  const [line] = (await Promise.race([
    once(lines, 'line'),
    once(child, 'exit').then(([code]) => {
      throw new Error(`the proxy ended with status ${code}`);
    }),
  ])) as [string];
  const port = Number(/:(\d+), upstream/.exec(line)?.[1]);
  return {
    port,
    pid: child.pid!,
    url: (role) => {
      const url = new URL(role.url);
      url.hostname = '127.0.0.1';
      url.port = String(port);
      return url.href;
    },
    stop: async () => {
      child.kill('SIGTERM');
      if (child.exitCode === null) await once(child, 'exit');
    },
  };
}
