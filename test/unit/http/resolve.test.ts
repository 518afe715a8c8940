import { expect, test } from 'vitest';
import { SystemResolver } from '../../../src/http/resolve.js';

const never = new AbortController().signal;

/** A resolver whose lookups end when a test says so. */
function held() {
  const asked: string[] = [];
  const ends = new Map<string, (addresses: readonly string[]) => void>();
  const resolver = new SystemResolver((name) => {
    asked.push(name);
    return new Promise((resolve) => ends.set(name, resolve));
  });
  const end = async (name: string): Promise<void> => {
    ends.get(name)?.([`${name} found`]);
    await new Promise(setImmediate);
  };
  return { resolver, asked, end };
}

test('the system is asked', async () => {
  const resolver = new SystemResolver();
  expect(await resolver.resolve('localhost', 'a', never)).toContain('127.0.0.1');
  const many = Array.from({ length: 20 }, (_, i) => resolver.resolve(`no-${i}.invalid`, `r${i % 3}`, never));
  for (const one of await Promise.allSettled(many)) expect(one.status).toBe('rejected');
  expect(await resolver.resolve('localhost', 'a', never)).toContain('127.0.0.1');
  expect(resolver.waiting).toBe(0);
});

test('lookups of one name for one role are shared', async () => {
  const { resolver, asked, end } = held();
  const both = [resolver.resolve('x', 'a', never), resolver.resolve('x', 'a', never)];
  await new Promise(setImmediate);
  await end('x');
  expect(await Promise.all(both)).toEqual([['x found'], ['x found']]);
  expect(asked).toEqual(['x']);
});

test('a role whose names are never found does not keep another waiting', async () => {
  const { resolver, asked, end } = held();
  for (let n = 0; n < 100; n++) void resolver.resolve(`slow${n}`, 'evil', never);
  const other = resolver.resolve('good', 'honest', never);
  await new Promise(setImmediate);
  expect(asked).toEqual(['slow0', 'good']);
  await end('good');
  expect(await other).toEqual(['good found']);
  await end('slow0');
  expect(asked).toEqual(['slow0', 'good', 'slow1']);
});

test('what nobody waits for any more does not take a turn', async () => {
  const { resolver, asked, end } = held();
  const first = resolver.resolve('first', 'a', never);
  const gone = new AbortController();
  const given = Array.from({ length: 100 }, (_, n) => resolver.resolve(`given-up-${n}`, 'a', gone.signal));
  const kept = resolver.resolve('given-up-7', 'a', never);
  expect(resolver.waiting).toBe(100);
  gone.abort(new Error('timed out'));
  for (const one of await Promise.allSettled(given)) expect(one).toMatchObject({ status: 'rejected' });
  expect(resolver.waiting).toBe(1);
  await end('first');
  await end('given-up-7');
  expect(await Promise.all([first, kept])).toEqual([['first found'], ['given-up-7 found']]);
  expect(asked).toEqual(['first', 'given-up-7']);
});
