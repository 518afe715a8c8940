import type { UpstreamAddress } from './address.js';

/**
 * Which server a session is on, by its cancel key. A key passes through the proxy as the server made it, so with one
 * address there is nothing to know; with several, or with a name that may have another address by then, a
 * CancelRequest must find the server that made the key.
 */
export class CancelKeys {
  /** False with one address. */
  readonly needed: boolean;
  readonly #addresses = new Map<string, UpstreamAddress>();

  constructor(needed: boolean) {
    this.needed = needed;
  }

  /**
   * @param key the body of BackendKeyData: process id and secret
   * @returns forgets it
   */
  remember(key: Buffer, address: UpstreamAddress): () => void {
    const text = key.toString('latin1');
    this.#addresses.set(text, address);
    return () => {
      // Another session may have got the same key since, on another host.
      if (this.#addresses.get(text) === address) this.#addresses.delete(text);
    };
  }

  /** @param packet a whole CancelRequest */
  find(packet: Buffer): UpstreamAddress | undefined {
    // The lookup is by hash: its time says nothing of how much of a guess is right.
    return this.#addresses.get(packet.toString('latin1', 8));
  }
}
