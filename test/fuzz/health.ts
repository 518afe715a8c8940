import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** What a process holds. */
export interface Holdings {
  /** Open file descriptors, sockets among them; NaN where the system has no /proc. */
  readonly descriptors: number;
  /** Open sockets; NaN where the system has no /proc. */
  readonly sockets: number;
  /** Memory that is resident, bytes. */
  readonly memory: number;
}

/** @param pid another process, or this one; this one's garbage is collected first */
export function holdings(pid?: number): Holdings {
  if (pid === undefined) collectGarbage();
  const directory = `/proc/${pid ?? 'self'}`;
  if (!existsSync(directory)) {
    return {
      descriptors: Number.NaN,
      sockets: Number.NaN,
      memory: pid === undefined ? process.memoryUsage.rss() : Number.NaN,
    };
  }
  const resident = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`${directory}/status`, 'utf8'));
  const descriptors = readdirSync(`${directory}/fd`);
  return {
    descriptors: descriptors.length,
    sockets: descriptors.filter((each) => isSocket(`${directory}/fd/${each}`)).length,
    memory: Number(resident?.[1]) * 1024,
  };
}

function isSocket(path: string): boolean {
  try {
    return readlinkSync(path).startsWith('socket:');
  } catch {
    // Closed since the directory was read.
    return false;
  }
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}
