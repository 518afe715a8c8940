import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { changes } from '../../../src/config/changes.js';
import { type SettingName, type SettingValues, settingNames } from '../../../src/config/settings.js';
import { parseUpstream } from '../../../src/config/upstream-url.js';

const root = join(import.meta.dirname, '../../..');
const page = (path: string) => readFileSync(join(root, path), 'utf8');
const inCode = (text: string) => [...text.matchAll(/`([^`]+)`/g)].map(([, code]) => code!);

it.each(['README.md', 'CONTRIBUTING.md', 'docs/operations.md', 'docs/promises.md'])(
  'every npm script that %s names is there',
  (path) => {
    const { scripts } = JSON.parse(page('package.json')) as { scripts: Record<string, string> };
    const named = [...page(path).matchAll(/npm run ([\w:]+)/g)].map(([, name]) => name!);
    expect(named.filter((name) => scripts[name] === undefined)).toEqual([]);
  },
);

it('docs/operations.md names the settings that a reload takes over', () => {
  const applied = settingNames.filter((name) => {
    const before = { [name]: 1 } as unknown as SettingValues;
    const now = { [name]: 2 } as unknown as SettingValues;
    return changes(before, now).applied.includes(name as SettingName);
  });
  const paragraph = /These change without a restart:([^.]*)\./.exec(page('docs/operations.md'))![1]!;
  const named = inCode(paragraph).flatMap((name) =>
    name === 'client_tls' || name === 'http'
      ? settingNames.filter((each) => each.startsWith(name === 'http' ? 'http.' : name))
      : [name],
  );
  expect([...named].sort()).toEqual([...applied].sort());
});

it('docs/upstream.md names the parameters of the URL', () => {
  let known: string[] = [];
  try {
    parseUpstream('postgresql://a:b@c/d?unheard_of=1');
  } catch (error) {
    known = /parameters are (.*)$/.exec((error as Error).message)![1]!.split(', ');
  }
  const rows = page('docs/upstream.md')
    .split('\n')
    .filter((line) => /^\| `/.test(line))
    .flatMap((line) => inCode(line.split('|')[1]!));
  expect([...rows].sort()).toEqual([...known].sort());
});

it('the documents name settings that exist', () => {
  const looksLikeOne =
    /^(?:credential|client|auth|max|list|enable|failed|proxy|unix|drain|lease|poll|login)_\w+$/;
  const pages = [
    'docs/credentials.md',
    'docs/authentication.md',
    'docs/operations.md',
    'README.md',
    'SECURITY.md',
  ];
  const named = pages.flatMap((path) => inCode(page(path)).filter((code) => looksLikeOne.test(code)));
  const unknown = named.filter((name) => !(settingNames as readonly string[]).includes(name));
  expect(unknown).toEqual([]);
});
