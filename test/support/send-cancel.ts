import { connect } from 'node:net';
import type pg from 'pg';
import { cancelPacket } from '../../src/wire/startup.js';

/** Sends a CancelRequest for a session of `pg` and waits until it is answered, which is by a close. */
export async function sendCancel(port: number, session: pg.Client): Promise<void> {
  const { processID, secretKey } = session as unknown as { processID: number; secretKey: number };
  const key = Buffer.alloc(8);
  key.writeInt32BE(processID, 0);
  key.writeInt32BE(secretKey, 4);
  const socket = connect({ port, host: '127.0.0.1' }, () => socket.write(cancelPacket(key)));
  socket.on('error', () => {});
  await new Promise<void>((resolve) => socket.resume().once('close', () => resolve()));
}
