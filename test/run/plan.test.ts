// Which instances a run consists of: by default, --quick, --thorough, and by --param.
import { expect, it } from 'vitest';
import { chooseWorkloads, plan, quickOnes, takesEachOnce } from '../../src/run/plan.js';
import { workloads } from '../../src/workload/index.js';
import { takesItsTime } from '../../src/run/target.js';
import type { Workload } from '../../src/workload/types.js';

const workload = (more: Partial<Workload>): Workload => ({ name: 'a/b', about: 'x', guards: [], needs: {}, run: () => {}, ...more });
const ids = (...args: Parameters<typeof plan>): string[] => plan(...args).map(({ id }) => id);
const params = { fs: ['ext4', 'xfs'], map: ['mem', 'dev'] };

it('takes thorough values when asked for them, all together or by name', () => {
  const one = [workload({ params, thorough: { map: ['dev'] } })];
  expect(ids(one)).toEqual(['a/b fs=ext4,map=mem', 'a/b fs=xfs,map=mem']);
  expect(ids(one, { extent: 'thorough' })).toHaveLength(4);
  expect(ids(one, { only: new Map([['map', ['dev']]]) })).toEqual(['a/b fs=ext4,map=dev', 'a/b fs=xfs,map=dev']);
});

it('an instance takes its time in a thorough run, and by wall clock when it was named for one run', () => {
  const [instance] = plan([workload({})]);
  const takes = (alone: boolean, thorough: boolean, clock: 'wall' | 'icount') => takesItsTime({ ...instance!, alone }, { thorough, clock });
  expect([takes(false, false, 'wall'), takes(true, false, 'wall'), takes(true, false, 'icount'), takes(false, true, 'icount')]).toEqual([false, true, false, true]);
});

it('takes of a quick workload the values it declares', () => {
  expect(ids([workload({ params, quick: { map: ['mem'] } })], { extent: 'quick' })).toEqual(['a/b fs=ext4,map=mem', 'a/b fs=xfs,map=mem']);
  expect(ids([workload({ params, thorough: { map: ['dev'] }, quick: {} })], { extent: 'quick' })).toHaveLength(2);
});

it('knows which workloads are quick, and says so when none is', () => {
  const quick = workload({ quick: {} });
  expect(quickOnes([workload({}), quick])).toEqual([quick]);
  expect(() => quickOnes([workload({})])).toThrow(/--quick/);
});

it('facts of a local device replace what would have been multiplied', () => {
  expect(ids([workload({ params, needs: { dax: 'fsdax' } })], { fixed: { fs: 'xfs', map: 'as found' } })).toEqual(['a/b fs=xfs,map=as found']);
});

it('declarations name only parameters and values that exist, and leave something to run', () => {
  for (const { name, params: all = {}, thorough = {}, quick = {} } of workloads) {
    for (const declared of [thorough, quick]) for (const [key, values] of Object.entries(declared)) for (const value of values) expect(all[key], `${name} ${key}`).toContain(value);
    for (const [key, values] of Object.entries(thorough)) expect(values.length, `${name} ${key}`).toBeLessThan(all[key]!.length);
  }
});

it('a run of everything takes each value once, and over the workloads every pair', () => {
  const all = ['a', 'b'].map((name) => workload({ name: `x/${name}`, params: { ...params, size: [1, 2, 3] } }));
  expect(ids(all, { eachOnce: true })).toEqual([
    'x/a fs=ext4,map=mem,size=1', 'x/a fs=xfs,map=dev,size=2', 'x/a fs=ext4,map=mem,size=3',
    'x/b fs=ext4,map=dev,size=3', 'x/b fs=xfs,map=mem,size=1', 'x/b fs=ext4,map=dev,size=2',
  ]);
  expect(ids([workload({})], { eachOnce: true })).toEqual(['a/b']);
  for (const { name, params: declared = {}, thorough } of workloads) {
    const taken = plan(workloads.filter((one) => one.name === name), { eachOnce: true });
    for (const [key, values] of Object.entries(declared)) expect(new Set(taken.map((instance) => instance.params[key])), `${name} ${key}`).toEqual(new Set(values.filter((value) => !thorough?.[key]?.includes(value))));
  }
  expect([takesEachOnce([], [], 'default'), takesEachOnce(['fsdax/*'], [], 'default'), takesEachOnce([], ['fs=xfs'], 'default'), takesEachOnce([], [], 'thorough')]).toEqual([true, false, false, false]);
});

it('a run of everything has at least 60 instances', () => expect(plan(chooseWorkloads(workloads, []), { eachOnce: true }).length).toBeGreaterThanOrEqual(60));
