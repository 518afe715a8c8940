import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

/** Who is at the other end of a client's connection. */
export interface Peer {
  /** IP address in its shortest form (IPv4 also where it came as `::ffff:…`); undefined for a Unix socket. */
  readonly address: string | undefined;
  /** Whether nobody else can read the connection: loopback or a Unix socket, all the way. */
  readonly local: boolean;
}

/** The peer as the socket itself has it. One that has gone already counts as remote. */
export function peerOf(client: Socket): Peer {
  const address = client.remoteAddress;
  if (address !== undefined) return { address: shortest(address), local: isLoopback(address) };
  // A Unix socket has no address at either end.
  return { address, local: client.localAddress === undefined && !client.destroyed };
}

/** Whether what a client sends on this connection can be read by nobody but us: encrypted, or local. */
export function isConfidential(client: Socket, peer: Peer): boolean {
  return client instanceof TLSSocket || peer.local;
}

export function isLoopback(address: string): boolean {
  return address === '::1' || shortest(address).startsWith('127.');
}

/** An IPv4 address that came in IPv6 form, as on a socket that listens for both, without that form. */
export function shortest(address: string): string {
  return /^::ffff:\d+\.\d+\.\d+\.\d+$/i.test(address) ? address.slice('::ffff:'.length) : address;
}
