/** What statements about the extension pg_durable become: sql/extension, with what this proxy knows filled in. */
import { readFile } from 'node:fs/promises';
import type { ExtensionBodies } from '../rewrite/extension.js';
import { CREATE_REGISTRY, readMigrations } from './migrate.js';

const directory = new URL('../../sql/extension/', import.meta.url);

/**
 * @param admin the role that owns the schemas
 * @param database the control database
 * @throws what reading the files throws
 */
export async function extensionBodies(admin: string, database: string): Promise<ExtensionBodies> {
  const migrations = await readMigrations();
  // Base64: it fits any literal and any client encoding.
  const json = JSON.stringify(
    migrations.map(({ number, name, checksum, text }) => ({ number, name, checksum, text })),
  );
  const values: Record<string, string> = {
    '{{admin}}': quoted(admin),
    '{{database}}': quoted(database),
    '{{registry}}': quoted(oneLine(CREATE_REGISTRY)),
    '{{migrations}}': `'${Buffer.from(json).toString('base64')}'`,
  };
  const read = async (name: string): Promise<string> => {
    const text = oneLine(await readFile(new URL(name, directory), 'utf8'));
    return text.replace(/\{\{\w+\}\}/g, (word) => values[word] ?? word);
  };
  const [create, alter, drop, createElsewhere] = await Promise.all([
    read('create.sql'),
    read('alter.sql'),
    read('drop.sql'),
    read('create-elsewhere.sql'),
  ]);
  return { create, alter, drop, createElsewhere } as ExtensionBodies;
}

/** Without the lines that are comments. */
function oneLine(sql: string): string {
  return sql
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('--'))
    .join(' ');
}

/** An expression for the text, ASCII without backslashes and dollar signs whatever it holds. */
function quoted(text: string): string {
  if (/^[\x20-\x7e]*$/.test(text) && !/[\\$]/.test(text)) return `'${text.replaceAll("'", "''")}'`;
  const hex = Buffer.from(text).toString('hex');
  return `pg_catalog.convert_from(pg_catalog.decode('${hex}', 'hex'), 'UTF8')`;
}
