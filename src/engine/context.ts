/** What every walk of an executor has in common. */
import type { Logger } from 'pino';
import type { Outbound } from '../http/outbound.js';
import type { SignalRow } from '../state/claim.js';
import type { RoleState } from '../state/role.js';
import type { SessionPool } from '../upstream/pool.js';
import type { HttpPrivileges } from './http-privileges.js';
import type { Outbox } from './outbox.js';
import type { StepOperators } from './step-operators.js';

export interface EngineSettings {
  readonly controlDatabase: string;
  /** How long a step waits for a session before it fails. */
  readonly acquireTimeoutMs: number;
  /** 0: no limit. */
  readonly maxLoopIterations: number;
  /** Whether the failure of a step shows the SQL that really ran. */
  readonly recordStatements: boolean;
  readonly enableSuperuserInstances: boolean;
}

export interface EngineContext {
  readonly pool: SessionPool;
  readonly outbox: Outbox;
  readonly settings: EngineSettings;
  readonly log: Logger;
  readonly outbound: Outbound;
  readonly operators: StepOperators;
  readonly httpPrivileges: HttpPrivileges;
  /** What the catalogue says of the role. */
  roleState(role: string): Promise<RoleState>;
  /** How often a login of the role has been seen. */
  captures(role: string): number;
  /** Makes the instances due that wait for a login of the role. */
  resume(role: string): void;
  /** Whether the executor is stopping: an instance is given back before its next step. */
  leaving(): boolean;
  /** The database's time, in milliseconds since 1970. */
  now(): Promise<number>;
  /** Whether due instances wait in the database for a slot. */
  backlog(): boolean;
  /** Instances that do nothing but wait for an answer to a request: one more (1) or one less (-1). */
  away(change: 1 | -1): void;
  /** Something may have come for an instance: claim now. */
  wake(): void;
  /**
   * Resolves when signals have been looked for that were there when this was called, and those found are delivered:
   * true; false when the executor has ended before that.
   */
  look(): Promise<boolean>;
  /** The oldest signal of a name beyond a position, from the database. */
  readSignal(instance: string, name: string, after: number): Promise<SignalRow | null>;
  /** An instance was given back, to be claimed in this time. */
  due(milliseconds: number): void;
}
