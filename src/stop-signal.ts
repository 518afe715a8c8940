import { constants } from 'node:os';

/** Two signals closer than this are one: a terminal, npm and a shell may each pass the same Ctrl-C on. */
const sameSignalMs = 500;

export interface StopSignal {
  /** Resolves with the first signal; never rejects. */
  readonly received: Promise<NodeJS.Signals>;
  /** Puts the default behaviour back. */
  release(): void;
}

export interface StopSignalOptions {
  /** Signals that ask us to end. By default also SIGHUP, which says that the terminal was closed. */
  readonly signals?: readonly NodeJS.Signals[];
  /** Called before the process ends at once. */
  readonly atOnce?: () => void;
}

/**
 * From now on the first signal is a request to stop in good order, and a second one ends the process at once
 * with the status that a shell gives such an end (128 + the number of the signal). SIGQUIT, which does not ask for
 * good order, does so as the first one.
 */
export function awaitStopSignal(options: StopSignalOptions = {}): StopSignal {
  const { signals = ['SIGINT', 'SIGTERM', 'SIGHUP'], atOnce } = options;
  let first: number | undefined;
  let tell: (signal: NodeJS.Signals) => void;
  const received = new Promise<NodeJS.Signals>((resolve) => {
    tell = resolve;
  });
  const end = (signal: NodeJS.Signals) => {
    atOnce?.();
    process.exit(128 + constants.signals[signal]);
  };
  const handler = (signal: NodeJS.Signals) => {
    if (signal === 'SIGQUIT') end(signal);
    if (first === undefined) {
      first = performance.now();
      tell(signal);
    } else if (performance.now() - first >= sameSignalMs) {
      end(signal);
    }
  };
  for (const signal of signals) process.on(signal, handler);
  return {
    received,
    release: () => {
      for (const signal of signals) process.off(signal, handler);
    },
  };
}
