import type { Socket } from 'node:net';
import type { ListenAddress } from '../config/kinds.js';
import { Gate } from './gate.js';
import { type Listener, openListeners } from './listener.js';
import type { ChangeableOptions, ProxyOptions } from './options.js';
import { Session } from './session.js';

export type { ProxyOptions } from './options.js';

export interface Proxy {
  /**
   * Starts to accept clients, in all places or in none.
   * @returns where, in the order of the options: real ports in place of 0
   * @throws ListenError
   */
  listen(): Promise<ListenAddress[]>;
  /**
   * Accepts nobody any more and ends the sessions: idle ones at once, the others when their transaction ends, and
   * all that are left after `graceMs` milliseconds. Clients are told with 57P01. A second call with a shorter time
   * shortens the wait.
   */
  close(graceMs?: number): Promise<void>;
  /** Ends everything that is in other processes, without a word: this one is about to end, too. */
  abort(): void;
  /** Client connections that are open now, in any phase. */
  sessions(): number;
}

/** A proxy that also serves clients whom somebody else has accepted. */
export interface SessionHost extends Proxy {
  /**
   * Serves a client. Its socket is paused, and half-opening is allowed on it.
   * @returns when its connection has closed; never rejects
   */
  accept(client: Socket): Promise<void>;
  /** For clients that come from now on. */
  change(options: Partial<ChangeableOptions>): void;
  /** A login from the address was refused in another process of the proxy. */
  countFailedLogin(address: string): void;
}

const DEFAULT_GRACE_MS = 1_000;
/** After the last word to a client, milliseconds. */
const FORCE_MS = 3_000;
/** A session whose sockets are destroyed has ended at once. One that has not all the same is not waited for any longer. */
const GIVE_UP_MS = 1_000;

export function createProxy(given: ProxyOptions): SessionHost {
  const options = { ...given };
  const gate = new Gate(options, options.onLoginFailed);
  const sessions = new Set<Session>();
  let listeners: Listener[] = [];
  let closing: Promise<void> | undefined;
  let hurry: (graceMs: number) => void = () => {};
  let emptied: () => void = () => {};

  const accept = async (client: Socket) => {
    if (gate.overrun(sessions.size)) {
      client.destroy();
      return;
    }
    const session = new Session(client, options, gate);
    sessions.add(session);
    if (closing !== undefined) session.drain();
    await session.run();
    sessions.delete(session);
    if (sessions.size === 0) emptied();
  };

  const shutDown = async () => {
    for (const listener of listeners) listener.close();
    const stopped = new Promise<void>((resolve) => {
      emptied = resolve;
      if (sessions.size === 0) resolve();
    });
    for (const session of sessions) session.drain();
    const timers: NodeJS.Timeout[] = [];
    const after = (ms: number, act: (session: Session) => void) => {
      timers.push(
        setTimeout(() => {
          for (const session of sessions) act(session);
        }, ms),
      );
    };
    hurry = (graceMs) => {
      after(graceMs, (session) => session.terminate());
      after(graceMs + FORCE_MS, (session) => session.destroy());
      timers.push(setTimeout(emptied, graceMs + FORCE_MS + GIVE_UP_MS));
    };
    return stopped.finally(() => {
      for (const timer of timers) clearTimeout(timer);
      hurry = () => {};
    });
  };

  return {
    async listen() {
      listeners = await openListeners(options.listen, options.unixSocketMode, accept);
      return listeners.map(({ address }) => address);
    },
    accept,
    close(graceMs = DEFAULT_GRACE_MS) {
      closing ??= shutDown();
      hurry(graceMs);
      return closing;
    },
    abort: () => {},
    sessions: () => sessions.size,
    change: (changes) => void Object.assign(options, changes),
    countFailedLogin: (address) => void gate.count(address),
  };
}
