import { createHash } from 'node:crypto';

/** Object identifiers of signature algorithms, as hex, and the hash of the channel binding (RFC 5929 section 4.1). */
const HASH_BY_SIGNATURE: Readonly<Record<string, string>> = {
  // RSA with MD5, SHA-1 (which RFC 5929 replaces by SHA-256), SHA-256, SHA-384, SHA-512, SHA-224
  '2a864886f70d010104': 'sha256',
  '2a864886f70d010105': 'sha256',
  '2a864886f70d01010b': 'sha256',
  '2a864886f70d01010c': 'sha384',
  '2a864886f70d01010d': 'sha512',
  '2a864886f70d01010e': 'sha224',
  // ECDSA with SHA-1, SHA-224, SHA-256, SHA-384, SHA-512
  '2a8648ce3d0401': 'sha256',
  '2a8648ce3d040301': 'sha224',
  '2a8648ce3d040302': 'sha256',
  '2a8648ce3d040303': 'sha384',
  '2a8648ce3d040304': 'sha512',
};

/**
 * The tls-server-end-point data of a certificate: its hash, by the algorithm of its signature.
 * @param certificate DER
 * @returns undefined where that is not defined (Ed25519, RSA-PSS) or the certificate cannot be read: there is no channel
 * binding then
 */
export function tlsServerEndPoint(certificate: Buffer): Buffer | undefined {
  // Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { algorithm OBJECT IDENTIFIER, … }, … }
  const whole = element(certificate, 0, 0x30);
  const signed = whole && element(certificate, whole.start, 0x30);
  const algorithm = signed && element(certificate, signed.end, 0x30);
  const identifier = algorithm && element(certificate, algorithm.start, 0x06);
  if (identifier === undefined) return undefined;
  const hash = HASH_BY_SIGNATURE[certificate.toString('hex', identifier.start, identifier.end)];
  return hash === undefined ? undefined : createHash(hash).update(certificate).digest();
}

/** Where the content of the DER element at `at` begins and ends. */
function element(der: Buffer, at: number, tag: number): { start: number; end: number } | undefined {
  if (at + 2 > der.length || der[at] !== tag) return undefined;
  let length = der[at + 1]!;
  let start = at + 2;
  if (length >= 0x80) {
    const bytes = length & 0x7f;
    if (bytes < 1 || bytes > 3 || start + bytes > der.length) return undefined;
    length = der.readUIntBE(start, bytes);
    start += bytes;
  }
  return start + length <= der.length ? { start, end: start + length } : undefined;
}
