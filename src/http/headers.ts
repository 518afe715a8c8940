/** Headers of a request: the user's, and what is added to them. Source: df-api §4.12, step 5; RFC 9110 §5. */
import { HttpFailure } from './failure.js';

export type Headers = ReadonlyArray<readonly [name: string, value: string]>;

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Printable ASCII and tabs: nothing that ends a line, nothing of which receivers guess the encoding. */
const VALUE = /^[\t\x20-\x7e]*$/;
/** What follows from the request itself and from the connection, which is used once. */
const OURS = new Set(['content-length', 'connection', 'keep-alive', 'proxy-connection']);
/** What would change where the request goes to or where it ends. */
const REFUSED = new Set(['host', 'transfer-encoding', 'upgrade', 'expect', 'te', 'trailer']);

/**
 * The headers as they are sent.
 * @param given the user's, in the order in which they are sent
 * @param added of these, those that the user has not given
 * @throws HttpFailure of the form `what` - detail
 */
export function requestHeaders(given: Headers, added: Headers, what: string): Headers {
  const names = new Set<string>();
  const sent: Array<readonly [string, string]> = [];
  for (const [name, value] of given) {
    const lower = name.toLowerCase();
    if (!TOKEN.test(name)) throw new HttpFailure(`${what} - invalid header name '${printable(name)}'`);
    if (!VALUE.test(value)) {
      throw new HttpFailure(
        `${what} - invalid value of header '${name}': only printable ASCII characters are allowed`,
      );
    }
    if (REFUSED.has(lower)) throw new HttpFailure(`${what} - header '${name}' cannot be set`);
    names.add(lower);
    if (!OURS.has(lower)) sent.push([name, value]);
  }
  return [...sent, ...added.filter(([name]) => !names.has(name.toLowerCase()))];
}

/** What the user information of a URL means to the server (RFC 7617); null without any. */
export function authorizationOf({ username, password }: URL): string | null {
  if (username === '' && password === '') return null;
  return `Basic ${Buffer.from(`${decoded(username)}:${decoded(password)}`).toString('base64')}`;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, 100);
}
