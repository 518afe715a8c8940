import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { base64, type ScramKeys } from './scram.js';
import type { ScramVerifier } from './scram-verifier.js';

export const SCRAM_PLUS_MECHANISM = 'SCRAM-SHA-256-PLUS';

/** A message that is not the protocol, with SQLSTATE and texts of the server. */
export class ScramRefusal extends Error {
  /** SQLSTATE */
  readonly code: string;
  readonly detail: string | undefined;
  constructor(code: string, message: string, detail?: string) {
    super(message);
    this.name = 'ScramRefusal';
    this.code = code;
    this.detail = detail;
  }
}

export interface ScramServerOptions {
  readonly verifier: ScramVerifier;
  /** The exchange is for show: it goes its way and no proof is right. */
  readonly doomed: boolean;
  /**
   * The tls-server-end-point data of our certificate, where the client came over TLS and -PLUS was offered; undefined
   * where it was not.
   */
  readonly endPoint: Buffer | undefined;
  /** The client has chosen SCRAM-SHA-256-PLUS. */
  readonly plus: boolean;
  /** Printable, without commas; random unless a test gives it. */
  readonly nonce?: string;
}

const PROTOCOL_VIOLATION = '08P01';
const INVALID_AUTHORIZATION = '28000';
const NOT_SUPPORTED = '0A000';
const DIGEST = 32;
const END_POINT_HEADER = 'p=tls-server-end-point,,';

/**
 * The server's side of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677), as PostgreSQL has it: the user name
 * in the message is not looked at, since the start-up packet has named the role.
 *
 * Two steps, each once and in order: the client's first message goes into `first()`, whose result is sent; the
 * client's final message goes into `final()`, which gives the client's keys if its proof is right; `verdict()` is then
 * the message that tells the client so.
 *
 * Messages are bytes, one character each.
 */
export class ScramServer {
  readonly #options: ScramServerOptions;
  readonly #nonce: string;
  #flag = '';
  #firstBare = '';
  #serverFirst = '';
  #fullNonce = '';
  #authMessage = '';

  constructor(options: ScramServerOptions) {
    this.#options = options;
    this.#nonce = options.nonce ?? randomBytes(18).toString('base64');
  }

  /** @throws ScramRefusal */
  first(bytes: Buffer): string {
    const reader = new Attributes(text(bytes));
    this.#readBinding(reader);
    // Neither another identity than the role's nor an extension that must be understood is supported.
    if (reader.peek() === 'a') {
      throw new ScramRefusal(NOT_SUPPORTED, 'client uses authorization identity, but it is not supported');
    }
    if (reader.peek() !== ',') {
      throw malformed(`Unexpected attribute "${shown(reader.peek())}" in client-first-message.`);
    }
    reader.skip();
    this.#firstBare = reader.rest();
    if (reader.peek() === 'm') {
      throw new ScramRefusal(NOT_SUPPORTED, 'client requires an unsupported SCRAM extension');
    }
    reader.value('n');
    const clientNonce = reader.value('r');
    if (!/^[\x21-\x2b\x2d-\x7e]*$/.test(clientNonce)) {
      throw new ScramRefusal(PROTOCOL_VIOLATION, 'non-printable characters in SCRAM nonce');
    }
    while (!reader.atEnd()) reader.any();
    const { salt, iterations } = this.#options.verifier;
    this.#fullNonce = clientNonce + this.#nonce;
    this.#serverFirst = `r=${this.#fullNonce},s=${salt.toString('base64')},i=${iterations}`;
    return this.#serverFirst;
  }

  /**
   * @returns null where the proof is wrong, or the exchange doomed
   * @throws ScramRefusal
   */
  final(bytes: Buffer): ScramKeys | null {
    const message = text(bytes);
    const reader = new Attributes(message);
    this.#checkBinding(reader.value('c'));
    const nonce = reader.value('r');
    let at = reader.at;
    let found = reader.any();
    while (found.name !== 'p') {
      at = reader.at;
      found = reader.any();
    }
    const proof = base64(found.value);
    if (proof?.length !== DIGEST) throw malformed('Malformed proof in client-final-message.');
    if (!reader.atEnd()) throw malformed('Garbage found at the end of client-final-message.');
    if (nonce !== this.#fullNonce) {
      throw new ScramRefusal(PROTOCOL_VIOLATION, 'invalid SCRAM response', 'Nonce does not match.');
    }
    // Without the comma before the proof.
    const withoutProof = message.slice(0, at - 1);
    this.#authMessage = `${this.#firstBare},${this.#serverFirst},${withoutProof}`;
    const { storedKey, serverKey, salt, iterations } = this.#options.verifier;
    const clientKey = this.#hmac(storedKey);
    for (let i = 0; i < DIGEST; i++) clientKey[i]! ^= proof[i]!;
    const right = timingSafeEqual(createHash('sha256').update(clientKey).digest(), storedKey);
    if (!right || this.#options.doomed) {
      clientKey.fill(0);
      return null;
    }
    // Copies: whoever gets them may wipe them, and the verifier stays.
    return { clientKey, serverKey: Buffer.from(serverKey), salt, iterations };
  }

  /** The server's proof that it knows the verifier; only after `final()` has given keys. */
  verdict(): string {
    return `v=${this.#hmac(this.#options.verifier.serverKey).toString('base64')}`;
  }

  #hmac(key: Buffer): Buffer {
    return createHmac('sha256', key).update(this.#authMessage, 'latin1').digest();
  }

  /** The gs2 header up to the comma that ends the channel-binding flag. */
  #readBinding(reader: Attributes): void {
    const { plus, endPoint } = this.#options;
    this.#flag = reader.peek();
    switch (this.#flag) {
      case 'n':
      case 'y':
        if (plus) {
          throw malformed(
            'The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.',
          );
        }
        if (this.#flag === 'y' && endPoint !== undefined) {
          // Somebody has taken -PLUS out of the list on the way.
          throw new ScramRefusal(
            INVALID_AUTHORIZATION,
            'SCRAM channel binding negotiation error',
            'The client supports SCRAM channel binding but thinks the server does not.  ' +
              'However, this server does support channel binding.',
          );
        }
        reader.skip();
        if (reader.peek() !== ',') {
          throw malformed(`Comma expected, but found character "${shown(reader.peek())}".`);
        }
        reader.skip();
        return;
      case 'p': {
        if (!plus) {
          throw malformed(
            'The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel ' +
              'binding data.',
          );
        }
        const type = reader.value('p');
        if (type !== 'tls-server-end-point') {
          throw new ScramRefusal(
            PROTOCOL_VIOLATION,
            `unsupported SCRAM channel-binding type "${printable(type)}"`,
          );
        }
        return;
      }
      default:
        throw malformed(`Unexpected channel-binding flag "${shown(this.#flag)}".`);
    }
  }

  #checkBinding(given: string): void {
    const { plus, endPoint } = this.#options;
    if (plus) {
      const expected = Buffer.concat([Buffer.from(END_POINT_HEADER), endPoint ?? Buffer.alloc(0)]);
      if (given !== expected.toString('base64')) {
        throw new ScramRefusal(INVALID_AUTHORIZATION, 'SCRAM channel binding check failed');
      }
      return;
    }
    const expected = this.#flag === 'n' ? 'biws' : 'eSws'; // "n,," and "y,,"
    if (given !== expected) {
      throw new ScramRefusal(
        PROTOCOL_VIOLATION,
        'unexpected SCRAM channel-binding attribute in client-final-message',
      );
    }
  }
}

/** Walks over `name=value` pairs between commas. */
class Attributes {
  readonly #text: string;
  at = 0;

  constructor(all: string) {
    this.#text = all;
  }

  /** The next character; empty at the end. */
  peek(): string {
    return this.#text.charAt(this.at);
  }

  skip(): void {
    this.at++;
  }

  rest(): string {
    return this.#text.slice(this.at);
  }

  atEnd(): boolean {
    return this.at >= this.#text.length;
  }

  /** The value of the attribute that must come next. */
  value(name: string): string {
    if (this.peek() !== name) {
      throw malformed(`Expected attribute "${name}" but found "${shown(this.peek())}".`);
    }
    return this.#afterName(name);
  }

  /** The attribute that comes next, whatever it is. */
  any(): { name: string; value: string } {
    const name = this.peek();
    if (name === '') throw malformed('Attribute expected, but found end of string.');
    if (!/[A-Za-z]/.test(name)) {
      throw malformed(`Attribute expected, but found invalid character "${shown(name)}".`);
    }
    return { name, value: this.#afterName(name) };
  }

  #afterName(name: string): string {
    this.at++;
    if (this.peek() !== '=') throw malformed(`Expected character "=" for attribute "${name}".`);
    this.at++;
    const comma = this.#text.indexOf(',', this.at);
    const end = comma < 0 ? this.#text.length : comma;
    const value = this.#text.slice(this.at, end);
    this.at = comma < 0 ? end : end + 1;
    return value;
  }
}

function text(bytes: Buffer): string {
  if (bytes.length === 0) throw malformed('The message is empty.');
  if (bytes.includes(0)) throw malformed('Message length does not match input length.');
  return bytes.toString('latin1');
}

function malformed(detail: string): ScramRefusal {
  return new ScramRefusal(PROTOCOL_VIOLATION, 'malformed SCRAM message', detail);
}

/** A character as the server shows it: quoted, or its code; nothing at the end of the message is a NUL. */
function shown(character: string): string {
  if (/^[\x21-\x7e]$/.test(character)) return `'${character}'`;
  const code = character === '' ? 0 : character.charCodeAt(0);
  return `0x${code.toString(16).padStart(2, '0')}`;
}

/** As the server shows text that a client has sent: 30 characters at most, others than printable ones as `?`. */
function printable(value: string): string {
  return value.slice(0, 30).replace(/[^\x21-\x7e]/g, '?');
}
