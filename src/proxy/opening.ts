import type { Socket } from 'node:net';
import type { Report } from '../wire/fields.js';
import { readStartup, type StartupPacket } from '../wire/startup.js';

/** What a client wants. */
export type Opening =
  | { kind: 'startup'; packet: Buffer; protocol: number; parameters: Map<string, string>; rest: Buffer }
  | { kind: 'cancel'; packet: Buffer }
  /** The client is told why it goes. */
  | { kind: 'refused'; report: Report }
  /** The client is gone, or does not speak the protocol: it gets nothing. */
  | { kind: 'silent'; reason: string };

const NO = Buffer.from('N');

/**
 * Reads a client's start-up packets until it has said what it wants. Encryption may be asked for once by each of its
 * two requests, in either order, and is declined (`N`). Nothing may follow such a request before the answer to it: it
 * would have been sent unencrypted by somebody else (CVE-2021-23214).
 *
 * The socket is left paused and without listeners of ours.
 */
export function readOpening(socket: Socket): Promise<Opening> {
  return new Promise((resolve) => {
    let bytes: Buffer = Buffer.alloc(0);
    const asked = { ssl: false, gssenc: false };

    const settle = (opening: Opening) => {
      socket.pause();
      socket.off('data', onData);
      socket.off('end', onClose);
      socket.off('close', onClose);
      resolve(opening);
    };
    const onClose = () => settle({ kind: 'silent', reason: 'client closed during start-up' });
    const onData = (chunk: Buffer) => {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
      const read = readStartup(bytes);
      if (read.state === 'partial') return;
      if (read.state === 'garbage') return settle({ kind: 'silent', reason: read.reason });
      const rest = bytes.subarray(read.length);
      const opening = answer(read.packet, rest);
      if (opening !== undefined) return settle(opening);
      bytes = rest;
      socket.write(NO);
    };
    const answer = (packet: StartupPacket, rest: Buffer): Opening | undefined => {
      switch (packet.kind) {
        case 'startup':
          return { ...packet, rest };
        case 'cancel':
          return packet;
        case 'ssl':
        case 'gssenc': {
          if (asked[packet.kind]) return { kind: 'refused', report: repeated(packet.kind) };
          asked[packet.kind] = true;
          if (rest.length > 0) return { kind: 'refused', report: unencrypted(packet.kind) };
          return undefined;
        }
      }
    };
    socket.on('data', onData);
    socket.on('end', onClose);
    socket.on('close', onClose);
    socket.resume();
  });
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
