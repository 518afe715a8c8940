import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { MAX_ITERATIONS, ScramClient, ScramError, type ScramSecret } from '../../../src/wire/scram.js';

const hmac = (key: Buffer, text: string) => createHmac('sha256', key).update(text).digest();

/** The server's side, enough of it to answer. */
function server(password: string, salt: Buffer, iterations: number) {
  const salted = pbkdf2Sync(password.normalize('NFKC'), salt, iterations, 32, 'sha256');
  const storedKey = createHash('sha256').update(hmac(salted, 'Client Key')).digest();
  return {
    first: (clientFirst: string) =>
      `${clientFirst.slice('n,,n=,'.length)}SERVER,s=${salt.toString('base64')},i=${iterations}`,
    /** The server's final message, or null where the proof is wrong. */
    final: (clientFirst: string, serverFirst: string, clientFinal: string) => {
      const [withoutProof, proof] = clientFinal.split(',p=') as [string, string];
      const authMessage = `${clientFirst.slice(3)},${serverFirst},${withoutProof}`;
      const signature = hmac(storedKey, authMessage);
      const clientKey = Buffer.from(proof, 'base64').map((byte, i) => byte ^ signature[i]!);
      if (!createHash('sha256').update(clientKey).digest().equals(storedKey)) return null;
      return `v=${hmac(hmac(salted, 'Server Key'), authMessage).toString('base64')}`;
    },
  };
}

const salt = Buffer.from('0123456789abcdef');

async function exchange(secret: ScramSecret, password: string, iterations = 4096) {
  const client = new ScramClient(secret);
  const peer = server(password, salt, iterations);
  const clientFirst = client.first();
  const serverFirst = peer.first(clientFirst);
  const clientFinal = await client.final(serverFirst);
  return { client, verdict: peer.final(clientFirst, serverFirst, clientFinal) };
}

async function problem(serverFirst: (nonce: string) => string): Promise<string> {
  const client = new ScramClient({ password: 'pencil' });
  const nonce = client.first().slice('n,,n=,r='.length);
  return client.final(serverFirst(nonce)).then(
    () => 'none',
    (error: ScramError) => error.problem,
  );
}

describe('SCRAM-SHA-256', () => {
  test('the exchange of RFC 7677, but for the user name that PostgreSQL leaves out', async () => {
    const client = new ScramClient({ password: 'pencil' }, 'rOprNGfwEbeRWgbNEkqO');
    expect(client.first()).toBe('n,,n=,r=rOprNGfwEbeRWgbNEkqO');
    const nonce = 'rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0';
    const serverFirst = `r=${nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`;
    const final = await client.final(serverFirst);
    // The keys of the RFC's example, with the proof over this AuthMessage.
    const salted = pbkdf2Sync(
      'pencil',
      Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64'),
      4096,
      32,
      'sha256',
    );
    const authMessage = `n=,r=rOprNGfwEbeRWgbNEkqO,${serverFirst},c=biws,r=${nonce}`;
    const clientKey = hmac(salted, 'Client Key');
    const signature = hmac(createHash('sha256').update(clientKey).digest(), authMessage);
    const proof = Buffer.from(clientKey.map((byte, i) => byte ^ signature[i]!)).toString('base64');
    expect(final).toBe(`c=biws,r=${nonce},p=${proof}`);
    // With the RFC's user name the same keys give the RFC's own proof and signature.
    const rfc = `n=user,r=rOprNGfwEbeRWgbNEkqO,${serverFirst},c=biws,r=${nonce}`;
    const rfcSignature = hmac(createHash('sha256').update(clientKey).digest(), rfc);
    expect(Buffer.from(clientKey.map((byte, i) => byte ^ rfcSignature[i]!)).toString('base64')).toBe(
      'dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
    );
    const keys = client.finish(`v=${hmac(hmac(salted, 'Server Key'), authMessage).toString('base64')}`);
    expect(keys.clientKey).toEqual(clientKey);
    expect(hmac(keys.serverKey, rfc).toString('base64')).toBe('6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=');
  });

  test('by password, then by the keys that it gave', async () => {
    const first = await exchange({ password: 'päßword' }, 'päßword');
    const keys = first.client.finish(first.verdict!);
    const again = await exchange({ keys }, 'päßword');
    expect(again.client.finish(again.verdict!)).toEqual(keys);
  });

  test('a wrong password is noticed by the server, a wrong server by us', async () => {
    const { client, verdict } = await exchange({ password: 'wrong' }, 'right');
    expect(verdict).toBeNull();
    expect(() => client.finish(`v=${Buffer.alloc(32).toString('base64')}`)).toThrow(/could not prove/);
    expect(() => client.finish('e=invalid-proof')).toThrow(ScramError);
    expect(() => client.finish('v=short')).toThrow(/malformed/);
    expect(() => client.finish('')).toThrow(/malformed/);
  });

  test('the final message cannot come first', () => {
    expect(() => new ScramClient({ password: 'x' }).finish('v=')).toThrow(/too early/);
  });

  test('keys of another salt or iteration count are stale', async () => {
    const { client, verdict } = await exchange({ password: 'x' }, 'x');
    const keys = client.finish(verdict!);
    await expect(exchange({ keys: { ...keys, salt: Buffer.from('another') } }, 'x')).rejects.toMatchObject({
      problem: 'stale',
    });
    await expect(exchange({ keys: { ...keys, iterations: 5000 } }, 'x')).rejects.toMatchObject({
      problem: 'stale',
    });
  });

  test.each([
    ['more iterations than are done', 'iterations', (n: string) => `r=${n}x,s=AAAA,i=${MAX_ITERATIONS + 1}`],
    ['an iteration count that overflows', 'malformed', (n: string) => `r=${n}x,s=AAAA,i=99999999999999`],
    ['no iterations', 'malformed', (n: string) => `r=${n}x,s=AAAA,i=0`],
    ['negative iterations', 'malformed', (n: string) => `r=${n}x,s=AAAA,i=-1`],
    ['our own nonce', 'malformed', (n: string) => `r=${n},s=AAAA,i=4096`],
    ['another nonce', 'malformed', () => 'r=other,s=AAAA,i=4096'],
    ['an over-long nonce', 'malformed', (n: string) => `r=${n}${'x'.repeat(2000)},s=AAAA,i=4096`],
    ['an over-long message', 'malformed', (n: string) => `r=${n}x,s=${'A'.repeat(8000)},i=4096`],
    ['a salt that is not base64', 'malformed', (n: string) => `r=${n}x,s=A===,i=4096`],
    ['a mandatory extension', 'malformed', (n: string) => `m=x,r=${n}x,s=AAAA,i=4096`],
    ['nothing', 'malformed', () => ''],
  ])('%s is refused', async (_, expected, serverFirst) => {
    expect(await problem(serverFirst)).toBe(expected);
  });
});
