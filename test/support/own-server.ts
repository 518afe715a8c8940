import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, chown, copyFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { serverBinaries } from '../../src/demo/binaries.js';
import { type EmbeddedServer, startEmbedded } from '../../src/demo/embedded.js';
import type { Certificate } from './certificates.js';
import { otherBinaries, temporaryHome } from './server.js';

const run = promisify(execFile);

export interface OwnServerOptions {
  readonly settings?: Readonly<Record<string, string>>;
  /** Lines at the head of pg_hba.conf. */
  readonly hba?: readonly string[];
  /** Speaks TLS with it, and takes client certificates of the authority. */
  readonly tls?: { readonly server: Certificate; readonly caFile: string };
}

/** An embedded server for one test file, which may stop it, start it again and make standbys of it. */
export class OwnServer {
  readonly home: string;
  /** Of the superuser `postgres`. */
  readonly password: string;
  readonly #options: OwnServerOptions;
  readonly #settings: Record<string, string>;
  #running: EmbeddedServer | undefined;
  #port = 0;

  private constructor(
    home: string,
    password: string,
    options: OwnServerOptions,
    settings: Record<string, string>,
  ) {
    this.home = home;
    this.password = password;
    this.#options = options;
    this.#settings = settings;
  }

  static async start(options: OwnServerOptions = {}): Promise<OwnServer> {
    const home = await temporaryHome((await serverBinaries()).user);
    const settings: Record<string, string> = { max_connections: '60', fsync: 'off', ...options.settings };
    if (options.tls !== undefined) {
      const own = async (from: string, name: string) => await readableByServer(from, join(home, name));
      settings.ssl = 'on';
      settings.ssl_cert_file = await own(options.tls.server.certFile, 'server.crt');
      settings.ssl_key_file = await own(options.tls.server.keyFile, 'server.key');
      settings.ssl_ca_file = await own(options.tls.caFile, 'ca.crt');
    }
    const server = new OwnServer(home, randomBytes(12).toString('hex'), options, settings);
    await server.start();
    return server;
  }

  get dataDir(): string {
    return join(this.home, 'data');
  }

  get port(): number {
    return this.#port;
  }

  /** As the superuser, to `database`; with TLS settings in the query, if any. */
  url(database = 'postgres'): string {
    return `postgresql://postgres:${this.password}@127.0.0.1:${this.#port}/${database}`;
  }

  /** Starts, on the same port as before. */
  async start(settings: Readonly<Record<string, string>> = {}): Promise<void> {
    this.#running = await startEmbedded({
      dataDir: this.dataDir,
      password: this.password,
      port: this.#port,
      hba: this.#options.hba ?? [],
      settings: { ...this.#settings, ...settings },
      ...(await otherBinaries()),
    });
    this.#port = this.#running.port;
  }

  /** Ends all sessions and the server. */
  async stop(): Promise<void> {
    await this.#running?.stop();
    this.#running = undefined;
  }

  async query(sql: string, database = 'postgres'): Promise<pg.QueryResult> {
    const client = new pg.Client({ connectionString: this.url(database) });
    client.on('error', () => {});
    await client.connect();
    try {
      return await client.query(sql);
    } finally {
      await client.end().catch(() => {});
    }
  }

  /** A standby that follows this server, which is stopped for the copy and started again. */
  async makeStandby(): Promise<OwnServer> {
    await this.stop();
    const home = await temporaryHome((await serverBinaries()).user);
    const standby = new OwnServer(home, this.password, this.#options, this.#settings);
    await run('cp', ['-a', this.dataDir, home]);
    await this.start();
    await standby.follow(this);
    await standby.start();
    return standby;
  }

  /** Makes this server, which is stopped, a standby of another. */
  async follow(primary: OwnServer): Promise<void> {
    const conninfo = `host=127.0.0.1 port=${primary.port} user=postgres password=${primary.password}`;
    await writeFile(join(this.dataDir, 'standby.signal'), '');
    await writeFile(
      join(this.dataDir, 'postgresql.auto.conf'),
      // Tests restart the primary: the server's 5 s before the next attempt are too long for them.
      `primary_conninfo = '${conninfo}'\nrecovery_target_timeline = 'latest'\nwal_retrieve_retry_interval = '100ms'\n`,
    );
    const { user } = await serverBinaries();
    if (user !== undefined) await chown(join(this.dataDir, 'standby.signal'), user.uid, user.gid);
  }

  async remove(): Promise<void> {
    await this.stop();
    await rm(this.home, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function readableByServer(from: string, to: string): Promise<string> {
  await copyFile(from, to);
  await chmod(to, 0o600);
  const { user } = await serverBinaries();
  if (user !== undefined) await chown(to, user.uid, user.gid);
  return to;
}
