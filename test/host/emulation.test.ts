import { expect, it } from 'vitest';
import { impossibleFlags } from '../../src/guest/emulation.js';

const report = (flags: string, user = '00000293'): string => `[   13.288665] Oops: double fault: 0000 [#1] SMP NOPTI
[   13.290420] RSP: 0018:ffffc90000673920 EFLAGS: ${flags}
[   13.297999] RSP: 002b:00007fade1f79ab0 EFLAGS: ${user} ORIG_RAX: 0000000000000012`;

it('knows flags that no CPU can have, of the crash itself', () => {
  expect(impossibleFlags(report('404a9f8a'))).toBe('404a9f8a'); // as seen under QEMU 7.2
  expect(impossibleFlags(report('00010244'))).toBe('00010244'); // bit 1 is always set
  expect(impossibleFlags(report('00018246'))).toBe('00018246');
  for (const flags of ['00000002', '00010246', '00000293', '003f7fd7']) expect(impossibleFlags(report(flags)), flags).toBeUndefined();
  // What a corrupted stack says of user space is the kernel's doing.
  expect(impossibleFlags(report('00010246', 'ffffffff'))).toBeUndefined();
  expect(impossibleFlags('BUG: no registers')).toBeUndefined();
});
