/**
 * The proxies under fire: real processes of the built program, on ports that they keep.
 *
 * A proxy is down → starting (until it listens) → up ⇄ paused (SIGSTOP) → down (SIGKILL). One that gives up while it
 * starts, because its connection was cut, is started again, as a supervisor would; one that ends in any other way is a
 * failure of the run.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type Program, program } from '../support/program.js';

export interface ProxyOptions {
  readonly upstream: string;
  readonly leaseS: number;
  /** Called whenever a proxy has begun to listen. */
  readonly onUp: (proxy: ProxyProcess) => void;
}

export class ProxyProcess {
  readonly name: string;
  state: 'down' | 'starting' | 'up' | 'paused' = 'down';
  port = 0;
  /** Why it ended, when nobody killed it. */
  crash: string | null = null;
  /** Starts that ended in an error because the database was cut off. */
  failedStarts = 0;
  /** Instances that it has taken over from others. */
  takeovers = 0;
  /** Instances that it found to be its own without knowing. */
  strays = 0;

  readonly #options: ProxyOptions;
  #program: Program | null = null;
  readonly #killed = new WeakSet<Program>();

  constructor(name: string, options: ProxyOptions) {
    this.name = name;
    this.#options = options;
  }

  /** Starts it, on its old port if it had one. Resolves when it listens or was killed before that. */
  async start(): Promise<void> {
    const { upstream, leaseS, onUp } = this.#options;
    this.state = 'starting';
    const settings = [
      ...[`lease_duration=${leaseS}s`, `step_idle_timeout=${leaseS}s`, 'poll_interval=200ms'],
      // few sessions: instances wait for them, and they are handed from one to the next
      ...['max_user_connections=4', 'upstream_connect_timeout=5s', 'log_level=info'],
      ...['http.mode=all', 'http.block_private=false'],
    ];
    const run = program([
      ...['serve', '--listen', `127.0.0.1:${this.port}`, '--upstream', upstream],
      ...settings.flatMap((setting) => ['--set', setting]),
    ]);
    this.#program = run;
    void run.ended.then((status) => {
      this.#count(run.stderr());
      if (this.#program !== run) return; // killed
      this.#program = null;
      const wasStarting = this.state === 'starting';
      this.state = 'down';
      if (wasStarting && status === 1) return;
      this.crash = `${this.name} ended with ${status}: ${run.stderr().slice(-4000)}`;
    });
    const match = await run.line(/listening on [^\s,]*:(\d+),/).catch(() => null);
    if (this.#program === null && match === null && !this.#killed.has(run)) {
      this.failedStarts += 1;
      await delay(100);
      return await this.start();
    }
    if (this.#program !== run) return;
    if (match === null) {
      this.crash = `${this.name} does not listen: ${run.stderr().slice(-4000)}`;
      return;
    }
    this.port = Number(match[1]);
    this.state = 'up';
    onUp(this);
  }

  /** SIGKILL: it has no time for anything. Resolves when it is gone. */
  async kill(): Promise<void> {
    const run = this.#program;
    this.#program = null;
    this.state = 'down';
    if (run !== null) this.#killed.add(run);
    run?.child.kill('SIGKILL');
    await run?.ended;
  }

  pause(): void {
    this.#program?.child.kill('SIGSTOP');
    this.state = 'paused';
  }

  resume(): void {
    if (this.state !== 'paused') return;
    this.#program?.child.kill('SIGCONT');
    this.state = 'up';
  }

  /** The end of its log, for a report. */
  log(): string {
    return this.#program?.stderr().slice(-3000) ?? '';
  }

  #count(log: string): void {
    for (const line of log.split('\n')) {
      const taken = /"instances":(\d+).*"taken over/.exec(line);
      if (taken !== null) this.takeovers += Number(taken[1]);
      if (line.includes('held without knowing it')) this.strays += 1;
    }
  }
}
