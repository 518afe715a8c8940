/** What an upstream URL says of encryption: checked, and with the files that it names read. */
import { readFileSync, statSync } from 'node:fs';
import { createSecureContext, type SecureContext } from 'node:tls';
import { type SslMode, type UpstreamParts, UpstreamUrlError } from './upstream-url.js';

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
  /** Authorities, client certificate and key. Not enumerable. */
  readonly context: SecureContext;
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
  if ((parts.sslCert === undefined) !== (parts.sslKey === undefined)) {
    throw new UpstreamUrlError('sslcert and sslkey need each other');
  }
  const tls = {
    mode,
    verifyChain: strict || parts.sslRootCert !== undefined,
    verifyHost: mode === 'verify-full',
    direct: parts.sslDirect,
  };
  const context = contextOf(parts, system);
  return Object.defineProperty(tls, 'context', {
    value: context,
    enumerable: false,
  }) as unknown as UpstreamTls;
}

function contextOf(parts: UpstreamParts, system: boolean): SecureContext {
  const { sslRootCert, sslCert, sslKey, sslPassword } = parts;
  const ca = sslRootCert === undefined || system ? undefined : read('sslrootcert', sslRootCert);
  if (ca !== undefined && !ca.includes('-----BEGIN')) {
    throw new UpstreamUrlError(`sslrootcert: ${sslRootCert} holds no certificate in PEM form`);
  }
  const cert = sslCert === undefined ? undefined : read('sslcert', sslCert);
  const key = sslKey === undefined ? undefined : read('sslkey', sslKey);
  if (sslKey !== undefined) refuseReadableKey(sslKey);
  try {
    return createSecureContext({
      minVersion: 'TLSv1.2',
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert, key }),
      ...(sslPassword === undefined ? {} : { passphrase: sslPassword }),
    });
  } catch (error) {
    const files = [ca && sslRootCert, sslCert, sslKey].filter(Boolean).join(', ');
    throw new UpstreamUrlError(`${files}: ${(error as Error).message.replace(/^error:[0-9A-F]*:/, '')}`);
  }
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
