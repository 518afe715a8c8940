import type { Socket } from 'node:net';
import { LoginError } from '../upstream/login.js';
import { MessageReader, ReadError } from '../upstream/reader.js';
import { Authentication, Backend, Frontend } from '../wire/codes.js';
import { int32, message } from '../wire/message.js';

/** PostgreSQL's limit for an authentication token. */
const MAX_PASSWORD_MESSAGE = 65_535;

const ASK = message(Backend.Authentication, int32(Authentication.CleartextPassword));

/** The client closed instead of answering; psql does so to prompt for a password and come back. */
export class ClientGone extends Error {}

/**
 * Asks the client for its password in clear text.
 * @param initial bytes that the client has sent already
 * @returns the password's bytes without the NUL, and what followed its message; the socket is paused
 * @throws LoginError when the client answers something else, ClientGone when it closes
 */
export async function askPassword(
  client: Socket,
  initial: Buffer,
): Promise<{ password: Buffer; rest: Buffer }> {
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
    return { password: Buffer.from(body.subarray(0, -1)), rest: reader.release() };
  } catch (error) {
    reader.release();
    if (!(error instanceof ReadError)) throw error;
    if (error.closed) throw new ClientGone(error.message);
    throw new LoginError('08P01', error.message);
  }
}
