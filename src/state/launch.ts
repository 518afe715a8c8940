/** The proxy's side of work that leaves a caller's transaction (sql/013_launch.sql): on one session, which holds the locks. */
import type { ClientBase } from 'pg';

/** What is known of a request before it has been proven. */
export interface Claimed {
  /** OID. */
  readonly role: string;
  readonly pid: number;
  readonly about: string;
  readonly seal: string;
  /** SHA-256 of the content, hex. */
  readonly digest: string;
}

/** 0 and above: the slot that is now held. */
export type Slot = number;
export const NO_SLOT = -1;
export const NOBODY_WAITS = -2;

export type Taken =
  | { readonly state: 'forged' | 'stale' | 'gone' | 'busy' }
  | {
      readonly state: 'taken';
      /** Name of the role. */
      readonly role: string;
      readonly kind: string;
      /** Key of the lock that the caller holds while he waits. */
      readonly waiting: string;
      readonly slot: Slot;
    };

/** An answer that has been given and may not have been read yet. */
export interface Given {
  readonly seal: string;
  readonly waiting: string;
  /** It is taken back anyway. */
  readonly late: boolean;
}

/** Makes a new key of seals where it is time. */
export async function renewKey(client: ClientBase): Promise<void> {
  await client.query('SELECT _df.launch_renew()');
}

/**
 * For as long as the session lives, callers can see that there is somebody to ask.
 * @returns false: somebody has the lock that says so. A caller has it for a moment when he looks.
 */
export async function showPresence(client: ClientBase): Promise<boolean> {
  const { rows } = await client.query<{ shown: boolean }>(
    'SELECT pg_catalog.pg_try_advisory_lock_shared(1146504275, 3) AS shown',
  );
  return rows[0]!.shown;
}

/**
 * @param limit of launches at the same time, in all proxies; 0: no slot is wanted now
 * @param held slots that this session holds
 */
export async function takeRequest(
  client: ClientBase,
  { role, pid, about, seal, digest }: Claimed,
  limit: number,
  held: readonly Slot[],
): Promise<Taken> {
  const { rows } = await client.query<{ taken: Taken }>({
    name: 'launch_take',
    text: 'SELECT _df.launch_take($1, $2, $3, $4, $5, $6, $7) AS taken',
    values: [role, pid, about, seal, digest, limit, held],
  });
  return rows[0]!.taken;
}

/** @returns a slot, NO_SLOT, or NOBODY_WAITS */
export async function takeSlot(
  client: ClientBase,
  waiting: string,
  limit: number,
  held: readonly Slot[],
): Promise<Slot> {
  const { rows } = await client.query<{ slot: Slot }>({
    name: 'launch_slot',
    text: 'SELECT _df.launch_slot($1, $2, $3) AS slot',
    values: [limit, held, waiting],
  });
  return rows[0]!.slot;
}

/** Gives the answer, and the slot back. @param text at most 2000 bytes */
export async function giveAnswer(client: ClientBase, seal: string, text: string, slot: Slot): Promise<void> {
  await client.query({
    name: 'launch_answer',
    text: 'SELECT _df.launch_answer($1, $2, $3)',
    values: [seal, text, slot],
  });
}

/** Takes back answers that nobody waits for any more. @returns their seals */
export async function settleAnswers(client: ClientBase, answers: readonly Given[]): Promise<string[]> {
  const { rows } = await client.query<{ settled: string[] }>({
    name: 'launch_settle',
    text: 'SELECT _df.launch_settle($1, $2, $3) AS settled',
    values: [
      answers.map(({ seal }) => seal),
      answers.map(({ waiting }) => waiting),
      answers.map(({ late }) => late),
    ],
  });
  return rows[0]!.settled;
}
