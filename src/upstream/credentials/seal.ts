/**
 * Sealing of captured credentials: AES-256-GCM (NIST SP 800-38D) with a random nonce of 96 bits. Role and upstream are
 * associated data: a sealed credential opens for the role and the server that it was sealed for and for no other, so a
 * row that somebody moved is of no use. Pure.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { type Credential, redacted } from './credential.js';

export const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const DIGEST_BYTES = 32;
const ALGORITHM = 'aes-256-gcm';

/** A key and the name under which its work is found again. A KeyObject prints nothing of itself. */
export interface SealingKey {
  /** 16 hex digits that follow from the key and say nothing about it. */
  readonly id: string;
  readonly key: KeyObject;
}

/** Whom a credential belongs to: the role's name, and the servers by name as `upstreamName` gives them. */
export interface SealOwner {
  readonly role: string;
  readonly upstream: string;
}

export interface Sealed {
  readonly keyId: string;
  readonly nonce: Buffer;
  /** With the authentication tag at its end. */
  readonly ciphertext: Buffer;
}

/** @param material 32 bytes; overwritten here, the key lives on outside of the JavaScript heap */
export function sealingKey(material: Buffer): SealingKey {
  if (material.length !== KEY_BYTES) throw new RangeError(`a sealing key has ${KEY_BYTES} bytes`);
  const id = createHmac('sha256', material).update('pg-durable-proxy key id').digest('hex').slice(0, 16);
  const key = createSecretKey(material);
  material.fill(0);
  return { id, key };
}

/** Whether a credential of this kind is ever sealed: a password in clear text stays in memory. */
export function isSealable({ kind }: Credential): boolean {
  return kind === 'scram' || kind === 'md5';
}

export function seal(credential: Credential, owner: SealOwner, { id, key }: SealingKey): Sealed {
  const nonce = randomBytes(NONCE_BYTES);
  const plain = encode(credential);
  const cipher = createCipheriv(ALGORITHM, key, nonce).setAAD(associated(owner));
  const ciphertext = Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
  plain.fill(0);
  return { keyId: id, nonce, ciphertext };
}

/** The credential, or null: another key, another owner, changed, or not ours at all. */
export function unseal(sealed: Sealed, owner: SealOwner, keys: readonly SealingKey[]): Credential | null {
  const { keyId, nonce, ciphertext } = sealed;
  const found = keys.find(({ id }) => id === keyId);
  if (found === undefined || nonce.length !== NONCE_BYTES || ciphertext.length <= TAG_BYTES) return null;
  const decipher = createDecipheriv(ALGORITHM, found.key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(associated(owner)).setAuthTag(ciphertext.subarray(-TAG_BYTES));
  const plain = decipher.update(ciphertext.subarray(0, -TAG_BYTES));
  try {
    decipher.final();
    return decode(plain);
  } catch {
    return null;
  } finally {
    plain.fill(0);
  }
}

/** NUL is in no role's name and no host's. */
function associated({ role, upstream }: SealOwner): Buffer {
  return Buffer.from(`pg-durable-proxy credential 1\0${role}\0${upstream}`, 'utf8');
}

const SCRAM = 1;
const MD5 = 2;

/** scram: kind, iterations (int32), length of the salt (int16), salt, ClientKey, ServerKey; md5: kind, hash. */
function encode(credential: Credential): Buffer {
  switch (credential.kind) {
    case 'scram': {
      const { clientKey, serverKey, salt, iterations } = credential.keys;
      const out = Buffer.alloc(7 + salt.length + 2 * DIGEST_BYTES);
      out.writeUInt8(SCRAM, 0);
      out.writeUInt32BE(iterations, 1);
      out.writeUInt16BE(salt.length, 5);
      salt.copy(out, 7);
      clientKey.copy(out, 7 + salt.length);
      serverKey.copy(out, 7 + salt.length + DIGEST_BYTES);
      return out;
    }
    case 'md5':
      return Buffer.concat([Buffer.from([MD5]), Buffer.from(credential.hash, 'latin1')]);
    default:
      throw new TypeError(`a credential of kind ${credential.kind} is not sealed`);
  }
}

function decode(plain: Buffer): Credential | null {
  if (plain[0] === MD5) return redacted({ kind: 'md5', hash: plain.toString('latin1', 1) });
  if (plain[0] !== SCRAM || plain.length < 7) return null;
  const saltEnd = 7 + plain.readUInt16BE(5);
  if (plain.length !== saltEnd + 2 * DIGEST_BYTES) return null;
  const part = (from: number, to: number) => {
    const copy = Buffer.alloc(to - from); // of its own, not of the shared pool
    plain.copy(copy, 0, from, to);
    return copy;
  };
  return redacted({
    kind: 'scram',
    keys: {
      iterations: plain.readUInt32BE(1),
      salt: part(7, saltEnd),
      clientKey: part(saltEnd, saltEnd + DIGEST_BYTES),
      serverKey: part(saltEnd + DIGEST_BYTES, saltEnd + 2 * DIGEST_BYTES),
    },
  });
}
