import type { ScramVerifier } from '../wire/scram-verifier.js';

/** Where the verifiers of roles come from (`auth_file`, `auth_query`). */
export interface VerifierSource {
  /**
   * @returns undefined for a role that is unknown or has no SCRAM verifier
   * @throws VerifierError
   */
  find(role: string): Promise<ScramVerifier | undefined>;
  /** Takes over now what has changed in a file; what is wrong with it is said to the log. */
  refresh(): Promise<void>;
  close(): Promise<void>;
}

/** The source cannot be asked now; the message is for the log and holds no verifier. */
export class VerifierError extends Error {
  override readonly name = 'VerifierError';
}

/** Asks one source after the other; the first that knows the role counts. */
export function firstOf(sources: readonly VerifierSource[]): VerifierSource {
  return {
    async find(role) {
      for (const source of sources) {
        const found = await source.find(role);
        if (found !== undefined) return found;
      }
      return undefined;
    },
    async refresh() {
      await Promise.all(sources.map((source) => source.refresh()));
    },
    async close() {
      await Promise.all(sources.map((source) => source.close()));
    },
  };
}
