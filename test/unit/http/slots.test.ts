import { expect, test } from 'vitest';
import { Slots } from '../../../src/http/slots.js';

const never = new AbortController().signal;
const settled = () => new Promise((resolve) => setImmediate(resolve));

test('no more than the limit; the next is of the role that has the fewest', async () => {
  const slots = new Slots(3);
  const order: string[] = [];
  const enter = (role: string, name: string) => slots.enter(role, never).then(() => order.push(name));
  for (const name of ['a1', 'a2', 'a3', 'a4', 'a5']) void enter('a', name);
  void enter('b', 'b1');
  void enter('b', 'b2');
  await settled();
  expect(order).toEqual(['a1', 'a2', 'a3']);
  slots.leave('a'); // a has 2: b comes before a4
  await settled();
  expect(order.at(-1)).toBe('b1');
  slots.leave('a'); // a 1, b 1: who has waited longest
  await settled();
  expect(order.at(-1)).toBe('a4');
  slots.leave('b'); // a 2, b 0
  await settled();
  expect(order).toEqual(['a1', 'a2', 'a3', 'b1', 'a4', 'b2']);
  expect(slots.waiting).toBe(1);
});

test('who gives up waiting takes nothing, and a higher limit lets the next in', async () => {
  const slots = new Slots(1);
  const given = new AbortController();
  await slots.enter('a', never);
  const first = slots.enter('a', given.signal);
  const second = slots.enter('a', never);
  given.abort(new Error('stopped'));
  await expect(first).rejects.toThrow('stopped');
  await expect(slots.enter('a', given.signal)).rejects.toThrow('stopped');
  expect(slots.waiting).toBe(1);
  slots.limit = 2;
  slots.admit();
  await second;
  expect(slots.isFree('a')).toBe(false);
  slots.leave('a');
  slots.leave('a');
  expect(slots.isFree('a')).toBe(true);
});

test('those who are turned away come back one after the other, sooner where requests end fast', async () => {
  const spread = (slots: Slots) => {
    const times = Array.from({ length: 100 }, () => slots.turnAway());
    expect(times[0]).toBeGreaterThan(490);
    return times[99]! - times[0]!;
  };
  const slow = spread(new Slots(1));
  expect(slow).toBeGreaterThan(900);
  expect(slow).toBeLessThan(1100);
  const fast = new Slots(1);
  for (let i = 0; i < 100; i += 1) {
    await fast.enter('a', never);
    fast.leave('a');
  }
  expect(spread(fast)).toBeLessThan(slow);
});

test('a role whose requests never end leaves a tenth to others, of the slots and of the places to wait', async () => {
  const slots = new Slots(20);
  const began: string[] = [];
  const enter = (role: string) => void slots.enter(role, never).then(() => began.push(role));
  let evil = 0;
  while (slots.hasRoom('evil', 4)) {
    enter('evil');
    evil += 1;
  }
  await settled();
  expect([evil, began.length, slots.waiting]).toEqual([18 + 72, 18, 72]);
  enter('honest');
  enter('honest');
  await settled();
  expect(began.slice(18)).toEqual(['honest', 'honest']);
  expect(slots.isFree('honest')).toBe(false);
  expect(slots.hasRoom('honest', 4)).toBe(true);
  enter('honest');
  slots.leave('honest');
  await settled();
  expect(began.slice(18)).toEqual(['honest', 'honest', 'honest']);
  expect(slots.hasRoom('evil', 4)).toBe(false);
});
