/** What a durable step may not do, although the server would let it. */
import type { ServerError, Session } from '../upstream/session.js';
import { endOfComment, endOfLine } from './split.js';

const ENDS_TRANSACTION =
  /^(?:commit|end|abort|rollback(?!\s+(?:work\s+|transaction\s+)?to\b)|prepare\s+transaction)\b/i;

/** Whether a statement by itself would end the step's transaction. */
export function endsTransaction(sql: string): boolean {
  return ENDS_TRANSACTION.test(withoutComments(sql));
}

function withoutComments(sql: string): string {
  let at = 0;
  for (;;) {
    if (/\s/.test(sql[at] ?? '')) at += 1;
    else if (sql.startsWith('--', at)) at = endOfLine(sql, at);
    else if (sql.startsWith('/*', at)) at = endOfComment(sql, at);
    else return sql.slice(at);
  }
}

/** The error of a step that has ended its transaction, or wants to. */
export function transactionControl(): ServerError {
  return refusal(
    '2D000',
    'transaction control statements cannot be used in a durable step',
    'Each step is a transaction of its own: it commits when its statements have succeeded.',
  );
}

/** The step has changed client_encoding: what it returned would be read, and its checkpoint written, as other text. */
export function wrongEncoding({ encoding }: Session): ServerError | null {
  if (encoding === 'UTF8') return null;
  return refusal(
    '0A000',
    `client_encoding ${encoding} is not possible in a durable step`,
    'Leave it at UTF8; convert_to() gives text in another encoding as bytea.',
  );
}

/** An error of our own, as if the server had said so. */
export function refusal(code: string, message: string, hint: string): ServerError {
  return {
    severity: 'ERROR',
    code,
    message,
    detail: undefined,
    hint,
    position: undefined,
    where: undefined,
  };
}
