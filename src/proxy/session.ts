import type { Socket } from 'node:net';
import { forwardCancel, stopStatement } from '../upstream/cancel.js';
import { wipe } from '../upstream/credentials/credential.js';
import { DialError, dial, Servers } from '../upstream/dial.js';
import { LoginError } from '../upstream/login.js';
import { errorResponse, type Report } from '../wire/fields.js';
import { cancelPacket, databaseOf, isReplication, majorVersion } from '../wire/startup.js';
import { ClientGone } from './authentication/arrival.js';
import { authenticate } from './authentication/authenticate.js';
import { closed, dismiss } from './closing.js';
import { isFailedLogin } from './failed-logins.js';
import type { Gate } from './gate.js';
import { type Opening, readOpening } from './opening.js';
import type { ProxyOptions } from './options.js';
import { isConfidential, isLoopback, type Peer, peerOf } from './peer.js';
import { isListed, readProxyHeader } from './proxy-protocol.js';
import { Relay } from './relay.js';
import { newTraffic, type Traffic } from './traffic.js';

type Startup = Extract<Opening, { kind: 'startup' }>;

/** In other databases only short statements are read: CREATE EXTENSION is one. */
const MAX_ELSEWHERE = 16 * 1024;

const SHUTDOWN: Report = {
  severity: 'FATAL',
  code: '57P01',
  message: 'terminating connection due to administrator command',
};

/**
 * One client connection, from accept to close.
 *
 * - *opening*: who the client is comes first where a load balancer says so (proxy-protocol.ts), then the client's
 *   start-up packets are read (opening.ts) and the gate is asked (gate.ts). Ends in *cancelling*, *logging in* or *closed*.
 * - *cancelling*: a CancelRequest is with the server; the client's socket stays open until the server has closed its
 *   own, so that a client that waits knows that the signal was sent. It gets nothing else, whatever happens.
 * - *logging in*: a connection to the server is made, the start-up packet sent as it came, and client and server are
 *   authenticated in the way that `client_auth` names (authentication/authenticate.ts). Ends in *relaying*, or in
 *   *closed* with the server's own error.
 * - *relaying*: relay.ts. Told to end in the midst of a statement, it has the server stop that, too: a statement
 *   outside of a transaction block would otherwise run to its end, and commit, for a client that is told the contrary.
 * - *closed*.
 *
 * The first three together may last `loginTimeoutMs`.
 */
export class Session {
  /** The socket that speaks to the client: a TLSSocket once it has asked for encryption. */
  #client: Socket;
  #peer: Peer;
  readonly #options: ProxyOptions;
  readonly #gate: Gate;
  #server: Socket | undefined;
  #relay: Relay | undefined;
  /** A TLS handshake, a PROXY header or a cancel request is under way: a message of ours would not be understood. */
  #mute = false;
  #cancelling = false;
  /** Has the server stop what it does for this session. */
  #stop: (() => Promise<void>) | undefined;
  #stopped: Promise<void> | undefined;

  constructor(client: Socket, options: ProxyOptions, gate: Gate) {
    this.#gate = gate;
    this.#client = client;
    this.#peer = peerOf(client);
    this.#options = options;
    // A lost connection shows as 'close' to whoever owns the socket at that time.
    client.on('error', () => {});
  }

  /** Serves the client; settles when both its sockets are closed, and never rejects. */
  async run(): Promise<void> {
    const { log } = this.#options;
    const deadline = setTimeout(() => {
      log.debug('client did not finish its start-up in time');
      this.#refuse({
        severity: 'FATAL',
        code: '57014',
        message: 'canceling authentication due to authentication timeout',
      });
      this.#server?.destroy();
    }, this.#options.loginTimeoutMs);
    try {
      if (!(await this.#identify())) return;
      const opening = await readOpening(this.#client, {
        // As in PostgreSQL, encryption is for the network: a Unix socket needs none.
        tls: this.#peer.address === undefined ? undefined : this.#options.clientTls,
        onHandshake: () => {
          this.#mute = true;
        },
        onSecured: (client) => {
          this.#client = client;
          this.#mute = false;
        },
      });
      // Told to go meanwhile.
      if (this.#client.writableEnded) return;
      switch (opening.kind) {
        case 'startup':
          await this.#enter(opening, () => clearTimeout(deadline));
          break;
        case 'cancel':
          await this.#cancel(opening.packet);
          break;
        case 'refused':
          this.#refuse(opening.report);
          break;
        case 'silent':
          log.debug({ reason: opening.reason }, 'connection closed during start-up');
          dismiss(this.#client);
          break;
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      clearTimeout(deadline);
      this.#server?.destroy();
      await closed(this.#client);
      await this.#stopped;
    }
  }

  /** Ends the session as soon as it is idle. */
  drain(): void {
    if (this.#relay !== undefined) this.#relay.drain(SHUTDOWN);
    // The request that is with the server may be for a session that others wait for.
    else if (!this.#cancelling) this.terminate();
  }

  /** Ends the session now. */
  terminate(): void {
    if (this.#relay !== undefined) {
      if (this.#relay.busy) this.#stopped ??= this.#stop?.();
      this.#relay.terminate(SHUTDOWN);
      return;
    }
    this.#refuse(SHUTDOWN);
    this.#server?.destroy();
  }

  /** Closes both sockets without a word. */
  destroy(): void {
    this.#client.destroy();
    this.#server?.destroy();
  }

  /** Who it is, where a load balancer has to say so first. False: it did not, and has been closed. */
  async #identify(): Promise<boolean> {
    const { proxyProtocolFrom, log } = this.#options;
    if (proxyProtocolFrom === undefined || !isListed(proxyProtocolFrom, this.#peer.address)) return true;
    this.#mute = true;
    const header = await readProxyHeader(this.#client);
    this.#mute = false;
    switch (header.kind) {
      case 'proxied':
        // The way from the client to whoever speaks for it is part of the way.
        this.#peer = {
          address: header.address,
          local: this.#peer.local && isLoopback(header.address),
        };
        return true;
      case 'unknown':
        this.#peer = { ...this.#peer, local: false };
        return true;
      case 'local':
        return true;
      case 'missing':
        log.debug({ client: this.#peer.address, reason: header.reason }, 'connection closed during start-up');
        dismiss(this.#client);
        return false;
    }
  }

  async #cancel(packet: Buffer): Promise<void> {
    const { upstream, connectTimeoutMs } = this.#options;
    this.#mute = this.#cancelling = true;
    const sent = forwardCancel(upstream, packet, connectTimeoutMs);
    // A client that goes has its request sent all the same, but nobody waits for the end of that.
    await Promise.race([sent, closed(this.#client).then(() => void sent.catch(() => {}))]);
    dismiss(this.#client);
  }

  /** Counted in and out by the gate. */
  async #enter(opening: Startup, loggedIn: () => void): Promise<void> {
    const report = this.#gate.enter(this.#peer);
    if (report !== undefined) {
      this.#options.log.debug({ client: this.#peer.address, code: report.code }, 'client refused');
      this.#refuse(report);
      return;
    }
    try {
      await this.#startUp(opening, loggedIn);
    } finally {
      this.#gate.leave();
    }
  }

  async #startUp(opening: Startup, loggedIn: () => void): Promise<void> {
    const { upstream, connectTimeoutMs, log } = this.#options;
    const { socket: server, address, exact } = await dial(upstream, connectTimeoutMs);
    this.#server = server;
    if (this.#client.destroyed || this.#client.writableEnded) return;
    if (majorVersion(opening.protocol) !== 3) {
      // The server says what it thinks of that version, in a format that need not be version 3.
      loggedIn();
      await this.#passBlindly(opening, server);
      return;
    }
    const user = opening.parameters.get('user') ?? '';
    const database = databaseOf(opening.parameters);
    const { credential, greeting, fromClient, fromServer } = await authenticate(this.#options.clientAuth, {
      client: this.#client,
      server,
      address,
      packet: opening.packet,
      user,
      database,
      rest: opening.rest,
      confidential: isConfidential(this.#client, this.#peer),
      local: this.#peer.local,
      credentials: this.#options.credentials,
      log,
    });
    loggedIn();
    const gone = this.#client.destroyed || this.#client.writableEnded;
    const shutOut = this.#gate.shutOut(this.#peer);
    if (gone || shutOut !== undefined) {
      if (credential !== null) wipe(credential);
      // While this login was under way. Whether its password was right is not told, as with those that failed.
      if (shutOut !== undefined) this.#refuse(shutOut);
      return;
    }
    if (credential !== null) {
      this.#options.credentials.capture(user, credential);
      wipe(credential);
    }
    log.debug({ client: this.#peer.address, user, database }, 'session opened');
    const traffic = this.#traffic(opening, database);
    const isControl = database === this.#options.controlDatabase;
    if (isControl) traffic.onPrivateNotice = this.#options.onPrivateNotice ?? null;
    let forgetKey = () => {};
    traffic.onCancelKey = (key) => {
      // As text: a small buffer would keep alive the whole block that it is cut from.
      const text = key.toString('latin1');
      this.#stop = () => stopStatement(upstream, cancelPacket(Buffer.from(text, 'latin1')), exact);
      if (upstream instanceof Servers && upstream.keys.needed) forgetKey = upstream.keys.remember(key, exact);
    };
    const relay = new Relay(this.#client, server, traffic, this.#options.onWorkCommitted);
    this.#relay = relay;
    if (greeting.length > 0) this.#client.write(greeting);
    await relay.run(fromClient, fromServer).finally(() => forgetKey());
    log.debug({ user }, 'session closed');
  }

  /** df lives in the control database only, and the commands of a walsender are not SQL. */
  #traffic(opening: Startup, database: string): Traffic {
    const { rewriter, maxRewriteBytes, controlDatabase } = this.#options;
    if (isReplication(opening.parameters)) return newTraffic(null, maxRewriteBytes);
    if (database === controlDatabase) return newTraffic(rewriter, maxRewriteBytes);
    return newTraffic(rewriter.elsewhere, Math.min(maxRewriteBytes, MAX_ELSEWHERE));
  }

  /** Both directions as they come, until the server has closed. */
  async #passBlindly(opening: Startup, server: Socket): Promise<void> {
    server.write(opening.packet);
    if (opening.rest.length > 0) server.write(opening.rest);
    this.#client.pipe(server);
    server.pipe(this.#client, { end: false });
    await closed(server);
    dismiss(this.#client);
  }

  #fail(error: unknown): void {
    const { log } = this.#options;
    if (error instanceof LoginError) {
      log.debug({ client: this.#peer.address, code: error.code }, 'login refused');
      const shutOut = this.#gate.shutOut(this.#peer);
      if (isFailedLogin(error) && this.#gate.loginFailed(this.#peer)) {
        log.warn(
          { client: this.#peer.address },
          'too many failed logins: the address is refused for a while',
        );
      }
      if (shutOut !== undefined) this.#refuse(shutOut);
      else if (error.raw !== undefined) dismiss(this.#client, error.raw);
      else this.#refuse({ severity: 'FATAL', code: sqlstate(error), message: error.message });
      return;
    }
    if (error instanceof DialError) {
      log.warn({ reason: error.message }, 'server not reachable');
      this.#refuse({ severity: 'FATAL', code: error.code, message: error.forClient });
      return;
    }
    if (error instanceof ClientGone) {
      log.debug('client closed during authentication');
      dismiss(this.#client);
      return;
    }
    log.error({ err: error }, 'session failed');
    this.#refuse({ severity: 'FATAL', code: 'XX000', message: 'internal error of the proxy' });
  }

  #refuse(report: Report): void {
    if (this.#mute) this.#client.destroy();
    else dismiss(this.#client, errorResponse(report));
  }
}

/** SCRAM's own reasons have no SQLSTATE; to the client they are a failed authentication. */
function sqlstate(error: LoginError): string {
  return /^[0-9A-Z]{5}$/.test(error.code) ? error.code : '28000';
}
