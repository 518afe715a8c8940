/** Signals that ask us to end; a closed terminal (SIGHUP) is one of them. */
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Two signals closer than this are one: a terminal, npm and a shell may each pass the same Ctrl-C on. */
const sameSignalMs = 500;

export interface StopSignal {
  /** Resolves with the first signal; never rejects. */
  readonly received: Promise<NodeJS.Signals>;
  /** Puts the default behaviour back. */
  release(): void;
}

/**
 * From now on the first signal is a request to stop in good order, and a second one ends the process at once
 * with the status that a shell gives such an end (128 + the number of the signal).
 */
export function awaitStopSignal(): StopSignal {
  let first: number | undefined;
  let tell: (signal: NodeJS.Signals) => void;
  const received = new Promise<NodeJS.Signals>((resolve) => {
    tell = resolve;
  });
  const handler = (signal: NodeJS.Signals, number: number) => {
    if (first === undefined) {
      first = performance.now();
      tell(signal);
    } else if (performance.now() - first >= sameSignalMs) {
      process.exit(128 + number);
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
