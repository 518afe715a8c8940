/** Host patterns of http.allow. */

/** A host that may be reached, as WHATWG URL parsing writes it: lower case, IDN in its ASCII form. */
export interface HostPattern {
  /** Without the `*.` of a pattern for subdomains. */
  readonly host: string;
  /** Whether it means the names below `host`, at any depth, and not `host` itself. */
  readonly below: boolean;
  /** Null: every port. */
  readonly port: number | null;
}

const FORM = /^(\*\.)?([^*:/?#@\\\s[\]]+)(?::(\d{1,5}))?$/;

/** `host`, `*.domain`, each with or without `:port`; undefined for anything else, IP addresses too. */
export function hostPattern(text: string): HostPattern | undefined {
  const found = FORM.exec(text);
  if (found === null) return undefined;
  const port = found[3] === undefined ? null : Number(found[3]);
  if (port !== null && (port < 1 || port > 65_535)) return undefined;
  if (!URL.canParse(`http://${found[2]}`)) return undefined;
  const host = new URL(`http://${found[2]}`).hostname;
  // as a URL would have it: `1.2` and `0x7f000001` are addresses
  if (host === '' || /^[\d.]+$/.test(host) || host.endsWith('.')) return undefined;
  return { host, below: found[1] !== undefined, port };
}

/** Whether the pattern covers a host and port. @param host as the URL parser writes it */
export function matchesHost({ host, below, port }: HostPattern, name: string, at: number): boolean {
  if (port !== null && port !== at) return false;
  return below ? name.length > host.length + 1 && name.endsWith(`.${host}`) : name === host;
}
