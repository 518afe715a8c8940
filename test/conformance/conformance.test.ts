import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { readChapters } from './document.js';
import { Runner, type Way } from './runner.js';
import { type Item, orders, readScript } from './script.js';
import { Web } from './web.js';

const scripts = readdirSync(join(import.meta.dirname, 'scripts'))
  .filter((file) => /^(?:guide|api)-/.test(file))
  .map((file) => file.replace(/\.sql$/, ''))
  .sort()
  .map((name) => [name, readScript(name)] as const);
const chapters = readChapters('docs/guide.md').map(({ title, items }) => [title, items] as const);
const alone = ([, items]: readonly [string, readonly Item[]]) => orders(items, 'alone');
const shares = (each: readonly [string, readonly Item[]]) => !alone(each);
const title: Record<Way, string> = {
  simple: 'simple queries, as psql sends them',
  extended: 'the extended protocol, every literal of a call of df a parameter',
};

let web: Web;
let shared: Durable;
const open = () => Durable.open(web.settings, { network: web.network });
beforeAll(async () => {
  web = await Web.open();
  shared = await open();
});
afterAll(async () => {
  await shared?.close();
  await web?.close();
});

async function inItsOwn(way: Way, items: readonly Item[]): Promise<void> {
  const own = await open();
  try {
    await Runner.run(own, web, way, items);
  } finally {
    await own.close();
  }
}

for (const way of ['simple', 'extended'] as const) {
  describe.concurrent(title[way], () => {
    test.each(scripts.filter(shares))('%s', async (_, items) => {
      await Runner.run(shared, web, way, items);
    });
    test.each(scripts.filter(alone))('%s', async (_, items) => {
      await inItsOwn(way, items);
    });
  });
}

describe.concurrent('docs/guide.md: the examples print what the page says', () => {
  test.each(chapters.filter(shares))('%s', async (_, items) => {
    await Runner.run(shared, web, 'simple', items);
  });
  test.each(chapters.filter(alone))('%s', async (_, items) => {
    await inItsOwn('simple', items);
  });
});
