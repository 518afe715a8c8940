/**
 * `npm run test:matrix`: what depends on the server's version, on every major version from 14 to 18, one after the
 * other: the conformance suite and the integration tests of the SQL and of the engine. Prints a table at the end;
 * exit status 1 when a test failed. `MATRIX=14,16` chooses versions, arguments choose test files:
 * `MATRIX=14 npm run test:matrix -- test/conformance`.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Installed, installServers } from './install.js';

const MAJORS = [14, 15, 16, 17, 18];
/** Beginnings of the paths of test files. */
const FILES = [
  'test/conformance/',
  'test/integration/sql-',
  'test/integration/engine-',
  'test/integration/rewrit',
  'test/integration/identity',
  'test/integration/security',
  'test/integration/signal',
  'test/integration/schedule',
  'test/integration/waiting',
  'test/integration/result',
  'test/integration/retention',
  'test/integration/metrics',
  'test/integration/lists',
  'test/integration/http',
  'test/integration/launch',
  'test/integration/extension',
];

interface Row {
  readonly server: Installed;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly seconds: number;
}

const majors = chosen();
const files = process.argv.slice(2);
const rows: Row[] = [];
for (const server of await installServers(majors)) {
  console.log(`\n== PostgreSQL ${server.version}`);
  rows.push(await testOn(server, files.length > 0 ? files : FILES));
}
const table: Array<readonly string[]> = [
  ['PostgreSQL', 'passed', 'failed', 'skipped', 'seconds'],
  ...rows.map((row) => [
    row.server.version,
    ...[row.passed, row.failed, row.skipped, row.seconds].map((value) => String(value)),
  ]),
];
console.log();
for (const line of table) console.log(line.map((cell) => cell.padStart(16)).join(''));
if (rows.some((row) => row.failed > 0 || row.passed === 0)) process.exitCode = 1;

function chosen(): number[] {
  const wanted = process.env.MATRIX?.split(',').map((text) => Number(text.trim())) ?? MAJORS;
  for (const major of wanted) {
    if (!MAJORS.includes(major)) {
      console.error(`MATRIX=${process.env.MATRIX}: must be some of ${MAJORS.join(',')}`);
      process.exit(2);
    }
  }
  return wanted;
}

async function testOn(server: Installed, filters: readonly string[]): Promise<Row> {
  const directory = await mkdtemp(join(tmpdir(), 'pg-durable-matrix-'));
  const report = join(directory, 'report.json');
  const began = Date.now();
  try {
    const status = await vitest(
      ['run', '--project', 'integration', '--project', 'alone', ...filters].concat(
        '--reporter=default',
        '--reporter=json',
        `--outputFile.json=${report}`,
      ),
      { ...process.env, TEST_POSTGRES_BINARIES: server.bin },
    );
    const counts = await counted(report, status);
    return { server, ...counts, seconds: Math.round((Date.now() - began) / 1000) };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

interface Report {
  readonly testResults: ReadonlyArray<{
    readonly status: string;
    readonly assertionResults: ReadonlyArray<{ readonly status: string }>;
  }>;
}

/** A file that could not be loaded or whose hooks failed counts as one failure, and so does an error outside of any. */
async function counted(path: string, status: number): Promise<Pick<Row, 'passed' | 'failed' | 'skipped'>> {
  const report = await readFile(path, 'utf8').then(
    (text) => JSON.parse(text) as Report,
    () => ({ testResults: [] }) as Report,
  );
  const all = report.testResults.flatMap((file) => file.assertionResults.map((one) => one.status));
  const broken = report.testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((one) => one.status === 'failed'),
  );
  const passed = all.filter((one) => one === 'passed').length;
  const failed = all.filter((one) => one === 'failed').length + broken.length;
  return {
    passed,
    failed: failed === 0 && status !== 0 ? 1 : failed,
    skipped: all.length - passed - all.filter((one) => one === 'failed').length,
  };
}

async function vitest(args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const entry = join(import.meta.dirname, '../../node_modules/vitest/vitest.mjs');
  const child = spawn(process.execPath, [entry, ...args], { env, stdio: 'inherit' });
  return await new Promise((resolve) => {
    child.on('error', (error) => {
      console.error(error.message);
      resolve(127);
    });
    child.on('exit', (code) => resolve(code ?? 1));
  });
}
