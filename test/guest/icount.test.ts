// Under icount a workload in a restored copy is a function of state, parameters and seed alone.
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { runJson, temporary } from './daxrig.js';

const folder = temporary('icount');
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

it('repeats to the bit for one seed, with memory failure in it, and differs for another', async () => {
  const run = async (name: string, ...more: string[]): Promise<{ digest?: string; log: string[]; evidence: unknown; outcome: string; reason?: string }[]> =>
    (await runJson(['fsdax/poison', 'kpageflags/walk', '--param', 'fs=ext4', '--param', 'map=mem', '--param', 'share=shared', '--clock', 'icount', '--out', path.join(folder, name), ...more])).document.results;
  const first = await run('a', '--seed', '7', '--repeat', '1');
  const second = await run('b', '--seed', '7', '--jobs', '1');
  const other = await run('c', '--seed', '8');
  expect(first.map(({ outcome, reason }) => reason ?? outcome)).toEqual(['pass', 'pass']);
  for (const i of [0, 1]) {
    expect(first[i]!.digest).toMatch(/^[0-9a-f]{32}$/);
    expect(second[i]!.log).toEqual(first[i]!.log);
    expect(second[i]!.evidence).toEqual(first[i]!.evidence);
    expect(second[i]!.digest).toBe(first[i]!.digest);
  }
  // The walk draws nothing at random; mkfs in the other does.
  expect(other[0]!.digest).not.toBe(first[0]!.digest);
}, 600_000);
