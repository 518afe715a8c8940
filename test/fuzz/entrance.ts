import { connect, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { Request } from '../../src/wire/codes.js';
import type { Dice } from '../chaos/dice.js';
import { ipv4Header, ipv6Header, proxyHeader } from '../support/proxy-header.js';
import { mutated, randomBytes, request } from './mutate.js';

/** Where a proxy listens, and what it takes there. */
export interface Door {
  readonly host: string;
  readonly port: number;
  /** It has a certificate. */
  readonly tls: boolean;
  /** Connections from this address begin with a PROXY header; undefined where there is no such address. */
  readonly balancer: string | undefined;
}

/** How far a client gets before it says anything wrong. */
export type Way = 'plain' | 'asked TLS' | 'direct TLS';

const ALPN = 'postgresql';

export function someWay(dice: Dice, door: Door): Way {
  return door.tls && dice.once(3) ? dice.pick(['asked TLS', 'asked TLS', 'direct TLS'] as const)! : 'plain';
}

/** Whether the client comes through the balancer. */
export function isProxied(dice: Dice, door: Door): boolean {
  return door.balancer !== undefined && dice.once(5);
}

/**
 * A socket on which a start-up packet may be sent. Errors end it with 'close'.
 * @returns undefined where that takes longer than `limitMs`
 */
export async function enter(
  door: Door,
  way: Way,
  header: Buffer | undefined,
  limitMs: number,
): Promise<Socket | undefined> {
  const socket = await reach(door, header !== undefined);
  if (header !== undefined) socket.write(header);
  if (way === 'plain') return socket;
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    socket.destroy();
  }, limitMs);
  if (way === 'asked TLS') {
    socket.write(request(Request.SSL));
    await new Promise<void>((resolve) => {
      socket.once('data', () => {
        socket.pause();
        resolve();
      });
      socket.once('close', () => resolve());
    });
  }
  const secured = socket.destroyed ? socket : await secure(socket, way === 'direct TLS' ? [ALPN] : []);
  clearTimeout(timer);
  return late ? undefined : secured;
}

/** Also settled when the connection has closed instead. */
function secure(socket: Socket, protocols: string[]): Promise<Socket> {
  return new Promise((resolve) => {
    const secured = connectTls({
      socket,
      rejectUnauthorized: false,
      ...(protocols.length > 0 ? { ALPNProtocols: protocols } : {}),
    });
    secured.on('error', () => {});
    secured.once('secureConnect', () => resolve(secured));
    secured.once('close', () => resolve(secured));
  });
}

/** A connection on which nothing has been sent, from the balancer's address or any. */
export function reach(door: Door, proxied: boolean): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const from = proxied ? { localAddress: door.balancer! } : {};
    const socket = connect({ host: door.host, port: door.port, noDelay: true, ...from });
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      socket.on('error', () => {});
      resolve(socket);
    });
  });
}

/** A PROXY header with nothing wrong. */
export function goodHeader(dice: Dice): Buffer {
  switch (dice.between(0, 4)) {
    case 0:
      return proxyHeader(0x20, 0);
    case 1:
      return ipv6Header(randomBytes(dice, 16).toString('hex'));
    case 2:
      return ipv4Header('127.0.0.1', randomBytes(dice, dice.between(0, 200)));
    default:
      return ipv4Header([...randomBytes(dice, 4)].join('.'));
  }
}

/** Something wrong in front of the first start-up packet. */
export async function badEntrance(dice: Dice, proxied: boolean): Promise<Buffer[]> {
  if (proxied) {
    switch (dice.between(0, 4)) {
      case 0:
        return [randomBytes(dice, dice.between(1, 300))];
      case 1:
        return [
          proxyHeader(dice.between(0, 255), dice.between(0, 255), randomBytes(dice, dice.between(0, 300))),
        ];
      case 2:
        return [goodHeader(dice).subarray(0, dice.between(1, 20))];
      case 3:
        return [goodHeader(dice), goodHeader(dice)];
      default:
        return [mutated(goodHeader(dice), dice)];
    }
  }
  const hello = await clientHello(dice.pick([[], [ALPN], ['http/1.1'], ['h2', ALPN]])!);
  const asked = dice.once(2) ? [request(Request.SSL)] : [];
  switch (dice.between(0, 4)) {
    case 0:
      return [...asked, hello.subarray(0, dice.between(1, hello.length))];
    case 1:
      // A good beginning, and then records that nobody has agreed on.
      return [...asked, hello, Buffer.concat([Buffer.from('170303', 'hex'), randomBytes(dice, 60)])];
    case 2:
      return [...asked, hello, hello];
    case 3:
      return [Buffer.concat([request(Request.SSL), hello])];
    default:
      return [...asked, mutated(hello, dice)];
  }
}

/** What a TLS client begins with. */
function clientHello(protocols: readonly string[]): Promise<Buffer> {
  return new Promise((resolve) => {
    const wire = new Duplex({
      read: () => {},
      write: (chunk: Buffer, _encoding, done) => {
        resolve(chunk);
        done();
        process.nextTick(() => client.destroy());
      },
    });
    const client = connectTls({ socket: wire, rejectUnauthorized: false, ALPNProtocols: [...protocols] });
    client.on('error', () => {});
  });
}
