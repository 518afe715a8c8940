/**
 * What can be asked for, by its kind in the request: a statement that is run as the caller, and what its failures are
 * called (df-api §1.2).
 */

export interface Errand {
  /** Gives one text. Its parameters are the arguments of the request, in order. */
  readonly sql: string;
  /** The answer's error when the statement failed with something that has no text of its own. */
  failed(message: string): string;
}

export const errands: ReadonlyMap<string, Errand> = new Map([
  [
    'start',
    {
      sql: 'SELECT df.start($1, $2, $3)',
      failed: (message) => `df.start() on new transaction failed: error returned from database: ${message}`,
    },
  ],
]);
