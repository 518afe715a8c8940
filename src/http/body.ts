/** Bodies of responses as JSON can hold them. Source: df-api §4.12 (body encoding, preview). Pure. */
import { TextDecoder } from 'node:util';

export interface TextOrBase64 {
  readonly text: string;
  readonly encoding: 'text' | 'base64';
}

const PREVIEW = 512;
const TEXT_TYPES = new Set(
  ['json', 'xml', 'javascript', 'ecmascript', 'x-www-form-urlencoded', 'graphql', 'yaml', 'x-yaml'].map(
    (name) => `application/${name}`,
  ),
);
const BYTE_ORDER_MARKS: ReadonlyArray<readonly [bytes: Buffer, label: string]> = [
  [Buffer.from([0xef, 0xbb, 0xbf]), 'utf-8'],
  [Buffer.from([0xfe, 0xff]), 'utf-16be'],
  [Buffer.from([0xff, 0xfe]), 'utf-16le'],
];

/**
 * Text where the content type says so, in its charset; without a word from it, text if it is UTF-8. Else base64, also
 * for text with a NUL, which jsonb cannot hold.
 */
export function decodeBody(body: Buffer, contentType: string | undefined): TextOrBase64 {
  const [type = '', ...parameters] = (contentType ?? '').split(';').map((part) => part.trim());
  const text = isText(type.toLowerCase()) ? decodeText(body, charsetOf(parameters)) : decodeUtf8(body);
  return text === null || text.includes('\0')
    ? { text: body.toString('base64'), encoding: 'base64' }
    : { text, encoding: 'text' };
}

/** The body in an error: all of it, or its first 512 bytes with the length of the whole. */
export function preview({ text, encoding }: TextOrBase64, isWhole: boolean): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= PREVIEW && isWhole) return text;
  let end = Math.min(PREVIEW, bytes.length);
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1; // not in the midst of a character
  const unit = encoding === 'text' ? 'bytes' : 'base64 characters';
  const total = `${isWhole ? '' : 'more than '}${bytes.length} ${unit}`;
  return `${bytes.toString('utf8', 0, end)}... [truncated, ${total} total]`;
}

function isText(type: string): boolean {
  return type.startsWith('text/') || /\+(?:json|xml|yaml)$/.test(type) || TEXT_TYPES.has(type);
}

function charsetOf(parameters: readonly string[]): string {
  for (const parameter of parameters) {
    const found = /^charset\s*=\s*"?([^"]*?)"?$/i.exec(parameter);
    if (found !== null) return found[1] as string;
  }
  return 'utf-8';
}

/** As browsers do: a byte order mark goes before the charset, an unknown charset is UTF-8, bad bytes are U+FFFD. */
function decodeText(body: Buffer, charset: string): string {
  const mark = BYTE_ORDER_MARKS.find(([bytes]) => body.subarray(0, bytes.length).equals(bytes));
  let decoder: TextDecoder;
  try {
    decoder = new TextDecoder(mark?.[1] ?? charset);
  } catch {
    decoder = new TextDecoder();
  }
  return decoder.decode(body);
}

function decodeUtf8(body: Buffer): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    return null;
  }
}
