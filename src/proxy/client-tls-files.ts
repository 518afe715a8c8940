import { createPrivateKey, X509Certificate } from 'node:crypto';
import { closeSync, fstatSync, openSync, readFileSync, type Stats } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { type ClientTlsConfig, ConfigError } from '../config/config.js';

/**
 * What `client_tls` and the files that it names say. Contents, not paths: every process of a proxy has the same, also
 * one that is started after the files have been changed, or broken.
 */
export interface ClientTlsFiles {
  /** `allow`: a client may do without. */
  readonly mode: 'allow' | 'require';
  /** Whether clients show a certificate of their own. */
  readonly clientCertificate: 'none' | 'request' | 'require';
  readonly cert: Buffer;
  /** Secret. */
  readonly key: Buffer;
  readonly ca: Buffer | undefined;
}

/**
 * Reads the files and checks that they can be used.
 * @throws ConfigError that names the setting and the file
 */
export function readClientTls(config: ClientTlsConfig): ClientTlsFiles {
  const { mode, clientCertificate } = config;
  const cert = readCertificate('client_tls_cert_file', config.certFile);
  const key = readKey('client_tls_key_file', config.keyFile);
  const ca = config.caFile === undefined ? undefined : readCertificate('client_tls_ca_file', config.caFile);
  if (!new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))) {
    throw new ConfigError(
      `setting "client_tls_key_file": the key in ${config.keyFile} is not that of the certificate in ${config.certFile}`,
    );
  }
  try {
    createSecureContext({ cert, key, ...(ca === undefined ? {} : { ca }) });
  } catch (error) {
    throw new ConfigError(
      `setting "client_tls_cert_file": ${config.certFile} cannot be used for TLS: ${(error as NodeJS.ErrnoException).code ?? 'it is refused'}`,
    );
  }
  return { mode, clientCertificate, cert, key, ca };
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
