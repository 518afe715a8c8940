import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { until } from './wait.js';

export const root = join(import.meta.dirname, '../..');
const entry = join(root, 'dist/main.js');

/** A run of the built program, as a user runs it: a process of its own. */
export interface Program {
  readonly child: ChildProcess;
  stdout(): string;
  stderr(): string;
  /** Exit status; 128 + n for signal n is not made up: a signal is given by name. */
  readonly ended: Promise<number | NodeJS.Signals>;
  /** Waits until standard output holds a match, and gives it. */
  line(pattern: RegExp, timeoutMs?: number): Promise<RegExpExecArray>;
}

export interface ProgramOptions {
  env?: Readonly<Record<string, string>>;
  cwd?: string;
}

/** Starts `pg-durable-proxy` with these arguments. It gets no PG_DURABLE_ variables but those of `options`. */
export function program(args: readonly string[], options: ProgramOptions = {}): Program {
  if (!existsSync(entry)) throw new Error('dist/main.js is missing: npm run build');
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('PG'));
  const child = spawn(process.execPath, [entry, ...args], {
    cwd: options.cwd ?? root,
    env: { ...Object.fromEntries(inherited), ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
    });
  }
  let over = false;
  const ended = new Promise<number | NodeJS.Signals>((resolve, reject) => {
    child.once('error', reject);
    // 'close' comes after the last output, 'exit' may come before it.
    child.once('close', (code, signal) => {
      over = true;
      resolve(signal ?? code!);
    });
  });
  return {
    child,
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    ended,
    line: async (pattern, timeoutMs = 30_000) => {
      await until(() => over || pattern.test(output.stdout), {
        timeoutMs,
        what: `${pattern} in the output`,
      }).catch((error: Error) => {
        throw new Error(`${error.message}; so far: ${output.stdout}${output.stderr}`);
      });
      const match = pattern.exec(output.stdout);
      if (match === null) throw new Error(`ended without ${pattern}: ${output.stdout}${output.stderr}`);
      return match;
    },
  };
}

/** Runs it to its end. */
export async function run(
  args: readonly string[],
  options: ProgramOptions = {},
): Promise<{ status: number | NodeJS.Signals; stdout: string; stderr: string }> {
  const running = program(args, options);
  const status = await running.ended;
  return { status, stdout: running.stdout(), stderr: running.stderr() };
}
