import { afterEach, expect, test, vi } from 'vitest';
import { Servers } from '../../../src/upstream/servers.js';

afterEach(() => {
  vi.useRealTimers();
});

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

test('a host that could not be reached is tried after the others, for ten seconds', () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  const hosts = [1, 2, 3].map((n) => ({ host: `192.0.2.${n}`, port: 5432 }));
  const servers = new Servers({
    hosts,
    transport: { tls: undefined, keepAliveIdleMs: undefined },
    wanted: 'any',
    watch: () => Promise.reject(new Error('nobody asks')),
  });
  const [first, second, third] = hosts;
  expect(servers.inOrder()).toEqual([first, second, third]);
  servers.failed(first!);
  vi.advanceTimersByTime(5_000);
  servers.failed(second!);
  expect(servers.inOrder()).toEqual([third, first, second]);
  vi.advanceTimersByTime(5_001);
  expect(servers.inOrder()).toEqual([first, third, second]);
  vi.advanceTimersByTime(5_000);
  expect(servers.inOrder()).toEqual([first, second, third]);
});
