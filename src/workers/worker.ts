/**
 * A worker: a process that serves some of the clients of a proxy (workers.ts). It does what the first process tells
 * it and nothing else: signals from a terminal or a service manager, which reach all processes of a group, are left
 * to that one. When the channel to it closes, it is gone: the sessions here may still finish their transactions.
 */
import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import type { Config } from '../config/config.js';
import { restored } from '../config/upstream.js';
import { freeChunksInPlace } from '../garbage-collection.js';
import { ignoreDebuggerSignal } from '../no-debugger.js';
import { createLog } from '../observe/log.js';
import type { ClientAuth } from '../proxy/authentication/authenticate.js';
import type { SessionHost } from '../proxy/proxy.js';
import { createSessions, type Reloading } from '../sessions.js';
import type { UpstreamAddress } from '../upstream/address.js';
import { configuredServers, logChanges } from '../upstream/configured.js';
import type { Credential } from '../upstream/credentials.js';
import type { ScramVerifier } from '../wire/scram-verifier.js';
import type { FromWorker, ToWorker, Wanted } from './messages.js';

ignoreDebuggerSignal();
freeChunksInPlace();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) process.on(signal, () => {});

type Message<Kind> = Extract<ToWorker, { kind: Kind }>;

let sessions: (SessionHost & Reloading) | undefined;
let log: Logger | undefined;
let graceMs = 0;
/** The last one; it may come before there is anything to change. */
let reloaded: Message<'reload'> | undefined;

process.on('uncaughtException', (err) => {
  log?.fatal({ err }, 'unexpected error');
  process.exit(1);
});
process.on('message', (message, socket) => receive(message as ToWorker, socket as Socket | undefined));
process.on('disconnect', () => void close(graceMs));

function receive(message: ToWorker, socket: Socket | undefined): void {
  switch (message.kind) {
    case 'serve':
      void begin(message);
      break;
    case 'client':
      tell({ kind: 'taken', id: message.id });
      // undefined: it closed on its way here
      if (socket !== undefined) serve(socket);
      else oneLess();
      break;
    case 'answer': {
      const asked = questions.get(message.id);
      questions.delete(message.id);
      if ('failure' in message) asked?.reject(new Error(message.failure));
      else asked?.resolve(message.found);
      break;
    }
    case 'reload':
      log!.level = message.config.logLevel;
      graceMs = message.config.drainTimeoutMs;
      reloaded = message;
      sessions?.reload(message.config, message.clientTls);
      break;
    case 'login failed':
      sessions?.countFailedLogin(message.address);
      break;
    case 'close':
      void close(message.graceMs);
  }
}

async function begin(message: Message<'serve'>): Promise<void> {
  const { mockSecret, clientTls } = message;
  const config: Config = { ...message.config, upstream: restored(message.upstream) };
  log = createLog(config.logLevel);
  graceMs = config.drainTimeoutMs;
  const credentials = {
    capture,
    get: (role: string, database: string, address: UpstreamAddress) =>
      ask<Credential>({ what: 'credential', role, database, address }),
    notTaken: (role: string, database: string, address: UpstreamAddress) =>
      tell({ kind: 'not taken', role, database, address }),
  };
  const servers = configuredServers(config.upstream);
  logChanges(servers, log);
  sessions = await createSessions(config, {
    servers: servers.clients,
    credentials,
    clientAuth: clientAuth(config, mockSecret),
    clientTls,
    onWorkCommitted,
    onPrivateNotice: (notice) => tell({ kind: 'asked', notice }),
    onLoginFailed: (address) => tell({ kind: 'login failed', address }),
    log,
  });
  if (reloaded !== undefined) sessions.reload(reloaded.config, reloaded.clientTls);
  tell({ kind: 'ready' });
}

function serve(socket: Socket): void {
  socket.allowHalfOpen = true;
  void sessions!.accept(socket).then(oneLess);
}

async function close(withinMs: number): Promise<void> {
  await sessions?.close(withinMs);
  process.exit(0);
}

let closedClients = 0;

/** Counted up over a turn of the event loop: many may close at once. */
function oneLess(): void {
  if (closedClients++ > 0) return;
  setImmediate(() => {
    tell({ kind: 'closed', clients: closedClients });
    closedClients = 0;
  });
}

/** Who needs it is the executor, which is not here. */
function capture(role: string, credential: Credential): void {
  tell({ kind: 'captured', role, credential });
}

interface Question {
  resolve(found: unknown): void;
  reject(error: Error): void;
}

const questions = new Map<number, Question>();
let asked = 0;

function ask<T>(wanted: Wanted): Promise<T | undefined> {
  const id = asked++;
  return new Promise((resolve, reject) => {
    questions.set(id, { resolve: resolve as (found: unknown) => void, reject });
    tell({ kind: 'ask', id, wanted });
  });
}

/** Verifiers are looked up by the first process, which alone can be the admin role. */
function clientAuth(config: Config, mockSecret: Uint8Array | undefined): ClientAuth {
  if (config.clientAuth !== 'scram') return { mode: config.clientAuth };
  if (mockSecret === undefined) throw new Error('the first process has sent no secret');
  const verifiers = {
    find: (role: string) => ask<ScramVerifier>({ what: 'verifier', role }),
    refresh: async () => {}, // the first process does
    close: async () => {},
  };
  return { mode: 'scram', verifiers, mockSecret };
}

let workTold = false;

/** Once per turn of the event loop: the executor looks for all that is due. */
function onWorkCommitted(): void {
  if (workTold) return;
  workTold = true;
  setImmediate(() => {
    workTold = false;
    tell({ kind: 'work' });
  });
}

/** What cannot be told any more shows as a closed channel. */
function tell(message: FromWorker): void {
  if (process.connected) process.send!(message, undefined, undefined, () => {});
}
