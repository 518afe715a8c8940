import { expect, test } from 'vitest';
import { Servers } from '../../../src/upstream/servers.js';

test('a host that lets the admin role in and then says nothing keeps no connection of those that asked it', async () => {
  let open = 0;
  const servers = new Servers({
    hosts: [{ host: '192.0.2.1', port: 5432 }],
    transport: { tls: undefined, keepAliveIdleMs: undefined },
    wanted: 'primary',
    watch: async () => {
      open++;
      return {
        ask: async () => {
          throw new Error('Query read timeout');
        },
        onEnd: () => {},
        close: () => void open--,
      };
    },
  });
  await expect(servers.choose(1_000)).rejects.toThrow('192.0.2.1:5432: Query read timeout');
  expect(open).toBe(0);
  servers.close();
});
