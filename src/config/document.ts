import { settingNames, settings } from './settings.js';

/**
 * The text of config/pg-durable-proxy.yaml: every setting with its default, what it is for and what is allowed.
 * A test keeps the file equal to this.
 */
export function defaultFile(): string {
  const head = [
    '# Configuration of pg-durable-proxy: every setting with its default.',
    '#',
    '# Order: this file (--config FILE), then the environment (PG_DURABLE_ and the name in capitals, as in',
    '# PG_DURABLE_LOG_LEVEL=debug), then --set key=value, then flags of their own as --listen. Later ones win.',
  ];
  const body = settingNames.flatMap((name) => {
    const { description, kind, fallback, note } = settings[name];
    const effect = note === undefined ? '' : ` Without effect: ${note}.`;
    const line = fallback === undefined ? `# ${name}:` : `${name}: ${shown(fallback)}`;
    return [
      '',
      ...wrap(`${description}${effect} Allowed: ${kind.allowed}.`).map((text) => `# ${text}`),
      line,
    ];
  });
  return `${[...head, ...body].join('\n')}\n`;
}

function shown(value: string | number | boolean): string {
  return typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value);
}

/** Lines of at most 108 characters, broken at blanks. */
function wrap(text: string): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length < 108) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
