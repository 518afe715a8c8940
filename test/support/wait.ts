import { setTimeout as delay } from 'node:timers/promises';

export interface WaitOptions {
  /** Deadline in milliseconds; default 10 000. */
  timeoutMs?: number;
  /** What is waited for, for the message of the error. */
  what?: string;
  /** Pause between two looks, in milliseconds; default 20. */
  everyMs?: number;
}

/**
 * Waits until `condition` gives something truthy and returns that. A condition that throws counts as "not yet";
 * its last error is the cause of the error thrown at the deadline.
 */
export async function until<T>(
  condition: () => T | Promise<T>,
  options: WaitOptions = {},
): Promise<Exclude<T, undefined | null | false | 0 | ''>> {
  const { timeoutMs = 10_000, what = 'the condition', everyMs = 20 } = options;
  const deadline = Date.now() + timeoutMs;
  let cause: unknown;
  for (;;) {
    try {
      const value = await condition();
      if (value) return value as Exclude<T, undefined | null | false | 0 | ''>;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    if (Date.now() >= deadline) throw new Error(`waited ${timeoutMs} ms for ${what}`, { cause });
    await delay(everyMs);
  }
}
