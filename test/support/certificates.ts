import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Paths of a certificate and its key, in PEM form. */
export interface Certificate {
  readonly certFile: string;
  /** Mode 0600. */
  readonly keyFile: string;
}

export interface Authority extends Certificate {
  /** The authority's own certificate. */
  readonly cert: Buffer;
  /**
   * A certificate for servers and clients.
   * @param names subjectAltName, as `DNS:localhost` or `IP:127.0.0.1`
   */
  issue(commonName: string, names?: readonly string[]): Certificate;
}

/** A line to print with a skipped test where the program that makes certificates is missing; undefined where it is there. */
export function opensslMissing(): string | undefined {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' });
    return undefined;
  } catch {
    return 'needs certificates, and the program openssl, which makes them, is not installed';
  }
}

/** A directory for certificates. */
export function certificateDirectory(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'certificates-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** A new certificate authority; its files are put in the directory. */
export function createAuthority(directory: string, name = 'authority'): Authority {
  const file = (base: string, extension: string) => join(directory, `${base}.${extension}`);
  const openssl = (...args: string[]) =>
    execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const certFile = file(name, 'crt');
  const keyFile = file(name, 'key');
  openssl(
    ...['req', '-x509', ...newKey, '-days', '30', '-subj', `/CN=${name}`],
    ...['-keyout', keyFile, '-out', certFile, '-addext', 'keyUsage=critical,keyCertSign'],
  );
  let issued = 0;
  return {
    certFile,
    keyFile,
    cert: readFileSync(certFile),
    issue: (commonName, names = []) => {
      const base = `${name}-${++issued}`;
      const extensions = file(base, 'ext');
      const alternatives = names.length > 0 ? `subjectAltName=${names.join(',')}\n` : '';
      writeFileSync(extensions, `basicConstraints=CA:FALSE\n${alternatives}`);
      openssl(
        ...['req', '-new', ...newKey, '-subj', `/CN=${commonName}`],
        ...['-keyout', file(base, 'key'), '-out', file(base, 'csr')],
      );
      openssl(
        ...['x509', '-req', '-in', file(base, 'csr'), '-out', file(base, 'crt'), '-days', '30'],
        ...['-CA', certFile, '-CAkey', keyFile, '-CAcreateserial', '-extfile', extensions],
      );
      return { certFile: file(base, 'crt'), keyFile: file(base, 'key') };
    },
  };
}
