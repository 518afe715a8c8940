/** Opens a session of the executor: dial, log in as the role, wait until the server is ready. */
import { startupPacket } from '../wire/startup.js';
import { wipe } from './credentials/credential.js';
import { SourceFailure } from './credentials/source.js';
import type { CredentialStore, Found } from './credentials.js';
import { DialError, dial, type Target } from './dial.js';
import { LoginError, login, type SecretKind } from './login.js';
import { ConnectionLost, Session } from './session.js';

/** Why a login as a role failed. */
export type OpenFailureKind =
  /** No credential for the role, or one that the server no longer takes. */
  | 'credential'
  /** The server lets nobody in as this role, into this database or from here now; that may change by itself. */
  | 'barred'
  /** The server cannot be reached or takes no connections now. */
  | 'unavailable'
  /** The server will not have this session: no such database, no right to connect. */
  | 'refused';

export class OpenFailure extends Error {
  readonly kind: OpenFailureKind;
  /** SQLSTATE, or the code of the LoginError. */
  readonly code: string;
  /** Where the credential was from that was not taken; null: there was none. */
  readonly source: string | null;
  /** The message, or what an operator should know besides. */
  readonly forLog: string;
  constructor(
    kind: OpenFailureKind,
    code: string,
    message: string,
    source: string | null = null,
    forLog: string = message,
  ) {
    super(message);
    this.forLog = forLog;
    this.kind = kind;
    this.code = code;
    this.source = source;
  }
}

export interface OpenOptions {
  readonly address: Target;
  readonly credentials: CredentialStore;
  readonly connectTimeoutMs: number;
  readonly parameters: Readonly<Record<string, string>>;
  readonly role: string;
  /** The role's OID. */
  readonly roleId: string;
  readonly database: string;
}

/** From the first byte to ReadyForQuery. */
const LOGIN_TIMEOUT_MS = 30_000;

const SESSION_ROLE = `SELECT r.oid, pg_catalog.current_setting('statement_timeout')
FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) SESSION_USER`;

class MissingCredential extends Error {}

/**
 * A credential that is not taken is looked up once more: another proxy may have captured a newer one.
 * @throws OpenFailure
 */
export async function openSession(options: OpenOptions): Promise<Session> {
  const { credentials, role } = options;
  const tried: Tried = {};
  try {
    return await attempt(options, tried);
  } catch (error) {
    const failure = asOpenFailure(error, tried.found);
    if (isRefusedElsewhere(error, tried.found)) credentials.forget(role, tried.found?.credential);
    if (!(failure instanceof OpenFailure) || failure.kind !== 'credential') throw failure;
    if (!(await credentials.refused(role, tried.found))) throw failure;
  }
  try {
    return await attempt(options, tried);
  } catch (error) {
    throw asOpenFailure(error, tried.found);
  }
}

/** What an attempt has found to log in with. */
interface Tried {
  found?: Found | undefined;
}

async function attempt(options: OpenOptions, tried: Tried): Promise<Session> {
  const { credentials, connectTimeoutMs, role, roleId, database } = options;
  let timer: NodeJS.Timeout | undefined;
  try {
    const reached = await dial(options.address, connectTimeoutMs);
    const { socket, address } = reached;
    timer = setTimeout(() => socket.destroy(), LOGIN_TIMEOUT_MS);
    try {
      const startup = startupPacket({ user: role, database, ...options.parameters });
      const answer = async (kind: SecretKind) => {
        tried.found = await credentials.find(role, database, address).catch((error: unknown) => {
          if (error instanceof SourceFailure) throw error;
          // of the database, where sealed credentials are looked up
          throw new OpenFailure('unavailable', '08006', `credential not found: ${(error as Error).message}`);
        });
        if (tried.found === undefined || tried.found.credential.kind === 'trust') {
          throw new MissingCredential(
            `the server asks for a password (${kind}) and none is known for the role`,
          );
        }
        return tried.found.credential;
      };
      const { rest } = await login({ socket, startup, user: role, answer });
      const session = new Session(reached, roleId, database, rest);
      await session.ready();
      await verifyRole(session, role);
      return session;
    } catch (error) {
      socket.destroy();
      throw error;
    }
  } finally {
    clearTimeout(timer);
    if (tried.found !== undefined) wipe(tried.found.credential);
  }
}

/** Whoever has the name now is logged in: that may be another role than the one that was meant. @throws OpenFailure */
async function verifyRole(session: Session, role: string): Promise<void> {
  const { results } = await session.run([{ sql: SESSION_ROLE, rows: true }]);
  const [id, statementTimeout] = results[0]?.rows[0] ?? [];
  session.timeLimited = statementTimeout !== '0';
  if (id === session.roleId) return;
  throw new OpenFailure('unavailable', 'role-changed', `the name "${role}" has passed to another role`);
}

function asOpenFailure(error: unknown, found: Found | undefined): unknown {
  if (error instanceof MissingCredential) return new OpenFailure('credential', 'missing', error.message);
  if (error instanceof SourceFailure)
    return new OpenFailure('barred', 'source', error.message, null, error.forLog);
  if (error instanceof DialError) return new OpenFailure('unavailable', error.code, error.message);
  if (error instanceof LoginError) {
    const { code, message } = error;
    const kind = isRefusedElsewhere(error, found) ? 'credential' : kindOf(code);
    return new OpenFailure(kind, code, message, found?.source ?? null);
  }
  if (error instanceof ConnectionLost) {
    const code = error.server?.code ?? '08006';
    return new OpenFailure(kindOf(code), code, error.message);
  }
  return error;
}

/**
 * A password that was captured in clear text, as something else than the server checks it (LDAP, PAM, RADIUS): refused
 * with another code than the server's own passwords, and often locked after some attempts. It is not tried again.
 */
function isRefusedElsewhere(error: unknown, found: Found | undefined): boolean {
  return (
    error instanceof LoginError &&
    error.code === '28000' &&
    found?.source === 'captured' &&
    found.credential.kind === 'password'
  );
}

/** @param code SQLSTATE, or the code of the LoginError */
export function kindOf(code: string): OpenFailureKind {
  switch (code) {
    case 'stale-credential':
    case '28P01': // invalid_password; the server says no more when it has expired
      return 'credential';
    case '28000': // invalid_authorization_specification: pg_hba, LDAP, PAM; and no such role, NOLOGIN
    case '53300': // too_many_connections: of the role, of the database, of the server
    case '0A000': // a method that we do not speak: pg_hba may say another tomorrow
    case '55000': // ALLOW_CONNECTIONS of the database is off, for maintenance
      return 'barred';
    case '57P04': // database_dropped
      return 'refused';
  }
  // connection exceptions, insufficient resources, interventions of an operator, errors of the system
  return /^(?:08|53|57|58)/.test(code) ? 'unavailable' : 'refused';
}
