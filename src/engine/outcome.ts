/** What a node comes to. */
import type { NamedResult } from './reference.js';

export type Done = { readonly kind: 'done'; readonly result: NamedResult };
/** df.break: unwinds to the nearest enclosing loop. */
export type Break = { readonly kind: 'break'; readonly value: string };
/** The instance fails with this text, as it looks at this level. */
export type Failed = { readonly kind: 'failed'; readonly error: string };
export type Outcome = Done | Break | Failed;

export function done(text: string, columns?: NamedResult['columns']): Done {
  return { kind: 'done', result: { text, columns } };
}

export function failed(error: string): Failed {
  return { kind: 'failed', error };
}

/** The JSON text that a node's row shows for its end; the message when it failed. */
export function outcomeText(outcome: Outcome): string {
  switch (outcome.kind) {
    case 'done':
      return outcome.result.text;
    case 'break':
      return outcome.value;
    case 'failed':
      return outcome.error;
  }
}
