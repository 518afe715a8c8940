import type { ChildProcess } from 'node:child_process';
import pino from 'pino';
import { loadConfig } from '../../src/config/load.js';
import type { SettingName } from '../../src/config/settings.js';
import type { Network } from '../../src/http/connect.js';
import { serve } from '../../src/serve.js';
import type { TestDatabase, TestRole } from './postgres.js';
import { program } from './program.js';

export interface ProxyOptions {
  readonly database: TestDatabase;
  /** As for --set: texts by name. */
  readonly settings?: Partial<Record<SettingName, string>>;
  /** Environment variables, PG_DURABLE_... */
  readonly env?: Readonly<Record<string, string>>;
  /** Where the names of HTTP nodes lead to, if not to where the system says; only for a proxy in this process. */
  readonly network?: Network;
}

export interface TestProxy {
  readonly port: number;
  /** postgresql:// to the test database through the proxy. */
  url(role: TestRole): string;
  /** Lines of the log, as JSON. Empty for a process of its own. */
  readonly logLines: readonly string[];
  /** As SIGHUP with these settings; not of a process of its own. */
  readonly reload?: (settings: Partial<Record<SettingName, string>>) => Promise<void>;
  stop(): Promise<void>;
}

/** The whole proxy in this process: schema, executor, listener. */
export async function startProxy({ database, settings, env, network }: ProxyOptions): Promise<TestProxy> {
  const proxy = await startProxyAt(database.adminUrl, settings, env, network);
  return { ...proxy, url: (role) => through(proxy.port, database, role) };
}

/** The same before the server of any upstream URL. */
export async function startProxyAt(
  upstream: string,
  settings: Partial<Record<SettingName, string>> = {},
  env: Readonly<Record<string, string>> = {},
  network?: Network,
): Promise<Omit<TestProxy, 'url'>> {
  const logLines: string[] = [];
  const configure = (texts: Partial<Record<SettingName, string>>) =>
    loadConfig({
      env,
      sets: Object.entries(texts).map(([name, value]) => `${name}=${value}`),
      flags: { listen: '127.0.0.1:0', upstream },
    });
  const log = pino({ level: 'debug' }, { write: (line: string) => void logLines.push(line) });
  const running = await serve(configure(settings), log, network);
  const { port } = running.addresses[0]!;
  return {
    port,
    logLines,
    reload: (next) => running.reload(configure(next)),
    stop: () => running.stop(),
  };
}

export interface SpawnedProxy extends TestProxy {
  readonly pid: number;
  readonly child: ChildProcess;
}

/** The built program as a process of its own. `stop` ends it with SIGTERM and waits. */
export async function spawnProxy({ database, settings = {}, env = {} }: ProxyOptions): Promise<SpawnedProxy> {
  const sets = Object.entries(settings).flatMap(([name, value]) => ['--set', `${name}=${value}`]);
  const running = program(['serve', '--listen', '127.0.0.1:0', '--upstream', database.adminUrl, ...sets], {
    env,
  });
  const ready = await running.line(/listening on 127\.0\.0\.1:(\d+)/);
  const port = Number(ready[1]);
  return {
    port,
    pid: running.child.pid!,
    child: running.child,
    url: (role) => through(port, database, role),
    logLines: [],
    stop: async () => {
      running.child.kill('SIGTERM');
      await running.ended;
    },
  };
}

function through(port: number, database: TestDatabase, role: TestRole): string {
  const user = encodeURIComponent(role.name);
  const password = encodeURIComponent(role.password);
  return `postgresql://${user}:${password}@127.0.0.1:${port}/${encodeURIComponent(database.name)}`;
}
