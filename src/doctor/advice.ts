import { failureCode } from '../admin-connection.js';
import type { Config } from '../config/config.js';
import { addressText } from '../upstream/dial.js';

/** How to mend a connection that could not be made: by the SQLSTATE of the server or the code of the system. */
export function connectionAdvice(error: unknown, config: Config): string {
  const { hosts, user, database } = config.upstream;
  const code = codeOf(error);
  const host = hosts.map((each) => each.host).join(', ');
  const where = hosts.map(addressText).join(', ');
  switch (code) {
    case 'ECONNREFUSED':
      return `nothing listens on ${where}: is the server up, and listen_addresses and port as in the URL?`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `the name ${host} is not known here: check the host in the URL`;
    case 'ETIMEDOUT':
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return `no way to ${where}: check network rules and firewalls`;
    case 'ENOENT':
    case 'EACCES':
      return `check the directory of the Unix socket, ${host}, and its rights`;
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
      return 'give the certificate of the authority that issued the one of the server: sslrootcert=FILE';
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return 'connect by a name that is in the certificate of the server, or use sslmode=verify-ca';
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
  const code = failureCode(error);
  if (code !== undefined) return code;
  // pg has no code for its own time-out.
  return /timeout/i.test(String((error as Error).message)) ? 'ETIMEDOUT' : undefined;
}
