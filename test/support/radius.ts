import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';

/** Packet codes and the attribute that matters (RFC 2865). */
const ACCEPT = 2;
const REJECT = 3;
const USER_PASSWORD = 2;

/** A RADIUS server that knows one password, whoever asks. */
export interface Radius {
  readonly port: number;
  readonly secret: string;
  /** What is right from now on. */
  password: string;
  accepted: number;
  rejected: number;
  stop(): void;
}

export async function startRadius(password: string): Promise<Radius> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  const radius: Radius = {
    port: socket.address().port,
    secret: 'shared',
    password,
    accepted: 0,
    rejected: 0,
    stop: () => void socket.close(),
  };
  const md5 = (...parts: Array<Buffer | string>) => {
    const hash = createHash('md5');
    for (const part of parts) hash.update(part);
    return hash.digest();
  };
  socket.on('message', (request, from) => {
    const authenticator = request.subarray(4, 20);
    const right = passwordIn(request, (before) => md5(radius.secret, before)) === radius.password;
    if (right) radius.accepted++;
    else radius.rejected++;
    const head = Buffer.from([right ? ACCEPT : REJECT, request[1]!, 0, 20]);
    socket.send(Buffer.concat([head, md5(head, authenticator, radius.secret)]), from.port, from.address);
  });
  return radius;
}

/** The password is hidden in blocks of 16 bytes, each under a pad that follows from the block before. */
function passwordIn(request: Buffer, pad: (before: Buffer) => Buffer): string {
  for (let at = 20; at < request.length; at += request[at + 1]!) {
    if (request[at] !== USER_PASSWORD) continue;
    const hidden = request.subarray(at + 2, at + request[at + 1]!);
    const plain = Buffer.alloc(hidden.length);
    let before = request.subarray(4, 20);
    for (let block = 0; block < hidden.length; block += 16) {
      const under = pad(before);
      before = hidden.subarray(block, block + 16);
      for (let i = 0; i < 16; i++) plain[block + i] = before[i]! ^ under[i]!;
    }
    return plain.toString('utf8').replace(/\0+$/, '');
  }
  return '';
}
