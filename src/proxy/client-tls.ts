import { constants, createPrivateKey, X509Certificate } from 'node:crypto';
import { closeSync, fstatSync, openSync, readFileSync, type Stats } from 'node:fs';
import type { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { type ClientTlsConfig, ConfigError } from '../config/config.js';

/** What a client that asks for encryption gets. */
export interface ClientTls {
  /** `allow`: a client may do without. */
  readonly mode: 'allow' | 'require';
  /** Whether clients show a certificate of their own. */
  readonly clientCertificate: 'none' | 'request' | 'require';
  /**
   * The server's side of a handshake.
   * @param client paused, with nothing read behind the request
   * @returns the encrypted connection, paused, with an 'error' listener
   * @throws HandshakeError when it fails or the client closes; the connection is closed then
   */
  handshake(client: Socket): Promise<TLSSocket>;
}

/** The message is fit for the log: it says what went wrong, not with what. */
export class HandshakeError extends Error {
  override readonly name = 'HandshakeError';
}

/** The name of the protocol in ALPN, as IANA has it. */
export const ALPN = 'postgresql';

/**
 * Reads the files. They are read once: what changes in them later is seen by the next call.
 * @throws ConfigError that names the setting and the file
 */
export function createClientTls(config: ClientTlsConfig): ClientTls {
  const { mode, clientCertificate } = config;
  const server = createTlsServer(config);
  const waiting = new Map<string, (outcome: TLSSocket | Error) => void>();
  server.on('secureConnection', (socket) => waiting.get(ends(socket))?.(socket));
  server.on('tlsClientError', (error, socket) => {
    waiting.get(ends(socket))?.(new HandshakeError((error as NodeJS.ErrnoException).code ?? error.message));
    socket.destroy();
  });
  return {
    mode,
    clientCertificate,
    handshake: (client) =>
      new Promise((resolve, reject) => {
        const key = ends(client);
        const settle = (outcome: TLSSocket | Error) => {
          waiting.delete(key);
          client.off('close', onClose);
          client.off('end', onClose);
          if (outcome instanceof Error) {
            reject(outcome);
            return;
          }
          outcome.on('error', () => {});
          outcome.pause();
          resolve(outcome);
        };
        const onClose = () => {
          settle(new HandshakeError('client closed during the TLS handshake'));
          client.destroy();
        };
        if (client.destroyed || client.readableEnded) return onClose();
        waiting.set(key, settle);
        client.once('close', onClose);
        client.once('end', onClose);
        // A tls.Server takes connections from elsewhere by this event, and does the whole of the server's part.
        server.emit('connection', client);
      }),
  };
}

/** Both addresses of a connection: of those that are open, no two have the same. */
function ends(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress} ${socket.localPort}`;
}

/** Never listens; holds certificate, key and CA. */
function createTlsServer(config: ClientTlsConfig): Server {
  const cert = readCertificate('client_tls_cert_file', config.certFile);
  const key = readKey('client_tls_key_file', config.keyFile);
  const ca = config.caFile === undefined ? undefined : readCertificate('client_tls_ca_file', config.caFile);
  if (!new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))) {
    throw new ConfigError(
      `setting "client_tls_key_file": the key in ${config.keyFile} is not that of the certificate in ${config.certFile}`,
    );
  }
  try {
    return createServer({
      cert,
      key,
      ...(ca === undefined ? {} : { ca }),
      requestCert: config.clientCertificate !== 'none',
      // Looked at after the start-up packet, so that a client can be told why it is refused.
      rejectUnauthorized: false,
      minVersion: 'TLSv1.2',
      // As PostgreSQL has it: no tickets (the session would outlive a change of certificates), no renegotiation.
      secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
      ALPNProtocols: [ALPN],
    });
  } catch (error) {
    throw new ConfigError(
      `setting "client_tls_cert_file": ${config.certFile} cannot be used for TLS: ${(error as NodeJS.ErrnoException).code ?? 'it is refused'}`,
    );
  }
}

function readCertificate(name: string, path: string): Buffer {
  const bytes = read(name, path);
  try {
    new X509Certificate(bytes);
  } catch {
    throw new ConfigError(`setting "${name}": ${path} holds no certificate in PEM form`);
  }
  return bytes;
}

function readKey(name: string, path: string): Buffer {
  const bytes = read(name, path, (stats) => {
    const problem = keyFileProblem(stats);
    if (problem !== undefined) throw new ConfigError(`setting "${name}": ${path} ${problem}`);
  });
  try {
    createPrivateKey(bytes);
  } catch {
    throw new ConfigError(`setting "${name}": ${path} holds no private key in PEM form without a passphrase`);
  }
  return bytes;
}

/** PostgreSQL's rule for the server's key: nobody else may read it, but a key of root's may be the group's to read. */
function keyFileProblem(stats: Stats): string | undefined {
  if (!stats.isFile()) return 'is not a regular file';
  const { geteuid } = process;
  if (geteuid === undefined) return undefined;
  const user = geteuid();
  if (stats.uid !== user && stats.uid !== 0) return 'must be owned by the user of the proxy or by root';
  const open = stats.uid === user ? 0o077 : 0o037;
  if ((stats.mode & open) === 0) return undefined;
  return 'has group or world access: its permissions must be 0600 or less, or 0640 or less if root owns it';
}

function read(name: string, path: string, inspect: (stats: Stats) => void = () => {}): Buffer {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    throw unreadable(name, path, error);
  }
  try {
    // Of the file that is open, not of one that has its name by then.
    inspect(fstatSync(file));
    return readFileSync(file);
  } catch (error) {
    throw error instanceof ConfigError ? error : unreadable(name, path, error);
  } finally {
    closeSync(file);
  }
}

function unreadable(name: string, path: string, error: unknown): ConfigError {
  return new ConfigError(`setting "${name}": cannot read ${path}: ${(error as NodeJS.ErrnoException).code}`);
}
