import type { Config } from '../config/config.js';

/** How to mend a connection that could not be made: by the SQLSTATE of the server or the code of the system. */
export function connectionAdvice(error: unknown, config: Config): string {
  const { host, port, user, database } = config.upstream;
  const code = codeOf(error);
  switch (code) {
    case 'ECONNREFUSED':
      return `nothing listens on ${host}:${port}: is the server up, and listen_addresses and port as in the URL?`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `the name ${host} is not known here: check the host in the URL`;
    case 'ETIMEDOUT':
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return `no way to ${host}:${port}: check network rules and firewalls`;
    case 'ENOENT':
    case 'EACCES':
      return `check the directory of the Unix socket, ${host}, and its rights`;
    case '28P01':
      return `the password of ${user} is not the one in the URL`;
    case '28000':
      return `pg_hba.conf does not let ${user} in from here, or the role may not log in: ALTER ROLE ... LOGIN`;
    case '3D000':
      return `create the database: CREATE DATABASE ${database} OWNER ${user}`;
    case '53300':
      return 'the server is out of connections: raise max_connections or end some';
    case '57P03':
      return 'the server is starting or stopping: try again in a moment';
    default:
      return 'check --upstream; psql with the same URL gives the same error';
  }
}

function codeOf(error: unknown): string | undefined {
  if (error instanceof AggregateError) return codeOf(error.errors[0]);
  const { code, message } = error as { code?: unknown; message?: unknown };
  if (typeof code === 'string') return code;
  // pg has no code for its own time-out.
  return /timeout/i.test(String(message)) ? 'ETIMEDOUT' : undefined;
}
