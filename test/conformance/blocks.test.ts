import { expect, test } from 'vitest';
import { guideBlocks } from './guide-blocks.js';
import { type Item, readScript } from './script.js';

const chapters = Object.entries(guideBlocks);
const isBlock = (item: Item) => item.kind === 'order' && (item.verb === 'block' || item.verb === 'fragment');
const first = (text: string) => text.split('\n').find((line) => line.trim() !== '')!;

test.each(chapters)('%s has every block of its chapter, in the order of the guide', (script, blocks) => {
  const there = readScript(script)
    .filter(isBlock)
    .map((item) => (item as { text: string }).text);
  expect(there).toEqual(blocks);
});

test.each(chapters)('%s has the text of each block behind its name', (script) => {
  const items = readScript(script);
  for (const [index, item] of items.entries()) {
    if (item.kind !== 'order' || item.verb !== 'block') continue;
    const statement = items.slice(index + 1).find((each) => each.kind === 'statement') as { sql: string };
    expect(first(statement.sql).replace(/;.*$/, '')).toBe(item.text.replace(/;.*$/, ''));
  }
});
