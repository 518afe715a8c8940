import type { Admission, Arrival } from './arrival.js';
import { admitByPassword } from './password.js';
import { admitByRelay } from './relay.js';
import { admitByScram, type ScramOptions } from './scram.js';
import { admitByTrust } from './trust.js';

/** How clients show who they are (setting `client_auth`), with what that needs. */
export type ClientAuth =
  | { readonly mode: 'password' }
  | ({ readonly mode: 'scram' } & ScramOptions)
  | { readonly mode: 'relay' }
  | { readonly mode: 'trust' };

/**
 * From the start-up packet to the server's AuthenticationOk, on both sides.
 * @throws LoginError when client or server is refused, ClientGone when the client closes
 */
export function authenticate(how: ClientAuth, arrival: Arrival): Promise<Admission> {
  switch (how.mode) {
    case 'password':
      return admitByPassword(arrival);
    case 'scram':
      return admitByScram(how, arrival);
    case 'relay':
      return admitByRelay(arrival);
    case 'trust':
      return admitByTrust(arrival);
  }
}
