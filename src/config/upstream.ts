/** The server behind the proxy and the admin role that the engine uses there. */
export interface Upstream {
  /** Host name or address; one that begins with "/" is the directory of a Unix socket. */
  readonly host: string;
  readonly port: number;
  /** The admin role: owner of the schemas df and _df; never needs to be a superuser. */
  readonly user: string;
  /** Not enumerable, so that no log, JSON or inspect output shows it by accident. */
  readonly password: string | undefined;
  /** The control database: where df lives. */
  readonly database: string;
  /** host:port/database, for people; without user and password. */
  readonly display: string;
}

/** The parts of an upstream URL that were written in it. */
export interface UpstreamParts {
  readonly host: string;
  readonly port: number;
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly database: string | undefined;
}

export const upstreamAllowed =
  'postgresql://ROLE[:PASSWORD]@HOST[:PORT][/DATABASE] (or ?host=/socket/directory), sslmode at most "prefer"';

/** Takes a connection URL apart; undefined if it is none that we can use. Never quotes it: it holds a password. */
export function parseUpstream(value: unknown): UpstreamParts | undefined {
  if (typeof value !== 'string') return undefined;
  // The authority may be empty (postgresql://role@/db?host=/run): URL only knows that after a stand-in.
  const match = /^postgres(?:ql)?:\/\/(?:([^@/?#]*)@)?([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/.exec(
    value.trim(),
  );
  if (match === null) return undefined;
  try {
    const [, login, authority = '', path = '', query = ''] = match;
    const parameters = new URLSearchParams(query);
    for (const name of parameters.keys()) {
      if (!['host', 'port', 'user', 'password', 'dbname', 'sslmode'].includes(name)) return undefined;
    }
    // Encryption that was asked for and cannot be given must not be left out in silence.
    if (!['disable', 'allow', 'prefer'].includes(parameters.get('sslmode') ?? 'prefer')) return undefined;
    const address = /^(\[[0-9A-Fa-f:.]+\]|[^:[\]]*)(?::(\d{1,5}))?$/.exec(authority);
    if (address === null) return undefined;
    const [user, ...password] = (login ?? '').split(':');
    const port = Number(parameters.get('port') ?? address[2] ?? 5432);
    const host = parameters.get('host') ?? decodeURIComponent(address[1]!.replace(/^\[|\]$/g, ''));
    if (host === '' || !Number.isInteger(port) || port < 1 || port > 65_535) return undefined;
    return {
      host,
      port,
      user: parameters.get('user') ?? (decodeURIComponent(user!) || undefined),
      password:
        parameters.get('password') ?? (password.length ? decodeURIComponent(password.join(':')) : undefined),
      database: parameters.get('dbname') ?? (decodeURIComponent(path) || undefined),
    };
  } catch {
    return undefined; // a broken percent escape
  }
}

/** Puts the parts together; the password is there to be read but not to be listed. */
export function upstream(parts: UpstreamParts & { user: string; database: string }): Upstream {
  const { host, port, user, password, database } = parts;
  const shown = host.includes(':') ? `[${host}]` : host;
  const result = { host, port, user, database, display: `${shown}:${port}/${database}` };
  return Object.defineProperty(result, 'password', {
    value: password,
    enumerable: false,
  }) as unknown as Upstream;
}
