#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { oneLine, withAdminConnection } from './admin-connection.js';
import { type Config, ConfigError } from './config/config.js';
import { type ConfigSources, loadConfig } from './config/load.js';
import { settings } from './config/settings.js';
import { freeChunksInPlace } from './garbage-collection.js';
import { ignoreDebuggerSignal } from './no-debugger.js';
import { createLog } from './observe/log.js';
import { createReloader } from './reload.js';
import type { Running } from './serve.js';
import { awaitStopSignal } from './stop-signal.js';

/**
 * The command line. Exit status: 0 done (also after a signal to stop), 1 it did not work, 2 it was asked wrongly.
 * Each of the last two comes with one line on stderr. What a command needs is loaded when it runs, so that
 * --help and a mistake in the configuration cost nothing.
 */

interface CommonOptions {
  readonly upstream?: string;
  readonly config?: string;
  readonly set: readonly string[];
}

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

class UsageError extends Error {}

function collect(value: string, previous: readonly string[]): readonly string[] {
  return [...previous, value];
}

function sourcesOf(options: CommonOptions & { listen?: string }): ConfigSources {
  return {
    file: options.config,
    env: process.env,
    sets: options.set,
    flags: { listen: options.listen, upstream: options.upstream },
  };
}

function configure(options: CommonOptions): Config {
  return loadConfig(sourcesOf(options));
}

/** How long transactions and steps may take after SIGINT, milliseconds. */
const QUICK_MS = 1000;

async function serveCommand(options: CommonOptions & { listen?: string }): Promise<void> {
  const sources = sourcesOf(options);
  const config = loadConfig(sources);
  const log = createLog(config.logLevel);
  // All state is in the database, so ending is always safe; going on after an unknown error is not.
  process.on('uncaughtException', (err) => {
    log.fatal({ err }, 'unexpected error');
    process.exit(1);
  });
  let running: Running | undefined;
  const stop = awaitStopSignal({
    signals: ['SIGTERM', 'SIGINT', 'SIGQUIT'],
    atOnce: () => running?.abort(),
  });
  const reloader = createReloader(sources, log, async (next) => running?.reload(next));
  // Before it is up there is nothing to change: it is about to read what there is, or has just done so.
  process.on('SIGHUP', () => void (running !== undefined && reloader.reload()));
  for (const note of config.notes) log.warn(note);

  const { serve } = await import('./serve.js');
  const starting = serve(config, log);
  running = await Promise.race([starting, stop.received.then(() => undefined)]).catch((error) => {
    throw takenPort(error, '--listen') ?? error;
  });
  // Stopped before it was up: nothing is under way that the server would not undo by itself.
  if (running === undefined) process.exit(0);
  const [first, ...further] = running.addresses.map(
    ({ host, port }) => `pg-durable-proxy listening on ${host.includes(':') ? `[${host}]` : host}:${port}`,
  );
  process.stdout.write([`${first}, upstream ${config.upstream.display}`, ...further, ''].join('\n'));
  const signal = await stop.received;
  log.info({ signal }, 'stopping');
  await (signal === 'SIGINT' ? running.stop(QUICK_MS) : running.stop());
  log.info('stopped');
  process.exit(0);
}

async function demoCommand(options: { port: string; data?: string; exit?: boolean; set: readonly string[] }) {
  const port = Number(options.port);
  if (!/^\d{1,5}$/.test(options.port) || port > 65_535)
    throw new UsageError('--port takes a number from 0 to 65535');
  const stop = awaitStopSignal();
  const { demo } = await import('./demo/demo.js');
  const status = await demo({
    port,
    data: options.data,
    sets: options.set,
    stay: options.exit !== true,
    stopped: stop.received,
    print: (text) => process.stdout.write(`${text}\n`),
  }).catch((error) => {
    throw takenPort(error, '--port') ?? error;
  });
  process.exit(status);
}

async function installCommand(options: CommonOptions): Promise<void> {
  const config = configure(options);
  const { migrate } = await import('./state/migrate.js');
  const { applied, version: schema } = await withAdminConnection(config, (client) => migrate(client));
  const what = applied.length === 0 ? 'was up to date' : `applied ${applied.join(', ')}`;
  process.stdout.write(`schema version ${schema} in ${config.upstream.display}: ${what}\n`);
}

async function uninstallCommand(options: CommonOptions & { yes?: boolean }): Promise<void> {
  const config = configure(options);
  if (options.yes !== true) {
    throw new UsageError(
      `uninstall removes the schemas df and _df from ${config.upstream.display} with every durable function in ` +
        'them, finished or not; say --yes if that is what you want',
    );
  }
  const { uninstall } = await import('./state/migrate.js');
  const removed = await withAdminConnection(config, (client) => uninstall(client));
  const what = removed ? 'removed the schemas df and _df from' : 'nothing is installed in';
  process.stdout.write(`${what} ${config.upstream.display}\n`);
}

async function rekeyCommand(options: CommonOptions): Promise<void> {
  const config = configure(options);
  const { sealingKeys } = await import('./credentials.js');
  const keys = await sealingKeys(config);
  if (keys.length === 0)
    throw new ConfigError(
      'rekey needs the new key, in credential_key_file (or PG_DURABLE_CREDENTIAL_KEY, or credential_key_command), and the old one, in credential_old_key_file',
    );
  const { rekey } = await import('./rekey.js');
  const { resealed, current, removed, closed } = await withAdminConnection(config, (client) =>
    rekey(client, keys),
  ).catch((error) => {
    if (error.code !== '42P01') throw error;
    throw new Error('no credentials are stored in this database: its schema is not installed, or older');
  });
  const gone = removed === 0 ? '' : `, ${removed} removed whose role is no more`;
  process.stdout.write(
    `${resealed} credentials sealed with key ${keys[0]!.id}, ${current} were already${gone}\n`,
  );
  if (closed.length === 0) return;
  const which = closed.map(({ role, keyId }) => `"${role}" (key ${keyId})`).join(', ');
  throw new Error(`left as they were, as no key given opens them: ${which}`);
}

async function doctorCommand(options: CommonOptions): Promise<void> {
  const config = configure(options);
  const { examine } = await import('./doctor/doctor.js');
  let failed = false;
  for await (const { state, text, mend } of examine(config)) {
    failed ||= state === 'fail';
    process.stdout.write(`${state.padEnd(4)}  ${text}\n`);
    if (mend !== undefined) process.stdout.write(`      -> ${mend}\n`);
  }
  if (failed) process.exitCode = 1;
}

/** The line for a place that cannot be had, with the flag that names another; undefined if the error is another. */
function takenPort(error: unknown, flag: string): Error | undefined {
  if (!(error instanceof Error) || error.name !== 'ListenError') return undefined;
  return new Error(`${error.message}; choose another with ${flag}`);
}

function withCommonOptions(command: Command): Command {
  return command
    .option(
      '--upstream <url>',
      'postgresql://ROLE:PASSWORD@HOST:PORT/DATABASE of the admin role (or PG_DURABLE_UPSTREAM)',
    )
    .option('--config <file>', 'settings from a YAML file')
    .option('--set <key=value>', 'one setting; may be repeated', collect, []);
}

function commandLine(): Command {
  const program = new Command('pg-durable-proxy')
    .description('Durable functions (df.*) for any PostgreSQL 14-18, through a proxy, without an extension.')
    .version(version, '--version', 'print the version')
    .helpOption('--help', 'print this help')
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .helpCommand(false)
    .addHelpText('after', `\nSettings (file < PG_DURABLE_NAME < --set): ${Object.keys(settings).join(', ')}`);
  // Without a command: the help, as an answer to a wrong call.
  program.action(() => {
    throw new UsageError(
      'no command: use serve, demo, install, uninstall, rekey or doctor (--help says more)',
    );
  });
  withCommonOptions(program.command('serve').description('run the proxy'))
    .option('--listen <host:port,...>', `where clients connect (default ${settings.listen.fallback})`)
    .action(serveCommand);
  program
    .command('demo')
    .description('run the proxy in front of an embedded PostgreSQL with sample data')
    .option('--port <number>', 'port of the proxy on 127.0.0.1, 0 for a free one', '6432')
    .option('--data <directory>', 'where the data of the demo is kept')
    .option('--exit', 'end after the sample')
    .option('--set <key=value>', 'one setting of the proxy; may be repeated', collect, [])
    .action(demoCommand);
  withCommonOptions(
    program.command('install').description('install or upgrade the schemas df and _df'),
  ).action(installCommand);
  withCommonOptions(
    program.command('uninstall').description('remove the schemas df and _df with all they hold'),
  )
    .option('--yes', 'really do it')
    .action(uninstallCommand);
  withCommonOptions(
    program
      .command('rekey')
      .description('seal the stored credentials of roles with the first of the keys given'),
  ).action(rekeyCommand);
  withCommonOptions(program.command('doctor').description('check that everything is as it must be')).action(
    doctorCommand,
  );
  return program;
}

async function main(): Promise<void> {
  ignoreDebuggerSignal();
  freeChunksInPlace();
  // A reader that went away (| head) is no reason to end with a stack trace.
  process.stdout.on('error', () => {});
  try {
    await commandLine().parseAsync();
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return;
    const text = oneLine(error).replace(/^error: /, '');
    process.stderr.write(`pg-durable-proxy: ${text}\n`);
    const wrong =
      error instanceof CommanderError || error instanceof ConfigError || error instanceof UsageError;
    process.exit(wrong ? 2 : 1);
  }
}

await main();
