// The kernel log reader: chunking, input shapes, what counts as a complaint.
import { describe, expect, it } from 'vitest';
import { isComplaint, KernelLog, parseKernelLog, parseKmsgRecord } from '../../src/kernel/klog.js';

const OOPS = `[   11.278768] BUG: unable to handle kernel NULL pointer dereference at 0000000000000440
[   11.280123] PGD 0 P4D 0
[   11.280500] Oops: 0002 [#1] SMP PTI
[   11.281024] CPU: 0 PID: 1 Comm: swapper/0 Not tainted 4.16.0-next-20180404 #1
[   11.283333] RIP: 0010:fs_dax_release+0x5/0x90
[   11.290001] Call Trace:
[   11.290444]  ext4_fill_super+0x2d4/0x3560
[   11.291500]  mount_bdev+0x177/0x1b0
[   11.299999] ---[ end trace 2a9f3a5ad1f2ab47 ]---
`;

describe('KernelLog', () => {
  it('names an oops by its function', () => {
    const [finding] = parseKernelLog(OOPS).findings;
    expect(finding).toMatchObject({
      kind: 'null-deref',
      title: 'BUG: unable to handle kernel NULL pointer dereference in fs_dax_release',
      function: 'fs_dax_release',
      task: 'swapper/0',
      time: 11.278768,
      line: 1,
      endLine: 9,
      address: '0x440',
      trace: ['ext4_fill_super+0x2d4/0x3560', 'mount_bdev+0x177/0x1b0'],
    });
  });

  it('gives the same report however the log is cut into chunks', () => {
    const whole = parseKernelLog(OOPS);
    for (const size of [1, 2, 3, 7, 64, 1000]) {
      const log = new KernelLog();
      for (let at = 0; at < OOPS.length; at += size) log.push(Buffer.from(OOPS.slice(at, at + size)));
      expect(log.end(), `chunks of ${size}`).toEqual(whole);
    }
  });

  it('refuses to go on after the end', () => {
    const log = new KernelLog();
    log.end();
    expect(() => log.push('x')).toThrow(/after end/);
    expect(() => log.end()).toThrow(/called before/);
  });
});

describe('parseKmsgRecord', () => {
  it('takes a record apart', () => {
    expect(parseKmsgRecord('4,339,5140900,-,caller=T57;nd_pmem namespace0.0: bad\\x09word\n SUBSYSTEM=nd\n DEVICE=+nd:namespace0.0\n')).toEqual({
      sequence: 339,
      time: 5.1409,
      level: 4,
      facility: 0,
      user: false,
      caller: 'T57',
      text: 'nd_pmem namespace0.0: bad\tword',
      fields: { SUBSYSTEM: 'nd', DEVICE: '+nd:namespace0.0' },
    });
  });

  it('knows what user space wrote, and what is no record', () => {
    expect(parseKmsgRecord('30,1,2,-;systemd[1]: hello')).toMatchObject({ user: true, facility: 3, level: 6 });
    expect(parseKmsgRecord('[    1.000000] text')).toBeUndefined();
  });
});

describe('isComplaint', () => {
  it('fails a workload by kind, unless the workload provoked it', () => {
    expect(isComplaint({ kind: 'warning' })).toBe(true);
    expect(isComplaint({ kind: 'memory-failure' })).toBe(true);
    expect(isComplaint({ kind: 'memory-failure' }, ['mce', 'memory-failure'])).toBe(false);
    expect(isComplaint({ kind: 'warning' }, ['memory-failure'])).toBe(true);
    expect(isComplaint({ kind: 'taint' })).toBe(false);
    expect(isComplaint({ kind: 'bug', informational: true })).toBe(false);
  });
});

describe('replays', () => {
  it('are dropped within a boot, not between two', () => {
    expect(parseKernelLog(OOPS + OOPS).findings).toHaveLength(1);
    const boot = '[    0.000000] Linux version 4.16.0 (x@y) #1 SMP\n';
    expect(parseKernelLog(boot + OOPS + boot + OOPS).findings.filter(({ kind }) => kind === 'null-deref')).toHaveLength(2);
  });
});

describe('words that are quoted', () => {
  it('are no findings, before and behind the log that they are about', () => {
    const prose = 'Subject: BUG: unable to handle kernel NULL pointer dereference at 0000000000000440\nit says: BUG: unable to handle kernel NULL pointer dereference, see below\n';
    expect(parseKernelLog(prose + OOPS).findings.map(({ line }) => line)).toEqual([3]);
    expect(parseKernelLog(OOPS + prose).findings.map(({ line }) => line)).toEqual([1]);
    expect(parseKernelLog(prose + OOPS.replace(/^\[.*?\] /gm, '')).findings.map(({ line, corrupted }) => [line, corrupted])).toEqual([[3, undefined]]);
  });
});
