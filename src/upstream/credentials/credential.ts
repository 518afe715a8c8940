import { timingSafeEqual } from 'node:crypto';
import { inspect } from 'node:util';
import type { ScramKeys } from '../../wire/scram.js';

/**
 * What a login as a role needs, by the way in which the server asked. Each is as good as the password for logins of
 * its kind, so none of them shows in logs: see `redacted`.
 */
export type Credential =
  /** The server let the role in unasked. */
  | { readonly kind: 'trust' }
  /** A password: it answers whatever the server asks for. Captured only where the server asked for clear text. */
  | { readonly kind: 'password'; readonly password: string }
  /** md5(password ‖ role) in hex. */
  | { readonly kind: 'md5'; readonly hash: string }
  | { readonly kind: 'scram'; readonly keys: ScramKeys };

/** The same credential, printed as its kind only by JSON.stringify, console.log and util.inspect. */
export function redacted(credential: Credential): Credential {
  const shown = `[credential: ${credential.kind}]`;
  const copy = { ...credential };
  Object.defineProperty(copy, 'toJSON', { value: () => shown, enumerable: false });
  Object.defineProperty(copy, inspect.custom, { value: () => shown, enumerable: false });
  return copy;
}

/** A copy that can be wiped while the original stays in use. */
export function copyOf(credential: Credential): Credential {
  if (credential.kind !== 'scram') return redacted(credential);
  const { clientKey, serverKey, salt, iterations } = credential.keys;
  const keys = {
    clientKey: Buffer.from(Uint8Array.from(clientKey).buffer),
    serverKey: Buffer.from(Uint8Array.from(serverKey).buffer),
    salt: Buffer.from(salt),
    iterations,
  };
  return redacted({ kind: 'scram', keys });
}

/** Overwrites what can be overwritten: keys; a string stays until it is collected. Nobody may use it any more. */
export function wipe(credential: Credential): void {
  if (credential.kind !== 'scram') return;
  credential.keys.clientKey.fill(0);
  credential.keys.serverKey.fill(0);
}

/** Whether both are the same secret; in constant time as far as the secrets go. */
export function isSame(one: Credential, other: Credential): boolean {
  if (one.kind === 'scram' && other.kind === 'scram') {
    return (
      one.keys.iterations === other.keys.iterations &&
      one.keys.salt.equals(other.keys.salt) &&
      equalBytes(one.keys.clientKey, other.keys.clientKey) &&
      equalBytes(one.keys.serverKey, other.keys.serverKey)
    );
  }
  if (one.kind === 'md5' && other.kind === 'md5')
    return equalBytes(Buffer.from(one.hash), Buffer.from(other.hash));
  if (one.kind === 'password' && other.kind === 'password')
    return equalBytes(Buffer.from(one.password), Buffer.from(other.password));
  return one.kind === 'trust' && other.kind === 'trust';
}

function equalBytes(one: Buffer, other: Buffer): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}
