import { base64, type ScramDemand } from './scram.js';

/**
 * What a server keeps of a password (RFC 5803, and `rolpassword` in pg_authid). Whoever has it can check a proof and
 * play the server, but not log in: for that a proof of the client's, or the password, is missing.
 */
export interface ScramVerifier extends ScramDemand {
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

const MAX_ITERATIONS_WRITTEN = 2_147_483_647;
const KEY_LENGTH = 32;

/**
 * Reads `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, the last three in base64.
 * @returns undefined for everything else
 */
export function parseScramVerifier(text: string): ScramVerifier | undefined {
  const parts =
    /^SCRAM-SHA-256\$([1-9][0-9]{0,9}):([A-Za-z0-9+/=]{1,1368})\$([A-Za-z0-9+/=]{44}):([A-Za-z0-9+/=]{44})$/.exec(
      text,
    );
  if (parts === null) return undefined;
  const iterations = Number(parts[1]);
  const [salt, storedKey, serverKey] = [base64(parts[2]!), base64(parts[3]!), base64(parts[4]!)];
  if (iterations > MAX_ITERATIONS_WRITTEN || salt === null) return undefined;
  if (storedKey?.length !== KEY_LENGTH || serverKey?.length !== KEY_LENGTH) return undefined;
  return { iterations, salt, storedKey, serverKey };
}
