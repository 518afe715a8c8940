import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

const STEP = 16 * 1024 * 1024;

/** Why the memory of a child cannot be read here; undefined: it can. */
export function memoryUnreadable(): string | undefined {
  if (process.platform !== 'linux') return `no /proc on ${process.platform}`;
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  try {
    closeSync(openSync(`/proc/${child.pid}/mem`, 'r'));
    return undefined;
  } catch (error) {
    return `the memory of a child cannot be read here (${(error as NodeJS.ErrnoException).code})`;
  } finally {
    child.kill();
  }
}

/** How often the bytes are in what a process can write to: heap, stacks, buffers. What a core dump would hold. */
export function occurrencesInMemory(pid: number, wanted: string): number {
  const needle = Buffer.from(wanted);
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  let count = 0;
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
      const range = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line);
      if (range === null) continue;
      const [start, end] = [Number.parseInt(range[1]!, 16), Number.parseInt(range[2]!, 16)];
      for (let at = start; at < end; at += STEP) {
        // A little more than a step, for what lies across its end.
        const part = Buffer.alloc(Math.min(STEP + needle.length - 1, end - at));
        count += occurrences(part.subarray(0, read(memory, part, at)), needle);
      }
    }
  } finally {
    closeSync(memory);
  }
  return count;
}

function occurrences(bytes: Buffer, needle: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(needle); at >= 0; at = bytes.indexOf(needle, at + 1)) count++;
  return count;
}

/** Some regions cannot be read by anybody. */
function read(file: number, into: Buffer, at: number): number {
  try {
    return readSync(file, into, 0, into.length, at);
  } catch {
    return 0;
  }
}
