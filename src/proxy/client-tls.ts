import { constants } from 'node:crypto';
import type { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import type { ClientTlsFiles } from './client-tls-files.js';

/** What a client that asks for encryption gets. */
export interface ClientTls extends Pick<ClientTlsFiles, 'mode' | 'clientCertificate'> {
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

export function createClientTls(files: ClientTlsFiles): ClientTls {
  const { mode, clientCertificate } = files;
  const server = createTlsServer(files);
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
function createTlsServer({ cert, key, ca, clientCertificate }: ClientTlsFiles): Server {
  return createServer({
    cert,
    key,
    ...(ca === undefined ? {} : { ca }),
    requestCert: clientCertificate !== 'none',
    // Looked at after the start-up packet, so that a client can be told why it is refused.
    rejectUnauthorized: false,
    minVersion: 'TLSv1.2',
    // As PostgreSQL has it: no tickets (the session would outlive a change of certificates), no renegotiation.
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
    ALPNProtocols: [ALPN],
  });
}
