import { describe, expect, test } from 'vitest';
import { buildGraph } from '../../../src/engine/graph.js';
import { Inbox } from '../../../src/engine/inbox.js';
import type { GraphRows, SignalRow } from '../../../src/state/claim.js';

const rows = (from: number, count: number, name = 's'): SignalRow[] =>
  Array.from({ length: count }, (_, n) => [from + n, from + n, name, String(from + n)] as const);

describe('the inbox', () => {
  test('gives the oldest of a name beyond a position', () => {
    const inbox = new Inbox(rows(1, 2), rows(5, 1, 'other'), rows(7, 1));
    expect(inbox.next('s', 0)?.pos).toBe(1);
    expect(inbox.next('s', 2)?.pos).toBe(7);
    expect(inbox.next('s', 7)).toBeUndefined();
    expect(inbox.next('other', 0)?.pos).toBe(5);
    expect(inbox.partial).toBe(false);
  });

  test('names those that every taker has gone beyond, and forgets them when told', () => {
    const inbox = new Inbox(rows(1, 5));
    const gone = inbox.gone(() => 3);
    expect(gone).toEqual([1, 2, 3]);
    expect(inbox.size).toBe(5);
    inbox.drop(gone);
    expect(inbox.next('s', 0)?.pos).toBe(4);
    expect(inbox.used).toBe(true);
  });

  test('a full list means that there may be more: what comes later is left to the database', () => {
    const inbox = new Inbox(rows(1, 100));
    expect(inbox.partial).toBe(true);
    inbox.add(rows(500, 1));
    expect(inbox.version).toBe(2);
    expect(inbox.next('s', 99)?.pos).toBe(100);
    expect(inbox.next('s', 100)).toBeUndefined();
    inbox.note({ seq: 101, pos: 101, name: 's', data: null });
    expect(inbox.next('s', 100)).toBeUndefined(); // another scope may be behind it
    expect(inbox.gone(() => 101)).toHaveLength(101);
  });

  test('is busy while signals are being numbered', async () => {
    const inbox = new Inbox();
    let numbered: () => void = () => {};
    inbox.numbering(
      new Promise((resolve) => {
        numbered = resolve;
      }),
    );
    expect(inbox.busy).toBe(true);
    const settled = inbox.settled().then(() => inbox.busy);
    numbered();
    expect(await settled).toBe(false);
  });
});

describe('who can still take a signal', () => {
  const nodes: Array<NonNullable<GraphRows['nodes']>[number]> = [];
  const node = (
    type: string,
    query: object | string | null,
    left: string | null = null,
    right: string | null = null,
  ) => {
    const id = `n${nodes.length}`;
    nodes.push([
      id,
      type,
      typeof query === 'object' && query !== null ? JSON.stringify(query) : query,
      null,
      left,
      right,
    ]);
    return id;
  };
  const wait = (name: string) => node('SIGNAL', { signal_name: name, timeout_seconds: null });
  const step = () => node('SQL', 'SELECT 1');

  test('a branch that waits for its name; after a race only where it is waited for outside, or again', () => {
    const [a, b] = [wait('a'), step()];
    const race = node('RACE', null, a, b);
    const [c, e] = [wait('b'), step()];
    const again = node('RACE', null, c, e);
    const loop = node('LOOP', null, again);
    const join = node('JOIN', {}, race, loop);
    const root = node('THEN', null, join, wait('later'));
    const { takers, signals, races } = buildGraph({ root, role: 'r', nodes });
    expect([...signals].sort()).toEqual(['a', 'b', 'later']);
    expect([...races].sort()).toEqual([race, again].sort());
    expect([takers.inBranch(a, 'a'), takers.inBranch(b, 'a'), takers.inBranch(race, 'a')]).toEqual([
      true,
      false,
      true,
    ]);
    expect(takers.inBranch(root, 'later')).toBe(true);
    expect(takers.afterRace(race, 'a')).toBe(false);
    expect(takers.afterRace(race, 'later')).toBe(true);
    expect(takers.afterRace(again, 'b')).toBe(true);
  });
});
