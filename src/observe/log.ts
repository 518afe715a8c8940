import { type DestinationStream, destination, type Logger, pino } from 'pino';
import type { LogLevel } from '../config/config.js';

/** Names of fields that never reach the log, at the top and one level down, whoever logs them by mistake. */
const secretFields = [
  'password',
  'secret',
  'credential',
  'credentials',
  'keys',
  'clientKey',
  'serverKey',
  'hash',
  'token',
  'connectionString',
  'url',
  'parameters',
  'values',
  'rows',
  'row',
];

/**
 * The log: one JSON object a line on stderr. Messages name what happened, to whom (role, database, instance,
 * SQLSTATE) and never what was in it: no password, no key, no statement text, no row data. Redaction is the net
 * under that rule. An error is logged as its class, message and SQLSTATE; the fields in which PostgreSQL quotes
 * data (detail, where, hint) are left out.
 */
export function createLog(
  level: LogLevel,
  stream: DestinationStream = destination({ dest: 2, sync: true }),
): Logger {
  return pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: secretFields.flatMap((field) => [field, `*.${field}`]), censor: '[redacted]' },
      serializers: { err: describeError, error: describeError },
    },
    stream,
  );
}

/** What the log says of an error. */
export function describeError(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { type: typeof error };
  const { code } = error as { code?: unknown };
  return {
    type: error.name,
    message: error.message,
    ...(typeof code === 'string' ? { code } : {}),
    // Frames only: the first line of a stack repeats the message.
    ...(code === undefined ? { stack: error.stack?.split('\n').slice(1, 8).join('\n') } : {}),
    ...(error.cause instanceof Error ? { cause: describeError(error.cause) } : {}),
  };
}
