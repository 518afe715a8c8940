import { createTestDatabase, withClient } from '../support/postgres.js';
import { spawnProxy } from '../support/proxy.js';
import { until } from '../support/wait.js';
import { batch, ordinarySession, type Tally, type Target } from './attack.js';
import { type Holdings, holdings } from './health.js';

/** The built program, about to be sent what it should not be sent. */
export interface FuzzedProgram {
  /**
   * One batch, and then: the program lives, has let go of every socket, has no session at the server, has not grown,
   * has not complained, and serves an ordinary session.
   * @throws where that is not so
   */
  suffer(seed: number, inputs: number, deadline?: number): Promise<{ tally: Tally; held: Holdings }>;
  stop(): Promise<void>;
}

/** The executor's connections come and go by themselves. */
const SPARE_DESCRIPTORS = 12;
/** What a heap may have grown between two looks at a process that collects its garbage when it likes, bytes. */
const SPARE_MEMORY = 160 * 2 ** 20;

export async function fuzzedProgram(): Promise<FuzzedProgram> {
  const database = await createTestDatabase();
  const role = await database.createRole('fuzzer');
  const proxy = await spawnProxy({ database, settings: { log_level: 'error' } });
  const target: Target = {
    host: '127.0.0.1',
    port: proxy.port,
    user: role.name,
    password: role.password,
    database: database.name,
  };
  await withClient(database.superUrl, async (client) => {
    await client.query('SELECT df.grant_usage($1)', [role.name]);
    await client.query(`ALTER ROLE ${role.name} SET statement_timeout = '2s'`);
  });
  let output = '';
  for (const stream of [proxy.child.stdout, proxy.child.stderr]) {
    stream?.on('data', (text: Buffer | string) => {
      output += text;
    });
  }
  let first: Holdings | undefined;
  const noBackends = async () => {
    const left = () =>
      withClient(database.superUrl, async (client) => {
        const { rows } = await client.query(
          // Starts among the inputs are carried out by the executor, in sessions that it keeps.
          `SELECT pid, state, wait_event, xact_start, query FROM pg_stat_activity
           WHERE usename = $1 AND application_name NOT LIKE 'pg\\_durable:worker%'`,
          [role.name],
        );
        return rows;
      });
    const what = 'the server processes to end';
    await until(async () => (await left()).length === 0, { timeoutMs: 30_000, what }).catch(async (error) => {
      throw new Error(`${error.message}: ${JSON.stringify(await left())}`);
    });
  };
  return {
    suffer: async (seed, inputs, deadline) => {
      if (first === undefined) {
        // Once warm: code compiled, buffers of their usual size.
        await batch(target, seed + 0x5eed, 300, deadline);
        await noBackends();
        first = holdings(proxy.pid);
      }
      const tally = await batch(target, seed, inputs, deadline);
      if (proxy.child.exitCode !== null || proxy.child.signalCode !== null) {
        throw new Error(`the program has ended: ${output}`);
      }
      await ordinarySession(target);
      await noBackends();
      const limit = first.descriptors + SPARE_DESCRIPTORS;
      const held = await until(
        () => {
          const now = holdings(proxy.pid);
          return !(now.descriptors > limit) && now;
        },
        { timeoutMs: 30_000, everyMs: 100, what: `at most ${limit} descriptors` },
      );
      if (held.memory > first.memory + SPARE_MEMORY) {
        throw new Error(`grown from ${first.memory} to ${held.memory} bytes`);
      }
      if (output !== '') throw new Error(`the program complained: ${output}`);
      return { tally, held };
    },
    stop: async () => {
      await proxy.stop();
      await database.drop();
    },
  };
}
