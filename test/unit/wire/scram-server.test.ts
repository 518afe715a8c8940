import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ScramClient } from '../../../src/wire/scram.js';
import { ScramRefusal, ScramServer, type ScramServerOptions } from '../../../src/wire/scram-server.js';
import { parseScramVerifier, type ScramVerifier } from '../../../src/wire/scram-verifier.js';

const seed = process.env.FC_SEED === undefined ? Date.now() % 2_147_483_647 : Number(process.env.FC_SEED);
console.log(`FC_SEED=${seed}`);

const hmac = (key: Buffer, text: string) => createHmac('sha256', key).update(text).digest();
const sha256 = (data: Buffer) => createHash('sha256').update(data).digest();

function keysOf(password: string, salt: Buffer, iterations: number) {
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256');
  return { clientKey: hmac(salted, 'Client Key'), serverKey: hmac(salted, 'Server Key') };
}

function verifierOf(password: string, salt: Buffer, iterations: number): ScramVerifier {
  const { clientKey, serverKey } = keysOf(password, salt, iterations);
  return { salt, iterations, storedKey: sha256(clientKey), serverKey };
}

const verifier = verifierOf('pencil', Buffer.from('0123456789abcdef'), 4096);
const plain = { verifier, doomed: false, endPoint: undefined, plus: false } satisfies ScramServerOptions;
const bytes = (text: string) => Buffer.from(text, 'latin1');

/** The client's proof over these messages. */
function finalOf(clientKey: Buffer, firstBare: string, serverFirst: string, withoutProof: string): Buffer {
  const signature = hmac(sha256(clientKey), `${firstBare},${serverFirst},${withoutProof}`);
  const proof = Buffer.from(clientKey.map((byte, i) => byte ^ signature[i]!)).toString('base64');
  return bytes(`${withoutProof},p=${proof}`);
}

describe('the server side of SCRAM-SHA-256', () => {
  test('the exchange of RFC 7677, byte for byte', () => {
    const salt = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64');
    const server = new ScramServer({
      ...plain,
      verifier: verifierOf('pencil', salt, 4096),
      nonce: '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0',
    });
    expect(server.first(bytes('n,,n=user,r=rOprNGfwEbeRWgbNEkqO'))).toBe(
      'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
    );
    const keys = server.final(
      bytes(
        'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
      ),
    );
    expect(keys).toMatchObject({ ...keysOf('pencil', salt, 4096), iterations: 4096 });
    expect(server.verdict()).toBe('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=');
  });

  test('our client against our server: the right password gives the keys that the client has, a wrong one none', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 40 }),
        fc.uint8Array({ minLength: 1, maxLength: 64 }),
        fc.integer({ min: 1, max: 50 }),
        fc.boolean(),
        fc.boolean(),
        async (password, saltBytes, iterations, right, doomed) => {
          const salt = Buffer.from(saltBytes);
          const server = new ScramServer({
            ...plain,
            doomed,
            verifier: verifierOf(password, salt, iterations),
          });
          const client = new ScramClient({ password: right ? password : `${password}x` });
          const final = await client.final(server.first(bytes(client.first())));
          const keys = server.final(bytes(final));
          if (!right || doomed) expect(keys).toBeNull();
          else expect(client.finish(server.verdict())).toEqual(keys);
        },
      ),
      { seed, numRuns: 100 },
    );
  });

  test('one changed byte in any message of the client is never taken for the right password', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.boolean(),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        async (inFirst, at, change) => {
          const server = new ScramServer(plain);
          const client = new ScramClient({ password: 'pencil' });
          const tamper = (message: string) => {
            const out = bytes(message);
            out[at % out.length]! ^= change;
            return out;
          };
          try {
            const first = bytes(client.first());
            const serverFirst = server.first(inFirst ? tamper(client.first()) : first);
            const final = await client.final(serverFirst);
            expect(server.final(inFirst ? bytes(final) : tamper(final))).toBeNull();
          } catch (error) {
            // Ours says what the server would say; the client's says that its nonce came back changed.
            expect(['ScramRefusal', 'ScramError']).toContain((error as Error).name);
          }
        },
      ),
      { seed, numRuns: 400 },
    );
  });

  test('any bytes at all are a refusal or a wrong proof', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1100 }), fc.uint8Array({ maxLength: 1100 }), (first, final) => {
        const server = new ScramServer(plain);
        try {
          server.first(Buffer.from(first));
        } catch (error) {
          expect(error).toBeInstanceOf(ScramRefusal);
        }
        try {
          expect(server.final(Buffer.concat([bytes('c=biws,r='), Buffer.from(final)]))).toBeNull();
        } catch (error) {
          expect(error).toBeInstanceOf(ScramRefusal);
        }
      }),
      { seed, numRuns: 500 },
    );
  });

  test('extensions before the proof are part of what is signed', () => {
    const { clientKey } = keysOf('pencil', verifier.salt, 4096);
    const server = new ScramServer(plain);
    const bare = 'n=,r=abc,x=1';
    const serverFirst = server.first(bytes(`n,,${bare}`));
    const nonce = /^r=([^,]+)/.exec(serverFirst)![1]!;
    expect(server.final(finalOf(clientKey, bare, serverFirst, `c=biws,r=${nonce},y=2,z=3`))).not.toBeNull();
  });
});

describe('channel binding', () => {
  const endPoint = Buffer.alloc(32, 7);
  const header = (data: Buffer) =>
    Buffer.concat([bytes('p=tls-server-end-point,,'), data]).toString('base64');

  function exchange(options: Partial<ScramServerOptions>, gs2: string, c: string) {
    const { clientKey } = keysOf('pencil', verifier.salt, 4096);
    const server = new ScramServer({ ...plain, endPoint, ...options });
    const serverFirst = server.first(bytes(`${gs2}n=,r=abc`));
    const nonce = /^r=([^,]+)/.exec(serverFirst)![1]!;
    return server.final(finalOf(clientKey, 'n=,r=abc', serverFirst, `c=${c},r=${nonce}`));
  }

  test('over our certificate', () => {
    expect(exchange({ plus: true }, 'p=tls-server-end-point,,', header(endPoint))).not.toBeNull();
  });

  test('over another certificate is refused', () => {
    expect(() => exchange({ plus: true }, 'p=tls-server-end-point,,', header(Buffer.alloc(32, 8)))).toThrow(
      'SCRAM channel binding check failed',
    );
  });

  test('a client that thinks we cannot, though we have offered it, is refused: the list was changed on the way', () => {
    expect(() => exchange({}, 'y,,', 'eSws')).toThrow('SCRAM channel binding negotiation error');
    expect(exchange({ endPoint: undefined }, 'y,,', 'eSws')).not.toBeNull();
  });

  test('a client may do without', () => {
    expect(exchange({}, 'n,,', 'biws')).not.toBeNull();
  });

  test('the flag of the first message and the attribute of the last must be of one kind', () => {
    expect(() => exchange({ endPoint: undefined }, 'n,,', 'eSws')).toThrow(
      'unexpected SCRAM channel-binding',
    );
    expect(() => exchange({ endPoint: undefined }, 'y,,', 'biws')).toThrow(
      'unexpected SCRAM channel-binding',
    );
  });
});

describe('a verifier', () => {
  const salt = Buffer.from('0123456789abcdef').toString('base64');
  const key = Buffer.alloc(32, 1).toString('base64');

  test('is read as pg_authid has it', () => {
    expect(parseScramVerifier(`SCRAM-SHA-256$4096:${salt}$${key}:${key}`)).toMatchObject({
      iterations: 4096,
    });
  });

  test.each([
    'secret',
    'md5d41d8cd98f00b204e9800998ecf8427e',
    `SCRAM-SHA-256$0:${salt}$${key}:${key}`,
    `SCRAM-SHA-256$9999999999:${salt}$${key}:${key}`,
    `SCRAM-SHA-256$4096:A===$${key}:${key}`,
    `SCRAM-SHA-256$4096:${salt}$${key}:${salt}`,
    `SCRAM-SHA-256$4096:${salt}$${key}`,
    `SCRAM-SHA-256$4096:${salt}$${key}:${key}\n`,
    '',
  ])('%j is none', (text) => {
    expect(parseScramVerifier(text)).toBeUndefined();
  });
});
