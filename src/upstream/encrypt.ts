/** Encryption towards the server. Sources: protocol chapter "SSL Session Encryption", libpq chapter "SSL Support". */
import { isIP, type Socket } from 'node:net';
import { checkServerIdentity, connect, type TLSSocket } from 'node:tls';
import type { UpstreamTls } from '../config/upstream-tls.js';

/** No encrypted connection as it was asked for; the message is fit for a client. */
export class TlsRefused extends Error {
  /** Of Node or OpenSSL; undefined for others. */
  readonly code: string | undefined;
  /** Whether a mode that only prefers encryption may try again without it. */
  readonly mayGoWithout: boolean;
  constructor(reason: string, mayGoWithout: boolean, code?: string) {
    super(reason);
    this.code = code;
    this.mayGoWithout = mayGoWithout;
  }
}

/** Length 8, code 80877103. */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);
const ALPN = 'postgresql';
const YES = 0x53;
const NO = 0x4e;
const ERROR = 0x45;

/**
 * Encrypts a fresh connection.
 * @param host as configured: the name that the certificate must have, and that the server is told (SNI)
 * @returns undefined if the server has no encryption and the mode does without
 * @throws TlsRefused
 */
export async function encrypt(
  socket: Socket,
  host: string,
  tls: UpstreamTls,
): Promise<TLSSocket | undefined> {
  if (!tls.direct) {
    const answer = await ask(socket);
    if (answer === NO) {
      if (tls.mode === 'prefer') return undefined;
      throw new TlsRefused(`server does not support SSL, but sslmode=${tls.mode} requires it`, false);
    }
    if (answer === ERROR) throw new TlsRefused('server answered the request for SSL with an error', true);
    if (answer !== YES) throw new TlsRefused('received invalid response to SSL negotiation', false);
  }
  const encrypted = await handshake(socket, host, tls);
  if (tls.direct && encrypted.alpnProtocol !== ALPN) {
    encrypted.destroy();
    throw new TlsRefused('server did not agree on the protocol "postgresql" (ALPN)', false);
  }
  return encrypted;
}

/** Sends SSLRequest; the one byte of the answer. What follows it unencrypted was sent by somebody in between (CVE-2021-23222). */
function ask(socket: Socket): Promise<number> {
  return new Promise((resolve, reject) => {
    const settle = () => {
      socket.off('data', onData);
      socket.off('close', onClose);
    };
    const onData = (chunk: Buffer) => {
      settle();
      if (chunk.length > 1 && chunk[0] !== ERROR) {
        reject(new TlsRefused('received unencrypted data after SSL response', false));
      } else resolve(chunk[0]!);
    };
    const onClose = () => {
      settle();
      reject(new TlsRefused('server closed the connection when asked for SSL', true));
    };
    socket.on('data', onData);
    socket.on('close', onClose);
    socket.write(SSL_REQUEST);
  });
}

function handshake(socket: Socket, host: string, tls: UpstreamTls): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const encrypted = connect({
      socket,
      secureContext: tls.context,
      ALPNProtocols: [ALPN],
      rejectUnauthorized: tls.verifyChain,
      // Names only (RFC 6066, section 3).
      ...(isIP(host) === 0 ? { servername: host } : {}),
      checkServerIdentity: (_, certificate) =>
        tls.verifyHost ? checkServerIdentity(host, certificate) : undefined,
    });
    const settle = () => {
      encrypted.off('secureConnect', onSecure);
      encrypted.off('close', onClose);
    };
    const onSecure = () => {
      settle();
      encrypted.off('error', onError);
      resolve(encrypted);
    };
    const onError = (error: NodeJS.ErrnoException) => {
      settle();
      socket.destroy();
      reject(new TlsRefused(`SSL error: ${reasonText(error)}`, true, error.code));
    };
    const onClose = () => {
      settle();
      reject(new TlsRefused('server closed the connection during the SSL handshake', true));
    };
    encrypted.once('secureConnect', onSecure);
    // Stays on after a failure: a late error of a destroyed socket has a listener.
    encrypted.on('error', onError);
    encrypted.once('close', onClose);
  });
}

function reasonText(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
      return 'certificate verify failed: not issued by an authority in sslrootcert';
    case 'CERT_HAS_EXPIRED':
      return 'certificate verify failed: certificate has expired';
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return 'server certificate does not match the host name';
    case 'ECONNRESET':
      return 'connection reset during the handshake';
    default:
      // OpenSSL's own words are the last part of "error:0A000410:SSL routines::sslv3 alert handshake failure:…".
      return (
        /^(?:[0-9A-F]+:)?error:[0-9A-F]+:[^:]*:[^:]*:([^:\n]+)/.exec(error.message)?.[1] ?? error.message
      );
  }
}
