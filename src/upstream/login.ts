import type { Socket } from 'node:net';
import { Authentication, Backend, Frontend } from '../wire/codes.js';
import { FieldCode, fieldText, readFields } from '../wire/fields.js';
import { md5Hash, md5Response } from '../wire/md5.js';
import { cstring, int32, message } from '../wire/message.js';
import {
  SCRAM_MECHANISM,
  ScramClient,
  type ScramDemand,
  ScramError,
  type ScramSecret,
} from '../wire/scram.js';
import { SCRAM_PLUS_MECHANISM } from '../wire/scram-server.js';
import { channelBindingOf } from './channel-binding.js';
import { type Credential, redacted } from './credentials.js';
import { MessageReader, ReadError } from './reader.js';

/** How a server can ask for a secret. */
export type SecretKind = 'cleartext' | 'md5' | 'scram';

/** What answers it. A password's bytes are taken as they are: it need not be UTF-8. */
export type Secret = { password: string | Buffer } | Credential;

export interface LoginOptions {
  /** Connected, with nothing sent yet. */
  socket: Socket;
  /** Sent unchanged. */
  startup: Buffer;
  /** The role that the packet names; md5 needs it. */
  user: string;
  /**
   * Called once, when the server asks; for SCRAM with the salt and iterations that the server has named. What it throws
   * is what `login` throws.
   */
  answer: (kind: SecretKind, demand?: ScramDemand) => Promise<Secret>;
  /** Gets, as they come, messages that are for the client: NegotiateProtocolVersion and notices. */
  passOn?: (raw: Buffer) => void;
}

export interface LoginResult {
  /** What the next login of this role needs; null where it cannot be kept (a clear-text password not in UTF-8). */
  credential: Credential | null;
  /** Bytes that followed AuthenticationOk. The socket is paused; `rest` comes before what it has. */
  rest: Buffer;
}

/** The server's refusal, or ours to go on. */
export class LoginError extends Error {
  override readonly name: string = 'LoginError';
  /**
   * SQLSTATE, or `stale-credential`: the stored credential is not what this server asks for (another salt, another
   * method), so the role's password has changed.
   */
  readonly code: string;
  /** The server's own ErrorResponse, where it sent one. */
  readonly raw: Buffer | undefined;
  constructor(code: string, text: string, raw?: Buffer) {
    super(text);
    this.code = code;
    this.raw = raw;
  }
}

/** The server's own refusal. */
export class ServerRefusal extends LoginError {
  override readonly name = 'ServerRefusal';
}

/** Messages of a login are small; a server that announces a larger one is none. */
const MAX_LOGIN_MESSAGE = 64 * 1024;
const NOT_SUPPORTED = '0A000';
const PROTOCOL_VIOLATION = '08P01';
const CONNECTION_FAILURE = '08006';
const INVALID_PASSWORD = '28P01';
const INVALID_AUTHORIZATION = '28000';

/**
 * Logs in upstream: from the start-up packet to AuthenticationOk (protocol chapter "Start-up"), which is consumed.
 * Leaves the socket open also when it fails; a caller that wants a time limit destroys it.
 * @throws LoginError
 */
export async function login(options: LoginOptions): Promise<LoginResult> {
  const { socket } = options;
  const reader = new MessageReader(socket, MAX_LOGIN_MESSAGE);
  let credential: Credential | null = { kind: 'trust' };
  socket.write(options.startup);
  try {
    for (;;) {
      const { type, raw, body } = await reader.next();
      switch (type) {
        case Backend.Authentication: {
          if (body.length < 4) throw unexpected('an authentication request without a code');
          const code = body.readInt32BE(0);
          if (channelBindingOf(socket).mode === 'require' && !isBound(code, credential)) {
            throw new LoginError(
              INVALID_AUTHORIZATION,
              'channel binding required, but not used by the server',
            );
          }
          if (code === Authentication.Ok) {
            return { credential: credential && redacted(credential), rest: reader.release() };
          }
          credential = await authenticate(code, body.subarray(4), reader, options);
          break;
        }
        case Backend.ErrorResponse:
          throw serverRefusal(raw, body);
        case Backend.NegotiateProtocolVersion:
        case Backend.NoticeResponse:
          options.passOn?.(raw);
          break;
        default:
          throw unexpected(`a message of type 0x${type.toString(16)}`);
      }
    }
  } catch (error) {
    reader.release();
    throw translated(error);
  }
}

/** Whether the login is bound to the channel, or is about to be: `scram` sees to that. */
function isBound(code: number, credential: Credential | null): boolean {
  return code === Authentication.SASL || (code === Authentication.Ok && credential?.kind === 'scram');
}

/** Answers one authentication request, with all the messages that belong to it. */
async function authenticate(
  code: number,
  data: Buffer,
  reader: MessageReader,
  options: LoginOptions,
): Promise<Credential | null> {
  const { socket, user } = options;
  switch (code) {
    case Authentication.CleartextPassword: {
      const secret = await options.answer('cleartext');
      const password = 'password' in secret ? secret.password : undefined;
      if (password === undefined) throw stale('a password in clear text');
      socket.write(message(Frontend.Password, Buffer.concat([bytes(password), Buffer.alloc(1)])));
      const text = bytes(password).toString('utf8');
      return Buffer.from(text, 'utf8').equals(bytes(password)) ? { kind: 'password', password: text } : null;
    }
    case Authentication.MD5Password: {
      if (data.length !== 4) throw unexpected('an md5 request without its salt');
      const secret = await options.answer('md5');
      let hash: string;
      if ('password' in secret) hash = md5Hash(user, secret.password);
      else if (secret.kind === 'md5') hash = secret.hash;
      else throw stale('an md5 password');
      socket.write(message(Frontend.Password, cstring(md5Response(hash, data))));
      return { kind: 'md5', hash };
    }
    case Authentication.SASL:
      return scram(data, reader, options);
    default:
      throw new LoginError(
        NOT_SUPPORTED,
        `authentication method ${methodName(code)} of the server is not supported by the proxy`,
      );
  }
}

/** The SCRAM-SHA-256 exchange; the mechanisms are the NUL-terminated names of the server's request. */
async function scram(data: Buffer, reader: MessageReader, options: LoginOptions): Promise<Credential> {
  const mechanisms = data.toString('latin1').split('\0').filter(Boolean);
  if (!mechanisms.includes(SCRAM_MECHANISM)) {
    throw new LoginError(
      NOT_SUPPORTED,
      `server offers no SASL mechanism that the proxy supports: ${mechanisms.join(', ')}`,
    );
  }
  const { mode, data: endPoint } = channelBindingOf(options.socket);
  const able = mode !== 'disable' && endPoint !== undefined;
  const bound = able && mechanisms.includes(SCRAM_PLUS_MECHANISM);
  if (mode === 'require' && !bound) {
    throw new LoginError(INVALID_AUTHORIZATION, 'channel binding required, but the server does not offer it');
  }
  const mechanism = bound ? SCRAM_PLUS_MECHANISM : SCRAM_MECHANISM;
  const channel = bound ? endPoint : able ? 'unused' : 'none';
  const secretOf = async (demand: ScramDemand): Promise<ScramSecret> => {
    const secret = await options.answer('scram', demand);
    if ('password' in secret) return { password: secret.password };
    if (secret.kind === 'scram') return { keys: secret.keys };
    throw stale('SCRAM-SHA-256');
  };
  const client = new ScramClient(secretOf, undefined, channel);
  const first = Buffer.from(client.first(), 'utf8');
  options.socket.write(
    message(Frontend.Password, Buffer.concat([cstring(mechanism), int32(first.length), first])),
  );
  const serverFirst = await expectSasl(Authentication.SASLContinue, reader);
  options.socket.write(message(Frontend.Password, Buffer.from(await client.final(serverFirst), 'utf8')));
  const serverFinal = await expectSasl(Authentication.SASLFinal, reader);
  return { kind: 'scram', keys: client.finish(serverFinal) };
}

async function expectSasl(code: number, reader: MessageReader): Promise<string> {
  const { type, raw, body } = await reader.next();
  if (type === Backend.ErrorResponse) throw serverRefusal(raw, body);
  if (type !== Backend.Authentication || body.length < 4 || body.readInt32BE(0) !== code) {
    throw unexpected('something else than the next step of SCRAM');
  }
  return body.toString('latin1', 4);
}

function bytes(password: string | Buffer): Buffer {
  return typeof password === 'string' ? Buffer.from(password, 'utf8') : password;
}

/** @param raw the server's ErrorResponse, @param body what follows its length */
export function serverRefusal(raw: Buffer, body: Buffer): ServerRefusal {
  const fields = readFields(body);
  // A server may leave out any field.
  const code = fieldText(fields, FieldCode.Code) ?? CONNECTION_FAILURE;
  return new ServerRefusal(code, fieldText(fields, FieldCode.Message) ?? 'server refused the login', raw);
}

function stale(asked: string): LoginError {
  return new LoginError(
    'stale-credential',
    `server asks for ${asked}; the stored credential is of another kind`,
  );
}

function unexpected(what: string): LoginError {
  return new LoginError(PROTOCOL_VIOLATION, `server sent ${what} during authentication`);
}

function translated(error: unknown): unknown {
  if (error instanceof ScramError) {
    switch (error.problem) {
      case 'stale':
        return new LoginError('stale-credential', error.message);
      case 'signature':
      case 'refused':
        return new LoginError(INVALID_PASSWORD, error.message);
      case 'iterations':
        return new LoginError(NOT_SUPPORTED, error.message);
      case 'malformed':
        return new LoginError(PROTOCOL_VIOLATION, error.message);
    }
  }
  if (error instanceof ReadError) {
    return new LoginError(
      error.closed ? CONNECTION_FAILURE : PROTOCOL_VIOLATION,
      `server did not complete the login: ${error.message}`,
    );
  }
  return error;
}

function methodName(code: number): string {
  switch (code) {
    case Authentication.KerberosV5:
      return 'Kerberos V5';
    case Authentication.GSS:
    case Authentication.GSSContinue:
      return 'GSSAPI';
    case Authentication.SSPI:
      return 'SSPI';
    default:
      return String(code);
  }
}
