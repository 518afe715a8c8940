import { BlockList } from 'node:net';
import type { Logger } from 'pino';
import type { Config } from './config/config.js';
import type { RoleCredentials } from './proxy/authentication/arrival.js';
import type { ClientAuth } from './proxy/authentication/authenticate.js';
import { createClientTls } from './proxy/client-tls.js';
import type { ClientTlsFiles } from './proxy/client-tls-files.js';
import type { ChangeableOptions } from './proxy/options.js';
import type { PrivateNotice } from './proxy/private-notice.js';
import { createProxy, type SessionHost } from './proxy/proxy.js';
import { createRewriter } from './rewrite/rewriter.js';
import { extensionBodies } from './state/extension.js';
import type { Servers } from './upstream/dial.js';

/** What sessions report to, in the same process or in another. */
export interface Surroundings {
  readonly credentials: RoleCredentials;
  /** What they are connected to. */
  readonly servers: Servers;
  readonly clientAuth: ClientAuth;
  /** Undefined: clients are not encrypted. */
  readonly clientTls: ClientTlsFiles | undefined;
  /** A transaction that mentioned df has ended. */
  onWorkCommitted(): void;
  /** A SQL function asks for something to be done outside of its transaction. */
  onPrivateNotice(notice: PrivateNotice): void;
  /** A login from this address was refused. */
  onLoginFailed?(address: string): void;
  readonly log: Logger;
}

export interface Reloading {
  /** Takes over what can change without a restart, for clients that come from now on. */
  reload(config: Omit<Config, 'upstream'>, clientTls: ClientTlsFiles | undefined): void;
}

/** Everything that serves clients in one process, as configured. */
export async function createSessions(config: Config, around: Surroundings): Promise<SessionHost & Reloading> {
  const rewriter = await createRewriter({
    maxBytes: config.maxRewriteBytes,
    extension: await extensionBodies(config.upstream.user, config.upstream.database),
  });
  const proxy = createProxy({
    listen: config.listen,
    unixSocketMode: config.unixSocketMode,
    clientTls: around.clientTls && createClientTls(around.clientTls),
    ...limits(config),
    upstream: around.servers,
    connectTimeoutMs: config.upstreamConnectTimeoutMs,
    controlDatabase: config.upstream.database,
    rewriter,
    maxRewriteBytes: config.maxRewriteBytes,
    clientAuth: around.clientAuth,
    credentials: around.credentials,
    onWorkCommitted: around.onWorkCommitted,
    onPrivateNotice: around.onPrivateNotice,
    ...(around.onLoginFailed === undefined ? {} : { onLoginFailed: around.onLoginFailed }),
    log: around.log,
  });
  return {
    ...proxy,
    reload: (next, clientTls) => {
      proxy.change({ ...limits(next), clientTls: clientTls && createClientTls(clientTls) });
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
