import { defineConfig } from 'vitest/config';

// One real server for the whole run (test/support/global.ts); files run one after another, so that a
// timing that a test waits for is not disturbed by another file on a small machine.
const shared = { testTimeout: 60_000, hookTimeout: 120_000, fileParallelism: false } as const;

export default defineConfig({
  test: {
    ...shared,
    projects: [
      { test: { name: 'unit', include: ['test/unit/**/*.test.ts'], ...shared } },
      {
        test: {
          name: 'integration',
          include: [
            'test/integration/**/*.test.ts',
            'test/conformance/**/*.test.ts',
            'test/clients/**/*.test.ts',
            'test/conversations/**/*.test.ts',
            'test/fuzz/**/*.test.ts',
          ],
          globalSetup: ['test/support/global.ts'],
          ...shared,
        },
      },
      {
        test: {
          name: 'chaos',
          include: ['test/chaos/**/*.test.ts'],
          globalSetup: ['test/support/global.ts'],
          ...shared,
        },
      },
    ],
  },
});
