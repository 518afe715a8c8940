import { type Credential, wipe } from '../../upstream/credentials/credential.js';
import { SourceFailure } from '../../upstream/credentials/source.js';
import { LoginError, login, type Secret } from '../../upstream/login.js';
import { type Admission, type Arrival, AUTHENTICATION_OK, refusal } from './arrival.js';

/**
 * The client is not asked: it is who it says, and the proxy logs in with the credential that the executor has for that
 * role. Anybody who reaches the proxy is therefore any role that has one; so this is done for clients on this machine
 * only, encrypted or not, as encryption says nothing about who they are.
 * @throws LoginError
 */
export async function admitByTrust(arrival: Arrival): Promise<Admission> {
  const { user, database, address, credentials } = arrival;
  if (!arrival.local) {
    throw refusal({
      code: '28000',
      message: 'client_auth = trust admits clients over loopback or a Unix socket only',
    });
  }
  let kept: Credential | undefined;
  const answer = async (): Promise<Secret> => {
    kept = await credentials.get(user, database, address).catch((err: unknown) => {
      const reason = err instanceof SourceFailure ? err.forLog : (err as Error).message;
      arrival.log.error({ user, reason }, 'the credential of a role cannot be looked up');
      throw refusal({
        code: '58000',
        message: `the proxy could not look up the credential of role "${user}"; its log says why`,
      });
    });
    if (kept === undefined || kept.kind === 'trust') {
      throw refusal({
        code: '28000',
        message: `the server asks for a password, and the proxy has no credential for role "${user}"`,
        hint: 'client_auth = trust logs in with the credentials of the executor: give the proxy one for this role.',
      });
    }
    return kept;
  };
  const { credential, rest } = await login({
    socket: arrival.server,
    startup: arrival.packet,
    user,
    passOn: (raw) => arrival.client.write(raw),
    answer,
  })
    .catch((error: unknown) => {
      // Another proxy may have captured a newer one, or a kept token has run out.
      if (kept !== undefined && isRefusal(error)) credentials.notTaken(user, database, address);
      throw error;
    })
    .finally(() => {
      if (kept !== undefined) wipe(kept);
    });
  return {
    // What came from the store need not go back there.
    credential: credential?.kind === 'trust' ? credential : null,
    greeting: AUTHENTICATION_OK,
    fromClient: arrival.rest,
    fromServer: rest,
  };
}

function isRefusal(error: unknown): boolean {
  return error instanceof LoginError && (error.code === 'stale-credential' || error.code.startsWith('28'));
}
