import { expect, test } from 'vitest';
import type { Checkpoint, Entry } from '../../../src/state/checkpoint.js';
import { mergeCheckpoints } from '../../../src/state/merge.js';

const entry = (node: string, detail?: string): Entry => ({
  node,
  stamp: 's',
  kind: 'c',
  value: '1',
  due: null,
  detail,
});
const checkpoint = (token: string, entries: Entry[], rest: Partial<Checkpoint> = {}): Checkpoint => ({
  instance: token,
  token,
  entries,
  end: null,
  generation: null,
  events: 1,
  ...rest,
});
const shape = (list: readonly Checkpoint[]) =>
  list.map(
    (one) => `${one.token}:${one.entries.map((each) => each.node).join('')}${one.end === null ? '' : '!'}`,
  );

test('checkpoints of one lease go together, in their order', () => {
  const all = ['ax', 'bp', 'ay', 'az', 'bq'].map((text) => checkpoint(text[0]!, [entry(text[1]!)]));
  expect(shape(mergeCheckpoints(all))).toEqual(['a:xyz', 'b:pq']);
});

test('nothing is put behind an end, and an end is put behind nothing', () => {
  const end = { end: { kind: 'parked', wake: 1 } } as const;
  const all = [
    checkpoint('a', [entry('x')]),
    checkpoint('a', [entry('y')], end),
    checkpoint('a', [entry('z')]),
  ];
  expect(shape(mergeCheckpoints(all))).toEqual(['a:x', 'a:y!', 'a:z']);
});

test('a detail stays with its leaf, a new execution by itself', () => {
  const all = [
    checkpoint('a', [entry('x')]),
    checkpoint('a', [entry('y', '[]')]),
    checkpoint('a', [entry('z')], { generation: 2 }),
  ];
  expect(shape(mergeCheckpoints(all))).toEqual(['a:x', 'a:y', 'a:z']);
});
