/** `npm run chaos`: the long siege on a real server of its own. Exit status 1 unless everything happened exactly once. */
import { startServer } from '../support/server.js';
import { chaosOptions, LONG } from './options.js';
import { siege, tableOf } from './siege.js';

const options = chaosOptions(LONG);
console.log(`CHAOS_SEED=${options.seed}`);
const server = await startServer();
try {
  const report = await siege(options);
  console.log(tableOf(report));
  for (const fault of report.faults.slice(0, 50)) console.log(`FAULT ${fault}`);
  if (report.faults.length > 0) process.exitCode = 1;
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await server.stop();
}
