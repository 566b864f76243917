// The named layouts boot, have the pmem they promise, and every page frame in them can be looked at.
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { fixtures, runJson, temporary } from './daxrig.js';

const folder = temporary('layouts');
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

it.each(['numa-hole', 'numa-safe', 'two-regions', 'colliding', 'huge', 'nfit'])('%s', async (layout) => {
  const { code, document, stderr } = await runJson(['kpageflags/walk', 'fsdax/dax-active', '--param', 'fs=ext4', '--layout', layout, '--out', path.join(folder, layout)]);
  expect(document.results.map(({ id, outcome, reason }) => `${id}: ${reason ?? outcome}`), stderr).toEqual(['fsdax/dax-active fs=ext4,map=mem: pass', 'fsdax/dax-active fs=ext4,map=dev: pass', 'kpageflags/walk: pass']);
  expect(code).toBe(0);
  expect(document.run.guests).toMatchObject([{ layout: { name: layout }, boot: { pmem: expect.any(Array), e820: { bios: expect.any(Array) } } }]);
});

it('a labelled namespace that was lent as a block device has its uuid back', async () => {
  const { document, stderr } = await runJson(['lend/as-block-device', '--load', path.join(fixtures, 'workloads/lend.mjs'), '--layout', 'nfit', '--out', path.join(folder, 'lend')]);
  expect(document.results.map(({ outcome, reason }) => reason ?? outcome), stderr).toEqual(['pass']);
  expect(document.results[0]!.evidence).toMatchObject({ before: { uuid: expect.stringMatching(/^[0-9a-f-]{36}$/), holder_class: 'dax' } });
});

it('hmem', async () => {
  const { code, document, stderr } = await runJson(['devdax/subdivide', 'fsdax/dax-active', '--param', 'fs=ext4', '--layout', 'hmem', '--out', path.join(folder, 'hmem')]);
  expect(document.results.map(({ workload, outcome }) => [workload, outcome]), stderr).toEqual([['fsdax/dax-active', 'skip'], ['fsdax/dax-active', 'skip'], ['devdax/subdivide', 'pass']]);
  expect(code).toBe(0);
});
