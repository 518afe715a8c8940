/** How hard it is made, and for how long. Every number can be set from the environment (CHAOS_…). */
export interface ChaosOptions {
  readonly seed: number;
  /** Instances at least; more are started as long as there are kills to come. */
  readonly instances: number;
  /** SIGKILLs of a proxy. */
  readonly kills: number;
  /** SIGSTOP past the lease, then SIGCONT. */
  readonly zombies: number;
  /** Mean time between two cut database connections, in milliseconds. */
  readonly cutEveryMs: number;
  /** Instances that are started and not finished, at most. */
  readonly outstanding: number;
  /** Of the proxies, in seconds. */
  readonly leaseS: number;
  /** Without progress for this long it ends with a report of what is stuck. */
  readonly patienceMs: number;
}

export const SHORT: Omit<ChaosOptions, 'seed'> = {
  instances: 40,
  kills: 5,
  zombies: 1,
  cutEveryMs: 400,
  outstanding: 25,
  leaseS: 2,
  patienceMs: 30_000,
};

export const LONG: Omit<ChaosOptions, 'seed'> = {
  instances: 300,
  kills: 40,
  zombies: 6,
  cutEveryMs: 250,
  outstanding: 60,
  leaseS: 2,
  patienceMs: 60_000,
};

/** The defaults with CHAOS_SEED, CHAOS_INSTANCES, CHAOS_KILLS, CHAOS_ZOMBIES and CHAOS_CUT_EVERY_MS over them. */
export function chaosOptions(defaults: Omit<ChaosOptions, 'seed'>): ChaosOptions {
  return {
    ...defaults,
    seed: setting('CHAOS_SEED', Math.floor(Math.random() * 1_000_000)),
    instances: setting('CHAOS_INSTANCES', defaults.instances),
    kills: setting('CHAOS_KILLS', defaults.kills),
    zombies: setting('CHAOS_ZOMBIES', defaults.zombies),
    cutEveryMs: setting('CHAOS_CUT_EVERY_MS', defaults.cutEveryMs),
  };
}

function setting(name: string, fallback: number): number {
  const text = process.env[name];
  if (text === undefined || text === '') return fallback;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new Error(`${name}=${text}: must be an integer from 0`);
  return value;
}
