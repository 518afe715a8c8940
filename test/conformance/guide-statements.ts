/** The statements of the guide's scripts, for tests that look at statements alone. */
import { readdirSync } from 'node:fs';
import { readScript } from './script.js';

/** Each text once, in the guide's order; an id stands for each instance that a script has started before. */
export function guideStatements(): string[] {
  const names = readdirSync(new URL('scripts/', import.meta.url))
    .filter((name) => name.startsWith('guide-'))
    .sort()
    .map((name) => name.replace(/\.sql$/, ''));
  const texts = names.flatMap((name) =>
    readScript(name).flatMap((item) => (item.kind === 'statement' ? [item.sql] : [])),
  );
  return [...new Set(texts.map((sql) => sql.replace(/:'\w+'/g, "'a1b2c3d4'")))];
}
