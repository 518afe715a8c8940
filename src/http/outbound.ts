/** Requests of durable functions as configured: rules, slots and the way out. */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { rootCertificates } from 'node:tls';
import { ConfigError, type HttpConfig } from '../config/config.js';
import { connectDirectly, type Network } from './connect.js';
import { exchange, type HttpRules, type Request, type Response } from './exchange.js';
import { allowedUrl } from './policy.js';
import { SystemResolver } from './resolve.js';
import { Slots } from './slots.js';

export class Outbound {
  readonly slots: Slots;
  readonly userAgent: string;
  readonly #network: Network;
  #rules: HttpRules;

  /**
   * @param version of this program
   * @param network where names lead to, if not to where the system says
   * @throws ConfigError when http.ca_file cannot be read
   */
  constructor(config: HttpConfig, version: string, network: Network = systemNetwork()) {
    this.#rules = rulesOf(config);
    this.slots = new Slots(config.maxConcurrentRequests);
    // RFC 9110 §10.1.5: not under the name of another implementation
    this.userAgent = `pg-durable-proxy/${version}`;
    this.#network = network;
  }

  /** For the requests that begin from now on. @throws ConfigError when http.ca_file cannot be read: then the old ones stay */
  configure(config: HttpConfig): void {
    this.#rules = rulesOf(config);
    this.slots.limit = config.maxConcurrentRequests;
    this.slots.admit();
  }

  /** As `allowedUrl`, by the rules of now. */
  judge(url: string): URL {
    return allowedUrl(url, this.#rules);
  }

  /** As `exchange`, by the rules of now. */
  send(request: Request, cancel: AbortSignal): Promise<Response> {
    return exchange(request, this.#rules, this.#network, cancel);
  }
}

function systemNetwork(): Network {
  const resolver = new SystemResolver();
  return { resolve: (name, role, signal) => resolver.resolve(name, role, signal), connect: connectDirectly };
}

function rulesOf({ mode, allow, blockPrivate, maxResponseBytes, caFile }: HttpConfig): HttpRules {
  const ca = caFile === undefined ? undefined : [...rootCertificates, readCertificates(caFile)];
  return { mode, allow, blockPrivate, maxResponseBytes, ca };
}

function readCertificates(file: string): string {
  try {
    const text = readFileSync(file, 'utf8');
    new X509Certificate(text);
    return text;
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    const why = /^E[A-Z]+$/.test(code) ? `cannot be read: ${code}` : 'holds no certificate in PEM form';
    throw new ConfigError(`setting "http.ca_file": ${file} ${why}`);
  }
}
