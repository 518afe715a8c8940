/**
 * Addresses that a request must not reach while http.block_private is on: everything that is not public. Source: df-api
 * §4.12, decision #19, and IANA's registries of special-purpose addresses (RFC 6890 and its successors).
 */
import { BlockList, isIP } from 'node:net';

// one list each: a list of both takes an IPv4 address for its mapped form, which is outside 2000::/3
const RESTRICTED = { ipv4: new BlockList(), ipv6: new BlockList() };

for (const [network, prefix] of [
  ['0.0.0.0', 8], // "this network": connects to this machine
  ['10.0.0.0', 8], // private
  ['100.64.0.0', 10], // shared with the carrier (RFC 6598); metadata of a cloud, too
  ['127.0.0.0', 8], // loopback
  ['169.254.0.0', 16], // link-local: metadata services
  ['168.63.129.16', 32], // a public address that leads to the platform of a cloud's virtual machines
  ['172.16.0.0', 12], // private
  ['192.0.0.0', 24], // protocol assignments; metadata of a cloud, too
  ['192.0.2.0', 24], // documentation
  ['192.88.99.0', 24], // relays of 6to4, deprecated
  ['192.168.0.0', 16], // private
  ['198.18.0.0', 15], // benchmarks
  ['198.51.100.0', 24], // documentation
  ['203.0.113.0', 24], // documentation
  ['224.0.0.0', 4], // multicast
  ['240.0.0.0', 4], // reserved; broadcast
] as const) {
  RESTRICTED.ipv4.addSubnet(network, prefix, 'ipv4');
}

for (const [network, prefix] of [
  // Outside 2000::/3 nothing is public: unspecified, loopback, IPv4 compatible, mapped (::ffff:0:0/96) and translated
  // (::ffff:0:0:0/96, 64:ff9b::/96, 64:ff9b:1::/48), discard-only (100::/64) …
  ['::', 3],
  // … SRv6 (5f00::/16) …
  ['4000::', 2],
  // … unique local (fc00::/7), link-local (fe80::/10), site-local (fec0::/10), multicast (ff00::/8).
  ['8000::', 1],
  ['2001::', 23], // protocol assignments: Teredo, benchmarks, ORCHID
  ['2001:db8::', 32], // documentation
  ['2002::', 16], // 6to4: any IPv4 address
  ['3fff::', 20], // documentation
] as const) {
  RESTRICTED.ipv6.addSubnet(network, prefix, 'ipv6');
}

/** Whether an address is not public. What is no address at all, or has a zone, is not either. */
export function isRestricted(address: string): boolean {
  const family = address.includes('%') ? 0 : isIP(address);
  if (family === 0) return true;
  return family === 4 ? RESTRICTED.ipv4.check(address, 'ipv4') : RESTRICTED.ipv6.check(address, 'ipv6');
}
