import { type BlockList, isIPv6, type Socket } from 'node:net';

/**
 * The PROXY protocol, version 2 ("The PROXY protocol", Willy Tarreau, section 2.2): a load balancer tells in front of
 * a connection's first byte who has connected to it. Whoever may say that may name any address, so that it is believed
 * from configured addresses only. Version 1 (a line of text) is not taken.
 */

/** What the header says. */
export type ProxyHeader =
  /** For somebody else: this is his address. */
  | { readonly kind: 'proxied'; readonly address: string }
  /** For the sender itself (a health check), or for somebody on a Unix socket of its machine. */
  | { readonly kind: 'local' }
  /** For somebody of whom the sender says nothing: he may be anywhere. */
  | { readonly kind: 'unknown' };

export type ProxyHeaderRead =
  | { readonly state: 'partial' }
  | { readonly state: 'garbage'; readonly reason: string }
  /** A header that took `length` bytes. */
  | { readonly state: 'header'; readonly length: number; readonly header: ProxyHeader };

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
/** Signature, version and command, family and transport, length of the rest: at most 65 535 more bytes follow. */
const FIXED_LENGTH = 16;
const LOCAL = 0x20;
const PROXY = 0x21;
/** Family and transport: bytes of the two addresses and ports, and what they say. */
const FAMILIES = new Map<number, { length: number; read: (bytes: Buffer) => ProxyHeader }>([
  [0x00, { length: 0, read: () => ({ kind: 'unknown' }) }],
  [0x11, { length: 12, read: (bytes) => ({ kind: 'proxied', address: bytes.subarray(0, 4).join('.') }) }],
  [0x21, { length: 36, read: (bytes) => ({ kind: 'proxied', address: ipv6(bytes.subarray(0, 16)) }) }],
  [0x31, { length: 216, read: () => ({ kind: 'local' }) }],
]);

const PARTIAL: ProxyHeaderRead = { state: 'partial' };

/** Reads the header at the head of what has come so far. What the header has behind the addresses is skipped. */
export function parseProxyHeader(bytes: Buffer): ProxyHeaderRead {
  const head = Math.min(bytes.length, SIGNATURE.length);
  if (bytes.compare(SIGNATURE, 0, head, 0, head) !== 0) {
    const first = bytes.toString('latin1', 0, 6);
    return garbage(first === 'PROXY ' ? 'PROXY protocol version 1 is not taken' : 'no PROXY protocol header');
  }
  if (bytes.length < FIXED_LENGTH) return PARTIAL;
  const command = bytes[12]!;
  if (command !== LOCAL && command !== PROXY) return garbage('unknown version or command in a PROXY header');
  const length = FIXED_LENGTH + bytes.readUInt16BE(14);
  if (command === PROXY) {
    const family = FAMILIES.get(bytes[13]!);
    if (family === undefined) return garbage('unknown family or transport in a PROXY header');
    if (length < FIXED_LENGTH + family.length) return garbage('a PROXY header too short for its addresses');
    if (bytes.length < length) return PARTIAL;
    return { state: 'header', length, header: family.read(bytes.subarray(FIXED_LENGTH)) };
  }
  return bytes.length < length ? PARTIAL : { state: 'header', length, header: { kind: 'local' } };
}

/**
 * Takes the header off a connection. The socket is left paused, what follows the header is still to be read from it.
 * @returns the header, or why there is none
 */
export function readProxyHeader(socket: Socket): Promise<ProxyHeader | { kind: 'missing'; reason: string }> {
  return new Promise((resolve) => {
    let held: Buffer = Buffer.alloc(0);
    const settle = (outcome: ProxyHeader | { kind: 'missing'; reason: string }) => {
      socket.pause();
      socket.off('data', onData);
      socket.off('end', onClose);
      socket.off('close', onClose);
      resolve(outcome);
    };
    const onClose = () => settle({ kind: 'missing', reason: 'closed before a PROXY protocol header' });
    const onData = (chunk: Buffer) => {
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      const read = parseProxyHeader(held);
      if (read.state === 'partial') return;
      if (read.state === 'garbage') return settle({ kind: 'missing', reason: read.reason });
      settle(read.header);
      if (held.length > read.length) socket.unshift(held.subarray(read.length));
    };
    if (socket.destroyed || socket.readableEnded) return onClose();
    socket.on('data', onData);
    socket.on('end', onClose);
    socket.on('close', onClose);
    socket.resume();
  });
}

/** Whether the list has the address. */
export function isListed(list: BlockList, address: string | undefined): boolean {
  return address !== undefined && list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
}

function garbage(reason: string): ProxyHeaderRead {
  return { state: 'garbage', reason };
}

/** In the form in which a socket has its address: the longest run of zeros left out (RFC 5952). */
function ipv6(bytes: Buffer): string {
  const words = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16));
  if (words.slice(0, 5).every((word) => word === '0') && words[5] === 'ffff') {
    return bytes.subarray(12).join('.');
  }
  const text = words.join(':');
  const runs = [...text.matchAll(/(?:^|:)0(?::0)+(?=:|$)/g)].sort((a, b) => b[0].length - a[0].length);
  const run = runs[0];
  if (run === undefined) return text;
  const before = text.slice(0, run.index);
  const after = text.slice(run.index + run[0].length);
  return `${before}::${after.replace(/^:/, '')}`;
}
