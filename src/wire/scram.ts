import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { saslprep } from './saslprep.js';

/** What a later SCRAM login of the same role on the same server needs. As good as the password there. */
export interface ScramKeys {
  clientKey: Buffer;
  serverKey: Buffer;
  salt: Buffer;
  iterations: number;
}

export type ScramSecret = { password: string | Buffer } | { keys: ScramKeys };

/** What the server says of its verifier before it has seen any proof; made up for a role that it does not know. */
export interface ScramDemand {
  readonly salt: Buffer;
  readonly iterations: number;
}

/** `malformed`: not the protocol; `signature`: the server does not know the secret; `stale`: keys of another verifier. */
export type ScramProblem = 'malformed' | 'iterations' | 'signature' | 'stale' | 'refused';

export class ScramError extends Error {
  readonly problem: ScramProblem;
  constructor(problem: ScramProblem, message: string) {
    super(message);
    this.name = 'ScramError';
    this.problem = problem;
  }
}

export const SCRAM_MECHANISM = 'SCRAM-SHA-256';

/**
 * More rounds than this (half a second of work) are not done for a password: anybody who names a role with such a
 * verifier would make us work for it.
 */
export const MAX_ITERATIONS = 1_000_000;
const MAX_MESSAGE = 4096;
const MAX_NONCE = 1024;
const MAX_SALT = 1024;
const DIGEST = 32;

const derive = promisify(pbkdf2);
const hmac = (key: Buffer, data: string) => createHmac('sha256', key).update(data, 'utf8').digest();
const sha256 = (data: Buffer) => createHash('sha256').update(data).digest();

/**
 * The client's side of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677), with PostgreSQL's empty user name
 * (the start-up packet has named the role).
 *
 * Three steps, each once and in order: `first()` is sent; the server's first message goes into `final()`, whose
 * result is sent; the server's final message goes into `finish()`, which gives the keys. Only then has the server
 * proved that it knows the verifier.
 */
export class ScramClient {
  readonly #secret: ScramSecret | ((demand: ScramDemand) => Promise<ScramSecret>);
  readonly #nonce: string;
  /** The gs2 header, and behind it the data of the channel. */
  readonly #channel: { readonly header: string; readonly data: Buffer };
  #keys: ScramKeys | undefined;
  #authMessage = '';

  /**
   * @param secret or what gives it, once, when the server has named salt and iterations
   * @param nonce printable, without commas; random unless a test gives it
   * @param channel a Buffer: tls-server-end-point data to bind to (the mechanism is -PLUS then); `unused`: we could and
   *   the server does not offer it; `none`
   */
  constructor(
    secret: ScramSecret | ((demand: ScramDemand) => Promise<ScramSecret>),
    nonce: string = randomBytes(18).toString('base64'),
    channel: Buffer | 'unused' | 'none' = 'none',
  ) {
    this.#secret = secret;
    this.#nonce = nonce;
    const bound = typeof channel !== 'string';
    this.#channel = {
      header: bound ? 'p=tls-server-end-point,,' : channel === 'unused' ? 'y,,' : 'n,,',
      data: bound ? channel : Buffer.alloc(0),
    };
  }

  first(): string {
    return `${this.#channel.header}${this.#firstBare()}`;
  }

  /** @throws ScramError */
  async final(serverFirst: string): Promise<string> {
    const { nonce, salt, iterations } = this.#readServerFirst(serverFirst);
    const keys = await this.#deriveKeys(salt, iterations);
    const { header, data } = this.#channel;
    const channel = Buffer.concat([Buffer.from(header), data]).toString('base64');
    const withoutProof = `c=${channel},r=${nonce}`;
    this.#authMessage = `${this.#firstBare()},${serverFirst},${withoutProof}`;
    this.#keys = keys;
    const signature = hmac(sha256(keys.clientKey), this.#authMessage);
    const proof = Buffer.allocUnsafe(DIGEST);
    for (let i = 0; i < DIGEST; i++) proof[i] = keys.clientKey[i]! ^ signature[i]!;
    return `${withoutProof},p=${proof.toString('base64')}`;
  }

  /** @throws ScramError unless the server has proved that it knows the verifier */
  finish(serverFinal: string): ScramKeys {
    if (this.#keys === undefined) throw new ScramError('malformed', 'SCRAM final message came too early');
    if (serverFinal.length > MAX_MESSAGE)
      throw new ScramError('malformed', 'SCRAM final message is too long');
    if (serverFinal.startsWith('e=')) throw new ScramError('refused', 'server refused the SCRAM exchange');
    const signature = /^v=([^,]+)/.exec(serverFinal)?.[1];
    const given = signature === undefined ? null : base64(signature);
    if (given === null || given.length !== DIGEST) {
      throw new ScramError('malformed', 'SCRAM final message is malformed');
    }
    if (!timingSafeEqual(given, hmac(this.#keys.serverKey, this.#authMessage))) {
      throw new ScramError(
        'signature',
        'server could not prove that it knows the password (SCRAM signature)',
      );
    }
    return this.#keys;
  }

  #firstBare(): string {
    return `n=,r=${this.#nonce}`;
  }

  #readServerFirst(text: string): { nonce: string; salt: Buffer; iterations: number } {
    if (text.length > MAX_MESSAGE) throw new ScramError('malformed', 'SCRAM first message is too long');
    const parts = /^r=([\x21-\x2b\x2d-\x7e]+),s=([A-Za-z0-9+/=]+),i=([0-9]{1,10})(?:,.*)?$/.exec(text);
    if (parts === null) throw new ScramError('malformed', 'SCRAM first message is malformed');
    const nonce = parts[1]!;
    if (nonce.length > MAX_NONCE || nonce.length <= this.#nonce.length || !nonce.startsWith(this.#nonce)) {
      throw new ScramError('malformed', 'SCRAM server nonce does not continue ours');
    }
    const salt = base64(parts[2]!);
    if (salt === null || salt.length === 0 || salt.length > MAX_SALT) {
      throw new ScramError('malformed', 'SCRAM salt is malformed');
    }
    const iterations = Number(parts[3]);
    if (iterations < 1) throw new ScramError('malformed', 'SCRAM iteration count is malformed');
    return { nonce, salt, iterations };
  }

  async #deriveKeys(salt: Buffer, iterations: number): Promise<ScramKeys> {
    const secret =
      typeof this.#secret === 'function' ? await this.#secret({ salt, iterations }) : this.#secret;
    if ('keys' in secret) {
      const { keys } = secret;
      if (keys.iterations !== iterations || !keys.salt.equals(salt)) {
        throw new ScramError('stale', 'stored SCRAM keys belong to an earlier password');
      }
      return keys;
    }
    if (iterations > MAX_ITERATIONS) {
      throw new ScramError(
        'iterations',
        `server asks for ${iterations} SCRAM iterations; at most ${MAX_ITERATIONS} are done`,
      );
    }
    return deriveScramKeys(secret.password, salt, iterations);
  }
}

/** RFC 5802 section 3, on a thread of the pool: 4096 rounds take milliseconds. */
export async function deriveScramKeys(
  password: string | Buffer,
  salt: Buffer,
  iterations: number,
): Promise<ScramKeys> {
  const prepared = saslprep(password);
  const salted = await derive(prepared, salt, iterations, DIGEST, 'sha256');
  // What the caller has given is the caller's.
  if (prepared !== password) prepared.fill(0);
  const keys = {
    clientKey: hmac(salted, 'Client Key'),
    serverKey: hmac(salted, 'Server Key'),
    salt: Buffer.from(salt),
    iterations,
  };
  salted.fill(0);
  return keys;
}

/** Strict base64: null for anything that does not encode back to itself. */
export function base64(text: string): Buffer | null {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : null;
}
