import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { copyOf } from '../../../src/upstream/credentials/credential.js';
import { parseKeys } from '../../../src/upstream/credentials/keys.js';
import { seal, sealingKey, unseal } from '../../../src/upstream/credentials/seal.js';
import type { Vault } from '../../../src/upstream/credentials/vault.js';
import { type Credential, CredentialStore, upstreamName } from '../../../src/upstream/credentials.js';

const key = () => sealingKey(randomBytes(32));
const owner = { role: 'app', upstream: 'db:5432' };
const scram = (): Credential & { kind: 'scram' } => ({
  kind: 'scram',
  keys: { clientKey: randomBytes(32), serverKey: randomBytes(32), salt: randomBytes(16), iterations: 4096 },
});

describe('a sealed credential', () => {
  test('opens to what it was, with any of several keys', () => {
    const [old, current] = [key(), key()];
    const credential = scram();
    expect(unseal(seal(credential, owner, old), owner, [current, old])).toEqual(credential);
    const md5: Credential = { kind: 'md5', hash: 'd41d8cd98f00b204e9800998ecf8427e' };
    expect(unseal(seal(md5, owner, current), owner, [current, old])).toEqual(md5);
  });

  test('opens for no other role, no other server and no other key', () => {
    const one = key();
    const sealed = seal(scram(), owner, one);
    expect(unseal(sealed, { ...owner, role: 'other' }, [one])).toBeNull();
    expect(unseal(sealed, { ...owner, upstream: 'elsewhere:5432' }, [one])).toBeNull();
    expect(unseal(sealed, owner, [key()])).toBeNull();
    const other = key();
    expect(unseal({ ...sealed, keyId: other.id }, owner, [one, other])).toBeNull();
    // where one name ends and the next begins cannot be moved
    const joined = seal(scram(), { role: 'a', upstream: 'bc' }, one);
    expect(unseal(joined, { role: 'ab', upstream: 'c' }, [one])).toBeNull();
  });

  test('does not open after any change of one bit', () => {
    const one = key();
    const sealed = seal(scram(), owner, one);
    for (const part of ['nonce', 'ciphertext'] as const) {
      for (let bit = 0; bit < sealed[part].length * 8; bit++) {
        const bytes = Buffer.from(sealed[part]);
        bytes[bit >> 3]! ^= 1 << (bit & 7);
        expect(unseal({ ...sealed, [part]: bytes }, owner, [one])).toBeNull();
      }
    }
  });

  test('random rows never open and never throw', () => {
    const one = key();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ maxLength: 200 }), (nonce, text) => {
        const row = { keyId: one.id, nonce: Buffer.from(nonce), ciphertext: Buffer.from(text) };
        expect(unseal(row, owner, [one])).toBeNull();
      }),
    );
  });

  test('shows nothing of the credential, and is never the same twice', () => {
    const one = key();
    const credential = scram();
    const [first, second] = [seal(credential, owner, one), seal(credential, owner, one)];
    expect(first.ciphertext.equals(second.ciphertext)).toBe(false);
    for (const secret of [credential.keys.clientKey, credential.keys.serverKey, credential.keys.salt]) {
      expect(first.ciphertext.includes(secret.subarray(0, 8))).toBe(false);
    }
  });
});

describe('keys', () => {
  const material = randomBytes(32);

  test('in hex, base64 and base64url are the same key; the first comes first', () => {
    const texts = [
      material.toString('hex'),
      material.toString('base64'),
      material.toString('base64').replace(/=+$/, ''),
      material.toString('base64url'),
    ];
    for (const text of texts) {
      const [one] = parseKeys(`# a comment\n ${text} \r\n`, 'file');
      expect(one?.id).toBe(sealingKey(Buffer.from(material)).id);
      expect(inspect(one, { depth: 9 })).not.toContain(text);
    }
    const other = randomBytes(32).toString('hex');
    expect(parseKeys(`${texts[0]}\n${other}`, 'file').map(({ id }) => id)).toEqual([
      sealingKey(Buffer.from(material)).id,
      sealingKey(Buffer.from(other, 'hex')).id,
    ]);
  });

  test.each([
    '',
    '# nothing',
    material.toString('hex').slice(1),
    'a password',
    `${material.toString('hex')} x`,
  ])('what is none is refused without being quoted (%#)', (text) => {
    expect(() => parseKeys(text, 'the file')).toThrow(/^the file must hold 32 random bytes/);
    try {
      parseKeys(text, 'the file');
    } catch (error) {
      if (text !== '') expect((error as Error).message).not.toContain(text);
    }
  });
});

describe('the store in memory', () => {
  const addresses = [{ host: 'db', port: 5432 }];

  test('what it gives is a copy: overwritten after use, the next login still has it', async () => {
    const store = new CredentialStore(addresses);
    const credential = scram();
    store.capture('app', credential);
    const first = await store.get('app');
    if (first?.kind !== 'scram') throw new Error('not scram');
    first.keys.clientKey.fill(0);
    expect(await store.get('app')).toEqual(credential);
    expect(JSON.stringify(await store.get('app')) + inspect(store, { depth: 9 })).not.toContain(
      credential.keys.clientKey.toString('hex'),
    );
  });

  test('of logins in a row the last one stays written, however long a write takes', async () => {
    const written: Credential[] = [];
    const writes: Array<() => void> = [];
    const vault: Pick<Vault, 'holds' | 'save' | 'load'> = {
      holds: () => true,
      save: async (_, credential) => {
        const copy = copyOf(credential);
        await new Promise<void>((resolve) => writes.push(resolve));
        written.push(copy);
        return String(written.length);
      },
      load: async () => ({ credential: scram(), stamp: 'of an earlier login' }),
    };
    const store = new CredentialStore(addresses, { vault: vault as Vault });
    const [first, second, last] = [scram(), scram(), scram()];
    store.capture('app', first);
    await new Promise(setImmediate); // it is being written
    store.capture('app', second);
    store.capture('app', last);
    // A login that was refused meanwhile brings back nothing that is older.
    expect(await store.refused('app', undefined)).toBe(false);
    expect(await store.get('app')).toEqual(last);
    // Were they under way together, the last could be done first.
    for (let n = 0; n < 3; n++) {
      writes.pop()?.();
      await new Promise(setImmediate);
    }
    expect(written).toEqual([first, last]);
    expect(await store.get('app')).toEqual(last);
  });

  test('says whether a capture has brought anything new', () => {
    const store = new CredentialStore(addresses);
    const heard: unknown[] = [];
    store.onCapture((role, changed) => heard.push([role, changed]));
    const credential = scram();
    store.capture('app', credential);
    store.capture('app', credential);
    store.capture('app', { kind: 'trust' });
    store.capture('app', scram());
    expect(heard).toEqual([
      ['app', true],
      ['app', false],
      ['app', true],
    ]);
    expect(store.captures('app')).toBe(3);
  });

  test('the name of an upstream does not depend on the order of its hosts', () => {
    const a = { host: 'A.example.com', port: 5432 };
    const b = { host: '::1', port: 5433 };
    expect(upstreamName([a, b])).toBe(upstreamName([b, { host: 'a.example.com', port: 5432 }]));
    expect(upstreamName([a])).not.toBe(upstreamName([a, b]));
    const socket = (host: string) => upstreamName([{ host, port: 5432 }]);
    expect(socket('/run/A')).not.toBe(socket('/run/a'));
  });
});
