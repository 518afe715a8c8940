import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { createAuthority, opensslMissing } from '../support/certificates.js';
import { asSuperuser, createTestDatabase, withClient } from '../support/postgres.js';
import { type SpawnedProxy, spawnProxy } from '../support/proxy.js';
import { until } from '../support/wait.js';
import { batch, ordinarySession, type Tally, type Target } from './attack.js';
import { type Holdings, holdings } from './health.js';

/** How clients are authenticated: each way reads other messages. */
export type Mode = 'password' | 'scram' | 'relay';
export const MODES: readonly Mode[] = ['password', 'scram', 'relay'];

/** What the program holds when nobody is connected and its garbage has been collected. */
export interface Held extends Holdings {
  /** Memory that is in use, on the heap and beside it, bytes. */
  readonly used: number;
  /** Timers that are set. */
  readonly timers: number;
}

/** The built program, about to be sent what it should not be sent. */
export interface FuzzedProgram {
  /**
   * One batch, of `inputs` malformed inputs or as many as `budgetMs` is enough for, and then: every connection has ended in its time; the program lives, has let go of every socket and
   * timer, has no session at the server, has not grown, has not complained, and serves an ordinary session.
   * @throws where that is not so
   */
  suffer(seed: number, inputs: number, budgetMs?: number): Promise<{ tally: Tally; held: Held }>;
  stop(): Promise<void>;
}

/** The executor's connections come and go by themselves. */
const SPARE_DESCRIPTORS = 12;
const SPARE_TIMERS = 12;
/** Caches that are bounded fill while it goes on, that of rewritten statements up to 16 MiB: bytes, and those for an input. */
const SPARE_USED = 4 * 2 ** 20;
const SPARE_USED_EACH = 150;
/** The same with what the allocator keeps. */
const SPARE_RESIDENT = 160 * 2 ** 20;

const LOGIN_TIMEOUT_MS = 2_000;
/** Any address of 127.0.0.0/8 can be connected from on Linux, and on no other system without further ado. */
const BALANCER = process.platform === 'linux' ? '127.0.0.2' : undefined;

/**
 * @param fault one of fault.mjs, which the program is given
 * @param patienceMs how long is waited for an end that has to come
 */
export async function fuzzedProgram(
  mode: Mode,
  { fault, patienceMs = 30_000 }: { fault?: string; patienceMs?: number } = {},
): Promise<FuzzedProgram> {
  const files = mkdtempSync(join(tmpdir(), 'fuzz-'));
  const database = await createTestDatabase();
  const role = await database.createRole('fuzzer');
  const probe = join(files, 'probe');
  const noTls = opensslMissing();
  if (noTls !== undefined) console.log(`without TLS: ${noTls}`);
  if (BALANCER === undefined)
    console.log(`without PROXY headers: ${process.platform} has no second loopback address`);
  const proxy = await spawnProxy({
    database,
    settings: {
      log_level: 'error',
      client_auth: mode,
      login_timeout: `${LOGIN_TIMEOUT_MS}ms`,
      // Starts among the inputs are carried out, in sessions of the role.
      session_idle_timeout: '0',
      drain_timeout: '1s',
      ...(mode === 'scram' ? { auth_file: await verifiers(files, role.name) } : {}),
      ...(noTls === undefined ? certificate(files) : {}),
      ...(BALANCER === undefined ? {} : { proxy_protocol_from: BALANCER }),
    },
    env: {
      FUZZ_PROBE: probe,
      NODE_OPTIONS: `--expose-gc ${imports(fault === undefined ? ['probe.mjs'] : ['probe.mjs', 'fault.mjs'])}`,
      ...(fault === undefined ? {} : { FUZZ_FAULT: fault }),
    },
  });
  const target: Target = {
    host: '127.0.0.1',
    port: proxy.port,
    user: role.name,
    password: role.password,
    database: database.name,
    scram: mode !== 'password',
    tls: noTls === undefined,
    balancer: BALANCER,
    loginTimeoutMs: LOGIN_TIMEOUT_MS,
    patienceMs,
  };
  await withClient(database.superUrl, async (client) => {
    await client.query('SELECT df.grant_usage($1)', [role.name]);
    // A server that is busy does not see that its client has gone.
    await client.query(`ALTER ROLE ${role.name} SET statement_timeout = '1s'`);
  });
  let output = '';
  for (const stream of [proxy.child.stdout, proxy.child.stderr]) {
    stream?.on('data', (text: Buffer | string) => {
      output += text;
    });
  }
  /** Once nobody is connected any more. */
  const look = async (): Promise<Held> => {
    await noBackends(database.superUrl, role.name);
    return { ...holdings(proxy.pid), ...(await measured(proxy, probe)) };
  };
  let first: Held | undefined;
  let suffered = 0;
  return {
    suffer: async (seed, inputs, budgetMs = Number.POSITIVE_INFINITY) => {
      if (first === undefined) {
        // Once warm: code compiled, buffers of their usual size.
        await batch(target, seed + 0x5eed, 300);
        first = await look();
      }
      const tally = await batch(target, seed, inputs, Date.now() + budgetMs);
      suffered += tally.inputs;
      if (tally.hung.length > 0) throw new Error(`connections hung:\n${tally.hung.join('\n')}`);
      if (proxy.child.exitCode !== null || proxy.child.signalCode !== null) {
        throw new Error(`the program has ended: ${output}`);
      }
      await ordinarySession(target);
      const least = first;
      const held = await until(
        async () => {
          const now = await look();
          const many =
            now.descriptors > least.descriptors + SPARE_DESCRIPTORS ||
            now.timers > least.timers + SPARE_TIMERS;
          return !many && now;
        },
        {
          timeoutMs: patienceMs,
          everyMs: 100,
          what: `about what it held at first, ${JSON.stringify(least)}`,
        },
      ).catch(async (error: Error) => {
        throw new Error(`${error.message}: ${JSON.stringify(await look())}`);
      });
      if (
        held.used > least.used + SPARE_USED + suffered * SPARE_USED_EACH ||
        held.memory > least.memory + SPARE_RESIDENT
      ) {
        throw new Error(`grown from ${JSON.stringify(least)} to ${JSON.stringify(held)}`);
      }
      if (output !== '') throw new Error(`the program complained: ${output}`);
      return { tally, held };
    },
    stop: async () => {
      await proxy.stop();
      await database.drop();
      rmSync(files, { recursive: true, force: true });
    },
  };
}

/** Arguments of Node that load files of this directory. */
function imports(files: readonly string[]): string {
  return files.map((name) => `--import=${pathToFileURL(join(import.meta.dirname, name)).href}`).join(' ');
}

async function measured(proxy: SpawnedProxy, file: string): Promise<Pick<Held, 'used' | 'timers'>> {
  rmSync(file, { force: true });
  proxy.child.kill('SIGUSR2');
  const text = await until(
    () => {
      try {
        return readFileSync(file, 'utf8');
      } catch {
        return '';
      }
    },
    { what: 'the program to say what it holds' },
  );
  return JSON.parse(text) as Pick<Held, 'used' | 'timers'>;
}

/** Waits until the role has no session. */
async function noBackends(url: string, role: string): Promise<void> {
  await withClient(url, async (client) => {
    const left = async () =>
      (
        await client.query(
          'SELECT pid, application_name, state, wait_event, xact_start, query FROM pg_stat_activity WHERE usename = $1',
          [role],
        )
      ).rows;
    const what = 'the server processes to end';
    await until(async () => (await left()).length === 0, { timeoutMs: 30_000, what }).catch(async (error) => {
      throw new Error(`${error.message}: ${JSON.stringify(await left())}`);
    });
  });
}

/** An auth_file with the role. */
async function verifiers(directory: string, role: string): Promise<string> {
  const file = join(directory, 'users.txt');
  const verifier = await asSuperuser('postgres', async (client) => {
    const { rows } = await client.query('SELECT rolpassword FROM pg_authid WHERE rolname = $1', [role]);
    return rows[0].rolpassword as string;
  });
  writeFileSync(file, `"${role}" "${verifier}"\n`, { mode: 0o600 });
  return file;
}

function certificate(directory: string): { client_tls_cert_file: string; client_tls_key_file: string } {
  const { certFile, keyFile } = createAuthority(directory).issue('proxy', ['IP:127.0.0.1']);
  return { client_tls_cert_file: certFile, client_tls_key_file: keyFile };
}
