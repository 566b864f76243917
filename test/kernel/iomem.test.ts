// /proc/iomem as a tree.
import { describe, expect, it } from 'vitest';
import { allResources, claimedRanges, parseIomem, pmemRanges, softReserved, systemRam } from '../../src/kernel/iomem.js';

const TEXT = `00000000-00000fff : Reserved
00001000-0009fbff : System RAM
000a0000-000bffff : PCI Bus 0000:00
00100000-bffd6fff : System RAM
  01000000-01a031d1 : Kernel code
  01a031d2-0213e37f : Kernel data
100000000-13fffffff : Persistent Memory (legacy)
  100000000-13fffffff : namespace0.0
    100200000-13fffffff : dax0.0
140000000-23fffffff : System RAM
240000000-27fffffff : Persistent Memory
280000000-2bfffffff : Soft Reserved
`;

describe('parseIomem', () => {
  const tree = parseIomem(TEXT);

  it('nests by indentation', () => {
    expect(tree.map(({ name }) => name)).toHaveLength(8);
    expect(tree[3]!.children).toEqual([
      { start: 0x1000000, end: 0x1a031d1, name: 'Kernel code', children: [] },
      { start: 0x1a031d2, end: 0x213e37f, name: 'Kernel data', children: [] },
    ]);
    expect(tree[4]!.children[0]!.children[0]).toMatchObject({ name: 'dax0.0', start: 0x100200000 });
    expect([...allResources(tree)]).toHaveLength(12);
  });

  it('finds what matters for persistent memory', () => {
    expect(pmemRanges(tree).map(({ start }) => start)).toEqual([0x100000000, 0x240000000]);
    expect(systemRam(tree)).toHaveLength(3);
    expect(claimedRanges(tree).map(({ name }) => name)).toEqual(['namespace0.0', 'dax0.0']);
    expect(softReserved(tree)).toHaveLength(1);
  });

  it('says what is wrong with a text that is none, or was read without root', () => {
    expect(() => parseIomem('hello')).toThrow(/iomem line 1.*no line/);
    expect(() => parseIomem('00000000-00000000 : Reserved\n00000000-00000000 : System RAM\n')).toThrow(/as root/);
  });
});
