import {
  command,
  duration,
  fileMode,
  hostPatterns,
  integer,
  type Kind,
  listenAddresses,
  networks,
  oneOf,
  onOff,
  size,
  text,
} from './kinds.js';
import { parseUpstream, UpstreamUrlError, upstreamForm } from './upstream-url.js';

/** One setting: its kind, its default as it would be written in a file, and what it is for. */
export interface Setting<T> {
  readonly kind: Kind<T>;
  /** As written in a file; undefined: there is no default. */
  readonly fallback: string | number | boolean | undefined;
  readonly description: string;
  /** Why a setting of the extension has no effect here; said in the log when somebody sets it. */
  readonly note?: string;
}

function setting<T>(
  kind: Kind<T>,
  fallback: string | number | boolean | undefined,
  description: string,
  note?: string,
): Setting<T> {
  return note === undefined ? { kind, fallback, description } : { kind, fallback, description, note };
}

/** The text stays as it is; what is wrong with it is the message of the issue, which never quotes it. */
const upstreamUrl: Kind<string> = {
  schema: text(upstreamForm, /^/).schema.superRefine((value, context) => {
    try {
      parseUpstream(value);
    } catch (error) {
      if (!(error instanceof UpstreamUrlError)) throw error;
      context.addIssue({ code: 'custom', message: error.message });
    }
  }),
  allowed: upstreamForm,
};

const name = text('a name of 1 to 63 bytes', /^[^\0]{1,63}$/);
const path = text('a path', /^[^\0]+$/);
const second = 1000;
const hour = 3_600_000;

/**
 * Every setting, in the order of the documentation. The first group has the names, defaults and ranges of the
 * pg_durable extension (prefix `pg_durable.` optional); the second is the proxy's own.
 */
export const settings = {
  listen: setting(
    listenAddresses(),
    '127.0.0.1:6432',
    'Where clients connect. Port 0 takes a free one. A directory is for a Unix socket in it, .s.PGSQL.6432 unless a ' +
      'port is given. Passwords are asked for over TLS, on loopback and on Unix sockets only.',
  ),
  unix_socket_permissions: setting(
    fileMode(),
    '0777',
    'Permissions of the files of Unix sockets: whoever may write to one may connect.',
  ),
  client_tls: setting(
    oneOf(['off', 'allow', 'require']),
    undefined,
    'Encryption of the connections of clients over TCP: off, for those who ask, or for all. Without this setting: ' +
      'allow where there is a certificate, otherwise off.',
  ),
  client_tls_cert_file: setting(
    path,
    undefined,
    'The certificate that clients see, with the intermediate ones behind it, in PEM form.',
  ),
  client_tls_key_file: setting(
    path,
    undefined,
    'Its private key. Nobody but the user of the proxy may read the file (or root and its group).',
  ),
  client_tls_ca_file: setting(
    path,
    undefined,
    'The certificates of the authorities that may sign the certificates of clients.',
  ),
  client_tls_client_cert: setting(
    oneOf(['none', 'request', 'require']),
    'none',
    'Certificates of clients: not asked for, verified where there is one, or required. They come on top of the ' +
      'password.',
  ),
  proxy_protocol_from: setting(
    networks(),
    undefined,
    'Load balancers that begin each connection with a header of the PROXY protocol, version 2, which says who the ' +
      'client is. From these addresses it is required, from others it is not taken. Empty: none.',
  ),
  max_client_connections: setting(
    integer(0, 1_000_000),
    0,
    'Clients at the same time; more are refused with 53300. Cancel requests do not count. Divided among the ' +
      'workers. 0: no limit but that of the server, where each client is a connection of its own.',
  ),
  max_failed_logins: setting(
    integer(0, 1_000_000),
    20,
    'Refused logins from one address (IPv6: /64) within failed_login_window, after which it is refused until the ' +
      'window has ended. Loopback and Unix sockets are not counted. 0: no limit.',
  ),
  failed_login_window: setting(
    duration(1 * second, 24 * hour),
    '1min',
    'How long refused logins count, from the first of them.',
  ),
  upstream: setting(
    upstreamUrl,
    undefined,
    'The server behind the proxy, with the admin role that owns the schemas df and _df. Its database is the ' +
      'control database; sessions to other databases pass through as well. Parameters are those of libpq: ' +
      'docs/upstream.md.',
  ),

  worker_role: setting(
    name,
    undefined,
    'The admin role, if the upstream URL names none.',
    'the proxy works as the role of the upstream URL; worker_role is only used when that URL names none',
  ),
  database: setting(
    name,
    undefined,
    'The control database, if the upstream URL names none; then "postgres".',
  ),
  install_on_start: setting(
    onOff(),
    true,
    'Whether a proxy that starts installs the schemas df and _df where they are missing; off: it waits for CREATE ' +
      'EXTENSION pg_durable. What is there is brought up to date in any case.',
  ),
  max_management_connections: setting(
    integer(1, 1000),
    6,
    'Connections of the admin role: claiming, leases, instance status.',
  ),
  max_duroxide_connections: setting(
    integer(1, 1000),
    10,
    'Accepted so that configurations of the extension load.',
    'there is no separate pool for the engine here; see max_management_connections',
  ),
  max_user_connections: setting(
    integer(1, 1000),
    10,
    'SQL steps that run at the same time, each on a session of the role that submitted it.',
  ),
  execution_acquire_timeout: setting(
    duration(1 * second, hour),
    '30s',
    'How long a SQL step waits for one of these sessions before it fails.',
  ),
  max_new_transaction_starts: setting(
    integer(1, 1000),
    2,
    "Starts with transaction_mode => 'new' at the same time, in all proxies of the database together.",
  ),
  new_transaction_start_timeout: setting(
    duration(1 * second, hour),
    '5s',
    'How long such a start waits for its turn.',
  ),
  signal_transaction_mode: setting(
    oneOf(['caller', 'new']),
    'caller',
    'Whether df.signal and df.cancel are part of the transaction of the caller, or take effect at once and whatever ' +
      "becomes of it, as df.start with transaction_mode => 'new' and under the same limits.",
  ),
  credentials_file: setting(
    path,
    undefined,
    'Passwords for the executor, in the format of .pgpass (host:port:database:role:password), mode 0600; read again ' +
      'when it has changed. What the executor logs in with, in this order: this file, credential_command, the ' +
      "environment (PG_DURABLE_PASSWORD_ and the role in capitals, other signs as _), what the role's own login gave.",
  ),
  credential_command: setting(
    command(),
    undefined,
    'A program that prints a password for the executor (an IAM token, say) on its first line, or nothing to leave it ' +
      'to the next source. It finds PGUSER, PGHOST, PGPORT and PGDATABASE in its environment; no shell.',
  ),
  credential_command_ttl: setting(
    duration(0, 24 * hour),
    '10min',
    'How long such a password is used before the program is run again; 0: for one login.',
  ),
  credential_command_timeout: setting(
    duration(100, 10 * 60 * second),
    '10s',
    'How long credential_command and credential_key_command may take.',
  ),
  credential_key_file: setting(
    path,
    undefined,
    'Keys that captured credentials are sealed with in the database (AES-256-GCM), so that a restarted proxy and ' +
      'other proxies can go on: 32 random bytes in hex or base64, one key a line, mode 0600. The first key seals, all ' +
      'open. Or PG_DURABLE_CREDENTIAL_KEY in the environment. Without a key they are kept in memory only.',
  ),
  credential_key_command: setting(
    command(),
    undefined,
    'A program that prints the keys; run once at the start, without a shell.',
  ),
  credential_old_key_file: setting(
    path,
    undefined,
    'Further keys that open and never seal: those before the current one. "pg-durable-proxy rekey" makes them needless.',
  ),
  enable_superuser_instances: setting(onOff(), false, 'Whether superusers may submit durable functions.'),
  list_instances_max_limit: setting(integer(1, 1_000_000), 1000, 'Largest page of df.list_instances.'),
  retention_days: setting(
    integer(0, 36_500),
    30,
    'Age in days at which finished instances are removed; 0: at the next pass. Of younger ones the newest 10000 stay.',
  ),
  reconcile_interval: setting(
    duration(0, 24 * hour),
    '1h',
    'Time between two such passes, of all proxies together; 0: none.',
  ),

  upstream_connect_timeout: setting(
    duration(100, 10 * 60 * second),
    '10s',
    'How long a connection to one address of the server, encryption included, may take; connect_timeout in the ' +
      'upstream URL goes before it. If none can be reached the client gets an error (08006).',
  ),
  login_timeout: setting(
    duration(1 * second, 10 * 60 * second),
    '1min',
    'How long a client may take from connecting to being logged in.',
  ),
  client_auth: setting(
    oneOf(['password', 'scram', 'relay', 'trust']),
    'password',
    'How clients show who they are. password: asked in clear text, over TLS, loopback or a Unix socket only. scram: ' +
      'SCRAM-SHA-256 from the verifiers of auth_file or auth_query, which must be those of the server. relay: the ' +
      'exchange passes between client and server, nothing is kept. trust: not asked, on this machine only; the ' +
      'credentials of the executor log in. See docs/authentication.md.',
  ),
  auth_file: setting(
    text('the path of a file', /^[^\0]+$/),
    undefined,
    'Verifiers for client_auth = scram: lines of "role" "SCRAM-SHA-256$...", as PgBouncer has them. Readable by ' +
      'nobody else; read again when it changes.',
  ),
  auth_query: setting(
    text('a statement with $1 for the name of the role', /\$1(?!\d)/),
    undefined,
    'A query of the admin role for the verifiers that auth_file does not have: $1 is the role; a row of the ' +
      'verifier, or of name and verifier. Names in it are qualified: its search_path is pg_catalog. See ' +
      'docs/authentication.md.',
  ),
  workers: setting(
    integer(1, 64),
    1,
    'Processes that serve clients. With more than one, the first process accepts clients and runs durable functions, ' +
      'and so many others serve the clients: as many as the machine has cores to spare.',
  ),
  max_rewrite_bytes: setting(
    size(1024, 1024 ** 3 - 1),
    '16MiB',
    'Statements up to this size are searched for durable-function operators; larger ones pass unread.',
  ),
  drain_timeout: setting(
    duration(0, hour),
    '10s',
    'How long running transactions and steps may take when the proxy is told to stop by SIGTERM; SIGINT gives one second.',
  ),
  lease_duration: setting(
    duration(1 * second, hour),
    '10s',
    'How long the instances of a proxy that died stay its own before another takes them. Extended while it lives.',
  ),
  poll_interval: setting(
    duration(10, 60 * second),
    '500ms',
    'How often the server is asked for work that came past this proxy. Work that comes through it does not wait.',
  ),
  session_idle_timeout: setting(
    duration(0, 24 * hour),
    '1min',
    'How long a session of a submitting role is kept for the next step; 0: not at all.',
  ),
  step_idle_timeout: setting(
    duration(0, hour),
    '1min',
    'idle_in_transaction_session_timeout of a step: a proxy cut off from the server frees its locks after this; 0: never.',
  ),
  step_statement_timeout: setting(
    duration(0, 24 * hour),
    0,
    'statement_timeout of the statements of steps; a step may SET another for itself. 0: what the role has ' +
      '(ALTER ROLE ... SET statement_timeout), or none.',
  ),
  max_loop_iterations: setting(
    integer(0, 2_147_483_647),
    0,
    'A loop fails after this many iterations; 0: no limit.',
  ),
  record_statements: setting(
    onOff(),
    true,
    'Whether status_details of a node holds the SQL that really ran, variables filled in (first 8 kB).',
  ),
  'http.mode': setting(
    oneOf(['off', 'allowlist', 'all']),
    'off',
    'Which hosts df.http and df.http_multipart may reach: none, those of http.allow, or all. See docs/http.md.',
  ),
  'http.allow': setting(
    hostPatterns(),
    undefined,
    'The hosts for http.mode = allowlist: names with or without a port, never IP addresses. Empty: none.',
  ),
  'http.block_private': setting(
    onOff(),
    true,
    'Whether addresses that are not public are refused (private, loopback, link-local, metadata services), also when ' +
      'a name leads to them.',
  ),
  'http.max_response_bytes': setting(
    size(1024, 64 * 1024 ** 2),
    '16MiB',
    'A response with a larger body fails its node. So much memory may each request under way take, several times over.',
  ),
  'http.max_concurrent_requests': setting(
    integer(1, 10_000),
    100,
    'Requests at the same time; further ones wait, and their time-out does not run yet.',
  ),
  'http.ca_file': setting(
    path,
    undefined,
    'Certificates of authorities that are trusted besides those that Node comes with, in PEM form.',
  ),
  log_level: setting(
    oneOf(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']),
    'info',
    'What is written to stderr, one JSON object a line. No level shows passwords, keys or row data.',
  ),
} as const;

export type SettingName = keyof typeof settings;
export const settingNames = Object.keys(settings) as SettingName[];

/** What a valid value of each setting is after parsing; undefined where there is neither a value nor a default. */
export type SettingValues = {
  -readonly [K in SettingName]: (typeof settings)[K] extends Setting<infer T> ? T | undefined : never;
};
