import { createHmac } from 'node:crypto';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { wipe } from '../../upstream/credentials/credential.js';
import { LoginError, login } from '../../upstream/login.js';
import { MessageReader, ReadError } from '../../upstream/reader.js';
import type { VerifierSource } from '../../upstream/verifiers.js';
import { Authentication, Backend, Frontend } from '../../wire/codes.js';
import { cstring, int32, message } from '../../wire/message.js';
import { SCRAM_MECHANISM, type ScramDemand, type ScramKeys } from '../../wire/scram.js';
import { SCRAM_PLUS_MECHANISM, ScramRefusal, ScramServer } from '../../wire/scram-server.js';
import type { ScramVerifier } from '../../wire/scram-verifier.js';
import { tlsServerEndPoint } from '../../wire/tls-end-point.js';
import { type Admission, type Arrival, AUTHENTICATION_OK, ClientGone, refusal } from './arrival.js';

/** PostgreSQL's PG_MAX_SASL_MESSAGE_LENGTH. */
const MAX_SASL_MESSAGE = 1024;
const PROTOCOL_VIOLATION = '08P01';

export interface ScramOptions {
  readonly verifiers: VerifierSource;
  /**
   * Made at start, the same for all processes of a proxy: nobody outside can tell a made-up salt from a real one, and the
   * same role gets the same each time.
   */
  readonly mockSecret: Uint8Array;
}

const MOCK_ITERATIONS = 4096;
const MOCK_SALT = 16;

/**
 * The client speaks SCRAM with the proxy, which has its verifier; the proof contains the ClientKey, and with that the
 * proxy logs in.
 *
 * The server is asked first: what it says of its own verifier (of a made-up one, for a role that it does not know) is
 * what the client is told, so that a client cannot tell whether the proxy knows the role, the server, or both. Where
 * the proxy has no verifier with that salt and iteration count, the exchange goes on and no proof is right. The client
 * gets the last message of its exchange when the server has let the proxy in. A server that asks for nothing does not
 * spare the client its proof.
 * @throws LoginError, ClientGone
 */
export async function admitByScram(options: ScramOptions, arrival: Arrival): Promise<Admission> {
  const { client, user, log } = arrival;
  let proved: Proved | undefined;
  const prove = async (demand: ScramDemand | undefined): Promise<Proved> => {
    const found = await find(options.verifiers, arrival);
    const fits =
      found !== undefined &&
      (demand === undefined || (found.iterations === demand.iterations && demand.salt.equals(found.salt)));
    if (found !== undefined && !fits) {
      log.error(
        { user },
        "the verifier that the proxy has for the role is not the server's (another password, salt or iteration " +
          'count): nobody can log in as it until they are the same',
      );
    }
    const verifier = fits ? found : mockVerifier(options.mockSecret, user, demand);
    return await exchange(client, arrival.rest, user, verifier, !fits);
  };
  const { credential, rest } = await login({
    socket: arrival.server,
    startup: arrival.packet,
    user,
    passOn: (raw) => client.write(raw),
    answer: async (kind, demand) => {
      if (kind !== 'scram') {
        log.error({ user, kind }, 'client_auth = scram, but the server does not ask for SCRAM-SHA-256');
        throw refusal({
          code: '28000',
          message: `the server asks for a password (${kind}), which client_auth = scram cannot give`,
        });
      }
      proved = await prove(demand);
      return { kind: 'scram', keys: proved.keys };
    },
  }).catch((error: unknown) => {
    if (proved !== undefined) wipe({ kind: 'scram', keys: proved.keys });
    throw error;
  });
  if (proved === undefined) {
    proved = await prove(undefined);
    wipe({ kind: 'scram', keys: proved.keys }); // the server has asked for nothing
  }
  return {
    credential,
    greeting: Buffer.concat([proved.verdict, AUTHENTICATION_OK]),
    fromClient: proved.fromClient,
    fromServer: rest,
  };
}

interface Proved {
  readonly keys: ScramKeys;
  /** AuthenticationSASLFinal, still to be sent. */
  readonly verdict: Buffer;
  readonly fromClient: Buffer;
}

async function find(verifiers: VerifierSource, arrival: Arrival): Promise<ScramVerifier | undefined> {
  try {
    return await verifiers.find(arrival.user);
  } catch (err) {
    arrival.log.error({ err }, 'verifiers cannot be looked up');
    throw refusal({
      code: '58000',
      message: 'the proxy could not look up how to authenticate the client; its log says why',
    });
  }
}

/** Keys that nobody has, with what the server has named, or the like of it. */
function mockVerifier(mockSecret: Uint8Array, role: string, demand: ScramDemand | undefined): ScramVerifier {
  const derive = (what: string) => createHmac('sha256', mockSecret).update(`${what}:${role}`).digest();
  return {
    salt: demand?.salt ?? derive('salt').subarray(0, MOCK_SALT),
    iterations: demand?.iterations ?? MOCK_ITERATIONS,
    storedKey: derive('stored key'),
    serverKey: derive('server key'),
  };
}

/** The exchange with the client, up to its proof. */
async function exchange(
  client: Socket,
  initial: Buffer,
  user: string,
  verifier: ScramVerifier,
  doomed: boolean,
): Promise<Proved> {
  const endPoint = ownEndPoint(client);
  const mechanisms = endPoint === undefined ? [SCRAM_MECHANISM] : [SCRAM_PLUS_MECHANISM, SCRAM_MECHANISM];
  const reader = new MessageReader(client, MAX_SASL_MESSAGE, initial);
  const next = async (): Promise<Buffer> => {
    const { type, body } = await reader.next();
    if (type !== Frontend.Password) {
      throw new LoginError(PROTOCOL_VIOLATION, `expected SASL response, got message type ${type}`);
    }
    return body;
  };
  try {
    client.write(request(Authentication.SASL, Buffer.concat([...mechanisms.map(cstring), Buffer.alloc(1)])));
    const { mechanism, response } = readInitial(await next(), mechanisms);
    const server = new ScramServer({
      verifier,
      doomed,
      endPoint,
      plus: mechanism === SCRAM_PLUS_MECHANISM,
    });
    let first = response;
    if (first === null) {
      // A client may send its first message only when it is asked for it.
      client.write(request(Authentication.SASLContinue, Buffer.alloc(0)));
      first = await next();
    }
    client.write(request(Authentication.SASLContinue, Buffer.from(server.first(first), 'latin1')));
    const keys = server.final(await next());
    if (keys === null) throw wrongPassword(user);
    const verdict = request(Authentication.SASLFinal, Buffer.from(server.verdict(), 'latin1'));
    return { keys, verdict, fromClient: reader.release() };
  } catch (error) {
    reader.release();
    if (error instanceof ScramRefusal) {
      const { code, message: text, detail } = error;
      throw refusal(detail === undefined ? { code, message: text } : { code, message: text, detail });
    }
    if (!(error instanceof ReadError)) throw error;
    if (error.closed) throw new ClientGone(error.message);
    // As the server has it for a message of a bad length.
    throw wrongPassword(user);
  }
}

/** SASLInitialResponse: the mechanism's name, then the client's first message with its length, or -1 for none. */
function readInitial(
  body: Buffer,
  offered: readonly string[],
): { mechanism: string; response: Buffer | null } {
  const end = body.indexOf(0);
  if (end < 0) throw new LoginError(PROTOCOL_VIOLATION, 'invalid string in message');
  const mechanism = body.toString('latin1', 0, end);
  if (!offered.includes(mechanism)) {
    throw new LoginError(PROTOCOL_VIOLATION, 'client selected an invalid SASL authentication mechanism');
  }
  const data = body.subarray(end + 1);
  if (data.length < 4) throw new LoginError(PROTOCOL_VIOLATION, 'insufficient data left in message');
  const length = data.readInt32BE(0);
  const response = data.subarray(4);
  if (length < -1 || length > response.length) {
    throw new LoginError(PROTOCOL_VIOLATION, 'insufficient data left in message');
  }
  if (response.length > Math.max(length, 0)) {
    throw new LoginError(PROTOCOL_VIOLATION, 'invalid message format');
  }
  return { mechanism, response: length < 0 ? null : response };
}

/** What binds an exchange to our certificate; undefined without TLS. */
function ownEndPoint(client: Socket): Buffer | undefined {
  if (!(client instanceof TLSSocket)) return undefined;
  const certificate = client.getCertificate();
  if (certificate === null || !('raw' in certificate)) return undefined;
  return tlsServerEndPoint(certificate.raw as Buffer);
}

/** The server's own words, whatever was wrong: an unknown role, no verifier, a wrong proof. */
function wrongPassword(user: string): LoginError {
  return refusal({ code: '28P01', message: `password authentication failed for user "${user}"` });
}

function request(code: number, data: Buffer): Buffer {
  return message(Backend.Authentication, Buffer.concat([int32(code), data]));
}
