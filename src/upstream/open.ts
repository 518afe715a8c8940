/** Opens a session of the executor: dial, log in as the role, wait until the server is ready. */
import { startupPacket } from '../wire/startup.js';
import type { CredentialStore } from './credentials.js';
import { DialError, dial, type Target } from './dial.js';
import { LoginError, login, type SecretKind } from './login.js';
import { ConnectionLost, Session } from './session.js';

/** Why a login as a role failed. */
export type OpenFailureKind =
  /** No credential for the role, or one that the server no longer takes. */
  | 'credential'
  /** The server cannot be reached or takes no connections now. */
  | 'unavailable'
  /** The server will not have this session: no such database, no right to connect. */
  | 'refused';

export class OpenFailure extends Error {
  readonly kind: OpenFailureKind;
  /** SQLSTATE, or the code of the LoginError. */
  readonly code: string;
  constructor(kind: OpenFailureKind, code: string, message: string) {
    super(message);
    this.kind = kind;
    this.code = code;
  }
}

export interface OpenOptions {
  readonly address: Target;
  readonly credentials: CredentialStore;
  readonly connectTimeoutMs: number;
  readonly parameters: Readonly<Record<string, string>>;
  readonly role: string;
  readonly database: string;
}

/** From the first byte to ReadyForQuery. */
const LOGIN_TIMEOUT_MS = 30_000;

class MissingCredential extends Error {}

/** @throws OpenFailure */
export async function openSession(options: OpenOptions): Promise<Session> {
  const { credentials, connectTimeoutMs, role, database } = options;
  let timer: NodeJS.Timeout | undefined;
  try {
    const { socket, address } = await dial(options.address, connectTimeoutMs);
    timer = setTimeout(() => socket.destroy(), LOGIN_TIMEOUT_MS);
    try {
      const startup = startupPacket({ user: role, database, ...options.parameters });
      const answer = async (kind: SecretKind) => {
        const credential = credentials.get(role);
        if (credential === undefined || credential.kind === 'trust') {
          throw new MissingCredential(
            `the server asks for a password (${kind}) and none is known for the role`,
          );
        }
        return credential;
      };
      const { rest } = await login({ socket, startup, user: role, answer });
      const session = new Session(socket, role, database, rest, address);
      await session.ready();
      return session;
    } catch (error) {
      socket.destroy();
      throw error;
    }
  } catch (error) {
    throw asOpenFailure(error);
  } finally {
    clearTimeout(timer);
  }
}

function asOpenFailure(error: unknown): unknown {
  if (error instanceof MissingCredential) return new OpenFailure('credential', 'missing', error.message);
  if (error instanceof DialError) return new OpenFailure('unavailable', error.code, error.message);
  if (error instanceof LoginError) return new OpenFailure(kindOf(error.code), error.code, error.message);
  if (error instanceof ConnectionLost) {
    const code = error.server?.code ?? '08006';
    return new OpenFailure(kindOf(code), code, error.message);
  }
  return error;
}

function kindOf(code: string): OpenFailureKind {
  switch (code) {
    case 'stale-credential':
    case '28P01': // invalid_password
    case '28000': // invalid_authorization_specification: pg_hba, NOLOGIN, no such role
      return 'credential';
    case '53300': // too_many_connections
    case '57P01':
    case '57P02':
    case '57P03':
      return 'unavailable';
    default:
      return code.startsWith('08') ? 'unavailable' : 'refused';
  }
}
