import { Request } from './codes.js';

/**
 * The packets that open a connection (protocol chapter "Start-up"). They have no type byte: a length that counts
 * itself, then a code that is a protocol version or one of three requests.
 */
export type StartupPacket =
  | { kind: 'ssl' }
  | { kind: 'gssenc' }
  | { kind: 'cancel'; packet: Buffer }
  | { kind: 'startup'; packet: Buffer; protocol: number; parameters: Map<string, string> };

export type StartupRead =
  /** More bytes are needed. */
  | { state: 'partial' }
  /** Not a start-up packet of this protocol; `reason` is for the log. */
  | { state: 'garbage'; reason: string }
  /** A packet that took `length` bytes. */
  | { state: 'packet'; length: number; packet: StartupPacket };

/** PostgreSQL's MAX_STARTUP_PACKET_LENGTH, and the length word that it does not count. */
export const MAX_STARTUP_LENGTH = 10_004;
const MIN_STARTUP_LENGTH = 8;
const MIN_CANCEL_LENGTH = 13;
/** Length, code, pid and the longest secret of protocol 3.2. */
const MAX_CANCEL_LENGTH = 12 + 256;
/** The first byte of a TLS handshake record. */
export const TLS_HANDSHAKE = 0x16;

const PARTIAL: StartupRead = { state: 'partial' };

/** Protocol version number as it goes over the wire. */
export function protocolVersion(major: number, minor: number): number {
  return major * 0x10000 + minor;
}

export function majorVersion(protocol: number): number {
  return protocol >>> 16;
}

/**
 * Reads the packet at the head of what a client has sent so far. Never needs more than MAX_STARTUP_LENGTH bytes,
 * so a caller that stops at the first 'garbage' holds no more than that and one chunk.
 */
export function readStartup(bytes: Buffer): StartupRead {
  if (bytes.length === 0) return PARTIAL;
  if (bytes[0] === TLS_HANDSHAKE) return { state: 'garbage', reason: 'direct TLS is not offered' };
  // A length above 65535 shows in the first two bytes already.
  if (bytes[0] !== 0 || (bytes.length > 1 && bytes[1] !== 0)) return badLength();
  if (bytes.length < 4) return PARTIAL;
  const length = bytes.readUInt32BE(0);
  if (length < MIN_STARTUP_LENGTH || length > MAX_STARTUP_LENGTH) return badLength();
  if (bytes.length < length) return PARTIAL;
  const code = bytes.readUInt32BE(4);
  const raw = bytes.subarray(0, length);
  switch (code) {
    case Request.SSL:
      return length === 8 ? { state: 'packet', length, packet: { kind: 'ssl' } } : badLength();
    case Request.GSSENC:
      return length === 8 ? { state: 'packet', length, packet: { kind: 'gssenc' } } : badLength();
    case Request.Cancel:
      if (length < MIN_CANCEL_LENGTH || length > MAX_CANCEL_LENGTH) return badLength();
      return { state: 'packet', length, packet: { kind: 'cancel', packet: raw } };
    default:
      return {
        state: 'packet',
        length,
        packet: { kind: 'startup', packet: raw, protocol: code, parameters: readParameters(raw) },
      };
  }
}

function badLength(): StartupRead {
  return { state: 'garbage', reason: 'invalid length of startup packet' };
}

/**
 * The name/value pairs of a start-up packet. What is malformed ends the list: the packet goes to the server as it
 * came, and the server says what is wrong with it. Of a name that comes twice the last value counts, as in the
 * server.
 */
function readParameters(packet: Buffer): Map<string, string> {
  const parameters = new Map<string, string>();
  let at = 8;
  while (at < packet.length) {
    const nameEnd = packet.indexOf(0, at);
    if (nameEnd < 0 || nameEnd === at) break;
    const valueEnd = packet.indexOf(0, nameEnd + 1);
    if (valueEnd < 0) break;
    parameters.set(packet.toString('utf8', at, nameEnd), packet.toString('utf8', nameEnd + 1, valueEnd));
    at = valueEnd + 1;
  }
  return parameters;
}

/** The database that a start-up packet means: the role's name unless it says otherwise. */
export function databaseOf(parameters: ReadonlyMap<string, string>): string {
  return parameters.get('database') || (parameters.get('user') ?? '');
}

/** Whether the server will make the session a walsender: `replication` with any value but one that it reads as false. */
export function isReplication(parameters: ReadonlyMap<string, string>): boolean {
  const value = parameters.get('replication');
  return value !== undefined && !/^(0|off?|no?|f(a(l(se?)?)?)?)$/i.test(value);
}

/**
 * A start-up packet.
 * @param parameters `user`, `database`, `options`, … in the order in which they are sent; no value may contain NUL
 * @param protocol protocol version, 3.0 unless given
 * @throws RangeError if a name or value contains a NUL or the packet would be longer than a server takes
 */
export function startupPacket(
  parameters: Readonly<Record<string, string>>,
  protocol: number = protocolVersion(3, 0),
): Buffer {
  let text = '';
  for (const [name, value] of Object.entries(parameters)) {
    if (name === '' || name.includes('\0') || value.includes('\0')) {
      throw new RangeError(`start-up parameter ${JSON.stringify(name)} contains a NUL or has no name`);
    }
    text += `${name}\0${value}\0`;
  }
  const body = Buffer.from(`${text}\0`, 'utf8');
  const out = Buffer.allocUnsafe(8 + body.length);
  if (out.length > MAX_STARTUP_LENGTH) throw new RangeError('start-up packet too long');
  out.writeInt32BE(out.length, 0);
  out.writeInt32BE(protocol, 4);
  body.copy(out, 8);
  return out;
}

/** A CancelRequest for the connection whose BackendKeyData body was `key` (pid and secret). */
export function cancelPacket(key: Buffer): Buffer {
  const out = Buffer.allocUnsafe(8 + key.length);
  out.writeInt32BE(out.length, 0);
  out.writeInt32BE(Request.Cancel, 4);
  key.copy(out, 8);
  return out;
}
