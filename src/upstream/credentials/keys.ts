/** Where the keys come from that credentials are sealed with: a file, the environment, a command. */
import { ConfigError } from '../../config/config.js';
import { PrivateFileError, readPrivateFile } from './private-file.js';
import { KEY_BYTES, type SealingKey, sealingKey } from './seal.js';
import { CommandFailure, runForSecret } from './secret-command.js';

export interface KeySources {
  readonly file: string | undefined;
  /** Keys themselves, as text. */
  readonly environment: string | undefined;
  readonly command: readonly string[] | undefined;
  /** Keys that open and never seal. */
  readonly oldFile: string | undefined;
  readonly commandTimeoutMs: number;
}

/**
 * Reads every source that is given, in the order file, environment, command, old file. The first key seals, all open.
 * None at all: nothing is sealed. An old file alone is a mistake.
 * @throws ConfigError that names the source and never quotes it
 */
export async function loadSealingKeys(sources: KeySources): Promise<SealingKey[]> {
  const keys: SealingKey[] = [];
  const add = (text: Buffer | string, from: string) => {
    for (const key of parseKeys(text, from)) {
      if (!keys.some(({ id }) => id === key.id)) keys.push(key);
    }
  };
  if (sources.file !== undefined) await addFile(sources.file, 'credential_key_file', add);
  if (sources.environment !== undefined)
    add(sources.environment, 'environment variable PG_DURABLE_CREDENTIAL_KEY');
  if (sources.command !== undefined) {
    const from = 'setting "credential_key_command"';
    let output: Buffer;
    try {
      output = await runForSecret(sources.command, process.env, sources.commandTimeoutMs);
    } catch (error) {
      if (error instanceof CommandFailure) throw new ConfigError(`${from}: ${error.message}`);
      throw error;
    }
    add(output, from);
    output.fill(0);
  }
  if (sources.oldFile !== undefined) {
    if (keys.length === 0) {
      throw new ConfigError(
        'setting "credential_old_key_file" is given without a key that seals: give credential_key_file too',
      );
    }
    await addFile(sources.oldFile, 'credential_old_key_file', add);
  }
  return keys;
}

async function addFile(
  path: string,
  setting: string,
  add: (text: Buffer, from: string) => void,
): Promise<void> {
  const mistaken = keyMaterial(path);
  if (mistaken !== null) {
    mistaken.fill(0);
    throw new ConfigError(
      `setting "${setting}" seems to be a key: it must be the path of a file that holds one`,
    );
  }
  try {
    const file = await readPrivateFile(path);
    if (file === null) return;
    add(file.content, `setting "${setting}": file "${path}"`);
    file.content.fill(0);
  } catch (error) {
    if (error instanceof PrivateFileError) throw new ConfigError(`setting "${setting}": ${error.message}`);
    throw error;
  }
}

/** Keys as 64 hex digits or base64 of 32 bytes, between blanks, line ends or commas; a line that begins with # is none. */
export function parseKeys(text: Buffer | string, from: string): SealingKey[] {
  const words = text
    .toString('latin1')
    .split(/\r?\n/)
    .filter((line) => !line.trimStart().startsWith('#'))
    .flatMap((line) => line.split(/[\s,]+/))
    .filter((word) => word !== '');
  const materials = words.map(keyMaterial);
  if (materials.length === 0 || materials.includes(null)) {
    for (const material of materials) material?.fill(0);
    throw new ConfigError(
      `${from} must hold ${KEY_BYTES} random bytes as 64 hex digits or as base64 (one key a line), ` +
        'as "openssl rand -hex 32" prints them',
    );
  }
  return materials.map((material) => sealingKey(material as Buffer));
}

function keyMaterial(word: string): Buffer | null {
  if (/^[0-9A-Fa-f]{64}$/.test(word)) return Buffer.from(word, 'hex');
  if (!/^[A-Za-z0-9+/_-]{43}=?$/.test(word)) return null;
  const bytes = Buffer.from(word, 'base64');
  return bytes.length === KEY_BYTES ? bytes : null;
}
