/** Hears of instances that are cancelled while an executor holds them (`_df.on_cancel` notifies). */
import pg from 'pg';
import type { Logger } from 'pino';

const CHANNEL = '_df_cancel';
const RECONNECT_MS = 1000;

export interface CancellationListener {
  close(): Promise<void>;
}

/**
 * Listens on a connection of its own, and connects again when it is lost. What is missed meanwhile the heartbeat finds.
 * @param config connection settings of the admin role
 * @param onCancel gets the executor that is said to hold such an instance
 */
export function listenForCancellations(
  config: pg.ClientConfig,
  log: Logger,
  onCancel: (executor: string) => void,
): CancellationListener {
  let closed = false;
  let client: pg.Client | null = null;
  let timer: NodeJS.Timeout | undefined;

  const connect = async (): Promise<void> => {
    const mine = new pg.Client(config);
    client = mine;
    let ended = false;
    const again = (error?: unknown): void => {
      if (ended) return;
      ended = true;
      mine.end().catch(() => {});
      if (closed) return;
      log.debug({ err: error }, 'connection for cancellations lost');
      timer = setTimeout(() => void connect(), RECONNECT_MS);
    };
    mine.on('error', again);
    mine.on('end', () => again());
    mine.on('notification', ({ payload }) => {
      if (payload !== undefined) onCancel(payload);
    });
    try {
      await mine.connect();
      await mine.query(`LISTEN ${CHANNEL}`);
    } catch (error) {
      again(error);
    }
  };

  void connect();
  return {
    async close() {
      closed = true;
      clearTimeout(timer);
      await client?.end().catch(() => {});
    },
  };
}
