import { createServer } from 'node:net';
import pg from 'pg';
import { loadConfig } from '../config/load.js';
import { createLog } from '../observe/log.js';
import { ListenError } from '../proxy/listener.js';
import { adminRole, appRole, type DemoCluster, database, startCluster } from './cluster.js';
import { loadPlayground, runSample, type Sample } from './sample.js';
import { suggestions } from './suggestions.js';

export interface DemoOptions {
  /** Port of the proxy on 127.0.0.1; 0: a free one. */
  readonly port: number;
  /** Where data is kept; undefined: see startCluster. */
  readonly data: string | undefined;
  /** Settings as of --set. */
  readonly sets: readonly string[];
  /** Stay up after the sample until `stopped`. */
  readonly stay: boolean;
  /** Resolves when the user wants it to end, at whatever point we are. */
  readonly stopped: Promise<unknown>;
  readonly print: (text: string) => void;
}

const host = '127.0.0.1';

/**
 * An embedded server, the proxy in front of it, and a durable function that runs through both. Everything that
 * was started is stopped on every way out. Resolves to the exit status: 0, or 1 if the sample did not complete.
 * Throws Errors of one line.
 */
export async function demo(options: DemoOptions): Promise<number> {
  // Asked first: starting a server only to say that the port is taken would be a waste of everybody's time.
  await assertFree(options.port);
  const undo: (() => Promise<unknown>)[] = [];
  const done = play(options, undo);
  const stopped = options.stopped.then(() => 'stopped' as const);
  try {
    const outcome = await Promise.race([done, stopped]);
    if (outcome === 'stopped') {
      options.print('stopping');
      // What fails from here on fails because we take the ground from under it.
      done.catch(() => {});
      return 0;
    }
    if (options.stay && outcome === 0) {
      await stopped;
      options.print('stopping');
    }
    return outcome;
  } finally {
    while (undo.length > 0) await undo.pop()!().catch(() => {});
  }
}

async function play(options: DemoOptions, undo: (() => Promise<unknown>)[]): Promise<number> {
  const { print } = options;
  print('starting an embedded PostgreSQL ...');
  const starting = startCluster(options.data);
  undo.push(async () => (await starting).server.stop());
  const cluster = await starting;
  const { server } = cluster;

  const config = loadConfig({
    env: process.env,
    sets: ['log_level=warn', `credentials_file=${cluster.credentialsFile}`, ...options.sets],
    flags: {
      listen: `${host}:${options.port}`,
      upstream: `postgresql://${adminRole}:${cluster.passwords.admin}@${server.host}:${server.port}/${database}`,
    },
  });
  const { serve } = await import('../serve.js');
  const log = createLog(config.logLevel);
  const serving = serve(config, log);
  undo.push(async () => {
    // From here on a lost connection is our own doing and nobody's news.
    log.level = 'error';
    await (await serving).stop();
  });
  const proxy = await serving;
  const { port } = proxy.addresses[0]!;
  print(`pg-durable-proxy listening on ${host}:${port}, upstream ${config.upstream.display}`);

  const connect = async (user: string, password: string) => {
    const client = new pg.Client({ host, port, user, password, database });
    client.on('error', () => {});
    await client.connect();
    return client;
  };
  const admin = await connect(adminRole, cluster.passwords.admin);
  await admin.query('SELECT df.grant_usage($1)', [appRole]);
  await admin.end();

  const app = await connect(appRole, cluster.passwords.app);
  const isFirst = await loadPlayground(app);
  print(isFirst ? 'loaded the sample data of the guide' : 'found the data of an earlier start');
  const sample = await runSample(app, isFirst);
  await app.end();
  print(show(sample));
  if (options.stay) print(invitation(cluster, port));
  return sample.status.toLowerCase() === 'completed' ? 0 : 1;
}

function show(sample: Sample): string {
  return [
    '',
    `As role "${appRole}", through the proxy:`,
    '',
    indent(`${sample.statement};`),
    '',
    `started ${sample.instance}, now ${sample.status}. SELECT df.explain('${sample.instance}'):`,
    '',
    indent(sample.explain),
    '',
    `SELECT df.result('${sample.instance}'):`,
    '',
    indent(sample.result ?? 'NULL'),
    '',
    'Rows that it changed:',
    '',
    indent([...sample.orders, ...sample.logs.map((line) => `log: ${line}`)].join('\n')),
    '',
  ].join('\n');
}

function invitation(cluster: DemoCluster, port: number): string {
  const url = (role: string, password: string) =>
    `postgresql://${role}:${password}@${host}:${port}/${database}`;
  return [
    'Connect psql or an application to it:',
    '',
    `  psql '${url(appRole, cluster.passwords.app)}'`,
    '',
    ...suggestions.flatMap(({ what, statements }) => [what, '', ...statements.map(indent), '']),
    `Data is kept in ${cluster.directory}, and the passwords of "${appRole}", of the admin role "${adminRole}" and of the`,
    `superuser "postgres" in passwords.json there. Ctrl-C stops everything.`,
  ].join('\n');
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, '  ');
}

async function assertFree(port: number): Promise<void> {
  if (port === 0) return;
  const probe = createServer();
  await new Promise<void>((resolve, reject) => {
    probe.once('error', ({ code }: NodeJS.ErrnoException) => {
      const reason = code === 'EADDRINUSE' ? 'the port is taken by another program' : (code ?? 'unknown');
      reject(new ListenError({ host, port }, reason, code));
    });
    probe.listen(port, host, resolve);
  });
  await new Promise((resolve) => probe.close(resolve));
}
