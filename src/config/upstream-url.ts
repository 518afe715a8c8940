/**
 * The connection URL as libpq has it. Source: PostgreSQL documentation, "Connection URIs" and "Parameter Key Words".
 * Pure: files that it names are read elsewhere (upstream-tls.ts).
 */

export const sslModes = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'] as const;
export type SslMode = (typeof sslModes)[number];

export const targetSessionAttrs = [
  'any',
  'read-write',
  'read-only',
  'primary',
  'standby',
  'prefer-standby',
] as const;
export type TargetSessionAttrs = (typeof targetSessionAttrs)[number];

/** SCRAM-SHA-256-PLUS: with `require` no login succeeds without it. */
export const channelBindingModes = ['disable', 'prefer', 'require'] as const;
export type ChannelBindingMode = (typeof channelBindingModes)[number];

/** Where a server listens. A host that begins with `/` is the directory of a Unix socket. */
export interface HostAndPort {
  readonly host: string;
  readonly port: number;
}

/** What was written in an upstream URL. */
export interface UpstreamParts {
  /** At least one, in the order in which they are tried. */
  readonly hosts: readonly HostAndPort[];
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly database: string | undefined;
  readonly sslMode: SslMode | undefined;
  /** TLS from the first byte on (PostgreSQL 17 or newer). */
  readonly sslDirect: boolean;
  /** Paths; `system` as the first: the certificate authorities that come with Node. */
  readonly sslRootCert: string | undefined;
  readonly sslCert: string | undefined;
  readonly sslKey: string | undefined;
  readonly sslPassword: string | undefined;
  readonly channelBinding: ChannelBindingMode;
  readonly targetSessionAttrs: TargetSessionAttrs;
  /** Undefined: as the setting upstream_connect_timeout says. */
  readonly connectTimeoutMs: number | undefined;
  readonly keepAlives: boolean;
  readonly keepAlivesIdleMs: number;
}

/** What is wrong with an upstream URL, in one line without anything that could be a password. */
export class UpstreamUrlError extends Error {}

export const upstreamForm =
  'postgresql://ROLE[:PASSWORD]@HOST[:PORT][,HOST[:PORT]...][/DATABASE][?PARAMETER=VALUE&...]';

const parameterNames = [
  ...['host', 'port', 'user', 'password', 'dbname', 'connect_timeout', 'target_session_attrs'],
  ...['sslmode', 'sslnegotiation', 'sslrootcert', 'sslcert', 'sslkey', 'sslpassword'],
  ...['channel_binding', 'keepalives', 'keepalives_idle'],
] as const;
type ParameterName = (typeof parameterNames)[number];

/** As libpq's and the proxy's own connections always had it. */
const KEEPALIVE_IDLE_MS = 30_000;
const DEFAULT_PORT = 5432;

/**
 * Takes a connection URL apart.
 * @throws UpstreamUrlError if it is none that we can use
 */
export function parseUpstream(value: unknown): UpstreamParts {
  const match =
    typeof value === 'string'
      ? /^postgres(?:ql)?:\/\/(?:([^@/?#]*)@)?([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/.exec(value.trim())
      : null;
  if (match === null) throw new UpstreamUrlError('it is no such URL');
  const [, login = '', authority = '', path = '', query = ''] = match;
  if (match[1] === undefined && path.includes('@')) {
    throw new UpstreamUrlError('it has an "@" behind a "/" (in a password, write / as %2F, @ as %40)');
  }
  const colon = login.indexOf(':');
  const inUrl = {
    user: decoded(colon < 0 ? login : login.slice(0, colon)),
    password: colon < 0 ? undefined : decoded(login.slice(colon + 1)),
    database: decoded(path),
  };
  const inAuthority = hostsOf(authority);
  const parameters = parametersOf(query);
  const get = (name: ParameterName) => parameters.get(name) || undefined;
  const hosts = hostList(inAuthority, get('host'), get('port'));
  const sslMode = get('sslmode');
  if (sslMode !== undefined) oneOf('sslmode', sslMode, sslModes);
  const negotiation = get('sslnegotiation') ?? 'postgres';
  oneOf('sslnegotiation', negotiation, ['postgres', 'direct'] as const);
  const target = get('target_session_attrs') ?? 'any';
  oneOf('target_session_attrs', target, targetSessionAttrs);
  const channelBinding = get('channel_binding') ?? 'prefer';
  oneOf('channel_binding', channelBinding, channelBindingModes);
  const timeout = seconds('connect_timeout', get('connect_timeout') ?? '0');
  const idle = seconds('keepalives_idle', get('keepalives_idle') ?? '0');
  const keepAlives = get('keepalives') ?? '1';
  oneOf('keepalives', keepAlives, ['0', '1'] as const);
  return {
    hosts,
    user: get('user') ?? (inUrl.user || undefined),
    password: (parameters.get('password') ?? inUrl.password) || undefined,
    database: get('dbname') ?? (inUrl.database || undefined),
    sslMode: sslMode as SslMode | undefined,
    sslDirect: negotiation === 'direct',
    sslRootCert: get('sslrootcert'),
    sslCert: get('sslcert'),
    sslKey: get('sslkey'),
    sslPassword: get('sslpassword'),
    channelBinding: channelBinding as ChannelBindingMode,
    targetSessionAttrs: target as TargetSessionAttrs,
    connectTimeoutMs: timeout === 0 ? undefined : timeout * 1000,
    keepAlives: keepAlives === '1',
    keepAlivesIdleMs: idle === 0 ? KEEPALIVE_IDLE_MS : idle * 1000,
  };
}

function parametersOf(query: string): Map<ParameterName, string> {
  // A password with a bare "?" or "/" in it is torn apart here; none of it may be quoted.
  if (query.includes('@')) {
    throw new UpstreamUrlError(
      'it has an "@" behind the "?" (in a password, write ? as %3F, / as %2F, @ as %40)',
    );
  }
  const parameters = new Map<ParameterName, string>();
  for (const pair of query.split('&')) {
    if (pair === '') continue;
    const equals = pair.indexOf('=');
    if (equals < 0) throw new UpstreamUrlError('a parameter has no value');
    let name = decoded(pair.slice(0, equals));
    let value = decoded(pair.slice(equals + 1));
    // As JDBC has it; libpq takes this one as well.
    if (name === 'ssl' && value === 'true') [name, value] = ['sslmode', 'require'];
    if (!(parameterNames as readonly string[]).includes(name)) {
      const shown = /^[a-z_]{1,40}$/.test(name) ? `parameter "${name}"` : 'a parameter';
      throw new UpstreamUrlError(`${shown} is not known; parameters are ${parameterNames.join(', ')}`);
    }
    parameters.set(name as ParameterName, value);
  }
  return parameters;
}

/** Hosts as they stand before the path; without one, an empty name. */
function hostsOf(authority: string): { host: string; port: string | undefined }[] {
  if (authority.includes('@')) throw new UpstreamUrlError('it has two "@" (in a password, write @ as %40)');
  return authority.split(',').map((text) => {
    const match = /^(\[[0-9A-Fa-f:.%A-Za-z]+\]|[^:[\]]*)(?::(\d*))?$/.exec(text);
    if (match === null) throw new UpstreamUrlError('what stands in the place of a host is none');
    return { host: decoded(match[1]!.replace(/^\[|\]$/g, '')), port: match[2] || undefined };
  });
}

/** Parameters `host` and `port`, comma-separated, count before what stands in the URL; one port is that of all. */
function hostList(
  inAuthority: readonly { host: string; port: string | undefined }[],
  hostParameter: string | undefined,
  portParameter: string | undefined,
): HostAndPort[] {
  const names = hostParameter?.split(',') ?? inAuthority.map(({ host }) => host);
  const given = portParameter?.split(',') ?? inAuthority.map(({ port }) => port);
  const ports = given.length === 1 ? names.map(() => given[0]) : given;
  if (ports.length !== names.length) {
    throw new UpstreamUrlError(`it has ${names.length} hosts and ${ports.length} ports`);
  }
  return names.map((name, i) => {
    const host = name.replace(/^\[(.*)\]$/, '$1');
    const port = Number(ports[i] || DEFAULT_PORT);
    if (host === '') throw new UpstreamUrlError('a host is missing');
    if (!Number.isInteger(port) || port < 1 || port > 65_535) {
      throw new UpstreamUrlError('a port is no number from 1 to 65535');
    }
    return { host, port };
  });
}

function oneOf(name: ParameterName, value: string, allowed: readonly string[]): void {
  if (!allowed.includes(value)) throw new UpstreamUrlError(`${name} must be one of ${allowed.join(', ')}`);
}

function seconds(name: ParameterName, value: string): number {
  if (!/^\d{1,6}$/.test(value)) throw new UpstreamUrlError(`${name} must be a whole number of seconds`);
  return Number(value);
}

function decoded(text: string): string {
  try {
    const plain = decodeURIComponent(text);
    if (!plain.includes('\0')) return plain;
  } catch {
    // a broken escape
  }
  throw new UpstreamUrlError('it has a "%" that two hexadecimal digits do not follow (write % as %25)');
}
