const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');

/** A header of the PROXY protocol, version 2, of any command, family and content. */
export function proxyHeader(command: number, family: number, rest: Buffer = Buffer.alloc(0)): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(rest.length);
  return Buffer.concat([SIGNATURE, Buffer.of(command, family), length, rest]);
}

/** For a client with this address; what follows the addresses are TLVs. */
export function ipv4Header(address: string, more: Buffer = Buffer.alloc(0)): Buffer {
  const source = Buffer.from(address.split('.').map(Number));
  const rest = Buffer.from([192, 0, 2, 1, 0xd4, 0x31, 0x19, 0x20]);
  return proxyHeader(0x21, 0x11, Buffer.concat([source, rest, more]));
}

/** @param address 16 bytes in hex */
export function ipv6Header(address: string): Buffer {
  return proxyHeader(0x21, 0x21, Buffer.concat([Buffer.from(address, 'hex'), Buffer.alloc(20)]));
}
