import type { Dice } from '../chaos/dice.js';

/** Messages that go out at once, and what the client does before it goes on. */
export interface Step {
  readonly send: readonly Buffer[];
  /**
   * Types of the server's messages of which one is waited for. An ErrorResponse ends the wait as well, and once the
   * turn has had one nothing is waited for any more: behind an error the server may be silent up to the next Sync.
   */
  readonly wait?: string;
  /**
   * `cancel`: a CancelRequest for this session, and its close is waited for. `notify`: another session sends a
   * notification, which is waited for if it can come now.
   */
  readonly act?: 'cancel' | 'notify';
}

/** What a turn may depend on. */
export interface Mood {
  readonly dice: Dice;
  /** Operators of df may occur: the session reads text as the rewriter does. */
  readonly dsl: boolean;
}

/** Some steps, and a fence behind them: whatever state they leave, the client hears when the server is through. */
export interface Turn {
  readonly name: string;
  readonly steps: readonly Step[];
  /** True where each step can be left out by itself, for the search of a smaller failing conversation. */
  readonly loose: boolean;
}

/** All that one client does in one session. */
export interface Conversation {
  /** Which one of its seed. */
  readonly number: number;
  readonly startup: Readonly<Record<string, string>>;
  readonly protocol: number;
  /** Bytes go out in pieces of 1 to this many; 0: each step in one write. */
  readonly pieces: number;
  readonly turns: readonly Turn[];
}
