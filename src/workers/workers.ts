/**
 * A proxy of several processes. This one, the first, accepts the clients, runs the executor (serve.ts) and holds what
 * logins have given it; its workers (worker.ts) serve the clients, one of them each, from the first byte to the last.
 *
 * Clients are handed out here, to the worker that has the fewest, rather than left to whichever process the kernel
 * wakes: sessions live long, and 64 that connect at the same moment end up as 54 and 10 on two processes that wait on
 * one listening socket, as 32 and 32 when they are handed out. That costs 0.1 ms a connection, a tenth of a login.
 *
 * A cancel request may reach any worker: the server's key in it says which session is meant.
 *
 * A worker's states:
 * - *starting*: it gets no clients. Ends with its 'ready'.
 * - *serving*.
 * - *gone*: its sessions are gone with it; the others' go on. Clients that it had not taken yet go to another. It is
 *   replaced after a pause, which doubles with each worker that did not live long.
 */
import { type ChildProcess, fork } from 'node:child_process';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Config } from '../config/config.js';
import { carried } from '../config/upstream.js';
import { type Listener, openListeners } from '../proxy/listener.js';
import type { Proxy as Served } from '../proxy/proxy.js';
import type { Reloading, Surroundings } from '../sessions.js';
import { wipe } from '../upstream/credentials/credential.js';
import type { FromWorker, ToWorker, Wanted } from './messages.js';

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 10_000;
/** Who has lived this long was not born dead. */
const LONG_LIFE_MS = 10_000;
/** What sessions that are ended by force take, and some more. */
const LAST_MS = 5_000;

interface Worker {
  readonly child: ChildProcess;
  readonly ready: Promise<void>;
  readonly gone: Promise<void>;
  readonly born: number;
  state: 'starting' | 'serving' | 'gone';
  /** Clients that it has, or is about to get. */
  clients: number;
  /** Clients that it has not taken yet, by number. */
  readonly offered: Map<number, Socket>;
}

/**
 * @param config with two or more `workers`
 * @returns a proxy that listens when its workers are ready
 */
export function createWorkers(config: Config, around: Surroundings): Served & Reloading {
  const { upstream, ...rest } = config;
  let current: Omit<Config, 'upstream'> = rest;
  const { log, clientAuth } = around;
  let { clientTls } = around;
  const mockSecret = clientAuth.mode === 'scram' ? clientAuth.mockSecret : undefined;
  const workers = new Set<Worker>();
  /** Clients for whom there is no worker at the moment, with what ends their wait. */
  const waiting = new Map<Socket, NodeJS.Timeout>();
  let listeners: Listener[] = [];
  let listening = false;
  let closing = false;
  let closed: Promise<void> | undefined;
  let offers = 0;
  let pauseMs = FIRST_PAUSE_MS;

  const handOut = (client: Socket): void => {
    const worker = leastBusy(workers);
    if (worker === undefined) {
      const giveUp = () => {
        waiting.delete(client);
        client.destroy();
      };
      waiting.set(client, setTimeout(giveUp, current.loginTimeoutMs));
      return;
    }
    const id = offers++;
    worker.clients++;
    worker.offered.set(id, client);
    // Kept open here until the worker has it: should it die before, another can have it.
    worker.child.send({ kind: 'client', id } satisfies ToWorker, client, { keepOpen: true }, () => {});
  };

  const takeWaiting = (): Socket[] => {
    const clients = [...waiting.keys()];
    for (const timer of waiting.values()) clearTimeout(timer);
    waiting.clear();
    return clients;
  };

  const receive = (worker: Worker, message: FromWorker): void => {
    switch (message.kind) {
      case 'taken':
        worker.offered.get(message.id)?.destroy();
        worker.offered.delete(message.id);
        break;
      case 'closed':
        worker.clients -= message.clients;
        break;
      case 'captured':
        around.credentials.capture(message.role, message.credential);
        wipe(message.credential);
        break;
      case 'not taken':
        around.credentials.notTaken(message.role, message.database, message.address);
        break;
      case 'ask':
        void answer(worker, message.id, message.wanted);
        break;
      case 'login failed':
        for (const other of workers)
          if (other !== worker) other.child.send(message satisfies ToWorker, () => {});
        break;
      case 'work':
        around.onWorkCommitted();
        break;
      case 'asked':
        around.onPrivateNotice(message.notice);
        break;
      case 'ready':
    }
  };

  const answer = async (worker: Worker, id: number, wanted: Wanted): Promise<void> => {
    const tell = (what: Extract<ToWorker, { kind: 'answer' }>, sent = () => {}) =>
      worker.child.send(what, sent);
    try {
      if (wanted.what === 'verifier') {
        const found = clientAuth.mode === 'scram' ? await clientAuth.verifiers.find(wanted.role) : undefined;
        tell({ kind: 'answer', id, found });
      } else {
        const found = await around.credentials.get(wanted.role, wanted.database, wanted.address);
        // Not before it is sent: it may have to wait for a client's socket that is on its way.
        tell({ kind: 'answer', id, found }, () => found && wipe(found));
      }
    } catch (error) {
      tell({ kind: 'answer', id, failure: (error as Error).message });
    }
  };

  const start = (): Worker => {
    const child = fork(fileURLToPath(new URL('./worker.js', import.meta.url)), {
      // Buffers stay what they are.
      serialization: 'advanced',
      env: environment(),
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    let isReady: () => void;
    const worker: Worker = {
      child,
      ready: new Promise((resolve) => {
        isReady = resolve;
      }),
      gone: new Promise((resolve) => {
        child.once('exit', (status, signal) => {
          resolve();
          lost(worker, signal ?? status);
        });
      }),
      born: performance.now(),
      state: 'starting',
      clients: 0,
      offered: new Map(),
    };
    workers.add(worker);
    // Its end is seen at 'exit'.
    child.on('error', (err) => log.error({ err }, 'worker process'));
    child.on('message', (message: FromWorker) => {
      if (message.kind === 'ready') {
        worker.state = 'serving';
        log.info({ worker: child.pid }, 'worker started');
        isReady();
        for (const client of takeWaiting()) handOut(client);
      } else receive(worker, message);
    });
    const begin: ToWorker = {
      kind: 'serve',
      config: current,
      upstream: carried(upstream),
      clientTls,
      mockSecret,
    };
    child.send(begin, () => {});
    return worker;
  };

  const lost = (worker: Worker, how: number | string | null): void => {
    worker.state = 'gone';
    workers.delete(worker);
    if (closing || !listening) {
      for (const client of worker.offered.values()) client.destroy();
      return;
    }
    if (performance.now() - worker.born >= LONG_LIFE_MS) pauseMs = FIRST_PAUSE_MS;
    log.error({ worker: worker.child.pid, how, clients: worker.clients, pauseMs }, 'worker ended, replaced');
    setTimeout(() => {
      if (!closing) start();
    }, pauseMs);
    pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
    for (const client of worker.offered.values()) handOut(client);
  };

  const end = async (): Promise<void> => {
    for (const listener of listeners) listener.close();
    for (const client of takeWaiting()) client.destroy();
    await Promise.all([...workers].map((worker) => worker.gone));
  };

  return {
    async listen() {
      listeners = await openListeners(config.listen, config.unixSocketMode, handOut);
      listening = true;
      const first = Array.from({ length: config.workers }, start);
      await Promise.race([
        Promise.all(first.map((worker) => worker.ready)),
        ...first.map(async (worker) => {
          await worker.gone;
          throw new Error('a worker process ended while it started');
        }),
      ]).catch((error: unknown) => {
        closing = true;
        for (const listener of listeners) listener.close();
        for (const { child } of workers) child.kill('SIGKILL');
        throw error;
      });
      return listeners.map(({ address }) => address);
    },
    close(graceMs = 0) {
      closing = true;
      for (const { child } of workers) {
        child.send({ kind: 'close', graceMs } satisfies ToWorker, () => {});
        const timer = setTimeout(() => child.kill('SIGKILL'), graceMs + LAST_MS);
        child.once('exit', () => clearTimeout(timer));
      }
      closed ??= end();
      return closed;
    },
    reload(next, files) {
      current = next;
      clientTls = files;
      for (const { child } of workers) {
        child.send({ kind: 'reload', config: next, clientTls } satisfies ToWorker, () => {});
      }
    },
    abort() {
      for (const { child } of workers) child.kill('SIGKILL');
    },
    sessions: () => [...workers].reduce((sum, worker) => sum + worker.clients, 0),
  };
}

/** Without settings: a worker is told what it needs, and passwords and keys in them are not for it. */
function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('PG_DURABLE_')));
}

/** Who serves the fewest clients; undefined if nobody can. */
function leastBusy(workers: Iterable<Worker>): Worker | undefined {
  let least: Worker | undefined;
  for (const worker of workers) {
    if (worker.state === 'serving' && (least === undefined || worker.clients < least.clients)) least = worker;
  }
  return least;
}
