import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { readChapters } from './document.js';
import { Runner, type Way } from './runner.js';
import { type Item, orders, parseScript, readScript } from './script.js';
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

describe.concurrent('a claim that does not hold is noticed, with its line', () => {
  test.each([
    ['another row', 'SELECT 1;\n--> prints 2', 'it printed\n1\nnot\n2'],
    ['a row too many', 'VALUES (1), (2);\n--> prints 1', 'it printed\n1\n2\nnot\n1'],
    ['no row', 'SELECT 1 WHERE false;\n--> prints 1', 'it printed\n\nnot\n1'],
    ['an error that nobody expects', 'SELECT 1/0;', '22012 division by zero'],
    ['another error', 'SELECT 1/0;\n--> fails 42P01 no', 'it printed\n22012 division by zero\nnot\n42P01 no'],
    ['no error', 'SELECT 1;\n--> fails 22012 division by zero', 'it printed\nit succeeded\nnot'],
    ['a notice that is not there', 'SELECT 1;\n--> says NOTICE hello', 'it said [], not: NOTICE hello'],
    ['other columns', 'SELECT 1 AS a;\n--> columns b', 'it printed\na\nnot\nb'],
    ['no instance', 'SELECT 1;\n--> starts a', 'no id of an instance: 1'],
    ['another end', `SELECT df.start('SELECT 1');\n--> starts a\n--> ends failed`, 'it completed'],
    [
      'another result',
      `SELECT df.start('SELECT 1');\n--> starts a\n--> ends completed {}`,
      'it printed\n{"rows"',
    ],
    ['a request that nobody made', '--> requested GET https://api.example.com/never', 'it was not requested'],
  ])('%s', async (_, script, message) => {
    const failed = Runner.run(shared, web, 'simple', parseScript(`SELECT 0;\n${script}`, 'a.sql'));
    const line = /\n--> ends/.test(script) ? 4 : 2;
    await expect(failed).rejects.toThrow(new RegExp(`^a.sql:${line}: `));
    await expect(failed).rejects.toThrow(message);
  });
});
