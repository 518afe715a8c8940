import type { Kind, ListenAddress, Network } from './kinds.js';
import { type SettingName, type SettingValues, settingNames, settings } from './settings.js';
import type { Upstream } from './upstream.js';

/**
 * Settings in the form in which PostgreSQL's SHOW has its own: booleans on and off, times and sizes with the largest
 * unit that divides them, nothing where there is no value.
 *
 * Anybody may read what is shown: not what holds a secret, nor programs, queries and files that say where one is.
 */
const HIDDEN = /^upstream$|_(?:file|command|query)$/;

/** By name; null: not to be shown. */
export function shownSettings(values: SettingValues, upstream: Upstream): Map<string, string | null> {
  const shown = new Map<string, string | null>(
    settingNames.map((name) => [name, HIDDEN.test(name) ? null : show(name, values[name])]),
  );
  // What they are where the upstream URL says it.
  shown.set('worker_role', upstream.user);
  shown.set('database', upstream.database);
  return shown;
}

function show(name: SettingName, value: unknown): string {
  if (value === undefined) return '';
  const kind = settings[name].kind as Kind<unknown>;
  if (kind.show !== undefined) return kind.show(value);
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  return Array.isArray(value) ? value.map(one).join(',') : String(value);
}

function one(item: string | ListenAddress | Network): string {
  if (typeof item === 'string') return item;
  if ('prefix' in item) return `${item.address}/${item.prefix}`;
  return `${item.host.includes(':') ? `[${item.host}]` : item.host}:${item.port}`;
}
