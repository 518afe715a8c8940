/** A request that did not come to a result; the message is the node's error. */
export class HttpFailure extends Error {
  override readonly name = 'HttpFailure';
}

/** Why a request may not be made; the message is the node's error and begins with "Blocked: ". */
export class Blocked extends HttpFailure {}

/** The URL as errors show it: without a password. */
export function shownUrl(url: string): string {
  return url.replace(/^([^/?#]*:\/\/[^/?#@:\\]*:)[^/?#\\]*@/, '$1***@');
}
