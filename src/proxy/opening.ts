import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Report } from '../wire/fields.js';
import { readStartup, type StartupPacket, TLS_HANDSHAKE } from '../wire/startup.js';
import { ALPN, type ClientTls, HandshakeError } from './client-tls.js';

/** What a client wants. */
export type Opening =
  | { kind: 'startup'; packet: Buffer; protocol: number; parameters: Map<string, string>; rest: Buffer }
  | { kind: 'cancel'; packet: Buffer }
  /** The client is told why it goes. */
  | { kind: 'refused'; report: Report }
  /** The client is gone, or does not speak the protocol: it gets nothing. */
  | { kind: 'silent'; reason: string };

export interface OpeningOptions {
  /** Undefined: encryption is declined. */
  tls: ClientTls | undefined;
  /** A TLS handshake begins: nothing may be written to the socket any more. */
  onHandshake(): void;
  /** It has succeeded: from now on this socket speaks to the client. */
  onSecured(client: TLSSocket): void;
}

type Read =
  | { kind: 'packet'; packet: StartupPacket; rest: Buffer }
  | { kind: 'direct TLS'; hello: Buffer }
  | { kind: 'silent'; reason: string };

const NO = Buffer.from('N');
const YES = Buffer.from('S');
const NONE = Buffer.alloc(0);

/**
 * Reads a client's start-up packets until it has said what it wants.
 *
 * - *plain*: a request for GSSAPI encryption is declined (`N`), one for TLS declined or accepted (`S`); each may come
 *   once, in either order. A connection that begins with a TLS handshake (direct TLS) is taken as if it had asked,
 *   but must name the protocol by ALPN, lest it meant another one (RFC 7301; ALPACA attack).
 * - *encrypted*: after the handshake. A further request for TLS is refused, one for GSSAPI encryption declined.
 * - The end, in either state: a start-up packet or a cancel request.
 *
 * Nothing may follow a request before the answer to it: it would have been sent unencrypted by somebody else
 * (CVE-2021-23214). The socket is left paused and without listeners of ours.
 */
export async function readOpening(arrived: Socket, options: OpeningOptions): Promise<Opening> {
  const { tls } = options;
  const asked = { ssl: false, gssenc: false };
  let socket = arrived;
  let bytes: Buffer = NONE;
  let encrypted: TLSSocket | undefined;

  const secure = async (client: ClientTls): Promise<void> => {
    options.onHandshake();
    encrypted = await client.handshake(arrived);
    socket = encrypted;
    options.onSecured(encrypted);
  };

  try {
    for (;;) {
      // Only what a connection begins with can be direct TLS.
      const mayBeTls = tls !== undefined && encrypted === undefined && !asked.ssl && !asked.gssenc;
      const read = await readPacket(socket, bytes, mayBeTls);
      if (read.kind === 'silent') return read;
      if (read.kind === 'direct TLS') {
        asked.ssl = true;
        socket.unshift(read.hello);
        await secure(tls!);
        if (encrypted!.alpnProtocol !== ALPN) {
          return { kind: 'silent', reason: `direct TLS without ALPN protocol ${ALPN}` };
        }
        continue;
      }
      const { packet, rest } = read;
      switch (packet.kind) {
        case 'cancel':
          return packet;
        case 'startup': {
          const report = tls && refuseUnsecured(tls, encrypted);
          return report === undefined ? { ...packet, rest } : { kind: 'refused', report };
        }
        case 'ssl':
        case 'gssenc':
          if (asked[packet.kind]) return { kind: 'refused', report: repeated(packet.kind) };
          asked[packet.kind] = true;
          if (rest.length > 0) return { kind: 'refused', report: unencrypted(packet.kind) };
          bytes = NONE;
          if (packet.kind === 'ssl' && tls !== undefined) {
            socket.write(YES);
            await secure(tls);
          } else {
            socket.write(NO);
          }
      }
    }
  } catch (error) {
    if (error instanceof HandshakeError) return { kind: 'silent', reason: error.message };
    throw error;
  }
}

/** Reads until a packet is whole. @param bytes what came before */
function readPacket(socket: Socket, bytes: Buffer, mayBeTls: boolean): Promise<Read> {
  return new Promise((resolve) => {
    let held = bytes;
    const settle = (read: Read) => {
      socket.pause();
      socket.off('data', onData);
      socket.off('end', onClose);
      socket.off('close', onClose);
      resolve(read);
    };
    const onClose = () => settle({ kind: 'silent', reason: 'client closed during start-up' });
    const onData = (chunk: Buffer) => {
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      if (mayBeTls && held[0] === TLS_HANDSHAKE) return settle({ kind: 'direct TLS', hello: held });
      const read = readStartup(held);
      if (read.state === 'partial') return;
      if (read.state === 'garbage') return settle({ kind: 'silent', reason: read.reason });
      settle({ kind: 'packet', packet: read.packet, rest: held.subarray(read.length) });
    };
    if (socket.destroyed || socket.readableEnded) return onClose();
    socket.on('data', onData);
    socket.on('end', onClose);
    socket.on('close', onClose);
    socket.resume();
  });
}

/** Why a session may not begin like this: without encryption, or without the certificate that is asked for. */
function refuseUnsecured(tls: ClientTls, encrypted: TLSSocket | undefined): Report | undefined {
  if (encrypted === undefined) {
    if (tls.mode === 'allow') return undefined;
    return {
      severity: 'FATAL',
      code: '28000',
      message: 'connection requires encryption: client_tls rejects connections with no encryption',
      hint: 'Connect with sslmode=require or stronger.',
    };
  }
  if (tls.clientCertificate === 'none' || encrypted.authorized) return undefined;
  const presented = encrypted.getPeerX509Certificate() !== undefined;
  if (tls.clientCertificate === 'request' && !presented) return undefined;
  return {
    severity: 'FATAL',
    code: '28000',
    message: 'connection requires a valid client certificate',
    ...(presented
      ? { detail: `The certificate was not accepted: ${String(encrypted.authorizationError)}.` }
      : {}),
  };
}

/** A second request is read as a protocol version, as the server does. */
function repeated(kind: 'ssl' | 'gssenc'): Report {
  const version = kind === 'ssl' ? '1234.5679' : '1234.5680';
  return { severity: 'FATAL', code: '0A000', message: `unsupported frontend protocol ${version}` };
}

function unencrypted(kind: 'ssl' | 'gssenc'): Report {
  const name = kind === 'ssl' ? 'SSL' : 'GSSAPI encryption';
  return {
    severity: 'FATAL',
    code: '08P01',
    message: `received unencrypted data after ${name} request`,
    detail:
      'This could be either a client-software bug or evidence of an attempted man-in-the-middle attack.',
  };
}
