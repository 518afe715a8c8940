import type { Logger } from 'pino';
import type { Config } from './config/config.js';
import type { RoleCredentials } from './proxy/authentication/arrival.js';
import type { ClientAuth } from './proxy/authentication/authenticate.js';
import { createClientTls } from './proxy/client-tls.js';
import { createProxy, type SessionHost } from './proxy/proxy.js';
import { createRewriter } from './rewrite/rewriter.js';
import type { Servers } from './upstream/dial.js';

/** What sessions report to, in the same process or in another. */
export interface Surroundings {
  readonly credentials: RoleCredentials;
  /** What they are connected to. */
  readonly servers: Servers;
  readonly clientAuth: ClientAuth;
  /** A transaction that mentioned df has ended. */
  onWorkCommitted(): void;
  readonly log: Logger;
}

/** Everything that serves clients in one process, as configured. */
export async function createSessions(config: Config, around: Surroundings): Promise<SessionHost> {
  const rewriter = await createRewriter({ maxBytes: config.maxRewriteBytes });
  const proxy = createProxy({
    listen: config.listen,
    unixSocketMode: config.unixSocketMode,
    clientTls: config.clientTls && createClientTls(config.clientTls),
    upstream: around.servers,
    connectTimeoutMs: config.upstreamConnectTimeoutMs,
    controlDatabase: config.upstream.database,
    rewriter,
    maxRewriteBytes: config.maxRewriteBytes,
    loginTimeoutMs: config.loginTimeoutMs,
    clientAuth: around.clientAuth,
    credentials: around.credentials,
    onWorkCommitted: around.onWorkCommitted,
    log: around.log,
  });
  return {
    ...proxy,
    close: async (graceMs) => {
      await proxy.close(graceMs);
      await rewriter.close();
    },
  };
}
