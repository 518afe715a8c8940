import { expect, test } from 'vitest';
import { type StatementFacts, StatementMemory } from '../../../src/proxy/statement-memory.js';

function facts(bytes: number): StatementFacts {
  const text = Buffer.alloc(bytes);
  return {
    mentions: true,
    rewritten: { by: { sql: text, positions: { original: (at) => at } }, original: text },
  };
}

test('statements that are prepared for ever, failed or deallocated by SQL, do not fill the memory', () => {
  const memory = new StatementMemory();
  for (let i = 0; i < 1_000; i++) memory.parsed(`large ${i}`, facts(1_000_000));
  expect(memory.kept.bytes).toBeLessThanOrEqual(64 * 1024 * 1024);
  expect(memory.bound('', 'large 999')).toBeDefined();
  expect(memory.bound('', 'large 0')).toBeUndefined();
  for (let i = 0; i < 50_000; i++) memory.parsed(`small ${i}`, { mentions: true, rewritten: null });
  expect(memory.kept).toEqual({ statements: 10_000, bytes: 0 });
});

test('a statement beyond the limit is kept as long as it is the last one', () => {
  const memory = new StatementMemory();
  memory.parsed('one', facts(40_000_000));
  memory.parsed('two', facts(40_000_000));
  expect(memory.bound('', 'one')).toBeUndefined();
  expect(memory.bound('', 'two')).toBeDefined();
  memory.closed({ statement: true, name: 'two' });
  memory.parsed('three', undefined);
  expect(memory.kept).toEqual({ statements: 0, bytes: 0 });
});

test('a name that is parsed again counts once', () => {
  const memory = new StatementMemory();
  for (let i = 0; i < 100; i++) memory.parsed('', facts(1_000));
  expect(memory.kept).toEqual({ statements: 1, bytes: 2_000 });
});
