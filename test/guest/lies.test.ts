// No workload that cannot fail: each is run over an addon that lies, and must notice.
import { afterAll, expect, test } from 'vitest';
import fs from 'node:fs';
import path from 'node:path';
import { fixtures, runJson, temporary } from './daxrig.js';

const folder = temporary('lies');
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

test('every workload notices a lie', async () => {
  const { code, document } = await runJson(['lie/*', '--load', path.join(fixtures, 'workloads/lies.mjs'), '--out', path.join(folder, 'run')]);
  const others = document.results.filter(({ outcome }) => outcome !== 'fail' && outcome !== 'skip').map(({ id, outcome, reason }) => ({ id, outcome, reason }));
  expect(others).toEqual([]);
  expect(document.results.filter(({ outcome }) => outcome === 'fail').length).toBeGreaterThan(30);
  expect(code).toBe(1);
}, 600_000);
