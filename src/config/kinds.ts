import { isIP } from 'node:net';
import { z } from 'zod';
import { type HostPattern, hostPattern } from './host-pattern.js';

/**
 * The kinds of values a setting can have. Each turns what a file (typed YAML) or the environment and --set
 * (text) give into one type, and says in words what it allows: that text is the end of every error message.
 */
export interface Kind<T> {
  readonly schema: z.ZodType<T>;
  readonly allowed: string;
  /** A value as PostgreSQL's SHOW would have it; by default its plain text. */
  show?(value: T): string;
}

function kind<T>(allowed: string, parse: (value: unknown) => T | undefined): Kind<T> {
  const schema = z.unknown().transform((value, context) => {
    const parsed = parse(typeof value === 'string' ? value.trim() : value);
    if (parsed !== undefined) return parsed;
    context.addIssue({ code: 'custom', message: allowed });
    return z.NEVER;
  }) as unknown as z.ZodType<T>;
  return { schema, allowed };
}

/** Digits in base ten with an optional fraction; no hexadecimal, no exponent, nothing empty. */
function decimal(value: unknown): number | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? value : undefined;
  return typeof value === 'string' && /^\d+(\.\d+)?$/.test(value) ? Number(value) : undefined;
}

export function integer(min: number, max: number): Kind<number> {
  return kind(`an integer from ${min} to ${max}`, (value) => {
    const number = decimal(value);
    return number !== undefined && Number.isInteger(number) && number >= min && number <= max
      ? number
      : undefined;
  });
}

/** As PostgreSQL's own settings take it. */
export function onOff(): Kind<boolean> {
  return kind('on or off', (value) => {
    if (typeof value === 'boolean') return value;
    if (value === 1 || value === 0) return value === 1;
    if (typeof value !== 'string') return undefined;
    if (/^(on|true|yes|1)$/i.test(value)) return true;
    return /^(off|false|no|0)$/i.test(value) ? false : undefined;
  });
}

export function oneOf<const T extends string>(words: readonly T[]): Kind<T> {
  return kind(`one of ${words.join(', ')}`, (value) => words.find((word) => word === value));
}

const milliseconds = { ms: 1, s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** Milliseconds, from text with a unit or a bare number of seconds. Limits in milliseconds. */
export function duration(minMs: number, maxMs: number): Kind<number> {
  const allowed = `a time from ${showDuration(minMs)} to ${showDuration(maxMs)}, as in 500ms, 10s, 5min (bare: seconds)`;
  const parse = (value: unknown) => {
    const ms = withUnit(value, milliseconds, 's');
    return ms !== undefined && Number.isInteger(ms) && ms >= minMs && ms <= maxMs ? ms : undefined;
  };
  return { ...kind(allowed, parse), show: showDuration };
}

const bytes = {
  B: 1,
  kB: 1024,
  KiB: 1024,
  MB: 1024 ** 2,
  MiB: 1024 ** 2,
  GB: 1024 ** 3,
  GiB: 1024 ** 3,
} as const;

/** Bytes, from text with a unit (powers of 1024, as PostgreSQL counts them) or a bare number. */
export function size(min: number, max: number): Kind<number> {
  const allowed = `a size from ${showSize(min)} to ${showSize(max)}, as in 512kB, 16MiB (bare: bytes)`;
  const parse = (value: unknown) => {
    const count = withUnit(value, bytes, 'B');
    return count !== undefined && Number.isInteger(count) && count >= min && count <= max ? count : undefined;
  };
  return { ...kind(allowed, parse), show: showSize };
}

/** Text that matches `pattern`; `allowed` says the same in words. */
export function text(allowed: string, pattern: RegExp): Kind<string> {
  return kind(allowed, (value) => (typeof value === 'string' && pattern.test(value) ? value : undefined));
}

/**
 * A program and its arguments: a list, or text that is split at blanks, where quotes of either kind hold a word
 * together. There is no shell: nothing is expanded.
 */
export function command(): Kind<readonly string[]> {
  return kind('a program and its arguments, as a list or as text (quotes hold a word together)', (value) => {
    const words = typeof value === 'string' ? splitWords(value) : value;
    const good =
      Array.isArray(words) &&
      words.length > 0 &&
      words[0] !== '' &&
      words.every((word) => typeof word === 'string' && !word.includes('\0'));
    return good ? (words as string[]) : undefined;
  });
}

function splitWords(line: string): string[] | undefined {
  const token = /(?:[^\s"']|"[^"]*"|'[^']*')+/g;
  if (line.replace(token, '').trim() !== '') return undefined; // a quote without its other half
  return [...line.matchAll(token)].map(([word]) => word.replace(/"([^"]*)"|'([^']*)'/g, '$1$2'));
}

export interface ListenAddress {
  /** Host name or address; one that begins with "/" is the directory of a Unix socket. */
  readonly host: string;
  /** 0: a free port. Of a Unix socket it is the end of the name, as in PostgreSQL. */
  readonly port: number;
}

/** The port of a Unix socket for which none is given: that of the default `listen`. */
const UNIX_PORT = 6432;

/** One address or more: a list, or text with commas. */
export function listenAddresses(): Kind<readonly ListenAddress[]> {
  const allowed =
    'HOST:PORT, [IPv6]:PORT or /socket/directory[:PORT], with a port from 0 to 65535; several with commas or as a list';
  return kind(allowed, (value) => {
    const texts = typeof value === 'string' ? value.split(',') : Array.isArray(value) ? value : [];
    const addresses = texts.map((text) =>
      typeof text === 'string' ? listenAddress(text.trim()) : undefined,
    );
    return addresses.length > 0 && addresses.every((address) => address !== undefined)
      ? addresses
      : undefined;
  });
}

function listenAddress(text: string): ListenAddress | undefined {
  const unix = /^(\/[^:]*)(?::([1-9]\d{0,4}))?$/.exec(text);
  const match = unix ?? /^(\[[0-9A-Fa-f:.]+\]|[^:[\]/\s]+):(\d{1,5})$/.exec(text);
  if (match === null) return undefined;
  const port = Number(match[2] ?? UNIX_PORT);
  return port > 65_535 ? undefined : { host: match[1]!.replace(/^\[|\]$/g, ''), port };
}

/** A range of IP addresses: those that begin with the first `prefix` bits of `address`. */
export interface Network {
  readonly address: string;
  readonly prefix: number;
  readonly family: 'ipv4' | 'ipv6';
}

/** Ranges in CIDR form or single addresses: a list, or text with commas; empty: none. */
export function networks(): Kind<readonly Network[]> {
  return kind(
    'addresses or CIDR ranges as 10.0.0.0/8 or fd00::/8, several with commas or as a list',
    (value) => {
      const texts = typeof value === 'string' ? value.split(',') : Array.isArray(value) ? value : undefined;
      if (texts === undefined || value === '') return value === '' ? [] : undefined;
      const found = texts.map((text) => (typeof text === 'string' ? network(text.trim()) : undefined));
      return found.every((each) => each !== undefined) ? found : undefined;
    },
  );
}

function network(text: string): Network | undefined {
  const match = /^([0-9A-Fa-f.:]+)(?:\/(\d{1,3}))?$/.exec(text);
  const version = match === null ? 0 : isIP(match[1]!);
  if (match === null || version === 0) return undefined;
  const bits = version === 4 ? 32 : 128;
  const prefix = match[2] === undefined ? bits : Number(match[2]);
  return prefix > bits ? undefined : { address: match[1]!, prefix, family: version === 4 ? 'ipv4' : 'ipv6' };
}

/** Hosts, with a port or without: a list, or text with commas; empty: none. */
export function hostPatterns(): Kind<readonly HostPattern[]> {
  return kind(
    'host names as api.github.com, *.example.com (the names below it) or example.com:8443, several with commas or as a list',
    (value) => {
      if (value === '') return [];
      const texts = typeof value === 'string' ? value.split(',') : Array.isArray(value) ? value : undefined;
      const found = texts?.map((text) => (typeof text === 'string' ? hostPattern(text.trim()) : undefined));
      return found?.every((each) => each !== undefined) ? found : undefined;
    },
  );
}

/** Permissions of a file, in octal digits, which YAML may have read as a number in base ten. */
export function fileMode(): Kind<number> {
  const parse = (value: unknown) => {
    const digits = typeof value === 'number' ? String(value).padStart(3, '0') : value;
    return typeof digits === 'string' && /^[0-7]{3,4}$/.test(digits) && Number.parseInt(digits, 8) <= 0o777
      ? Number.parseInt(digits, 8)
      : undefined;
  };
  const show = (mode: number) => mode.toString(8).padStart(4, '0');
  return { ...kind('permissions in octal, as 0777 or 0770', parse), show };
}

function withUnit(value: unknown, units: Readonly<Record<string, number>>, bare: string): number | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? value * units[bare]! : undefined;
  const match = typeof value === 'string' ? /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(value) : null;
  const factor =
    match === null ? undefined : Object.hasOwn(units, match[2] || bare) ? units[match[2] || bare] : undefined;
  return factor === undefined ? undefined : Number(match![1]) * factor;
}

/** The shortest text that means this many milliseconds. */
export function showDuration(ms: number): string {
  for (const unit of ['d', 'h', 'min', 's'] as const) {
    if (ms > 0 && ms % milliseconds[unit] === 0) return `${ms / milliseconds[unit]}${unit}`;
  }
  return ms === 0 ? '0' : `${ms}ms`;
}

/** The shortest text that means this many bytes. */
export function showSize(count: number): string {
  for (const unit of ['GiB', 'MiB', 'kB'] as const) {
    if (count > 0 && count % bytes[unit] === 0) return `${count / bytes[unit]}${unit}`;
  }
  return String(count);
}
