/** One errand, in a transaction of its own in a session of the caller's role. */
import { OpenFailure } from '../upstream/open.js';
import { LoginRefused, type PooledRole, type SessionPool } from '../upstream/pool.js';
import { ConnectionLost, type ServerError, type Session } from '../upstream/session.js';
import type { Errand } from './errands.js';
import { readArguments, waitingOf } from './request.js';

export interface Launch {
  readonly errand: Errand;
  readonly role: PooledRole;
  readonly database: string;
  readonly body: string;
  readonly about: string;
}

/** The caller no longer waits: nothing was committed. */
export const GONE = 'gone';

/** statement_timeout and lock_timeout of the session (df-api §1.2), milliseconds. */
export const LAUNCH_TIMEOUT_MS = 30_000;
/** A statement begins before it waits for a lock: with two equal limits nobody would ever hear of the lock. */
const BEFORE_THE_LOCK_MS = 500;

/** Start-up parameters of the sessions. */
export const launchParameters: Readonly<Record<string, string>> = {
  application_name: 'pg_durable:backend:new-transaction',
  client_encoding: 'UTF8',
  statement_timeout: String(LAUNCH_TIMEOUT_MS + BEFORE_THE_LOCK_MS),
  lock_timeout: String(LAUNCH_TIMEOUT_MS),
  idle_in_transaction_session_timeout: String(LAUNCH_TIMEOUT_MS),
  // What ALTER ROLE ... SET says of these is not for this session.
  options: '-c role=none -c df.launched=on',
};

const BEGIN = { sql: 'BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE' };
const COMMIT = { sql: 'COMMIT' };
const ROLLBACK = { sql: 'ROLLBACK' };

/** @returns `+` and the text that the statement gave, `-` and an error text, or GONE */
export async function runErrand(sessions: SessionPool, launch: Launch): Promise<string> {
  const { errand } = launch;
  const parameters = readArguments(launch.body);
  if (parameters === undefined) return errand.refused('malformed request');
  let session: Session;
  try {
    session = await sessions.acquire(launch.role, launch.database, LAUNCH_TIMEOUT_MS);
  } catch (error) {
    return errand.refused(
      `Failed to connect to database '${launch.database}' as '${launch.role.name}'. Error: ${whyNot(error)}`,
    );
  }
  // Nothing of a user's runs in these sessions, so there is nothing to reset between two of them.
  const waiting = String(waitingOf(launch.about));
  try {
    const { error, results, status } = await session.run([
      BEGIN,
      { sql: errand.sql, parameters, rows: true },
      { sql: 'SELECT _df.launch_wanted($1)', parameters: [waiting] },
      COMMIT,
    ]);
    if (status !== 'I') await session.run([ROLLBACK]);
    if (error !== null) return error.code === 'DF102' ? GONE : answerTo(error, errand);
    return `+${results[1]?.rows[0]?.[0] ?? ''}`;
  } catch (error) {
    if (!(error instanceof ConnectionLost)) throw error;
    return errand.failed(error.message);
  } finally {
    sessions.release(session);
  }
}

function answerTo({ code, message }: ServerError, errand: Errand): string {
  if (code === '55P03') {
    return errand.refused(
      `pg_durable: transaction_mode => 'new' launch hit lock_timeout after ${LAUNCH_TIMEOUT_MS}ms while waiting on a lock in the loopback session: ${message}`,
    );
  }
  if (code === '57014') {
    return errand.refused(
      `pg_durable: transaction_mode => 'new' launch hit statement_timeout after ${LAUNCH_TIMEOUT_MS}ms while running ${errand.name} in the loopback session: ${message}`,
    );
  }
  return errand.failed(message);
}

function whyNot(error: unknown): string {
  if (error instanceof LoginRefused || error instanceof OpenFailure) return error.message;
  return 'no session became free in time';
}
