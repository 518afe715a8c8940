/**
 * Which URLs may be requested, judged before anything is looked up. The address that the host leads to is judged when
 * the connection is made (connect.ts). Source: df-api §4.12, decision #19.
 */
import { isIP } from 'node:net';
import { type HostPattern, matchesHost } from '../config/host-pattern.js';
import { Blocked } from './failure.js';

export interface HttpPolicy {
  readonly mode: 'off' | 'allowlist' | 'all';
  readonly allow: readonly HostPattern[];
  /** Whether addresses that are not public are refused. */
  readonly blockPrivate: boolean;
}

/**
 * The URL to request, parsed as browsers do (WHATWG): what is judged here is what is connected to.
 * @throws Blocked
 */
export function allowedUrl(text: string, policy: HttpPolicy): URL {
  const scheme = (text.split('://', 1)[0] as string).toLowerCase();
  if (scheme !== 'http' && scheme !== 'https') {
    throw new Blocked(`Blocked: unsupported URL scheme '${scheme}'. Only http and https are allowed.`);
  }
  if (policy.mode === 'off') {
    throw new Blocked(
      'Blocked: outbound HTTP requests are disabled. Set http.mode in the configuration of pg-durable-proxy to enable them.',
    );
  }
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || url.hostname === '') {
    throw new Blocked('Blocked: unable to extract hostname from URL.');
  }
  if (policy.mode === 'allowlist') {
    if (isIP(hostOf(url)) !== 0) {
      throw new Blocked(
        'Blocked: requests to bare IP addresses are not permitted. Use a hostname from the allowed endpoint list instead.',
      );
    }
    const port = portOf(url);
    if (!policy.allow.some((pattern) => matchesHost(pattern, url.hostname, port))) {
      throw new Blocked(
        `Blocked: '${url.hostname}' is not in the allowed endpoint list. Only requests to hosts in http.allow are permitted.`,
      );
    }
  }
  return url;
}

/** The host, an IPv6 address without its brackets. */
export function hostOf(url: URL): string {
  return url.hostname.startsWith('[') ? url.hostname.slice(1, -1) : url.hostname;
}

export function portOf(url: URL): number {
  if (url.port !== '') return Number(url.port);
  return url.protocol === 'https:' ? 443 : 80;
}
