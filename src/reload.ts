import type { Logger } from 'pino';
import { changes } from './config/changes.js';
import { type Config, toConfig } from './config/config.js';
import { type ConfigSources, readSettings } from './config/load.js';

export interface Reloader {
  /** Reads the configuration again; the file may have changed, environment and arguments are as they were. */
  reload(): Promise<void>;
}

/**
 * @param sources as at the start
 * @param apply hands a configuration to the running proxy; called also when nothing has changed in it, as files that
 *   it names may have
 */
export function createReloader(
  sources: ConfigSources,
  log: Logger,
  apply: (config: Config) => Promise<void>,
): Reloader {
  let current = readSettings(sources).values;
  const once = async (): Promise<void> => {
    try {
      const read = readSettings(sources);
      const { values, applied, needRestart } = changes(current, read.values);
      await apply(toConfig(values, read.secrets, []));
      current = values;
      log.info({ changed: applied }, 'configuration reloaded');
      if (needRestart.length > 0) {
        log.warn({ needRestart }, 'settings have changed that stay as they are until a restart');
      }
    } catch (err) {
      log.error({ err }, 'configuration not reloaded: everything stays as it was');
    }
  };
  let last = Promise.resolve();
  return {
    reload: () => {
      // One after the other: each begins with what the one before has left.
      last = last.then(once);
      return last;
    },
  };
}
