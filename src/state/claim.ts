/** `_df.claim`: lease and load what is due, in one round trip. */
import type { Pool } from 'pg';
import { answer } from './answer.js';

/** A graph as rows of df.nodes, as it was when the instance was first claimed. */
export interface GraphRows {
  readonly root: string;
  /** There are more nodes, or longer ones, than are loaded; they are left out. */
  readonly large?: true;
  /** Name of the submitter at that time. */
  readonly role: string;
  readonly nodes: ReadonlyArray<
    readonly [
      id: string,
      type: string,
      query: string | null,
      resultName: string | null,
      left: string | null,
      right: string | null,
    ]
  > | null;
}

export type JournalRow = readonly [
  node: string,
  stamp: string,
  kind: 'c' | 'f' | 't' | 'l' | 'w',
  value: string | null,
  /** Seconds until due when it was loaded; negative when past. */
  due: number | null,
  columns: string | null,
  /** c of a SIGNAL: position of the signal that it has taken. */
  pos: number | null,
];

/** A signal in the inbox of an instance. */
export type SignalRow = readonly [
  seq: number,
  /** Its place in the order in which waits take signals. */
  pos: number,
  name: string,
  /** Payload, compact JSON; null when it is long and has to be read (`readSignal`). */
  data: string | null,
];

/** Signals of an instance come in lists of at most so many. */
export const SIGNALS_AT_ONCE = 100;

export interface News {
  readonly id: string;
  readonly token: string;
  readonly signals: readonly SignalRow[] | null;
}

export interface ClaimedInstance {
  readonly id: string;
  readonly token: string;
  /** NULL: the control database. */
  readonly database: string | null;
  readonly label: string | null;
  /** The submitter; null when the role has been dropped. */
  readonly role: string | null;
  /** Its OID, which no other role gets with its name; null likewise. */
  readonly roleId: string | null;
  readonly superuser: boolean | null;
  readonly login: boolean | null;
  readonly vars: Readonly<Record<string, string>>;
  readonly graph: GraphRows;
  readonly generation: number;
  readonly attempts: number;
  readonly events: number;
  readonly journal: readonly JournalRow[] | null;
  /** The first of its numbered signals. */
  readonly inbox: readonly SignalRow[] | null;
}

export interface Claim {
  /** false: this executor had been declared dead, nothing was leased. */
  readonly alive: boolean;
  readonly instances: readonly ClaimedInstance[];
  /** Seconds until the earliest instance that is left becomes due (negative: it is due); null when there is none. */
  readonly next: number | null;
  /** OID of the role up to which has been looked for work, 0: at all. Only of a claim in turn. */
  readonly after: number;
  /** Signals that nobody has seen, for instances that the executor holds: it has to number them as proposed. */
  readonly held: readonly News[] | null;
  /** The same for the instances of this claim: numbered. */
  readonly claimed: readonly News[] | null;
}

/** How to share among roles. */
export interface Turn {
  /** What the executor holds already, by the role's OID. */
  readonly held: ReadonlyMap<string, number>;
  /** Only roles of which it holds nothing. */
  readonly others: boolean;
  /** Where the last such claim has stopped looking. */
  readonly after: number;
}

/**
 * Leases up to `tokens.length` due instances to `owner`; the n-th gets the n-th token.
 * @param turn null: the earliest, whosoever they are
 */
export async function claim(
  pool: Pool,
  owner: string,
  tokens: readonly string[],
  turn: Turn | null,
  withinMs: number,
): Promise<Claim> {
  const rows = await answer<{ claim: Claim }>(
    pool,
    'SELECT _df.claim($1, $2::uuid[], $3::oid[], $4::int[], $5, $6::oid) AS claim',
    turn === null
      ? [owner, tokens, null, null, false, 0]
      : [owner, tokens, [...turn.held.keys()], [...turn.held.values()], turn.others, turn.after],
    withinMs,
  );
  return (rows[0] as { claim: Claim }).claim;
}
