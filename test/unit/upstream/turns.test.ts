import { describe, expect, test } from 'vitest';
import { Turns, type Waiting } from '../../../src/upstream/turns.js';

interface Person extends Waiting {
  readonly name: string;
}

/** The slots of a pool: who has a turn gets the slot that became free. */
class Slots {
  readonly turns = new Turns<Person>();
  now = 0;
  #count = 0;

  arrive(roleId: string, times = 1): void {
    for (let n = 0; n < times; n += 1) {
      this.#count += 1;
      this.turns.add({ roleId, place: 0, name: `${roleId}${this.#count}` }, this.now);
    }
  }

  /** A slot that the role had becomes free, or a new one. @returns the role that has it now */
  free(roleId?: string): string | undefined {
    if (roleId !== undefined) this.turns.count(roleId, -1);
    const next = this.turns.next(this.now, roleId);
    if (next === undefined) return undefined;
    this.turns.take(next, this.now);
    this.turns.count(next.roleId, 1);
    return next.roleId;
  }
}

describe('turns', () => {
  test('within a role: first come, first served', () => {
    const { turns } = new Slots();
    const all = Array.from({ length: 3000 }, (_, n) => ({ roleId: 'a', place: 0, name: String(n) }));
    for (const one of all) turns.add(one, 0);
    turns.remove(all[1]!);
    const served: string[] = [];
    for (let next = turns.next(0); next !== undefined; next = turns.next(0)) {
      turns.take(next, 0);
      served.push(next.name);
    }
    expect(served).toEqual(all.filter((_, n) => n !== 1).map(({ name }) => name));
    expect(turns.waiting).toBe(0);
  });

  test('a role with 10 000 waiting delays another by one step', () => {
    const slots = new Slots();
    slots.arrive('a', 10_000);
    for (let n = 0; n < 10; n += 1) expect(slots.free()).toBe('a');
    slots.arrive('b');
    expect(slots.turns.owed('a', slots.now)).toBe(true);
    expect(slots.free('a')).toBe('b');
    expect(slots.turns.owed('a', slots.now)).toBe(false);
    expect(slots.free('a')).toBe('a');
  });

  test('two roles that want everything have half of it each', () => {
    const slots = new Slots();
    slots.arrive('a', 1000);
    for (let n = 0; n < 10; n += 1) slots.free();
    slots.arrive('b', 1000);
    for (let n = 0; n < 100; n += 1) {
      slots.now += 1;
      slots.free(slots.turns.used('a') > 0 && n % 2 === 0 ? 'a' : slots.turns.used('b') > 0 ? 'b' : 'a');
    }
    expect([slots.turns.used('a'), slots.turns.used('b')]).toEqual([5, 5]);
  });

  test('of one slot the roles have turns of some 20 ms, so that not every step logs in', () => {
    const slots = new Slots();
    slots.arrive('a', 1000);
    slots.arrive('b', 1000);
    slots.arrive('c', 1000);
    let role = slots.free();
    const order: string[] = [];
    for (let n = 0; n < 300; n += 1) {
      slots.now += 1;
      role = slots.free(role);
      if (order.at(-1) !== role) order.push(role!);
    }
    expect(order.length).toBeGreaterThan(6);
    expect(order.length).toBeLessThan(40);
    expect(order.slice(0, 3).sort()).toEqual(['a', 'b', 'c']);
  });

  test('steps longer than a turn alternate', () => {
    const slots = new Slots();
    slots.arrive('a', 10);
    slots.arrive('b', 10);
    let role = slots.free();
    const order: Array<string | undefined> = [];
    for (let n = 0; n < 6; n += 1) {
      slots.now += 50;
      role = slots.free(role);
      order.push(role);
    }
    expect(order).toEqual(['b', 'a', 'b', 'a', 'b', 'a']);
  });

  test('who is alone is owed nothing', () => {
    const slots = new Slots();
    slots.arrive('a', 5);
    slots.free();
    expect(slots.turns.owed('a', 1000)).toBe(false);
    expect(slots.turns.clear()).toHaveLength(4);
    expect(slots.turns.waiting).toBe(0);
  });
});
