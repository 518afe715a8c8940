import { TLSSocket } from 'node:tls';
import { LoginError, serverRefusal } from '../../upstream/login.js';
import { MessageReader, ReadError } from '../../upstream/reader.js';
import { Authentication, Backend, Frontend } from '../../wire/codes.js';
import { cstring, int32, message } from '../../wire/message.js';
import { SCRAM_PLUS_MECHANISM } from '../../wire/scram-server.js';
import { type Admission, type Arrival, ClientGone, refusal } from './arrival.js';

/** PostgreSQL's limit for an authentication token. */
const MAX_TOKEN = 65_535;
const MAX_SERVER_MESSAGE = 64 * 1024;
const PROTOCOL_VIOLATION = '08P01';
const CONNECTION_FAILURE = '08006';

const NOTHING = Buffer.alloc(0);

/** Said in the log once in the life of the process: each client is told. */
let warned = false;

/**
 * Client and server authenticate each other, and the proxy passes their messages on: whatever method the server asks
 * for. It learns nothing that would let it log in, so nothing is kept.
 *
 * One thing cannot be passed on: the channel binding of SCRAM-SHA-256-PLUS, which proves to both that nobody ends the
 * encryption between them. A client without TLS is not offered it (libpq would take the offer for an attack). A client
 * with TLS is, as libpq would take its absence for an attack; should it choose it, it is told why that cannot work,
 * unless the proxy has the very certificate of the server.
 *
 * For each request of the server one message of the client is passed on, and no more: what follows may be statements.
 * The two directions run on their own, as the server may end the exchange at any time, and the last token of GSSAPI
 * needs no answer.
 * @throws LoginError, ClientGone
 */
export async function admitByRelay(arrival: Arrival): Promise<Admission> {
  const { client, server } = arrival;
  const answers = new MessageReader(client, MAX_TOKEN, arrival.rest);
  const requests = new MessageReader(server, MAX_SERVER_MESSAGE);
  const asked = new Turns();
  server.write(arrival.packet);
  try {
    const ok = await Promise.race([
      passRequests(requests, asked, arrival),
      passAnswers(answers, asked, arrival),
    ]);
    return {
      credential: null,
      greeting: ok,
      fromClient: answers.release(),
      fromServer: requests.release(),
    };
  } catch (error) {
    answers.release();
    requests.release();
    throw error;
  }
}

/** @returns the server's AuthenticationOk, with what belongs to it, which the client has not got yet */
async function passRequests(requests: MessageReader, asked: Turns, arrival: Arrival): Promise<Buffer> {
  const { client } = arrival;
  let verdict: Buffer = NOTHING;
  try {
    for (;;) {
      const { type, raw, body } = await requests.next();
      switch (type) {
        case Backend.Authentication: {
          if (body.length < 4) throw unexpected('an authentication request without a code');
          const code = body.readInt32BE(0);
          if (code === Authentication.Ok) return Buffer.concat([verdict, raw]);
          if (code === Authentication.SASLFinal) {
            // It says that the proof was right; with the AuthenticationOk, which follows at once, or not at all.
            verdict = raw;
            break;
          }
          client.write(code === Authentication.SASL ? offer(raw, body, client instanceof TLSSocket) : raw);
          asked.give({ sasl: code === Authentication.SASL });
          break;
        }
        case Backend.ErrorResponse:
          throw serverRefusal(raw, body);
        case Backend.NegotiateProtocolVersion:
        case Backend.NoticeResponse:
          client.write(raw);
          break;
        default:
          throw unexpected(`a message of type 0x${type.toString(16)}`);
      }
    }
  } catch (error) {
    if (!(error instanceof ReadError)) throw error;
    throw new LoginError(
      error.closed ? CONNECTION_FAILURE : PROTOCOL_VIOLATION,
      `server did not complete the login: ${error.message}`,
    );
  }
}

async function passAnswers(answers: MessageReader, asked: Turns, arrival: Arrival): Promise<never> {
  try {
    for (;;) {
      const { sasl } = await asked.next();
      const { type, raw, body } = await answers.next();
      if (sasl && type === Frontend.Password && chosen(body) === SCRAM_PLUS_MECHANISM) {
        if (!sameCertificate(arrival)) throw unbindable(arrival);
      }
      arrival.server.write(raw);
    }
  } catch (error) {
    if (!(error instanceof ReadError)) throw error;
    if (error.closed) throw new ClientGone(error.message);
    throw new LoginError(PROTOCOL_VIOLATION, error.message);
  }
}

/** The list of mechanisms as this client can take it. */
function offer(raw: Buffer, body: Buffer, encrypted: boolean): Buffer {
  const mechanisms = body.toString('latin1', 4).split('\0').filter(Boolean);
  if (encrypted || !mechanisms.includes(SCRAM_PLUS_MECHANISM)) return raw;
  const left = mechanisms.filter((name) => name !== SCRAM_PLUS_MECHANISM);
  return message(
    Backend.Authentication,
    Buffer.concat([int32(Authentication.SASL), ...left.map(cstring), Buffer.alloc(1)]),
  );
}

/** The mechanism that a SASLInitialResponse names. */
function chosen(body: Buffer): string {
  const end = body.indexOf(0);
  return body.toString('latin1', 0, end < 0 ? body.length : end);
}

function sameCertificate({ client, server }: Arrival): boolean {
  if (!(client instanceof TLSSocket) || !(server instanceof TLSSocket)) return false;
  const ours = client.getCertificate();
  const theirs: Partial<ReturnType<TLSSocket['getPeerCertificate']>> = server.getPeerCertificate();
  if (ours === null || !('raw' in ours) || theirs.raw === undefined) return false;
  return theirs.raw.equals(ours.raw as Buffer);
}

function unbindable({ log, user }: Arrival): LoginError {
  if (!warned) {
    warned = true;
    log.warn(
      { user },
      'client_auth = relay: a client has chosen SCRAM-SHA-256-PLUS, whose channel binding ends at the TLS of the ' +
        'proxy; clients need channel_binding=disable, or the proxy the certificate and key of the server',
    );
  }
  return refusal({
    code: '28000',
    message: 'SCRAM channel binding cannot pass the proxy, which has another certificate than the server',
    hint: 'Connect with channel_binding=disable. The operator of the proxy can do without that by client_auth = password or scram, or with the certificate and key of the server.',
  });
}

function unexpected(what: string): LoginError {
  return new LoginError(PROTOCOL_VIOLATION, `server sent ${what} during authentication`);
}

interface Turn {
  /** The client is to choose a SASL mechanism. */
  readonly sasl: boolean;
}

/** The requests that the client has not answered yet, in order. */
class Turns {
  readonly #open: Turn[] = [];
  #wake: (() => void) | undefined;

  give(turn: Turn): void {
    this.#open.push(turn);
    this.#wake?.();
  }

  async next(): Promise<Turn> {
    for (;;) {
      const turn = this.#open.shift();
      if (turn !== undefined) return turn;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
