import { isIP } from 'node:net';

/** A place where a server listens. A host that begins with `/` is the directory of a Unix socket, whose name the port completes. */
export interface UpstreamAddress {
  readonly host: string;
  readonly port: number;
  /** One of the addresses that the name has, where that one is meant and no other. */
  readonly ip?: string;
}

/** Whether a name stands for it that can have several addresses, and others tomorrow. */
export function isNamed(address: UpstreamAddress): boolean {
  return !isUnixSocket(address) && isIP(address.host) === 0;
}

export function isUnixSocket(address: UpstreamAddress): boolean {
  return address.host.startsWith('/');
}

export function addressText(address: UpstreamAddress): string {
  if (isUnixSocket(address)) return socketPath(address);
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** The path of a Unix socket as PostgreSQL forms it. */
export function socketPath(address: UpstreamAddress): string {
  return `${address.host.replace(/\/+$/, '')}/.s.PGSQL.${address.port}`;
}
