import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { Runner, type Way } from './runner.js';
import { readScript } from './script.js';
import { Web } from './web.js';

const scripts = readdirSync(join(import.meta.dirname, 'scripts'))
  .filter((file) => /^(?:guide|api)-/.test(file))
  .map((file) => file.replace(/\.sql$/, ''))
  .sort();
const alone = (name: string) =>
  readScript(name).some((item) => item.kind === 'order' && item.verb === 'alone');
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

for (const way of ['simple', 'extended'] as const) {
  describe.concurrent(title[way], () => {
    test.each(scripts.filter((name) => !alone(name)))('%s', async (name) => {
      await Runner.run(shared, web, way, name);
    });

    test.each(scripts.filter(alone))('%s', async (name) => {
      const own = await open();
      try {
        await Runner.run(own, web, way, name);
      } finally {
        await own.close();
      }
    });
  });
}
