import { pino } from 'pino';
import { createProxy, type ProxyOptions } from '../../src/proxy/proxy.js';
import { createRewriter } from '../../src/rewrite/rewriter.js';
import { CredentialStore } from '../../src/upstream/credentials.js';

export interface WireProxy {
  host: string;
  port: number;
  proxy: ReturnType<typeof createProxy>;
  credentials: CredentialStore;
  /** Calls of onWorkCommitted. */
  commits(): number;
  /** Lines of the log, as JSON. */
  logLines: string[];
  close(graceMs?: number): Promise<void>;
}

/** The proxy alone, without schema and executor, before the server of `url`. */
export async function startWireProxy(
  url: string,
  options: Partial<ProxyOptions> & { credentials?: CredentialStore } = {},
): Promise<WireProxy> {
  const { hostname, port, pathname } = new URL(url);
  const upstream = options.upstream ?? { host: hostname, port: Number(port) };
  const credentials = new CredentialStore([{ host: hostname, port: Number(port) }]);
  const rewriter = options.rewriter ?? (await createRewriter());
  const logLines: string[] = [];
  let commits = 0;
  const proxy = createProxy({
    listen: [{ host: '127.0.0.1', port: 0 }],
    unixSocketMode: 0o777,
    clientTls: undefined,
    proxyProtocolFrom: undefined,
    maxClientConnections: 0,
    failedLoginLimit: { count: 0, windowMs: 60_000 },
    connectTimeoutMs: 5_000,
    controlDatabase: decodeURIComponent(pathname.slice(1)),
    maxRewriteBytes: 16 * 1024 * 1024,
    loginTimeoutMs: 10_000,
    clientAuth: { mode: 'password' },
    credentials,
    onWorkCommitted: () => {
      commits++;
    },
    log: pino({ level: 'debug' }, { write: (line: string) => void logLines.push(line) }),
    ...options,
    upstream,
    rewriter,
  });
  const [address] = await proxy.listen();
  return {
    ...address!,
    proxy,
    credentials: options.credentials ?? credentials,
    commits: () => commits,
    logLines,
    close: async (graceMs = 0) => {
      await proxy.close(graceMs);
      if (options.rewriter === undefined) await rewriter.close();
    },
  };
}
