import type { Logger } from 'pino';
import type { Upstream } from '../config/upstream.js';
import type { TargetSessionAttrs } from '../config/upstream-url.js';
import { addressText } from './address.js';
import { watchHost } from './host-watch.js';
import { Servers } from './servers.js';

/** The servers of a configuration, by who uses them. One and the same where both want the same of a host. */
export interface ConfiguredServers {
  /** Clients' sessions: target_session_attrs as configured. */
  readonly clients: Servers;
  /** The admin role's connections and the executor's, which write: with a choice, only a server that lets them. */
  readonly engine: Servers;
  close(): void;
}

export function configuredServers(upstream: Upstream): ConfiguredServers {
  const transport = { tls: upstream.tls, keepAliveIdleMs: upstream.keepAliveIdleMs };
  const make = (wanted: TargetSessionAttrs): Servers =>
    new Servers({
      hosts: upstream.hosts,
      transport,
      wanted,
      watch: (address, timeoutMs) => watchHost(upstream, transport, address, timeoutMs),
    });
  const clients = make(upstream.targetSessionAttrs);
  const wanted = forEngine(upstream);
  const engine = wanted === upstream.targetSessionAttrs ? clients : make(wanted);
  return {
    clients,
    engine,
    close: () => {
      clients.close();
      engine.close();
    },
  };
}

/** The log hears of every change of host, and of hosts that could not be asked: a changed password is an error. */
export function logChanges({ clients, engine }: ConfiguredServers, log: Logger): void {
  for (const servers of new Set([clients, engine])) {
    const wanted = servers.wanted;
    servers.on('chosen', (address) => log.info({ server: addressText(address), wanted }, 'server chosen'));
    servers.on('left', (address, reason) => {
      log.warn({ server: addressText(address), wanted, reason }, 'server is no longer the one to work with');
    });
    servers.on('unasked', (address, error) => {
      const { message: reason, code = '' } = error as Error & { code?: string };
      const server = addressText(address);
      // invalid_authorization_specification and invalid_password
      if (code.startsWith('28')) log.error({ server, reason }, 'the server refuses the admin role');
      else log.warn({ server, reason }, 'server could not be asked what it is');
    });
  }
}

function forEngine({ hosts, targetSessionAttrs }: Upstream): TargetSessionAttrs {
  if (targetSessionAttrs === 'primary' || targetSessionAttrs === 'read-write') return targetSessionAttrs;
  return targetSessionAttrs === 'any' && hosts.length === 1 ? 'any' : 'read-write';
}
