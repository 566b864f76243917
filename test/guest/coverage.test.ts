// Which kernel functions a workload reaches, by the kernel's own tracer.
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { daxrig, temporary } from './daxrig.js';

const folder = temporary('coverage');
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

it('lists reached and unreached functions by module, also of a module loaded by the workload itself', async () => {
  const { code, stdout, stderr } = await daxrig(['run', 'devdax/kmem', 'devdax/fault', '--param', 'align=2M', '--param', 'map=mem', '--coverage', '--json', '--out', path.join(folder, 'out')]);
  expect(code, stderr).toBe(0);
  const { coverage, results } = JSON.parse(stdout) as { coverage: { modules: { module: string; reached: number; total: number; unreached: string[] }[]; onlyBy: Record<string, string[]>; incomplete: string[] }[]; results: { outcome: string }[] };
  expect(results.every(({ outcome }) => outcome === 'pass')).toBe(true);
  const module = (name: string): { reached: number; total: number; unreached: string[] } => coverage[0]!.modules.find((entry) => entry.module === name)!;
  expect(module('device_dax').reached).toBeGreaterThan(8);
  expect(module('kmem').reached).toBe(module('kmem').total);
  // Nothing here makes a BTT.
  expect(module('nd_btt')).toMatchObject({ reached: 0 });
  expect(module('nd_btt').unreached).toContain('btt_submit_bio');
  expect(coverage[0]!.onlyBy['devdax/kmem']).toContain('kmem:dev_dax_kmem_probe');
  expect(coverage[0]!.incomplete).toEqual([]);
  expect(stderr).toMatch(/device_dax +\d+ of +\d+/);
}, 300_000);
