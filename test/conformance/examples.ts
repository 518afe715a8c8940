import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { splitStatements } from '../../src/engine/split.js';

/** An example of the user guide: one or more statements, as printed. */
export interface Example {
  readonly chapter: string;
  readonly name: string;
  readonly text: string;
}

const folder = join(import.meta.dirname, 'guide');

/** All examples of guide/*.sql: each begins behind a line `-- example <name>`. */
export function examples(): Example[] {
  return readdirSync(folder)
    .filter((file) => file !== 'setup.sql')
    .sort()
    .flatMap((file) => {
      const [, ...parts] = readFileSync(join(folder, file), 'utf8').split(/^-- example (?=\S+$)/m);
      return parts.map((part) => {
        const end = part.indexOf('\n');
        return {
          chapter: file.replace(/\.sql$/, ''),
          name: part.slice(0, end),
          text: part.slice(end + 1).trim(),
        };
      });
    });
}

/** What the examples mention and the guide does not create. */
export const setup = readFileSync(join(folder, 'setup.sql'), 'utf8');
/** The appendix "Test Data Setup". */
export const playground = readFileSync(join(import.meta.dirname, '../../docs/playground.sql'), 'utf8');

/** A statement with a parameter in the place of each string literal. */
export interface Bound {
  readonly text: string;
  readonly values: string[];
}

const LITERAL_OR_COMMENT = /--[^\n]*|'((?:[^']|'')*)'|\$\$([\s\S]*?)\$\$/g;

/** The statements of an example with every string literal bound instead of written. */
export function bound(example: Example): Bound[] {
  return splitStatements(example.text).map((statement) => {
    const values: string[] = [];
    const text = statement.replace(LITERAL_OR_COMMENT, (whole, quoted?: string, dollars?: string) => {
      if (quoted === undefined && dollars === undefined) return whole;
      values.push(dollars ?? (quoted as string).replaceAll("''", "'"));
      return `$${values.length}`;
    });
    return { text, values };
  });
}
