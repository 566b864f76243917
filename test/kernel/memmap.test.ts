// The memmap= lint: syntax, QEMU's RAM layout, hazards of the reports, padding by kernel version.
import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/errors.js';
import { guestLayout, lintMemmap, lintRegions, parseMemmapParam, type GuestMemory, type Hazard } from '../../src/kernel/memmap.js';
import { GiB, MiB } from '../../src/units.js';

const ids = (hazards: readonly Hazard[]): string[] => hazards.map(({ id }) => id);
const lint = (params: string | string[], guest: Partial<GuestMemory> = {}) => lintMemmap([params].flat(), { guestMem: 8 * GiB, ...guest });

describe('parseMemmapParam', () => {
  it('reads every form of the parameter', () => {
    expect(parseMemmapParam('1G!4G')).toEqual([{ kind: 'pmem', start: 4 * GiB, size: GiB, text: '1G!4G' }]);
    expect(parseMemmapParam('memmap=64K#0x100000').map(({ kind }) => kind)).toEqual(['acpi']);
    expect(parseMemmapParam('512M@2G,0x1000$0x7000,exactmap,3G')).toMatchObject([
      { kind: 'ram', start: 2 * GiB, size: 512 * MiB },
      { kind: 'reserved', start: 0x7000, size: 0x1000 },
      { kind: 'exactmap' },
      { kind: 'limit', size: 3 * GiB },
    ]);
    expect(parseMemmapParam('1G%4G-1+12')).toMatchObject([{ kind: 'convert', start: 4 * GiB, fromType: 1, toType: 12 }]);
    expect(parseMemmapParam('1G%4G+0x7')).toMatchObject([{ fromType: 0, toType: 7 }]);
    expect(parseMemmapParam('1G%4G-2')).toMatchObject([{ fromType: 2, toType: 0 }]);
  });

  it.each([
    ['', /empty/],
    ['!4G', /no size/],
    ['1G!', /no start/],
    ['0!4G', /size 0/],
    ['1Q!4G', /"1Q" is not a size/],
    ['1G!4G!5G', /"4G!5G" is not a size/],
    ['1G!4G,', /is not a size/],
    ['1G%4G-x+7', /oldtype|e820 type/],
    ['4P!4P', /beyond any physical address/],
    ['hello', /is not a size/],
  ])('refuses %j in one line', (text, message) => {
    expect(() => parseMemmapParam(text)).toThrow(UsageError);
    expect(() => parseMemmapParam(text)).toThrow(message);
    try {
      parseMemmapParam(text);
    } catch (error) {
      expect(String(error)).not.toContain('\n');
    }
  });
});

describe('guestLayout', () => {
  it('splits RAM at the hole as QEMU does', () => {
    const ends = (guest: GuestMemory): number[] => guestLayout(guest).segments.map(({ end }) => end);
    expect(ends({ guestMem: 2 * GiB })).toEqual([2 * GiB]);
    expect(ends({ guestMem: 3.25 * GiB })).toEqual([3.25 * GiB]);
    expect(ends({ guestMem: 3.5 * GiB })).toEqual([3 * GiB, 4.5 * GiB]);
    expect(ends({ guestMem: 8 * GiB })).toEqual([3 * GiB, 9 * GiB]);
    expect(ends({ guestMem: 2.5 * GiB, machine: 'q35' })).toEqual([2.5 * GiB]);
    expect(ends({ guestMem: 2.75 * GiB, machine: 'q35' })).toEqual([2 * GiB, 4.75 * GiB]);
  });

  it('deals RAM to nodes in order', () => {
    expect(guestLayout({ guestMem: 8 * GiB, numa: 2 }).segments).toEqual([
      { node: 0, start: 0, end: 3 * GiB },
      { node: 0, start: 4 * GiB, end: 5 * GiB },
      { node: 1, start: 5 * GiB, end: 9 * GiB },
    ]);
    const { segments } = guestLayout({ guestMem: GiB + 4 * MiB, numa: 3 });
    expect(segments.map(({ start, end }) => end - start)).toEqual([336 * MiB, 336 * MiB, 356 * MiB]);
  });

  it('refuses nonsense', () => {
    expect(() => guestLayout({ guestMem: 0 })).toThrow(UsageError);
    expect(() => guestLayout({ guestMem: GiB, numa: 0 })).toThrow(/nodes/);
    expect(() => guestLayout({ guestMem: GiB, numa: 1.5 })).toThrow(/nodes/);
  });
});

describe('lintMemmap', () => {
  it('names the node-end hazard of 1G!4G with two nodes, and none for 1G!7G', () => {
    const bad = lint('1G!4G', { numa: 2 });
    expect(bad.ranges).toEqual([{ start: '0x100000000', end: '0x13fffffff', node: 0, kind: 'pmem' }]);
    expect(bad.hazards).toMatchObject([{ id: 'node-end', severity: 'warning', start: '0x100000000', end: '0x13fffffff' }]);
    expect(bad.hazards[0]!.message).toMatch(/end of node 0.*0xc0000000 instead of at 0x140000000.*1G!6G/);
    expect(lint('1G!7G', { numa: 2 })).toMatchObject({ hazards: [], ranges: [{ node: 1 }] });
  });

  it('calls it an error on the kernels that panic', () => {
    const severity = (kernelVersion: string): string | undefined => lint('1G!4G', { numa: 2, kernelVersion }).hazards.find(({ id }) => id === 'node-end')?.severity;
    expect(severity('4.14')).toBe('warning');
    expect(severity('4.15.0-20-generic')).toBe('error');
    expect(severity('4.17.0-rc7')).toBe('error');
    expect(severity('4.18')).toBe('warning');
    expect(severity('6.1')).toBe('warning');
  });

  it('takes the end of a single node, and of one whose last RAM is above, for what they are', () => {
    expect(lint('1G!4G', { guestMem: 4 * GiB }).hazards).toMatchObject([{ id: 'node-end', severity: 'warning' }]);
    expect(lint('1G!8G', { numa: 2 }).hazards).toMatchObject([{ id: 'node-end', severity: 'info' }]);
    expect(ids(lint('1G!4G', { guestMem: 6 * GiB }).hazards)).toEqual([]);
    expect(ids(lint('4G!5G', { numa: 2 }).hazards)).toEqual(['node-without-ram']);
  });

  it('finds ranges that are not, or not only, RAM', () => {
    expect(lint('1G!9G').hazards).toMatchObject([{ id: 'outside-ram', severity: 'error' }]);
    expect(lint('2G!8G').hazards).toMatchObject([{ id: 'outside-ram', start: '0x240000000', end: '0x27fffffff' }, { id: 'node-end' }]);
    expect(lint('1G!3G').hazards).toMatchObject([{ id: 'pci-hole', severity: 'error' }]);
    expect(ids(lint('1G!2G').hazards)).toContain('over-reserved');
    expect(ids(lint('16M!0').hazards)).toContain('over-reserved');
    expect(ids(lint('64M!16M').hazards)).toContain('kernel-image');
    expect(lint('1G!9G').ranges).toEqual([{ start: '0x240000000', end: '0x27fffffff', node: null, kind: 'pmem' }]);
  });

  it('finds overlaps, misalignment, spans, collisions and starvation', () => {
    expect(lint(['1G!5G', '1G!5632M']).hazards).toMatchObject([{ id: 'overlap', start: '0x160000000', end: '0x17fffffff' }]);
    expect(ids(lint('1023K!5G').hazards)).toEqual(expect.arrayContaining(['too-small', 'misaligned-2m']));
    expect(ids(lint('130M!5G').hazards)).toContain('misaligned-16m');
    expect(ids(lint('130M!5G', { kernelVersion: '5.4' }).hazards)).not.toContain('misaligned-16m');
    expect(ids(lint('2G!4G', { numa: 2 }).hazards)).toContain('several-nodes');
    expect(ids(lint('256M!2815M', { initrd: 64 * MiB }).hazards)).toContain('initrd');
    expect(ids(lint('256M!2560M', { initrd: 64 * MiB }).hazards)).not.toContain('initrd');
    expect(lint('1664M!256M', { guestMem: 2 * GiB }).hazards).toContainEqual(expect.objectContaining({ id: 'too-little-ram', severity: 'warning' }));
    expect(lint('1920M!100M', { guestMem: 2 * GiB }).hazards).toContainEqual(expect.objectContaining({ id: 'too-little-ram', severity: 'error' }));
  });

  it('knows what KASLR does not heed', () => {
    expect(ids(lint('1G!5G', { kernelVersion: '4.4' }).hazards)).toContain('kaslr');
    expect(ids(lint('1G!5G', { kernelVersion: '4.4', nokaslr: true }).hazards)).not.toContain('kaslr');
    expect(ids(lint('1G!5G', { kernelVersion: '4.14' }).hazards)).not.toContain('kaslr');
    expect(ids(lint('128M!5G,128M!6G,128M!7G,128M!4608M,128M!7680M', { kernelVersion: '5.10' }).hazards)).toContain('kaslr');
  });

  it('says what gives no persistent memory', () => {
    expect(ids(lint('1G$5G').hazards)).toEqual(['dollar-sign', 'no-pmem']);
    expect(ids(lint('1G@9G').hazards)).toEqual(['ram-that-is-not-there', 'no-pmem']);
    expect(ids(lint('1G%5G-1+2').hazards)).toEqual(['no-pmem']);
    expect(ids(lint('1G%5G-1+0xefffffff').hazards)).toEqual(['soft-reserved']);
    expect(ids(lint('1G%5G-1+12').hazards)).toEqual([]);
  });

  it('predicts the padding of two regions in one section', () => {
    const { startPad } = lint(['448M!0x107000000', '512M!0x124000000'], { kernelVersion: '4.20' });
    expect(startPad).toMatchObject([
      { start: '0x107000000', end: '0x122ffffff', startPad: 16 * MiB, endTrunc: 48 * MiB, kernels: '4.20' },
      { start: '0x124000000', end: '0x143ffffff', startPad: 64 * MiB, endTrunc: 64 * MiB, kernels: '4.20' },
    ]);
  });

  it('predicts 64 MiB for the two regions of the field, and says which kernels', () => {
    const regions = ['252G!0x187c000000', '252G!0x577c000000'];
    const old = lint(regions, { guestMem: 700 * GiB, kernelVersion: '4.20.0' });
    expect(old.startPad![1]).toMatchObject({ start: '0x577c000000', end: '0x967bffffff', startPad: 64 * MiB });
    expect(old.hazards.map(({ severity }) => severity)).toEqual(['warning', 'warning']);
    const unknown = lint(regions, { guestMem: 700 * GiB });
    expect(unknown.startPad![1]).toMatchObject({ startPad: 64 * MiB, kernels: 'before 5.3' });
    expect(unknown.hazards[1]!.message).toMatch(/before 5\.3.*2M sub-sections/);
    const modern = lint(regions, { guestMem: 700 * GiB, kernelVersion: '5.3' });
    expect(modern.startPad![1]).toMatchObject({ startPad: 0, endTrunc: 0 });
    expect(modern.hazards.every(({ severity }) => severity === 'info')).toBe(true);
    expect(lint(regions, { guestMem: 700 * GiB, kernelVersion: '4.16' }).hazards[1]!.message).toMatch(/does not heed other regions/);
  });

  it('pads nothing that keeps to sections', () => {
    expect(lint('1G!5G', { kernelVersion: '4.20' })).not.toHaveProperty('startPad');
  });
});

describe('lintRegions', () => {
  const regions = [
    { start: 0x187c000000, end: 0x577bffffff },
    { start: 0x577c000000, end: 0x967bffffff },
  ];

  it('predicts padding from the regions alone', () => {
    expect(lintRegions({ regions, kernelVersion: '4.20' }).startPad).toMatchObject([
      { startPad: 0, endTrunc: 64 * MiB },
      { start: '0x577c000000', startPad: 64 * MiB, endTrunc: 0 },
    ]);
  });

  it('adds what /proc/iomem knows, and takes the regions from there', () => {
    const iomem = '100000000-187bffffff : System RAM\n187c000000-967bffffff : Persistent Memory\n  187c000000-577bffffff : namespace0.0\n';
    expect(lintRegions({ iomem, regions, kernelVersion: '4.20' }).startPad![0]).toMatchObject({ startPad: 64 * MiB, because: expect.stringContaining('System RAM') });
    expect(lintRegions({ iomem, regions: [], kernelVersion: '4.20' })).toMatchObject({ ranges: [{ start: '0x187c000000', end: '0x967bffffff' }], startPad: [{ startPad: 64 * MiB }] });
  });

  it('refuses what is no range', () => {
    expect(() => lintRegions({ regions: [{ start: 5, end: 4 }] })).toThrow(UsageError);
  });
});
