import pg from 'pg';
import { oneLine, withAdminConnection } from '../admin-connection.js';
import type { Config } from '../config/config.js';
import { connectionAdvice } from './advice.js';
import { checks } from './checks.js';
import { connectionFindings } from './connection.js';

/** One line of the report: what was looked at, how it is, and how to mend it if it is not well. */
export interface Finding {
  /** warn: works, but somebody should know; fail: the proxy cannot work, or not fully, as it is. */
  readonly state: 'ok' | 'warn' | 'fail';
  readonly text: string;
  readonly mend?: string;
}

/**
 * Looks at everything that the proxy needs of the server, in the order in which one thing rests on another.
 * Changes nothing. Does not throw: what cannot be looked at is a finding, too.
 */
export async function* examine(config: Config): AsyncGenerator<Finding> {
  for (const note of config.notes) yield { state: 'warn', text: `setting without effect: ${note}` };
  const findings: Finding[] = [];
  try {
    await withAdminConnection(config, async (client, reached) => {
      findings.push({
        state: 'ok',
        text: `connection to ${config.upstream.display} as role ${pg.escapeIdentifier(config.upstream.user)}`,
      });
      findings.push(...connectionFindings(config, reached));
      for (const check of checks) findings.push(...(await attempt(check, client, config)));
    });
  } catch (error) {
    findings.push({
      state: 'fail',
      text: `no connection to ${config.upstream.display}: ${oneLine(error)}`,
      mend: connectionAdvice(error, config),
    });
  }
  yield* findings;
}

async function attempt(
  check: (typeof checks)[number],
  client: pg.Client,
  config: Config,
): Promise<Finding[]> {
  try {
    return await check(client, config);
  } catch (error) {
    return [{ state: 'fail', text: `the check "${check.name}" did not work: ${oneLine(error)}` }];
  }
}
