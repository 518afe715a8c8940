import { expect, test } from 'vitest';
import { chaosOptions, SHORT } from './options.js';
import { siege, tableOf } from './siege.js';

test('every step happens exactly once under SIGKILL, zombies and cut connections', {
  timeout: 180_000,
}, async () => {
  const options = chaosOptions(SHORT);
  console.log(`CHAOS_SEED=${options.seed}`);
  const report = await siege(options);
  console.log(tableOf(report));
  expect(report.faults).toEqual([]);
  expect(report).toMatchObject({ kills: options.kills, zombies: options.zombies, duplicates: 0, lost: 0 });
});
