/** pgbench, where it is on the PATH. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import type { Measured } from './compare.js';
import { programOnPath } from './pgbouncer.js';

export const pgbenchIsHere = programOnPath('pgbench') !== undefined;

/** Runs it; the URL's connection gets no TLS. @throws when it ends with an error or a failed transaction */
export async function pgbench(url: string, args: readonly string[]): Promise<Measured> {
  const { hostname, port, username, password, pathname } = new URL(url);
  const child = spawn('pgbench', [...args, decodeURIComponent(pathname.slice(1))], {
    env: {
      ...process.env,
      PGHOST: hostname,
      PGPORT: port,
      PGUSER: decodeURIComponent(username),
      PGPASSWORD: decodeURIComponent(password),
      PGSSLMODE: 'disable',
      PGGSSENCMODE: 'disable',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [out, err, [status]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit'),
  ]);
  if (status !== 0) throw new Error(`pgbench ended with status ${status}: ${err}`);
  if (args.includes('-i')) return { amount: 0, seconds: 1 };
  const amount = Number(/transactions actually processed: (\d+)/.exec(out)?.[1]);
  const rate = Number(/^tps = ([\d.]+)/m.exec(out)?.[1]);
  return { amount, seconds: amount / rate };
}
