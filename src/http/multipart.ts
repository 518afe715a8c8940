/** multipart/form-data. Source: df-api §4.12; RFC 7578, with names quoted as browsers do (WHATWG HTML, form data). */
import { randomBytes } from 'node:crypto';
import { HttpFailure } from './failure.js';

export interface Part {
  readonly name: string;
  /** Base64, with white space anywhere. */
  readonly data: string;
  readonly filename: string | null;
  /** Null: the part has no Content-Type. */
  readonly contentType: string | null;
}

const MEDIA_TYPE =
  /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+(?:\s*;\s*[\w!#$&^.+-]+=(?:[\w!#$&^.+'*`|~%-]+|"[\x20\x21\x23-\x5b\x5d-\x7e]*"))*$/;

/** The body, and the Content-Type that says how to take it apart. @throws HttpFailure for a bad part */
export function encodeMultipart(parts: readonly Part[]): {
  readonly body: Buffer;
  readonly contentType: string;
} {
  const boundary = `pg-durable-${randomBytes(18).toString('hex')}`; // 144 random bits: in no part
  const chunks: Buffer[] = [];
  for (const { name, data, filename, contentType } of parts) {
    if (contentType !== null && !MEDIA_TYPE.test(contentType)) {
      throw new HttpFailure(`Invalid content_type for part '${name}': it is not a media type`);
    }
    const of = `form-data; name="${quoted(name)}"${filename === null ? '' : `; filename="${quoted(filename)}"`}`;
    const type = contentType === null ? '' : `Content-Type: ${contentType}\r\n`;
    chunks.push(Buffer.from(`--${boundary}\r\nContent-Disposition: ${of}\r\n${type}\r\n`));
    chunks.push(decodeBase64(data, name), Buffer.from('\r\n'));
  }
  chunks.push(Buffer.from(`--${boundary}--\r\n`));
  return { body: Buffer.concat(chunks), contentType: `multipart/form-data; boundary=${boundary}` };
}

function quoted(text: string): string {
  return text.replaceAll('\r', '%0D').replaceAll('\n', '%0A').replaceAll('"', '%22');
}

/** Standard base64 with padding, as RFC 4648 §4 has it. */
function decodeBase64(data: string, part: string): Buffer {
  const text = data.replace(/[ \t\r\n\f]+/g, '');
  const fail = (why: string) => new HttpFailure(`Invalid base64 in part '${part}': ${why}`);
  const odd = /[^A-Za-z0-9+/=]/.exec(text);
  if (odd !== null) throw fail(`character ${JSON.stringify(odd[0])} at offset ${odd.index}`);
  if (text.length % 4 !== 0) throw fail('the length is not a multiple of 4');
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') !== text) throw fail('bad padding');
  return bytes;
}
