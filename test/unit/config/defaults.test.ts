import { join } from 'node:path';
import { expect, it } from 'vitest';
import { defaultFile } from '../../../src/config/document.js';
import { loadConfig } from '../../../src/config/load.js';

const path = join(import.meta.dirname, '../../../config/pg-durable-proxy.yaml');
const flags = { upstream: 'postgresql://admin@localhost/app' };

it('config/pg-durable-proxy.yaml holds every setting with its default', async () => {
  await expect(defaultFile()).toMatchFileSnapshot(path);
  expect(loadConfig({ file: path, flags })).toEqual(loadConfig({ flags }));
});

it('the defaults of the settings that the extension has are those of the extension', () => {
  expect(loadConfig({ flags })).toMatchObject({
    maxManagementConnections: 6,
    maxUserConnections: 10,
    executionAcquireTimeoutMs: 30_000,
    maxNewTransactionStarts: 2,
    newTransactionStartTimeoutMs: 5_000,
    enableSuperuserInstances: false,
    listInstancesMaxLimit: 1000,
    retentionDays: 30,
    reconcileIntervalMs: 3_600_000,
    maxLoopIterations: 0,
    maxRewriteBytes: 16 * 1024 * 1024,
    leaseDurationMs: 10_000,
    pollIntervalMs: 500,
  });
});
