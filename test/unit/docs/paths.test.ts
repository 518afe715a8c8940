import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';

const root = join(import.meta.dirname, '../../..');
const pages = [
  ...readdirSync(root).filter((name) => name.endsWith('.md')),
  ...readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

it.each(pages)('every file that %s names is there', (page) => {
  const text = readFileSync(join(root, page), 'utf8');
  const inCode = [...text.matchAll(/`((?:src|sql|test|bench|docs|config|scripts)\/[\w./-]*)`/g)].map(
    ([, path]) => path!,
  );
  const linked = [...text.matchAll(/\]\(((?!https?:)[^)#]+)\)/g)].map(([, path]) =>
    join(dirname(page), path!),
  );
  expect([...inCode, ...linked].filter((path) => !existsSync(join(root, path)))).toEqual([]);
});
