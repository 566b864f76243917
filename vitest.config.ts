// Three projects: unit (no root, no guest), native (the built addon), guest (real QEMU guests, one after another).
import { defineConfig } from 'vitest/config';

/** Milliseconds. A test that hangs is ended some time; how long one takes on a crowded machine is no failure. */
const PATIENCE = 60_000;

export default defineConfig({
  test: {
    projects: [
      {
        test: { name: 'unit', include: ['test/**/*.test.ts'], exclude: ['test/guest/**', 'test/native/**', 'test/bench/**'], testTimeout: PATIENCE, hookTimeout: PATIENCE },
      },
      { test: { name: 'native', include: ['test/native/**/*.test.ts'], pool: 'forks', testTimeout: PATIENCE, hookTimeout: PATIENCE } },
      {
        test: {
          name: 'guest',
          include: ['test/guest/**/*.test.ts'],
          pool: 'forks',
          fileParallelism: false,
          testTimeout: 240_000,
          hookTimeout: 240_000,
        },
      },
    ],
  },
});
