import { configDefaults, defineConfig } from 'vitest/config';

const limits = { testTimeout: 60_000, hookTimeout: 120_000 } as const;

/** Files that measure times, memory or what the whole server does, or put it under load, have it to themselves. */
const ALONE = [
  'test/integration/engine-locks.test.ts',
  'test/integration/fair-slots.test.ts',
  'test/integration/login.test.ts',
  'test/integration/scale.test.ts',
  'test/integration/signals-scale.test.ts',
  'test/integration/volume.test.ts',
  'test/clients/pgbench.test.ts',
  'test/fuzz/fuzz.test.ts',
];

// One real server for the whole run (test/support/global.ts). Most tests of the integration project wait more than
// they work, so three files run at the same time; groups of projects run one after another.
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          ...limits,
          name: 'unit',
          include: ['test/unit/**/*.test.ts'],
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...limits,
          name: 'integration',
          include: [
            'test/integration/**/*.test.ts',
            'test/conformance/**/*.test.ts',
            'test/clients/**/*.test.ts',
            'test/conversations/**/*.test.ts',
          ],
          exclude: [...configDefaults.exclude, ...ALONE],
          globalSetup: ['test/support/global.ts'],
          maxWorkers: 3,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...limits,
          name: 'alone',
          include: ALONE,
          globalSetup: ['test/support/global.ts'],
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          ...limits,
          name: 'chaos',
          include: ['test/chaos/**/*.test.ts'],
          globalSetup: ['test/support/global.ts'],
          fileParallelism: false,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
});
