import { createHash } from 'node:crypto';

/**
 * What a role's md5 login needs: md5(password ‖ user) in lower-case hex, the part of pg_authid after `md5`. It is as
 * good as the password for md5 logins.
 */
export function md5Hash(user: string, password: string | Buffer): string {
  return createHash('md5').update(password).update(user, 'utf8').digest('hex');
}

/**
 * The answer to AuthenticationMD5Password: `md5` ‖ md5(hash ‖ salt) in hex (protocol chapter "Start-up").
 * @param hash what `md5Hash` gives
 * @param salt the four bytes of the request
 */
export function md5Response(hash: string, salt: Buffer): string {
  return `md5${createHash('md5').update(hash, 'utf8').update(salt).digest('hex')}`;
}
