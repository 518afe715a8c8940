/** Runs a program that prints a secret. */
import { type ChildProcess, spawn } from 'node:child_process';

/** It did not give a secret; the message is for operators: how it ended, and the first line that it said on stderr. */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure';
  /** For everybody. */
  readonly how: string;
  constructor(message: string, how: string) {
    super(message);
    this.how = how;
  }
}

const MAX_OUTPUT = 64 * 1024;
const MAX_REASON = 200;
/** Of our environment, what is no program's business: the admin role's password, keys, roles' passwords. */
const OURS = /^PG_DURABLE_|^PGPASSWORD$/;

const running = new Set<ChildProcess>();
let watching = false;

/** What has begun in its own process group would not end with us. */
function endWithUs(child: ChildProcess): void {
  if (!watching) {
    watching = true;
    process.on('exit', () => {
      for (const each of running) killGroup(each);
    });
  }
  running.add(child);
  child.once('close', () => running.delete(child));
}

function killGroup(child: ChildProcess): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  } catch {
    child.kill('SIGKILL'); // the group is gone, or there never was one
  }
}

/**
 * Runs a program without a shell and gives what it wrote to stdout; the caller overwrites it after use. The program
 * and its children are killed at the time-out, and when this process ends.
 * @param command program and arguments
 * @param environment of the program; variables of ours that hold secrets are taken out
 * @param timeoutMs for the whole of it
 * @throws CommandFailure
 */
export function runForSecret(
  command: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
  timeoutMs: number,
): Promise<Buffer> {
  const [file = '', ...args] = command;
  const env = Object.fromEntries(Object.entries(environment).filter(([name]) => !OURS.test(name)));
  return new Promise((resolve, reject) => {
    // a process group of its own, so that what it has started can be ended with it
    const child = spawn(file, args, { env, stdio: ['ignore', 'pipe', 'pipe'], shell: false, detached: true });
    endWithUs(child);
    const out: Buffer[] = [];
    let length = 0;
    let said = '';
    let killed: string | undefined;
    const kill = (why: string): void => {
      killed ??= why;
      killGroup(child);
      child.stdout.destroy();
      child.stderr.destroy();
    };
    const timer = setTimeout(() => kill(`no answer within ${timeoutMs} ms`), timeoutMs);
    child.stdout.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length > MAX_OUTPUT) kill(`more than ${MAX_OUTPUT} bytes of output`);
      else out.push(chunk);
    });
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      if (said.length < MAX_OUTPUT) said += chunk;
    });
    child.once('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      const how = `could not be run: ${error.code ?? 'unknown reason'}`;
      reject(new CommandFailure(`"${file}" ${how}`, how));
    });
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      const output = Buffer.concat(out);
      for (const chunk of out) chunk.fill(0);
      if (code === 0 && killed === undefined) {
        resolve(output);
        return;
      }
      const how = killed ?? (code === null ? `ended by ${signal}` : `exit status ${code}`);
      const reason = firstLine(said, output);
      output.fill(0);
      reject(new CommandFailure(`"${file}": ${how}${reason === '' ? '' : `: ${reason}`}`, how));
    });
  });
}

/** What it said on stderr, if nothing of what it wrote to stdout is in it: that may be the secret. */
function firstLine(said: string, output: Buffer): string {
  const line = (said.split(/\r?\n/).find((one) => one.trim() !== '') ?? '')
    .replace(/[\p{Cc}\p{Cf}]/gu, ' ')
    .trim()
    .slice(0, MAX_REASON);
  const words = output.toString('utf8').split(/\s+/).filter(Boolean);
  return words.some((word) => line.includes(word.slice(0, MAX_REASON))) ? '' : line;
}
