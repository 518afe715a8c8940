/** `_df.read_signal`: what of an inbox did not come with the claim. */
import type { Pool } from 'pg';
import { answer } from './answer.js';
import type { SignalRow } from './claim.js';

/** The oldest numbered signal of a name beyond a position; null when there is none. */
export async function readSignal(
  pool: Pool,
  instance: string,
  name: string,
  after: number,
  withinMs: number,
): Promise<SignalRow | null> {
  const [row] = await answer<{ signal: SignalRow | null }>(
    pool,
    'SELECT _df.read_signal($1, $2, $3) AS signal',
    [instance, name, after],
    withinMs,
  );
  return row?.signal ?? null;
}
