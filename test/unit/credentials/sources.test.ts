import { execFileSync } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { command } from '../../../src/config/kinds.js';
import { EnvironmentPasswords, passwordVariable } from '../../../src/upstream/credentials/environment.js';
import { PasswordCommand } from '../../../src/upstream/credentials/password-command.js';
import {
  matches,
  PasswordFile,
  parsePasswordLines,
} from '../../../src/upstream/credentials/password-file.js';
import { readPrivateFile } from '../../../src/upstream/credentials/private-file.js';
import { CommandFailure, runForSecret } from '../../../src/upstream/credentials/secret-command.js';
import { until } from '../../support/wait.js';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pg-durable-sources-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const wanted = { role: 'app', database: 'shop', address: { host: 'db', port: 5432 } };

describe('lines of a password file', () => {
  const found = (text: string, other: Partial<typeof wanted> = {}) =>
    parsePasswordLines(text).find((line) => matches(line, { ...wanted, ...other }))?.password;

  test.each([
    ['db:5432:shop:app:secret', 'secret'],
    ['*:*:*:*:secret', 'secret'],
    ['#db:5432:shop:app:no\n\ndb:5432:shop:app:first\ndb:5432:shop:app:second\n', 'first'],
    ['db:5432:shop:app:with\\:colon and \\\\ backslash', 'with:colon and \\ backslash'],
    ['db:5432:shop:app:with:colons', 'with:colons'],
    ['db:5432:shop:app:', ''],
    ['db:5432:shop:app:windows\r\n', 'windows'],
    ['db:5433:shop:app:secret', undefined],
    ['dbx:5432:shop:app:secret', undefined],
    ['db:5432:shop:App:secret', undefined],
    ['db:5432:shop', undefined],
    ['\\*:5432:shop:app:a host of that name', undefined],
  ])('%j', (text, password) => expect(found(text)).toBe(password));

  test('names with colons and backslashes, IPv6, Unix sockets', () => {
    expect(found('\\:\\:1:5432:shop:app:x', { address: { host: '::1', port: 5432 } })).toBe('x');
    expect(found('*:*:*:a\\:\\\\b:x', { role: 'a:\\b' })).toBe('x');
    const address = { host: '/run/postgresql', port: 5432 };
    expect(found('localhost:5432:shop:app:x', { address })).toBe('x');
    expect(found('/run/postgresql:5432:shop:app:x', { address })).toBe('x');
    expect(found('localhost:5432:shop:app:x')).toBeUndefined();
  });
});

describe('a file with secrets', () => {
  test('is read again only when it has changed', async () => {
    const path = join(directory, 'changing');
    await writeFile(path, 'one', { mode: 0o600 });
    const first = await readPrivateFile(path);
    expect(first?.content.toString()).toBe('one');
    expect(await readPrivateFile(path, first?.stamp)).toBeNull();
    await writeFile(path, 'two two');
    expect((await readPrivateFile(path, first?.stamp))?.content.toString()).toBe('two two');
  });

  test.each([0o640, 0o604, 0o620, 0o666])('of mode %o is refused, in libpq’s words', async (mode) => {
    const path = join(directory, `mode-${mode}`);
    await writeFile(path, '*:*:*:*:secret\n');
    await chmod(path, mode);
    await expect(readPrivateFile(path)).rejects.toThrow(
      `file "${path}" has group or world access; permissions should be u=rw (0600) or less`,
    );
    const warnings: string[] = [];
    const file = new PasswordFile(path, (text) => warnings.push(text));
    expect(await file.find(wanted)).toBeUndefined();
    expect(await file.find(wanted)).toBeUndefined();
    expect(warnings).toHaveLength(1);
  });

  test.skipIf(process.platform === 'win32')(
    'is no named pipe, which nobody is waited for to write into',
    async () => {
      const pipe = join(directory, 'pipe');
      execFileSync('mkfifo', ['-m', '600', pipe]);
      await expect(readPrivateFile(pipe)).rejects.toThrow('is not a plain file');
    },
    5000,
  );

  test('is a plain file: no directory, no device; a link to one is followed', async () => {
    await expect(readPrivateFile(directory)).rejects.toThrow('is not a plain file');
    await expect(readPrivateFile('/dev/null')).rejects.toThrow('is not a plain file');
    await expect(readPrivateFile(join(directory, 'missing'))).rejects.toThrow('no such file or directory');
    const [target, link] = [join(directory, 'target'), join(directory, 'link')];
    await writeFile(target, 'x', { mode: 0o600 });
    await symlink(target, link);
    expect((await readPrivateFile(link))?.content.toString()).toBe('x');
  });
});

describe('variables', () => {
  test.each([
    ['app', 'PG_DURABLE_PASSWORD_APP'],
    ['app-user', 'PG_DURABLE_PASSWORD_APP_USER'],
    ['App User', 'PG_DURABLE_PASSWORD_APP_USER'],
    ['jürgen', 'PG_DURABLE_PASSWORD_J_RGEN'],
    ['a\u{1f600}b', 'PG_DURABLE_PASSWORD_A_B'],
  ])('%s is %s', (role, variable) => expect(passwordVariable(role)).toBe(variable));

  test('one that could mean two roles means none', async () => {
    const warnings: string[] = [];
    const variables = new Map([['PG_DURABLE_PASSWORD_APP_USER', 'secret']]);
    const others = async (role: string) => (role === 'app-user' ? ['app_user'] : []);
    const source = new EnvironmentPasswords(variables, others, (text) => warnings.push(text));
    expect(await source.find({ ...wanted, role: 'app-user' })).toBeUndefined();
    expect(await source.find({ ...wanted, role: 'app user' })).toBe('secret');
    expect(warnings).toEqual([
      'PG_DURABLE_PASSWORD_APP_USER is not used: it could be meant for any of the roles "app-user", "app_user"',
    ]);
  });
});

describe('commands', () => {
  test.each<[unknown, readonly string[] | undefined]>([
    ['aws rds generate-db-auth-token', ['aws', 'rds', 'generate-db-auth-token']],
    [`a "b c" 'd "e"' f"g h"i ""`, ['a', 'b c', 'd "e"', 'fg hi', '']],
    [
      ['a', 'b c', '$HOME'],
      ['a', 'b c', '$HOME'],
    ],
    ['echo $HOME; rm *', ['echo', '$HOME;', 'rm', '*']],
    ['a "b', undefined],
    ['', undefined],
    [[], undefined],
    [['a', 1], undefined],
    [{ a: 1 }, undefined],
  ])('%j', (given, words) => {
    const parsed = command().schema.safeParse(given);
    expect(parsed.success ? parsed.data : undefined).toEqual(words);
  });

  const sh = (script: string, ...args: string[]) => ['/bin/sh', '-c', script, 'sh', ...args];

  test('give what they print; ours of the environment is not theirs', async () => {
    const environment = { ...process.env, PG_DURABLE_PASSWORD_X: 'a', PG_DURABLE_UPSTREAM: 'b', MINE: 'c' };
    const script = 'echo "$1 $MINE$PG_DURABLE_PASSWORD_X$PG_DURABLE_UPSTREAM"';
    const output = await runForSecret(sh(script, '$HOME'), environment, 5000);
    expect(output.toString()).toBe('$HOME c\n');
  });

  test.each([
    ['echo secret; echo no such profile >&2; exit 3', '"/bin/sh": exit status 3: no such profile'],
    ['echo secret; echo the secret is secret >&2; exit 1', '"/bin/sh": exit status 1'],
    ['kill -TERM $$', '"/bin/sh": ended by SIGTERM'],
    ['printf "\\n\\n\\033[31mred\\n" >&2; exit 1', '"/bin/sh": exit status 1: [31mred'],
    ['head -c 100000 /dev/zero', '"/bin/sh": more than 65536 bytes of output'],
  ])('fail with a reason and without their output: %s', async (script, reason) => {
    await expect(runForSecret(sh(script), process.env, 5000)).rejects.toThrow(reason);
    await expect(runForSecret(sh(script), process.env, 5000)).rejects.toSatisfy(
      (error) => error instanceof CommandFailure && error.message === reason,
    );
  });

  test('that do not exist, or not in time, with all that they have started', async () => {
    await expect(runForSecret(['/no/such/program'], process.env, 5000)).rejects.toThrow(
      '"/no/such/program" could not be run: ENOENT',
    );
    const pidFile = join(directory, 'pid');
    const script = `sleep 60 & echo $! > "$1"; wait`;
    await expect(runForSecret(sh(script, pidFile), process.env, 500)).rejects.toThrow(
      '"/bin/sh": no answer within 500 ms',
    );
    const pid = Number(await readFile(pidFile, 'utf8'));
    await until(
      async () => {
        const state = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
        return state === '' || / Z /.test(state);
      },
      { what: 'the grandchild to be gone' },
    );
  });
});

describe('the password of a command', () => {
  let number = 0;
  /** Prints another password at each run; nothing for nobody. */
  function counting(ttlMs: number) {
    const runs = join(directory, `runs${number++}`);
    const script = `echo run >> "$1"; test "$PGUSER" = nobody || echo "$PGUSER@$PGHOST $(wc -l < "$1" | tr -d ' ')"`;
    const command = new PasswordCommand({
      command: ['/bin/sh', '-c', script, 'sh', runs],
      timeoutMs: 5000,
      ttlMs,
    });
    return (role = 'app', host = 'db') => command.find({ ...wanted, role, address: { host, port: 5432 } });
  }

  test('is used for its time to live by all who ask, each role and server having its own', async () => {
    const find = counting(60_000);
    expect(await Promise.all([find(), find(), find()])).toEqual(['app@db 1', 'app@db 1', 'app@db 1']);
    expect(await find('other')).toBe('other@db 2');
    expect(await find('app', 'standby')).toBe('app@standby 3');
    expect(await find()).toBe('app@db 1');
    expect(await find('nobody')).toBeUndefined();
  });

  test('is made anew when its time is over; with none, for each login', async () => {
    const find = counting(100);
    expect(await find()).toBe('app@db 1');
    await until(async () => (await find()) === 'app@db 2', { what: 'another run' });
    const once = counting(0);
    expect([await once(), await once()]).toEqual(['app@db 1', 'app@db 2']);
  });

  test('that was kept and is refused is made anew; one that was made just now would be no better', async () => {
    const script = 'echo run >> "$1"; wc -l < "$1" | tr -d " "';
    const runs = join(directory, 'refused');
    const command = new PasswordCommand({
      command: ['/bin/sh', '-c', script, 'sh', runs],
      timeoutMs: 5000,
      ttlMs: 60_000,
    });
    expect(await command.find(wanted)).toBe('1');
    expect(await command.find(wanted)).toBe('1');
    expect(command.refused(wanted)).toBe(true);
    expect(await command.find(wanted)).toBe('2');
    expect(command.refused(wanted)).toBe(false);
    expect(await command.find(wanted)).toBe('3');
  });
});
