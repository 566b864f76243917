import { describe, expect, it } from 'vitest';
import { coverageText, joinCoverage } from '../../src/report/coverage.js';

const results = [
  { id: 'a/one fs=ext4', workload: 'a/one', kernel: '6.1', coverage: { functions: { kernel: ['dax_fault'], nd_pmem: ['pmem_probe'] } } },
  { id: 'a/one fs=xfs', workload: 'a/one', kernel: '6.1', coverage: { functions: { kernel: ['dax_fault'], xfs: ['xfs_dax'] }, missed: 2 } },
  { id: 'a/two', workload: 'a/two', kernel: '6.1', coverage: { functions: { nd_pmem: ['pmem_probe'], kmem: ['kmem_probe'] }, appeared: { kmem: ['kmem_probe', 'kmem_remove'] } } },
  { id: 'a/three', workload: 'a/three', kernel: '6.1' },
  { id: 'a/one', workload: 'a/one', kernel: 'tiny', coverage: { functions: {}, unavailable: 'no function tracer' } },
];
const available = new Map([['6.1', [{ kernel: ['dax_fault', 'dax_lock'], nd_pmem: ['pmem_probe'] }, { nfit: ['nfit_init'] }]]]);

describe('coverage of a run', () => {
  const [full, tiny] = joinCoverage(results, available);

  it('joins what instances reached with what each guest, and each module loaded later, has', () => {
    expect(full!.modules).toEqual([
      { module: 'kernel', reached: 1, total: 2, unreached: ['dax_lock'] },
      { module: 'kmem', reached: 1, total: 2, unreached: ['kmem_remove'] },
      { module: 'nd_pmem', reached: 1, total: 1, unreached: [] },
      { module: 'nfit', reached: 0, total: 1, unreached: ['nfit_init'] },
      { module: 'xfs', reached: 1, total: 1, unreached: [] },
    ]);
  });

  it('says which workload alone reaches what: instances of one workload are one', () => {
    expect(full!.onlyBy).toEqual({ 'a/one': ['kernel:dax_fault', 'xfs:xfs_dax'], 'a/two': ['kmem:kmem_probe'] });
  });

  it('names instances that lost events, and kernels that cannot tell', () => {
    expect(full!.incomplete).toEqual(['a/one fs=xfs']);
    expect(tiny!.unavailable).toBe('no function tracer');
    expect(coverageText([full!, tiny!])).toMatch(/nd_pmem +1 of +1\n[\s\S]*not reached: nfit_init[\s\S]*a\/two \(1\): kmem_probe\nevents were lost in: a\/one fs=xfs\n\ncoverage of tiny: no function tracer$/);
  });
});
