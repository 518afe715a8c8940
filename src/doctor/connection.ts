import { BlockList, isIP } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { Config } from '../config/config.js';
import { addressText, type Reached } from '../upstream/dial.js';
import type { Finding } from './doctor.js';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** Which host was reached, and whether somebody on the way could read or change what is said. */
export function connectionFindings(config: Config, { socket, address, protection }: Reached): Finding[] {
  const { hosts, tls } = config.upstream;
  const to = hosts.length > 1 ? `, to ${addressText(address)}` : '';
  if (address.host.startsWith('/')) return [{ state: 'ok', text: `connection by a Unix socket${to}` }];
  // Bytes that do not leave the machine need no encryption.
  const peer = socket.remoteAddress ?? '';
  const local = loopback.check(
    peer.replace(/^::ffff:/, ''),
    isIP(peer) === 6 && !/^::ffff:/.test(peer) ? 'ipv6' : 'ipv4',
  );
  switch (protection) {
    case 'verified': {
      const how = tls.verifyHost ? 'its host name' : 'its authority, not its host name';
      return [
        { state: 'ok', text: `encrypted (${version(socket)})${to}, server certificate verified: ${how}` },
      ];
    }
    case 'encrypted':
      return [
        {
          state: local ? 'ok' : 'warn',
          text: `encrypted (${version(socket)})${to}, server certificate not verified (sslmode=${tls.mode})`,
          ...(local ? {} : { mend: 'add sslmode=verify-full&sslrootcert=FILE to the upstream URL' }),
        },
      ];
    case 'plain':
      return [
        {
          state: local ? 'ok' : 'warn',
          text: `not encrypted (sslmode=${tls.mode})${to}${local ? ', on this machine only' : ''}`,
          ...(local
            ? {}
            : { mend: 'set ssl = on at the server and sslmode=verify-full in the upstream URL' }),
        },
      ];
  }
}

function version(socket: Reached['socket']): string {
  return socket instanceof TLSSocket ? (socket.getProtocol() ?? 'TLS') : 'TLS';
}
