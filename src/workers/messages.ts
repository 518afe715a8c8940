import type { Config } from '../config/config.js';
import type { CarriedUpstream } from '../config/upstream.js';
import type { ClientTlsFiles } from '../proxy/client-tls-files.js';
import type { PrivateNotice } from '../proxy/private-notice.js';
import type { UpstreamAddress } from '../upstream/address.js';
import type { Credential } from '../upstream/credentials.js';
import type { ScramVerifier } from '../wire/scram-verifier.js';

/**
 * What the processes of one proxy tell each other, over the channel that the operating system gives a parent and its
 * child: nobody else can read it, and nothing of it is written anywhere.
 */

/** A role that is to log in into a database of a server. */
export interface Place {
  readonly role: string;
  readonly database: string;
  readonly address: UpstreamAddress;
}

/** What a worker may ask for about a role. */
export type Wanted =
  | ({ readonly what: 'credential' } & Place)
  | { readonly what: 'verifier'; readonly role: string };

/** From the first process to a worker. */
export type ToWorker =
  /** Begin. */
  | {
      readonly kind: 'serve';
      readonly config: Omit<Config, 'upstream'>;
      readonly upstream: CarriedUpstream;
      readonly clientTls: ClientTlsFiles | undefined;
      readonly mockSecret: Uint8Array | undefined;
    }
  /** A client; its socket comes with the message. */
  | { readonly kind: 'client'; readonly id: number }
  | ({ readonly kind: 'answer'; readonly id: number } & (
      | { readonly found: Credential | ScramVerifier | undefined }
      | { readonly failure: string }
    ))
  /** What has changed in it, for clients that come from now on. */
  | {
      readonly kind: 'reload';
      readonly config: Omit<Config, 'upstream'>;
      readonly clientTls: ClientTlsFiles | undefined;
    }
  /** A login from this address was refused by another worker. */
  | { readonly kind: 'login failed'; readonly address: string }
  /** End the sessions within this time, then end. */
  | { readonly kind: 'close'; readonly graceMs: number };

/** From a worker to the first process. */
export type FromWorker =
  | { readonly kind: 'ready' }
  /** It has the client's socket, and has not read from it yet. */
  | { readonly kind: 'taken'; readonly id: number }
  /** So many of its clients' connections have closed. */
  | { readonly kind: 'closed'; readonly clients: number }
  /** A login that the server accepted. */
  | { readonly kind: 'captured'; readonly role: string; readonly credential: Credential }
  /** The server did not take the credential that was asked for. */
  | ({ readonly kind: 'not taken' } & Place)
  /** What the executor logs in with as the role is wanted, or what its clients are authenticated by. */
  | { readonly kind: 'ask'; readonly id: number; readonly wanted: Wanted }
  /** A login from this address was refused. */
  | { readonly kind: 'login failed'; readonly address: string }
  /** A SQL function asks for something. */
  | { readonly kind: 'asked'; readonly notice: PrivateNotice }
  /** A transaction that mentioned df has ended. */
  | { readonly kind: 'work' };
