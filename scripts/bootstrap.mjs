// From a fresh clone to a running program with nothing but Node and npm, and without dependencies of its own:
//
//   node scripts/bootstrap.mjs start [arguments of demo]    install, build, run the demo
//   node scripts/bootstrap.mjs test [arguments of vitest]   install, build, check, test; ends with a counting line
//
// Installing and building are left out when nothing has changed since.

import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
/** As old as the newest source that the build was made from. */
const stamp = join(root, 'dist/.built');
let child;
let interrupted;

// The terminal sends Ctrl-C to the child as well; `kill` and npm send it to us only. Either way the child is
// told (it takes two in quick succession for one), and we wait for it to end in its own good time.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    interrupted = signal;
    child?.kill(signal);
  });
}

// npm that is killed takes its shell with it and leaves us: then nobody wants what we run any more.
if (process.env.npm_lifecycle_event !== undefined && process.platform !== 'win32') {
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(watch);
    interrupted = 'SIGTERM';
    child?.kill('SIGTERM');
  }, 500);
  watch.unref();
}

const [command, ...rest] = process.argv.slice(2);
if (command === 'start') await start(rest);
else if (command === 'test') await test(rest);
else {
  console.error('usage: node scripts/bootstrap.mjs start|test [arguments]');
  process.exit(2);
}

async function start(args) {
  refuseOldNode();
  if (needsInstall()) console.log('installing dependencies ...');
  if (needsInstall() && (await install()) !== 0) fail('npm could not install the dependencies (see above)');
  if (needsBuild()) console.log('building ...');
  if (needsBuild() && (await build()) !== 0) fail('the build failed (see above)');
  finish(await run(process.execPath, [join(root, 'dist/main.js'), 'demo', ...args]));
}

async function test(args) {
  refuseOldNode();
  const counts = { passed: 0, failed: 0, skipped: 0 };
  const step = async (name, work) => {
    if (interrupted) return;
    console.log(`\n== ${name}`);
    if ((await work()) !== 0) {
      counts.failed++;
      console.log(`== ${name} failed`);
      return;
    }
    if (name === 'check') counts.passed++;
  };
  if (needsInstall()) await step('install', install);
  if (counts.failed === 0) {
    await step('build', build);
    await step('check', () => run(npm, ['run', '--silent', 'check']));
    if (!interrupted) await vitest(args, counts);
  }
  if (interrupted) counts.failed++;
  console.log(`\n${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  process.exitCode = counts.failed === 0 ? 0 : 1;
}

async function vitest(args, counts) {
  console.log('\n== test');
  const directory = mkdtempSync(join(tmpdir(), 'pg-durable-report-'));
  const report = join(directory, 'report.json');
  try {
    const entry = join(root, 'node_modules/vitest/vitest.mjs');
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
    const status = await run(process.execPath, [entry, 'run', ...reporters, ...args]);
    const result = existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')) : { testResults: [] };
    let failed = 0;
    for (const file of result.testResults) {
      for (const { status: outcome } of file.assertionResults) {
        if (outcome === 'passed') counts.passed++;
        else if (outcome === 'failed') failed++;
        else counts.skipped++;
      }
      // A file that could not be loaded, or whose hooks failed, has no failed test of its own.
      if (file.status === 'failed' && !file.assertionResults.some((one) => one.status === 'failed')) failed++;
    }
    // An error outside of any test (an unhandled rejection, a set-up that failed) fails the run all the same.
    counts.failed += status !== 0 && failed === 0 ? 1 : failed;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function refuseOldNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19))
    fail(`Node 20.19 or newer is needed, this is ${process.versions.node}`);
}

/** True unless node_modules holds the very versions of package-lock.json. */
function needsInstall() {
  const installed = join(root, 'node_modules/.package-lock.json');
  if (!existsSync(installed)) return true;
  const have = JSON.parse(readFileSync(installed, 'utf8')).packages;
  const want = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  return Object.entries(want).some(
    ([path, entry]) =>
      path !== '' && !entry.optional && !entry.devOptional && have[path]?.version !== entry.version,
  );
}

/** Installs exactly what package-lock.json says. */
async function install() {
  return await run(npm, [
    'ci',
    '--include=dev',
    '--include=optional',
    '--no-audit',
    '--no-fund',
    '--loglevel=error',
  ]);
}

function newestSource() {
  let newest = 0;
  const visit = (path) => {
    const info = statSync(path);
    newest = Math.max(newest, info.mtimeMs);
    if (info.isDirectory()) for (const name of readdirSync(path)) visit(join(path, name));
  };
  for (const name of ['src', 'package.json', 'package-lock.json', 'tsconfig.json', 'tsconfig.build.json']) {
    visit(join(root, name));
  }
  return Math.floor(newest / 1000);
}

function needsBuild() {
  return (
    !existsSync(join(root, 'dist/main.js')) ||
    !existsSync(stamp) ||
    Math.floor(statSync(stamp).mtimeMs / 1000) !== newestSource()
  );
}

async function build() {
  const newest = newestSource();
  const status = await run(npm, ['run', '--silent', 'build']);
  if (status === 0) {
    writeFileSync(stamp, '');
    utimesSync(stamp, newest, newest);
  }
  return status;
}

/** Runs a program in the root directory with our terminal; its exit status, or 128 + the signal that ended it. */
async function run(program, args) {
  return await new Promise((resolve) => {
    child = spawn(program, args, { cwd: root, stdio: 'inherit', shell: program.endsWith('.cmd') });
    child.on('error', (error) => {
      console.error(`${program}: ${error.message}`);
      resolve(127);
    });
    child.on('exit', (code, signal) => {
      child = undefined;
      resolve(code ?? 128 + constants.signals[signal]);
    });
  });
}

function finish(status) {
  process.exitCode = status;
}

function fail(message) {
  console.error(`pg-durable-proxy: ${message}`);
  process.exit(1);
}
