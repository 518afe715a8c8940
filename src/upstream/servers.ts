/**
 * The configured hosts, and which of them is good for what is wanted of it (target_session_attrs).
 *
 * Where a certain kind of server is wanted, one host is *chosen*: all are asked at the same time, by a connection of
 * the admin role each, what they are; the connection to the one that is chosen stays open as the *watch*, the others
 * are closed. As long as the watch lives and says the same, every dial goes to that host and nobody's login has to be
 * repeated on another one. It is asked again every two seconds, and when a dial fails.
 *
 * States: unknown → choosing (the first dial) → chosen → unknown (the watch was lost, the host became something else,
 * or a second choice has been used for a while). A choice that found none is remembered for a moment, so that clients
 * who try again and again do not become as many logins on every host.
 */
import { EventEmitter } from 'node:events';
import type { TargetSessionAttrs } from '../config/upstream-url.js';
import { addressText, isNamed, type UpstreamAddress } from './address.js';
import { CancelKeys } from './cancel-keys.js';
import { NotReached, type Transport } from './reach.js';

/** What a host says of itself. */
export interface HostState {
  /** A standby, which replays another server's log. */
  readonly standby: boolean;
  /** Sessions begin read-only: a standby, or default_transaction_read_only is on. */
  readonly readOnly: boolean;
}

/** A connection that tells what its host is. */
export interface Watch {
  /** @throws when the connection is lost or does not answer in time */
  ask(): Promise<HostState>;
  /** Calls back once when the connection has ended. */
  onEnd(listener: () => void): void;
  close(): void;
}

export interface ServersOptions {
  readonly hosts: readonly UpstreamAddress[];
  readonly transport: Transport;
  readonly wanted: TargetSessionAttrs;
  /**
   * Opens a watch.
   * @param timeoutMs for the connection
   */
  readonly watch: (address: UpstreamAddress, timeoutMs: number) => Promise<Watch>;
}

/** None of the hosts is good, and why. */
export class NoServer extends Error {
  readonly code: string | undefined;
  /** The same without what hosts said to the admin role, whose name is nobody's business before a login. */
  readonly forClient: string;
  constructor(message: string, code: string | undefined, forClient: string) {
    super(message);
    this.code = code;
    this.forClient = forClient;
  }
}

/** Not what is wanted. */
class Unfit extends Error {}

interface Events {
  /** A host was chosen. */
  chosen: [address: UpstreamAddress];
  /** A chosen host is no longer one: sessions on it that must be on such a host should end. */
  left: [address: UpstreamAddress, reason: string];
  /** A host could not be asked. Only when its reason is another one than the last time. */
  unasked: [address: UpstreamAddress, error: Error];
}

interface Choice {
  readonly address: UpstreamAddress;
  readonly watch: Watch;
  /** A better one may come up. */
  readonly second: boolean;
}

interface Candidate {
  readonly address: UpstreamAddress;
  readonly watch: Watch;
  readonly state: HostState;
}

const ASK_EVERY_MS = 2_000;
const REMEMBER_FAILURE_MS = 300;
/** A host that could not be reached is tried after the others for this long. */
const AVOID_MS = 10_000;

export class Servers extends EventEmitter<Events> {
  readonly hosts: readonly UpstreamAddress[];
  readonly transport: Transport;
  readonly wanted: TargetSessionAttrs;
  /** Which server has the session of a cancel key; knows nothing where there is only one address. */
  readonly keys: CancelKeys;
  readonly #watch: ServersOptions['watch'];
  readonly #failedAt = new Map<UpstreamAddress, number>();
  readonly #unasked = new Map<UpstreamAddress, string>();
  #choice: Choice | null = null;
  #choosing: Promise<UpstreamAddress> | null = null;
  #failure: { error: NoServer; until: number } | null = null;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: ServersOptions) {
    super();
    this.setMaxListeners(0); // one for each connection of the engine
    this.hosts = options.hosts;
    this.transport = options.transport;
    this.wanted = options.wanted;
    this.keys = new CancelKeys(options.hosts.length > 1 || options.hosts.some(isNamed));
    this.#watch = options.watch;
  }

  /** All hosts, those that could not be reached lately last. */
  inOrder(): readonly UpstreamAddress[] {
    if (this.#failedAt.size === 0) return this.hosts;
    const now = performance.now();
    for (const [address, at] of this.#failedAt) if (now - at > AVOID_MS) this.#failedAt.delete(address);
    const avoided = (address: UpstreamAddress) => Number(this.#failedAt.has(address));
    return [...this.hosts].sort((a, b) => avoided(a) - avoided(b));
  }

  /** The host could not be reached. */
  failed(address: UpstreamAddress): void {
    this.#failedAt.set(address, performance.now());
  }

  /**
   * The host to dial.
   * @param timeoutMs for each connection by which a host is asked
   * @throws NoServer
   */
  choose(timeoutMs: number): Promise<UpstreamAddress> {
    if (this.#choice !== null) return Promise.resolve(this.#choice.address);
    if (this.#failure !== null && performance.now() < this.#failure.until) {
      return Promise.reject(this.#failure.error);
    }
    this.#choosing ??= this.#askAll(timeoutMs)
      .then(
        (choice) => {
          this.#failure = null;
          this.#take(choice);
          return choice.address;
        },
        (error: NoServer) => {
          this.#failure = { error, until: performance.now() + REMEMBER_FAILURE_MS };
          throw error;
        },
      )
      .finally(() => {
        this.#choosing = null;
      });
    return this.#choosing;
  }

  /** Asks the watch of a host; false if it is not the chosen one any more, which it also is after no answer. */
  async stillGood(address: UpstreamAddress): Promise<boolean> {
    const choice = this.#choice;
    if (choice === null || choice.address !== address) return false;
    try {
      const state = await choice.watch.ask();
      if (this.#choice !== choice) return false;
      if (unfit(this.wanted, state) === undefined) return true;
      if (choice.second) return true;
      this.#leave(choice, unfit(this.wanted, state)!);
    } catch (error) {
      this.#leave(choice, (error as Error).message);
    }
    return false;
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#choice?.watch.close();
    this.#choice = null;
  }

  #take(choice: Choice): void {
    if (this.#closed) {
      choice.watch.close();
      return;
    }
    this.#choice = choice;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => {
      // Looking for a better one is left to the next dial.
      if (choice.second) this.#forget(choice);
      else void this.stillGood(choice.address);
    }, ASK_EVERY_MS);
    this.#timer.unref();
    this.emit('chosen', choice.address);
    choice.watch.onEnd(() => this.#leave(choice, 'the connection that watches it was lost'));
  }

  #forget(choice: Choice): void {
    if (this.#choice !== choice) return;
    this.#choice = null;
    clearInterval(this.#timer);
    choice.watch.close();
  }

  #leave(choice: Choice, reason: string): void {
    if (this.#choice !== choice) return;
    this.#forget(choice);
    if (!this.#closed) this.emit('left', choice.address, reason);
  }

  /** Asks all hosts at once. Of several good ones the first in order counts, for a writable one the first that answers. */
  async #askAll(timeoutMs: number): Promise<Choice> {
    const asking = this.hosts.map((address) => this.#askOne(address, timeoutMs));
    const fitting = asking.map(async (one) => {
      const candidate = await one;
      const reason = unfit(this.wanted, candidate.state);
      if (reason !== undefined) throw new Unfit(reason);
      return candidate;
    });
    const unique = this.wanted === 'primary' || this.wanted === 'read-write';
    let found = await (unique ? Promise.any(fitting) : firstInOrder(fitting)).catch(() => undefined);
    const second = found === undefined && this.wanted === 'prefer-standby';
    if (second) found = await firstInOrder(asking).catch(() => undefined);
    for (const one of asking) {
      one.then((candidate) => candidate !== found && candidate.watch.close()).catch(() => {});
    }
    if (found !== undefined) return { address: found.address, watch: found.watch, second };
    const reasons = (await Promise.allSettled(fitting)) as PromiseRejectedResult[];
    const text = (shown: (reason: Error) => string) => {
      const texts = reasons.map(({ reason }, i) => `${addressText(this.hosts[i]!)}: ${shown(reason)}`);
      return `no server for target_session_attrs=${this.wanted}: ${texts.join('; ')}`;
    };
    throw new NoServer(
      text(({ message }) => message),
      (reasons[0]!.reason as { code?: string }).code,
      text((reason) =>
        reason instanceof Unfit || reason instanceof NotReached
          ? reason.message
          : 'it could not be asked what it is',
      ),
    );
  }

  async #askOne(address: UpstreamAddress, timeoutMs: number): Promise<Candidate> {
    let watch: Watch | undefined;
    try {
      watch = await this.#watch(address, timeoutMs);
      const state = await watch.ask();
      this.#unasked.delete(address);
      return { address, watch, state };
    } catch (error) {
      watch?.close();
      const { message } = error as Error;
      if (this.#unasked.get(address) !== message && !this.#closed) {
        this.#unasked.set(address, message);
        this.emit('unasked', address, error as Error);
      }
      throw error;
    }
  }
}

/** The first of them, in their order and not in time, that resolves. */
async function firstInOrder<T>(promises: readonly Promise<T>[]): Promise<T> {
  for (const promise of promises) promise.catch(() => {});
  for (const promise of promises.slice(0, -1)) {
    const value = await promise.catch(() => undefined);
    if (value !== undefined) return value;
  }
  return await promises.at(-1)!;
}

/** Why a host in this state is not what is wanted; undefined if it is. The texts are libpq's. */
function unfit(wanted: TargetSessionAttrs, state: HostState): string | undefined {
  switch (wanted) {
    case 'any':
      return undefined;
    case 'read-write':
      return state.readOnly ? 'session is read-only' : undefined;
    case 'read-only':
      return state.readOnly ? undefined : 'session is not read-only';
    case 'primary':
      return state.standby ? 'server is in hot standby mode' : undefined;
    case 'standby':
    case 'prefer-standby':
      return state.standby ? undefined : 'server is not in hot standby mode';
  }
}
