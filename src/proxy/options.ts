import type { BlockList } from 'node:net';
import type { Logger } from 'pino';
import type { ListenAddress } from '../config/kinds.js';
import type { StatementRewriter } from '../rewrite/rewriter.js';
import type { Target } from '../upstream/dial.js';
import type { RoleCredentials } from './authentication/arrival.js';
import type { ClientAuth } from './authentication/authenticate.js';
import type { ClientTls } from './client-tls.js';
import type { FailedLoginLimit } from './failed-logins.js';
import type { PrivateNotice } from './private-notice.js';

export interface ProxyOptions {
  /** Where clients connect, one place or more. */
  listen: readonly ListenAddress[];
  /** Permissions of the files of Unix sockets: whoever may write to one may connect. */
  unixSocketMode: number;
  /** Undefined: clients are not encrypted. */
  clientTls: ClientTls | undefined;
  /** Who begins each connection with a header of the PROXY protocol; undefined: nobody. */
  proxyProtocolFrom: BlockList | undefined;
  /** Clients that may be past their start-up packet at the same time; 0: no limit. */
  maxClientConnections: number;
  failedLoginLimit: FailedLoginLimit;
  /** A login from this address, which is not local, was refused. */
  onLoginFailed?(address: string): void;
  upstream: Target;
  /** For one connection to the server, milliseconds. */
  connectTimeoutMs: number;
  /** The database in which df lives; sessions to others pass unread. */
  controlDatabase: string;
  rewriter: StatementRewriter;
  /** A Query or Parse message longer than this, in bytes, passes unread. */
  maxRewriteBytes: number;
  /** From accept to the end of authentication, milliseconds. */
  loginTimeoutMs: number;
  clientAuth: ClientAuth;
  /** Gets what a later login of the role needs, after each login that the server accepted. */
  credentials: RoleCredentials;
  /** Called when a transaction that mentioned df has ended, so that its work is picked up at once. */
  onWorkCommitted(): void;
  /** A SQL function asks for something; by default such messages pass as any other. */
  onPrivateNotice?(notice: PrivateNotice): void;
  log: Logger;
}

/** What may change while the proxy runs. Sessions that have begun keep what they began with. */
export type ChangeableOptions = Pick<
  ProxyOptions,
  'clientTls' | 'proxyProtocolFrom' | 'maxClientConnections' | 'failedLoginLimit' | 'loginTimeoutMs'
>;
