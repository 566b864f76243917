// The local target, on a machine with real DAX: inside a guest, by the command line, as on hardware.
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, expect, it } from 'vitest';
import type { RunDocument } from '../../src/run/runner.js';
import { fixtures, runJson, temporary } from './daxrig.js';

const folder = temporary('local');
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

it('runs on a devdax device and on a folder of a DAX mount, and refuses what it must', async () => {
  const { document, stderr } = await runJson(['nested/*', '--load', path.join(fixtures, 'workloads/nested.mjs'), '--out', path.join(folder, 'out')]);
  expect(document.results.map(({ id, outcome, reason }) => `${id}: ${reason ?? outcome}`), stderr).toEqual(['nested/devdax: pass', 'nested/fsdax fs=ext4: pass', 'nested/fsdax fs=xfs: pass', 'nested/refusals: pass']);
  const inner = (id: string): RunDocument => document.results.find((result) => result.id === id)!.evidence.document as RunDocument;
  expect(inner('nested/devdax').results.map(({ id, outcome, reason }) => `${id}: ${reason ?? outcome}`)).toEqual([
    expect.stringMatching(/^devdax\/verify .*: pass$/),
    expect.stringMatching(/^devdax\/direct-io .*: pass$/),
    expect.stringMatching(/^devdax\/remap .*: pass$/),
    expect.stringMatching(/^devdax\/poison .*: pass$/),
  ]);
  for (const kind of ['ext4', 'xfs'])
    expect(inner(`nested/fsdax fs=${kind}`).results.map(({ workload, outcome, reason }) => `${workload}: ${reason ?? outcome}`)).toEqual(['fsdax/dax-active: pass', 'fsdax/direct-io: pass', 'fsdax/map-sync: pass', 'fsdax/poison: pass', 'fsdax/poison: pass']);
}, 600_000);
