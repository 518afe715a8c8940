import { readFileSync } from 'node:fs';
import { connectDirectly, type Network } from '../../src/http/connect.js';
import { certificateDirectory, createAuthority } from '../support/certificates.js';
import { HttpStandIn, type SeenRequest } from '../support/http-stand-in.js';

/** The hosts that the guide's examples speak to. */
const HOSTS = [
  'api.example.com',
  'partner.example.com',
  'hooks.example.com',
  'jobs.example.com',
  'api.github.com',
];
/** Public, so that the rule about private addresses is in force; nothing is ever sent there. */
const ADDRESS = '93.184.216.34';

/** A stand-in for the web: HTTPS on loopback, under the names of the guide, with certificates of its own authority. */
export class Web {
  readonly #server: HttpStandIn;
  readonly #directory: ReturnType<typeof certificateDirectory>;
  /** Settings of a proxy that takes the stand-in for the web. */
  readonly settings: { 'http.mode': string; 'http.allow': string; 'http.ca_file': string };
  /** The way of its requests: every name leads to the stand-in. */
  readonly network: Network;

  private constructor(
    server: HttpStandIn,
    directory: ReturnType<typeof certificateDirectory>,
    authority: string,
  ) {
    this.#server = server;
    this.#directory = directory;
    this.settings = { 'http.mode': 'allowlist', 'http.allow': HOSTS.join(','), 'http.ca_file': authority };
    this.network = {
      resolve: async () => [ADDRESS],
      connect: (_addresses, _port, signal) => connectDirectly(['127.0.0.1'], server.port, signal),
    };
  }

  static async open(): Promise<Web> {
    const directory = certificateDirectory();
    const authority = createAuthority(directory.path);
    const { certFile, keyFile } = authority.issue(
      'stand-in',
      HOSTS.map((host) => `DNS:${host}`),
    );
    const server = await HttpStandIn.start({ cert: readFileSync(certFile), key: readFileSync(keyFile) });
    const json = (body: unknown, status = 200) => ({
      status,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    server
      .on('/users/123', json({ path: '/users/123' }))
      .on('/secure/data', json({ secret: true }))
      .on('/users/999', json({ error: 'not found' }, 404))
      .on('/status', json({ healthy: false }))
      .on('/broken', json({ error: 'out of order' }, 500))
      .on(
        '/repos/microsoft/duroxide/commits',
        json([
          {
            sha: 'c0ffee',
            commit: { author: { name: 'Ada', date: '2026-01-02T03:04:05Z' }, message: 'First commit' },
          },
        ]),
      );
    return new Web(server, directory, authority.certFile);
  }

  /** The requests of this kind that came, with `https://`, host and path. */
  requests(method: string, url: string): SeenRequest[] {
    return this.#server.requests.filter(
      (request) => request.method === method && `https://${request.headers.host}${request.path}` === url,
    );
  }

  async close(): Promise<void> {
    await this.#server.close();
    this.#directory.remove();
  }
}
