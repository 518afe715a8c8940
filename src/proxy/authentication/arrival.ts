import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import type { UpstreamAddress } from '../../upstream/address.js';
import type { Credential } from '../../upstream/credentials.js';
import { LoginError } from '../../upstream/login.js';
import { Authentication, Backend } from '../../wire/codes.js';
import { errorResponse, type Report } from '../../wire/fields.js';
import { int32, message } from '../../wire/message.js';

export const AUTHENTICATION_OK = message(Backend.Authentication, int32(Authentication.Ok));

/** What the executor logs in with, by role: a CredentialStore in this process or another. */
export interface RoleCredentials {
  /** Keeps a copy of what the server has just accepted. */
  capture(role: string, credential: Credential): void;
  /**
   * @param address the server that has been reached
   * @returns a copy, to be wiped by the caller; rejects where a source does not work
   */
  get(role: string, database: string, address: UpstreamAddress): Promise<Credential | undefined>;
  /** The server there has not taken what `get` gave: the next `get` looks for something newer. */
  notTaken(role: string, database: string, address: UpstreamAddress): void;
}

/** A client that wants in, and the connection to the server that was made for it: nothing has been sent on that yet. */
export interface Arrival {
  readonly client: Socket;
  readonly server: Socket;
  /** Which of the configured servers it is. */
  readonly address: UpstreamAddress;
  /** The client's start-up packet as it came. */
  readonly packet: Buffer;
  /** The role that it names; empty where it names none, which the server refuses. */
  readonly user: string;
  /** The database that it means. */
  readonly database: string;
  /** What the client has sent behind it. */
  readonly rest: Buffer;
  /** Nobody but us can read what the client sends: encrypted, or `local`. */
  readonly confidential: boolean;
  /** Loopback or a Unix socket, all the way. */
  readonly local: boolean;
  readonly credentials: RoleCredentials;
  readonly log: Logger;
}

/** Client and server have agreed; both sockets are paused and have no listener of ours. */
export interface Admission {
  /** To be kept for the executor; null where there is nothing, or nothing that the proxy may keep. */
  readonly credential: Credential | null;
  /** What the client gets before everything else: mostly AuthenticationOk. */
  readonly greeting: Buffer;
  /** What the client has sent behind the last message of the login. */
  readonly fromClient: Buffer;
  /** What the server has sent behind its AuthenticationOk. */
  readonly fromServer: Buffer;
}

/** The client closed instead of answering; psql does so to prompt for a password and come back. */
export class ClientGone extends Error {}

/** A refusal of our own, FATAL, with the fields that the server would send. */
export function refusal(report: Omit<Report, 'severity'>): LoginError {
  return new LoginError(report.code, report.message, errorResponse({ severity: 'FATAL', ...report }));
}
