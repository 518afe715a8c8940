import { type CarriedTls, carriedTls, restoredTls, type UpstreamTls, upstreamTls } from './upstream-tls.js';
import type { HostAndPort, TargetSessionAttrs, UpstreamParts } from './upstream-url.js';

/** The server behind the proxy and the admin role that the engine uses there. */
export interface Upstream {
  /** At least one, in the order in which they are tried. A name that begins with "/" is the directory of a Unix socket. */
  readonly hosts: readonly HostAndPort[];
  /** Host and port of the first. */
  readonly host: string;
  readonly port: number;
  /** The admin role: owner of the schemas df and _df; never needs to be a superuser. */
  readonly user: string;
  /** Not enumerable, so that no log, JSON or inspect output shows it by accident. */
  readonly password: string | undefined;
  /** The control database: where df lives. */
  readonly database: string;
  readonly tls: UpstreamTls;
  /** Which of the hosts are good for clients' sessions. */
  readonly targetSessionAttrs: TargetSessionAttrs;
  /** TCP keep-alive: milliseconds of silence before the first probe; undefined: none are sent. */
  readonly keepAliveIdleMs: number | undefined;
  /** host:port[,host:port...]/database, for people; without user and password. */
  readonly display: string;
}

/**
 * Puts the parts together and reads the files that they name; the password is there to be read but not to be listed.
 * @throws UpstreamUrlError
 */
export function upstream(parts: UpstreamParts & { user: string; database: string }): Upstream {
  const { hosts, user, password, database } = parts;
  const { host, port } = hosts[0]!;
  const shown = hosts.map((each) => `${each.host.includes(':') ? `[${each.host}]` : each.host}:${each.port}`);
  const result = {
    ...{ hosts, host, port, user, database },
    tls: upstreamTls(parts),
    targetSessionAttrs: parts.targetSessionAttrs,
    keepAliveIdleMs: parts.keepAlives ? parts.keepAlivesIdleMs : undefined,
    display: `${shown.join(',')}/${database}`,
  };
  return withPassword(result, password);
}

/** An upstream on its way to another process, with what is not listed otherwise: never to be written anywhere. */
export type CarriedUpstream = Omit<Upstream, 'password' | 'tls'> & {
  readonly password: string | undefined;
  readonly tls: CarriedTls;
};

/** The admin role's password goes along only where the other process has to ask hosts what they are. */
export function carried(from: Upstream): CarriedUpstream {
  const password = from.targetSessionAttrs === 'any' ? undefined : from.password;
  return { ...from, tls: carriedTls(from.tls), password };
}

export function restored({ password, ...others }: CarriedUpstream): Upstream {
  return withPassword({ ...others, tls: restoredTls(others.tls) }, password);
}

function withPassword(open: Omit<Upstream, 'password'>, password: string | undefined): Upstream {
  return Object.defineProperty(open, 'password', { value: password, enumerable: false }) as Upstream;
}
