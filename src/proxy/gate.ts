import type { Report } from '../wire/fields.js';
import { type FailedLoginLimit, FailedLogins } from './failed-logins.js';
import type { Peer } from './peer.js';

export interface GateLimits {
  /** Clients that may be past their start-up packet at the same time; 0: no limit. */
  maxClientConnections: number;
  failedLoginLimit: FailedLoginLimit;
}

const TOO_MANY: Report = {
  severity: 'FATAL',
  code: '53300',
  message: 'sorry, too many clients already',
};

/**
 * Who may come in. Asked when a client has said what it wants, so that a refusal can be read; cancel requests are not
 * counted, as in the server. Loopback and Unix sockets have no limit of failed logins: whoever is on the machine could
 * shut out the application that runs there.
 */
export class Gate {
  readonly #limits: GateLimits;
  readonly #onLoginFailed: ((address: string) => void) | undefined;
  readonly #failed = new FailedLogins();
  #inside = 0;

  /**
   * @param limits read at every use: they may change
   * @param onLoginFailed hears of what this gate counts
   */
  constructor(limits: GateLimits, onLoginFailed?: (address: string) => void) {
    this.#limits = limits;
    this.#onLoginFailed = onLoginFailed;
  }

  /** Counts a client in, or says why it must go. */
  enter(peer: Peer): Report | undefined {
    const { maxClientConnections } = this.#limits;
    const shutOut = this.shutOut(peer);
    if (shutOut !== undefined) return shutOut;
    if (maxClientConnections > 0 && this.#inside >= maxClientConnections) return TOO_MANY;
    this.#inside++;
    return undefined;
  }

  /**
   * Why nobody from its address may log in now. To be asked again when a login is over: others that were under way at
   * the same time count, too.
   */
  shutOut(peer: Peer): Report | undefined {
    if (peer.local || peer.address === undefined) return undefined;
    const wait = this.#failed.wait(peer.address, this.#limits.failedLoginLimit);
    return wait > 0 ? tooManyFailures(wait) : undefined;
  }

  /** A client that was counted in has gone. */
  leave(): void {
    this.#inside--;
  }

  /** A login was refused. @returns whether its address is shut out from now on */
  loginFailed(peer: Peer): boolean {
    if (peer.local || peer.address === undefined) return false;
    this.#onLoginFailed?.(peer.address);
    return this.count(peer.address);
  }

  /** A login from the address was refused, here or in another process of this proxy. */
  count(address: string): boolean {
    return this.#failed.add(address, this.#limits.failedLoginLimit);
  }

  /** Whether a connection may not even say what it wants: twice as many as may be in are there already, and a few. */
  overrun(connections: number): boolean {
    const { maxClientConnections } = this.#limits;
    return maxClientConnections > 0 && connections >= 2 * maxClientConnections + 16;
  }
}

function tooManyFailures(waitMs: number): Report {
  return {
    severity: 'FATAL',
    code: '28000',
    message: 'too many failed logins from this address',
    hint: `Try again in ${Math.ceil(waitMs / 1000)} seconds.`,
  };
}
