import { inspect } from 'node:util';
import { readFields } from '../../src/wire/fields.js';
import type { ServerMessage } from '../support/raw-client.js';
import type { Conversation } from './conversation.js';

const FRONTEND: Readonly<Record<string, string>> = {
  B: 'Bind',
  C: 'Close',
  d: 'CopyData',
  c: 'CopyDone',
  f: 'CopyFail',
  D: 'Describe',
  E: 'Execute',
  H: 'Flush',
  F: 'FunctionCall',
  P: 'Parse',
  Q: 'Query',
  S: 'Sync',
  X: 'Terminate',
};

/** A conversation as a person reads it, a message a line. */
export function readable(conversation: Conversation): string {
  const { number, startup, protocol, pieces } = conversation;
  const lines = [
    `conversation ${number}: protocol ${protocol >> 16}.${protocol & 0xffff}, ${inspect(startup)}, ` +
      (pieces === 0 ? 'each step in one write' : `in pieces of up to ${pieces} bytes`),
  ];
  for (const turn of conversation.turns) {
    lines.push(`  ${turn.name}`);
    for (const step of turn.steps) {
      for (const bytes of step.send) {
        const type = String.fromCharCode(bytes[0]!);
        lines.push(`    ${FRONTEND[type] ?? type} ${printable(bytes.subarray(5))}`.trimEnd());
      }
      if (step.wait !== undefined) lines.push(`    (waits for one of ${step.wait})`);
      if (step.act !== undefined) lines.push(`    (${step.act})`);
    }
  }
  return lines.join('\n');
}

/** A message of the server as a person reads it. */
export function readableAnswer({ type, body }: ServerMessage): string {
  if (type === 'E' || type === 'N') {
    const fields = readFields(body).map(
      ({ code, value }) => `${String.fromCharCode(code)}=${printable(value)}`,
    );
    return `${type} ${fields.join(' ')}`;
  }
  return `${type} ${printable(body)}`.trimEnd();
}

function printable(bytes: Buffer): string {
  const text = bytes
    .subarray(0, 300)
    .toString('latin1')
    .replace(/[^\x20-\x7e]/g, (char) =>
      char === '\0' ? '·' : `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
    );
  return bytes.length > 300 ? `${text}… (${bytes.length} bytes)` : text;
}
