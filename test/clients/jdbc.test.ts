import { execFile, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect } from 'vitest';
import { Durable } from '../support/durable.js';
import { type BothWays, openBothWays } from './both-ways.js';
import { testUnless } from './programs.js';

// The JDBC driver. jdbc/Jdbc.java is what it does; Java compiles and runs that itself.

const driver = '/usr/share/java/postgresql.jar';
const reason = lacking();

function lacking(): string | undefined {
  // Only a JDK runs a source file.
  const java = spawnSync('javac', ['-version']).status === 0;
  if (java && existsSync(driver)) return undefined;
  return `no JDK, or no ${driver} (Debian: default-jdk-headless, libpostgresql-jdbc-java)`;
}

let both: BothWays;
let d: Durable;

beforeAll(async () => {
  if (reason !== undefined) return;
  both = await openBothWays();
  d = await Durable.open();
  await d.root.query(`CREATE SCHEMA playground; CREATE TABLE playground.log (line text);
    GRANT ALL ON SCHEMA playground TO ${d.role.name}; GRANT ALL ON playground.log TO ${d.role.name}`);
});
afterAll(async () => {
  await both?.close();
  await d?.close();
});

/** The lines that it prints. */
async function jdbc(what: 'ordinary' | 'durable', url: string): Promise<string[]> {
  const { username, password, host, pathname } = new URL(url);
  const { stdout } = await promisify(execFile)('java', [
    ...['-XX:TieredStopAtLevel=1', '-cp', driver, join(import.meta.dirname, 'jdbc/Jdbc.java')],
    ...[what, `jdbc:postgresql://${host}${pathname}`, username, password],
  ]);
  return stdout.trim().split('\n');
}

const test = testUnless(reason);

test('JDBC: batches, named statements, portals in pieces, COPY, savepoints and time-outs are as at the server', async () => {
  const lines = await both.same((url) => jdbc('ordinary', url));
  expect(lines).toEqual(
    expect.arrayContaining(['batches 2000', 'é7', 'sum 1999000', 'copied 2', '57014', 'still there']),
  );
});

test('JDBC: ??> in a prepared statement and ?> in a plain one are the operator, with operands that are parameters', async () => {
  const lines = await jdbc('durable', d.proxy.url(d.role));
  expect(lines).toHaveLength(8);
  for (const line of lines) {
    const [column, id] = line.split(' ');
    expect(column).toBe('start');
    expect(await d.ended(id!)).toBe('completed');
  }
  const { rows } = await d.root.query(
    'SELECT line, count(*)::int AS n FROM playground.log GROUP BY 1 ORDER BY 1',
  );
  expect(rows).toEqual([
    { line: 'else', n: 1 },
    ...Array.from({ length: 7 }, (_, i) => ({ line: `next ${i}`, n: 1 })),
    { line: 'then', n: 7 },
  ]);
});
