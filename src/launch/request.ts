/** A request as it comes from a SQL function (`_df.launch`), before anything in it has been proven. */
import { createHash } from 'node:crypto';
import type { PrivateNotice } from '../proxy/private-notice.js';
import type { Claimed } from '../state/launch.js';

export interface LaunchRequest extends Claimed {
  /** Base64 of a JSON array of texts and nulls. */
  readonly body: string;
}

const HEAD = /^pg_durable (\d{1,10}) (\d{1,10}) ([0-9a-f]{64}) ([a-z]{1,20} \d{1,19} \d{1,12} [0-9a-f]{64})$/;

/** Undefined for what no function of ours has said. */
export function readRequest({ head, body }: PrivateNotice): LaunchRequest | undefined {
  const found = HEAD.exec(head);
  if (found === null) return undefined;
  const [, role, pid, seal, about] = found as unknown as [string, string, string, string, string];
  if (Number(role) >= 2 ** 32 || Number(pid) >= 2 ** 31) return undefined;
  if (waitingOf(about) >= 2n ** 60n) return undefined;
  const digest = createHash('sha256').update(body, 'utf8').digest('hex');
  return { role, pid: Number(pid), about, seal, digest, body };
}

/** The key of the lock that the caller holds while he waits. */
export function waitingOf(about: string): bigint {
  return BigInt(about.split(' ')[1]!);
}

/** The arguments of a request; undefined for what the SQL function does not write, as a caller may by hand. */
export function readArguments(body: string): Array<string | null> | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(body, 'base64').toString('utf8'));
  } catch {
    return undefined;
  }
  const isArgument = (one: unknown) => one === null || typeof one === 'string';
  return Array.isArray(parsed) && parsed.every(isArgument) ? (parsed as Array<string | null>) : undefined;
}
