import { chmodSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { withClient } from '../support/postgres.js';
import { type Program, program, run } from '../support/program.js';
import { until } from '../support/wait.js';

let home: string;
const running: Program[] = [];

beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 'demo-'));
  // When root runs this, another account runs the server and must get through.
  chmodSync(home, 0o711);
});
afterEach(async () => {
  for (const { child, ended } of running.splice(0)) {
    child.kill('SIGTERM');
    await ended;
  }
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

const data = () => join(home, 'data');

describe('demo', () => {
  it('runs a durable function with operators through the proxy and ends with status 0', async () => {
    const { status, stdout, stderr } = await run(['demo', '--port', '0', '--data', data(), '--exit']);
    expect(stderr).toBe('');
    expect(stdout).toContain('loaded the sample data of the guide');
    expect(stdout).toMatch(/started [0-9a-f]{8}, now completed/i);
    expect(stdout).toMatch(/✓ Completed/);
    expect(stdout).toMatch(/order 1 +99\.99 +processed/);
    expect(stdout).toMatch(/log: processed 3 orders, 224\.99 in all/);
    expect(status).toBe(0);
  });

  it('finds the data of the first start again, and stays up until Ctrl-C', async () => {
    const demo = program(['demo', '--port', '0', '--data', data()]);
    running.push(demo);
    const [, url] = await demo.line(/psql '(postgresql:\/\/[^']+)'/, 60_000);
    expect(demo.stdout()).toContain('found the data of an earlier start');
    expect(demo.stdout()).toMatch(/log: processed 2 orders/);
    const orders = await withClient(url!, (client) =>
      client.query('SELECT count(*)::int AS n FROM playground.orders'),
    );
    expect(orders.rows).toEqual([{ n: 8 }]);

    // what it suggests to type works as it is printed
    await demo.line(/Ctrl-C stops everything/, 10_000);
    const printed = demo.stdout();
    const statements = printed.slice(printed.indexOf("psql '")).match(/^ {2}SELECT .*;$/gm)!;
    expect(statements).toHaveLength(5);
    const lists = await withClient(url!, async (client) => {
      for (const statement of statements.slice(0, 4)) await client.query(statement);
      return await until(
        async () => {
          const { rows } = await client.query<Record<string, string>>(statements[4]!);
          const of = (label: string) => rows.filter((row) => row.label === label);
          return of('waits')[0]?.status === 'completed' && [...of('waits'), ...of('ticks')];
        },
        { what: 'the signal to arrive' },
      );
    });
    expect(lists).toEqual([
      expect.objectContaining({ output: expect.stringContaining('"said":"hello"') }),
      expect.objectContaining({ status: 'cancelled' }),
    ]);

    demo.child.kill('SIGINT');
    expect(await demo.ended).toBe(0);
    await expect(withClient(url!, (client) => client.query('SELECT 1'))).rejects.toThrow(/ECONNREFUSED/);
    await expect(serverIsGone()).resolves.toBe(true);
  });

  it('leaves no server behind when it is killed without a chance to stop it', async () => {
    const demo = program(['demo', '--port', '0', '--data', data()]);
    running.push(demo);
    await demo.line(/psql '/, 60_000);
    demo.child.kill('SIGKILL');
    await demo.ended;
    await serverIsGone();
    const again = await run(['demo', '--port', '0', '--data', data(), '--exit']);
    expect(again).toMatchObject({ status: 0, stderr: '' });
  });

  it('says in one line that its port is taken, with status 1', async () => {
    const blocker = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => blocker.once('listening', resolve));
    const { port } = blocker.address() as { port: number };
    const { status, stderr } = await run(['demo', '--port', String(port), '--data', data(), '--exit']);
    blocker.close();
    expect(stderr).toMatch(
      new RegExp(`^pg-durable-proxy: cannot listen on 127\\.0\\.0\\.1:${port}: .*taken.*--port\\n$`),
    );
    expect(status).toBe(1);
  });
});

/** The postmaster removes its pid file as the last thing it does. */
async function serverIsGone(): Promise<boolean> {
  await until(() => !existsSync(join(data(), 'data/postmaster.pid')), {
    what: 'the end of the server',
    timeoutMs: 20_000,
  });
  return true;
}
