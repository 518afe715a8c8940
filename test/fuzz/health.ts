import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** What a process holds. */
export interface Holdings {
  /** Open file descriptors, sockets among them; NaN where the system has no /proc. */
  readonly descriptors: number;
  /** Memory that is resident, bytes. */
  readonly memory: number;
}

/** @param pid another process, or this one; this one's garbage is collected first */
export function holdings(pid?: number): Holdings {
  if (pid === undefined) collectGarbage();
  const directory = `/proc/${pid ?? 'self'}`;
  if (!existsSync(directory)) {
    return { descriptors: Number.NaN, memory: pid === undefined ? process.memoryUsage.rss() : Number.NaN };
  }
  const resident = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`${directory}/status`, 'utf8'));
  return { descriptors: readdirSync(`${directory}/fd`).length, memory: Number(resident?.[1]) * 1024 };
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}
