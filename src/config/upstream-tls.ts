/** What an upstream URL says of encryption: checked, and with the files that it names read. */
import { readFileSync, statSync } from 'node:fs';
import { createSecureContext, type SecureContext } from 'node:tls';
import {
  type ChannelBindingMode,
  type SslMode,
  type UpstreamParts,
  UpstreamUrlError,
} from './upstream-url.js';

/** How sessions with the server are encrypted. Unix sockets never are, whatever the mode, as in libpq. */
export interface UpstreamTls {
  /** `allow` is taken as `prefer`. */
  readonly mode: Exclude<SslMode, 'allow'>;
  /** Whether the server's certificate must come from a known authority: verify-ca and verify-full, or require with sslrootcert. */
  readonly verifyChain: boolean;
  /** Whether it must also be issued to the host: verify-full. */
  readonly verifyHost: boolean;
  /** TLS from the first byte on, without an SSLRequest. */
  readonly direct: boolean;
  readonly channelBinding: ChannelBindingMode;
  /** Not enumerable, as it holds a private key. */
  readonly files: TlsFiles;
  /** Made of the files. Not enumerable. */
  readonly context: SecureContext;
}

/** Contents, not paths, as they were at start. */
interface TlsFiles {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly passphrase: string | undefined;
}

/** On its way to another process. */
export type CarriedTls = Omit<UpstreamTls, 'context'>;

export function carriedTls(tls: UpstreamTls): CarriedTls {
  return { ...tls, files: tls.files };
}

export function restoredTls({ files, ...open }: CarriedTls): UpstreamTls {
  return withFiles(open, files);
}

function withFiles(open: Omit<UpstreamTls, 'files' | 'context'>, files: TlsFiles): UpstreamTls {
  const { ca, cert, key, passphrase } = files;
  const context = createSecureContext({
    minVersion: 'TLSv1.2',
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert, key }),
    ...(passphrase === undefined ? {} : { passphrase }),
  });
  return Object.defineProperties(open, {
    files: { value: files, enumerable: false },
    context: { value: context, enumerable: false },
  }) as UpstreamTls;
}

/**
 * @throws UpstreamUrlError for parameters that contradict each other, and for files, by name, that cannot be read or
 * hold something else
 */
export function upstreamTls(parts: UpstreamParts): UpstreamTls {
  const system = parts.sslRootCert === 'system';
  const asked = parts.sslMode ?? (system ? 'verify-full' : 'prefer');
  const mode = asked === 'allow' ? 'prefer' : asked;
  const strict = mode === 'verify-ca' || mode === 'verify-full';
  if (strict && parts.sslRootCert === undefined) {
    throw new UpstreamUrlError(`sslmode=${mode} needs sslrootcert=FILE (or system)`);
  }
  if (parts.sslRootCert !== undefined && !strict && mode !== 'require') {
    // libpq would fall back to no encryption when the certificate is a wrong one.
    throw new UpstreamUrlError('sslrootcert needs sslmode=require, verify-ca or verify-full');
  }
  if (system && mode !== 'verify-full')
    throw new UpstreamUrlError('sslrootcert=system needs sslmode=verify-full');
  if (parts.sslDirect && !strict && mode !== 'require') {
    throw new UpstreamUrlError('sslnegotiation=direct needs sslmode=require, verify-ca or verify-full');
  }
  if (parts.channelBinding === 'require' && (mode === 'disable' || mode === 'prefer')) {
    throw new UpstreamUrlError('channel_binding=require needs sslmode=require, verify-ca or verify-full');
  }
  if (parts.channelBinding === 'require' && parts.password === undefined) {
    throw new UpstreamUrlError('channel_binding=require needs the password of the admin role in the URL');
  }
  if ((parts.sslCert === undefined) !== (parts.sslKey === undefined)) {
    throw new UpstreamUrlError('sslcert and sslkey need each other');
  }
  const tls = {
    mode,
    verifyChain: strict || parts.sslRootCert !== undefined,
    verifyHost: mode === 'verify-full',
    direct: parts.sslDirect,
    channelBinding: parts.channelBinding,
  };
  const files = readFiles(parts, system);
  try {
    return withFiles(tls, files);
  } catch (error) {
    const names = [system ? undefined : parts.sslRootCert, parts.sslCert, parts.sslKey].filter(Boolean);
    const reason = (error as Error).message.replace(/^error:[0-9A-F]*:/, '');
    throw new UpstreamUrlError(`${names.join(', ')}: ${reason}`);
  }
}

function readFiles(parts: UpstreamParts, system: boolean): TlsFiles {
  const { sslRootCert, sslCert, sslKey, sslPassword } = parts;
  const ca = sslRootCert === undefined || system ? undefined : read('sslrootcert', sslRootCert);
  if (ca !== undefined && !ca.includes('-----BEGIN')) {
    throw new UpstreamUrlError(`sslrootcert: ${sslRootCert} holds no certificate in PEM form`);
  }
  const cert = sslCert === undefined ? undefined : read('sslcert', sslCert);
  const key = sslKey === undefined ? undefined : read('sslkey', sslKey);
  if (sslKey !== undefined) refuseReadableKey(sslKey);
  return { ca, cert, key, passphrase: sslPassword };
}

function read(parameter: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new UpstreamUrlError(`${parameter}: cannot read ${path}: ${(error as NodeJS.ErrnoException).code}`);
  }
}

/** As libpq: 0600 or stricter, or 0640 if it belongs to root. */
function refuseReadableKey(path: string): void {
  if (process.platform === 'win32') return;
  const { mode, uid } = statSync(path);
  if ((mode & (uid === 0 && process.getuid?.() !== 0 ? 0o037 : 0o077)) === 0) return;
  throw new UpstreamUrlError(
    `sslkey: ${path} can be read by others than its owner: its mode must be 0600 or less`,
  );
}
