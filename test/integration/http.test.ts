import { afterAll, beforeAll, expect, test } from 'vitest';
import { Durable } from '../support/durable.js';
import { HttpStandIn } from '../support/http-stand-in.js';

let d: Durable;
let web: HttpStandIn;

beforeAll(async () => {
  d = await Durable.open({ 'http.mode': 'all', 'http.block_private': 'off' });
  await d.root.query('SELECT df.grant_usage($1, include_http => true)', [d.role.name]);
  web = await HttpStandIn.start();
});
afterAll(async () => {
  await web?.close();
  await d?.close();
});

test('smoke', async () => {
  web.on('/a', { body: 'hello', headers: { 'content-type': 'text/plain' } });
  const r = await d.result(`df.http('${web.url}/a?x=1', 'GET')`);
  console.log(r, web.requests[0], web.requests[0]!.body.toString());
  console.log(await d.result(`df.http('${web.url}/b', 'GET', 'body')`), web.requests[1]);
  console.log(await d.failure(`df.http('${web.url.replace(/\d+$/, '1')}/b', 'GET', 'body')`));
  console.log(await d.failure(`df.http('http://nonexistent.invalid/b', 'GET', 'body')`));
  console.log(await d.failure(`df.http('${web.url.replace('http', 'https')}/b', 'GET', 'body')`));
  expect(1).toBe(1);
});
