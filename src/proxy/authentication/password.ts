import type { Socket } from 'node:net';
import { LoginError, login } from '../../upstream/login.js';
import { MessageReader, ReadError } from '../../upstream/reader.js';
import { Authentication, Backend, Frontend } from '../../wire/codes.js';
import { int32, message } from '../../wire/message.js';
import { type Admission, type Arrival, AUTHENTICATION_OK, ClientGone } from './arrival.js';

/** PostgreSQL's limit for an authentication token. */
const MAX_PASSWORD_MESSAGE = 65_535;

const ASK = message(Backend.Authentication, int32(Authentication.CleartextPassword));

/**
 * The client is asked for its password in clear text as soon as the server asks for a secret, and the proxy answers
 * the server with it. What a later login needs is handed on; the password itself is forgotten, unless the server
 * wants just that.
 * @throws LoginError, ClientGone
 */
export async function admitByPassword(arrival: Arrival): Promise<Admission> {
  const { client } = arrival;
  let fromClient = arrival.rest;
  let password: Buffer | undefined;
  const { credential, rest } = await login({
    socket: arrival.server,
    startup: arrival.packet,
    user: arrival.user,
    passOn: (raw) => client.write(raw),
    answer: async () => {
      if (!arrival.confidential) throw overheard();
      const asked = await askPassword(client, fromClient);
      fromClient = asked.rest;
      password = asked.password;
      return { password };
    },
  }).finally(() => password?.fill(0));
  return { credential, greeting: AUTHENTICATION_OK, fromClient, fromServer: rest };
}

function overheard(): LoginError {
  return new LoginError(
    '28000',
    'the server asks for a password, which this unencrypted connection would reveal: connect with TLS, over ' +
      'loopback or over a Unix socket',
  );
}

/**
 * Asks the client for its password in clear text.
 * @param initial bytes that the client has sent already
 * @returns the password's bytes without the NUL, and what followed its message; the socket is paused
 * @throws LoginError when the client answers something else, ClientGone when it closes
 */
async function askPassword(client: Socket, initial: Buffer): Promise<{ password: Buffer; rest: Buffer }> {
  const reader = new MessageReader(client, MAX_PASSWORD_MESSAGE, initial);
  client.write(ASK);
  try {
    const { type, body } = await reader.next();
    if (type !== Frontend.Password) {
      throw new LoginError('08P01', `expected password response, got message type ${type}`);
    }
    if (body.length === 0 || body.indexOf(0) !== body.length - 1) {
      throw new LoginError('08P01', 'invalid password packet size');
    }
    const password = Buffer.from(body.subarray(0, -1));
    body.fill(0);
    return { password, rest: reader.release() };
  } catch (error) {
    reader.release();
    if (!(error instanceof ReadError)) throw error;
    if (error.closed) throw new ClientGone(error.message);
    throw new LoginError('08P01', error.message);
  }
}
