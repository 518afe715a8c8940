/**
 * What can be asked for, by its kind in the request: a statement that is run as the caller, and how its failures are
 * told (df-api §1.2, §1.3). An answer begins with `+`, the value of the call, or with `-`, its error.
 */

export interface Errand {
  /** As users know it. */
  readonly name: string;
  /** Gives one text. Its parameters are the arguments of the request, in order. */
  readonly sql: string;
  /** The answer when the statement has failed. */
  failed(message: string): string;
  /** The answer when it could not be run, or not in time. */
  refused(why: string): string;
}

const UNKNOWN_INSTANCE = 'Instance not found or access denied: ';

export const errands: ReadonlyMap<string, Errand> = new Map<string, Errand>([
  [
    'start',
    {
      name: 'df.start()',
      sql: 'SELECT df.start($1, $2, $3)',
      failed: (message) => `-df.start() on new transaction failed: error returned from database: ${message}`,
      refused: (why) => `-${why}`,
    },
  ],
  [
    'signal',
    {
      name: 'df.signal()',
      sql: 'SELECT df.signal($1, $2, $3)',
      failed: (message) =>
        message.startsWith(UNKNOWN_INSTANCE) ? `-${message}` : `-Failed to send signal: ${message}`,
      refused: (why) => `-Failed to send signal: ${why}`,
    },
  ],
  [
    'cancel',
    {
      name: 'df.cancel()',
      sql: 'SELECT df.cancel($1, $2)',
      failed: (message) =>
        message.startsWith(UNKNOWN_INSTANCE) ? `-${message}` : `+Failed to cancel: ${message}`,
      refused: (why) => `+Failed to cancel: ${why}`,
    },
  ],
]);
