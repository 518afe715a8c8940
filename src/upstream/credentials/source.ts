import type { UpstreamAddress } from '../address.js';

/** Who is to log in where. */
export interface Wanted {
  readonly role: string;
  readonly database: string;
  /** The server that has been reached. */
  readonly address: UpstreamAddress;
}

/** A place that an operator has put passwords in. The first one that knows the role counts. */
export interface PasswordSource {
  /** As the reasons of waiting instances name it. */
  readonly name: string;
  /** Whether it may have something for the role, as far as that is known without asking. */
  mayHave(role: string): boolean;
  /** @throws SourceFailure when it should know and does not say */
  find(wanted: Wanted): Promise<string | undefined>;
  /** The password it gave was refused. @returns whether asking again may give another */
  refused(wanted: Wanted): boolean;
  /** Another text after each change that could make a refused login work. */
  stamp(): Promise<string>;
}

/** A source did not work; the message is shown by the instances that wait, and without anything secret. */
export class SourceFailure extends Error {
  override readonly name = 'SourceFailure';
  /** What an operator should know besides, and roles need not. */
  readonly forLog: string;
  constructor(message: string, forLog = message) {
    super(message);
    this.forLog = forLog;
  }
}
