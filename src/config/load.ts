import { readFileSync } from 'node:fs';
import { parseDocument } from 'yaml';
import { type Config, ConfigError, type EnvironmentSecrets, toConfig } from './config.js';
import { type Setting, type SettingName, type SettingValues, settingNames, settings } from './settings.js';

export interface ConfigSources {
  /** Path of a YAML file: a flat mapping of settings. */
  readonly file?: string | undefined;
  /** The process environment; only names that begin with PG_DURABLE_ are looked at, empty ones are unset. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Texts "key=value" of --set, in the order given. */
  readonly sets?: readonly string[];
  /** Values of flags of their own, as --listen; undefined ones were not given. */
  readonly flags?: Readonly<Partial<Record<SettingName, string | undefined>>>;
}

/** What the sources say, of which a configuration is made. */
export interface ReadSettings {
  readonly values: SettingValues;
  readonly secrets: EnvironmentSecrets;
  readonly notes: readonly string[];
}

interface Given {
  readonly value: unknown;
  readonly source: string;
}

const environmentPrefix = 'PG_DURABLE_';
/** Secrets in the environment, which are no settings: nobody is to write them on a command line. */
const keyVariable = 'PG_DURABLE_CREDENTIAL_KEY';
const passwordPrefix = 'PG_DURABLE_PASSWORD_';

/** The configuration that the sources make. Throws ConfigError, of one line. */
export function loadConfig(sources: ConfigSources): Config {
  const { values, secrets, notes } = readSettings(sources);
  return toConfig(values, secrets, notes);
}

/**
 * Reads every source, later ones over earlier ones: file, environment, --set, flags. Throws ConfigError, of one
 * line, for a key that does not exist or a value out of range in any of them, even where a later one would win.
 */
export function readSettings(sources: ConfigSources): ReadSettings {
  const given = new Map<SettingName, Given>();
  const accept = (key: string, value: unknown, source: string) => {
    const name = knownName(key, source);
    if (value === null || value === undefined) return;
    given.set(name, { value: check(name, value, source), source });
  };

  if (sources.file !== undefined) {
    for (const [key, value] of readSettingsFile(sources.file)) accept(key, value, `file ${sources.file}`);
  }
  for (const [variable, value] of Object.entries(sources.env ?? {})) {
    if (!variable.startsWith(environmentPrefix) || value === undefined || value === '') continue;
    if (isSecret(variable)) continue;
    accept(settingOf(variable), value, `environment variable ${variable}`);
  }
  for (const pair of sources.sets ?? []) {
    const split = pair.indexOf('=');
    if (split < 1) throw new ConfigError('--set takes key=value, for example --set log_level=debug');
    accept(pair.slice(0, split).trim(), pair.slice(split + 1), '--set');
  }
  for (const [key, value] of Object.entries(sources.flags ?? {}))
    accept(key, value, `--${key.replaceAll('_', '-')}`);

  const notes: string[] = [];
  const values: Record<string, unknown> = {};
  for (const name of settingNames) {
    const { kind, fallback, note }: Setting<unknown> = settings[name];
    const found = given.get(name);
    const standard = fallback === undefined ? undefined : kind.schema.parse(fallback);
    const value = found === undefined ? standard : found.value;
    if (value !== undefined) values[name] = value;
    if (note !== undefined && value !== standard) notes.push(`${name} (${found?.source}): ${note}`);
  }
  return { values: values as SettingValues, secrets: environmentSecrets(sources.env ?? {}), notes };
}

/** The setting that a variable means: a dot of the name is an underscore there. */
function settingOf(variable: string): string {
  const name = variable.slice(environmentPrefix.length).toLowerCase();
  return settingNames.find((one) => one.replaceAll('.', '_') === name) ?? name;
}

function isSecret(variable: string): boolean {
  return variable === keyVariable || variable.startsWith(passwordPrefix);
}

function environmentSecrets(env: Readonly<Record<string, string | undefined>>): EnvironmentSecrets {
  const passwords = new Map<string, string>();
  for (const [variable, value] of Object.entries(env)) {
    if (variable.startsWith(passwordPrefix) && value !== undefined && value !== '')
      passwords.set(variable, value);
  }
  return { credentialKey: env[keyVariable] || undefined, passwords };
}

function knownName(key: string, source: string): SettingName {
  const name = key.startsWith('pg_durable.') ? key.slice('pg_durable.'.length) : key;
  if (Object.hasOwn(settings, name)) return name as SettingName;
  throw new ConfigError(`unknown setting ${quote(key)} in ${source}: allowed are ${settingNames.join(', ')}`);
}

function check(name: SettingName, value: unknown, source: string): unknown {
  const { kind }: Setting<unknown> = settings[name];
  const parsed = kind.schema.safeParse(value);
  if (parsed.success) return parsed.data;
  // What can hold a password is never quoted.
  if (name === 'upstream') {
    throw new ConfigError(
      `bad value for setting "upstream" in ${source}: ${parsed.error.issues[0]!.message}; allowed is ${kind.allowed}`,
    );
  }
  const shown = name.endsWith('_command') ? 'the value' : quote(value);
  throw new ConfigError(
    `bad value for setting "${name}" in ${source}: ${shown} is not allowed; allowed is ${kind.allowed}`,
  );
}

function readSettingsFile(path: string): [string, unknown][] {
  let content: string;
  try {
    content = readFileSync(path, 'utf8');
  } catch (error) {
    throw new ConfigError(`cannot read configuration file ${path}: ${(error as NodeJS.ErrnoException).code}`);
  }
  const document = parseDocument(content, { prettyErrors: false, uniqueKeys: true });
  const [error] = document.errors;
  if (error !== undefined) {
    const line = content.slice(0, error.pos[0]).split('\n').length;
    throw new ConfigError(`configuration file ${path}, line ${line}: ${error.message.split('\n')[0]}`);
  }
  const top: unknown = document.toJS();
  if (top === null || top === undefined) return [];
  if (typeof top !== 'object' || Array.isArray(top)) {
    throw new ConfigError(
      `configuration file ${path}: must be a mapping of settings, one "key: value" a line`,
    );
  }
  return Object.entries(top);
}

/** At most a short line of what was given. */
function quote(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
