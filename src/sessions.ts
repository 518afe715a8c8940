import { BlockList } from 'node:net';
import type { Logger } from 'pino';
import type { Config } from './config/config.js';
import type { RoleCredentials } from './proxy/authentication/arrival.js';
import type { ClientAuth } from './proxy/authentication/authenticate.js';
import { createClientTls } from './proxy/client-tls.js';
import type { ChangeableOptions } from './proxy/options.js';
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
  /** A login from this address was refused. */
  onLoginFailed?(address: string): void;
  readonly log: Logger;
}

/** Takes over what can change without a restart; what cannot (files that cannot be used) is an error in the log. */
export interface Reloading {
  reload(config: Omit<Config, 'upstream'>): void;
}

/** Everything that serves clients in one process, as configured. */
export async function createSessions(config: Config, around: Surroundings): Promise<SessionHost & Reloading> {
  const rewriter = await createRewriter({ maxBytes: config.maxRewriteBytes });
  const proxy = createProxy({
    listen: config.listen,
    unixSocketMode: config.unixSocketMode,
    clientTls: config.clientTls && createClientTls(config.clientTls),
    ...limits(config),
    upstream: around.servers,
    connectTimeoutMs: config.upstreamConnectTimeoutMs,
    controlDatabase: config.upstream.database,
    rewriter,
    maxRewriteBytes: config.maxRewriteBytes,
    clientAuth: around.clientAuth,
    credentials: around.credentials,
    onWorkCommitted: around.onWorkCommitted,
    ...(around.onLoginFailed === undefined ? {} : { onLoginFailed: around.onLoginFailed }),
    log: around.log,
  });
  return {
    ...proxy,
    reload: (next) => {
      proxy.change(limits(next));
      try {
        proxy.change({ clientTls: next.clientTls && createClientTls(next.clientTls) });
      } catch (err) {
        around.log.error({ err }, 'files for TLS not reloaded: the old ones stay');
      }
    },
    close: async (graceMs) => {
      await proxy.close(graceMs);
      await rewriter.close();
    },
  };
}

/** What one process has of them. */
function limits(config: Omit<Config, 'upstream'>): Omit<ChangeableOptions, 'clientTls'> {
  return {
    loginTimeoutMs: config.loginTimeoutMs,
    proxyProtocolFrom: networks(config.proxyProtocolFrom),
    // Clients are spread evenly over the processes (workers/workers.ts).
    maxClientConnections: Math.ceil(config.maxClientConnections / config.workers),
    failedLoginLimit: { count: config.maxFailedLogins, windowMs: config.failedLoginWindowMs },
  };
}

function networks(list: Config['proxyProtocolFrom']): BlockList | undefined {
  if (list.length === 0) return undefined;
  const found = new BlockList();
  for (const { address, prefix, family } of list) found.addSubnet(address, prefix, family);
  return found;
}
