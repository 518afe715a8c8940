import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const directory = join(import.meta.dirname, '../../../sql');

// functions are read with the settings of the session in which they run first, and that may be a hostile step's
it.each(
  readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.sql')),
)('%s: a literal with a backslash means the same whatever standard_conforming_strings says', (name) => {
  const text = readFileSync(join(directory, name), 'utf8').replace(/--.*$/gm, '');
  const literals = [...text.matchAll(/([A-Za-z]?)'((?:[^']|'')*)'/g)];
  expect(literals.length).toBeGreaterThan(0);
  expect(
    literals.filter(([, prefix, body]) => body!.includes('\\') && prefix !== 'E').map(([all]) => all),
  ).toEqual([]);
});
