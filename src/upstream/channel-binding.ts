import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { ChannelBindingMode } from '../config/upstream-url.js';
import { tlsServerEndPoint } from '../wire/tls-end-point.js';

/** What a login on a connection has to do about channel binding (SCRAM-SHA-256-PLUS). */
export interface ChannelBinding {
  readonly mode: ChannelBindingMode;
  /** tls-server-end-point of the server's certificate (RFC 5929); undefined where there is none. */
  readonly data: Buffer | undefined;
}

const NONE: ChannelBinding = { mode: 'disable', data: undefined };
const known = new WeakMap<Socket, ChannelBinding>();

/** Notes it for a connection that has just been made. */
export function noteChannelBinding(socket: Socket, mode: ChannelBindingMode): void {
  const certificate = socket instanceof TLSSocket ? socket.getPeerCertificate()?.raw : undefined;
  known.set(socket, { mode, data: certificate && tlsServerEndPoint(certificate) });
}

/** Of a connection to the server; `disable` for one that was not dialled as configured. */
export function channelBindingOf(socket: Socket): ChannelBinding {
  return known.get(socket) ?? NONE;
}
