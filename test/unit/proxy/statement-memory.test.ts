import { expect, test } from 'vitest';
import { type StatementFacts, StatementMemory } from '../../../src/proxy/statement-memory.js';

function facts(bytes: number): StatementFacts {
  const text = Buffer.alloc(bytes);
  return {
    mentions: true,
    rewritten: {
      by: { sql: text, positions: { original: (at) => at }, tags: null, blocks: false },
      original: text,
    },
  };
}

const parsed = (memory: StatementMemory, name: string, known: StatementFacts | undefined) =>
  memory.apply({ kind: 'parse', name, facts: known });
const known = (memory: StatementMemory, statement: string) =>
  memory.factsOf({ kind: 'bind', portal: '', statement });

test('statements that are prepared for ever, failed or deallocated by SQL, do not fill the memory', () => {
  const memory = new StatementMemory();
  for (let i = 0; i < 1_000; i++) parsed(memory, `large ${i}`, facts(1_000_000));
  expect(memory.kept.bytes).toBeLessThanOrEqual(64 * 1024 * 1024);
  expect(known(memory, 'large 999')).toBeDefined();
  expect(known(memory, 'large 0')).toBeUndefined();
  for (let i = 0; i < 50_000; i++) parsed(memory, `small ${i}`, { mentions: true, rewritten: null });
  expect(memory.kept).toEqual({ statements: 10_000, bytes: 0 });
});

test('a statement beyond the limit is kept as long as it is the last one', () => {
  const memory = new StatementMemory();
  parsed(memory, 'one', facts(40_000_000));
  parsed(memory, 'two', facts(40_000_000));
  expect(known(memory, 'one')).toBeUndefined();
  expect(known(memory, 'two')).toBeDefined();
  memory.apply({ kind: 'close', statement: true, name: 'two' });
  parsed(memory, 'three', undefined);
  expect(memory.kept).toEqual({ statements: 0, bytes: 0 });
});

test('a name that is parsed again counts once', () => {
  const memory = new StatementMemory();
  for (let i = 0; i < 100; i++) parsed(memory, '', facts(1_000));
  expect(memory.kept).toEqual({ statements: 1, bytes: 2_000 });
});

test('a Parse that has not been obeyed changes nothing, a Close that has been forgets', () => {
  const memory = new StatementMemory();
  const first = facts(10);
  parsed(memory, 'n', first);
  expect(memory.factsOf({ kind: 'parse', name: 'n', facts: undefined })).toBe(undefined);
  expect(known(memory, 'n')).toBe(first);
  memory.apply({ kind: 'bind', portal: 'p', statement: 'n' });
  memory.apply({ kind: 'close', statement: true, name: 'n' });
  expect(known(memory, 'n')).toBe(undefined);
  expect(memory.factsOf({ kind: 'execute', portal: 'p' })).toBe(first);
  memory.transactionEnded();
  expect(memory.empty).toBe(true);
});
