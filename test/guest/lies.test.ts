// No workload that cannot fail: each is run over an addon that lies, and must notice.
import { afterAll, expect, test } from 'vitest';
import fs from 'node:fs';
import path from 'node:path';
import { daxrig, fixtures, runJson, temporary } from './daxrig.js';

const folder = temporary('lies');
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const lies = path.join(fixtures, 'workloads/lies.mjs');

test('every workload notices a lie', async () => {
  const { code, document } = await runJson(['lie/*', '--load', lies, '--out', path.join(folder, 'default')]);
  const told = JSON.parse((await daxrig(['workloads', '--json', '--load', lies])).stdout) as { workloads: { name: string }[] };
  expect(new Set(document.results.map(({ workload }) => workload))).toEqual(new Set(told.workloads.map(({ name }) => name).filter((name) => name.startsWith('lie/'))));
  const others = document.results.filter(({ outcome }) => outcome !== 'fail' && outcome !== 'skip').map(({ id, outcome, reason }) => ({ id, outcome, reason }));
  expect(others).toEqual([]);
  // Nobody's device stays away for a failure.
  const devices = document.results.flatMap(({ id, evidence }) => ('device, after' in evidence ? [[id, evidence['device, after']]] : []));
  expect(devices.length).toBeGreaterThan(8);
  expect(devices.filter(([, there]) => there !== true)).toEqual([]);
  expect(document.results.filter(({ outcome }) => outcome === 'fail').length).toBeGreaterThan(30);
  expect(code).toBe(1);
}, 600_000);

test.each([
  ['nfit', [], ['lie/namespace-labels', 'lie/namespace-sub-section', 'lie/namespace-bad-blocks', 'lie/namespace-attributes']],
  ['hmem', [], ['lie/devdax-subdivide']],
  ['colliding', [], ['lie/namespace-old-start-pad', 'lie/namespace-start-pad']],
  ['huge', ['--param', 'align=1G'], ['lie/devdax-poison-faults', 'lie/devdax-two-processes']],
] as const)('so do those that need the layout %s', async (layout, params, names) => {
  const { document } = await runJson([...names, ...params, '--load', lies, '--layout', layout, '--out', path.join(folder, layout)]);
  expect(document.results.map(({ workload, outcome }) => [workload, outcome]).sort()).toEqual([...names].map((name) => [name, 'fail']).sort());
}, 300_000);
