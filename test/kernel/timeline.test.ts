// Boot stalls: long by themselves and long for this boot.
import { describe, expect, it } from 'vitest';
import { parseKernelLog } from '../../src/kernel/klog.js';
import { STALL_FLOOR } from '../../src/kernel/timeline.js';
import { loadFixtures } from './fixture.js';

const stamp = (time: number, text: string): string => `[${time.toFixed(6).padStart(12)}] ${text}\n`;
const START = stamp(0, 'Linux version 5.10.0 (x@y) #1 SMP');

/** A boot of `lines` lines, `step` seconds apart, with one pause in its middle. */
function boot(lines: number, step: number, pause: number, { init = true, middle = 'virtio_blk virtio0: [vda] 1 sector' } = {}): string {
  let time = 0;
  let text = START;
  for (let line = 0; line < lines; line++) {
    time += line === Math.floor(lines / 2) ? pause : step;
    text += stamp(time, line === Math.floor(lines / 2) - 1 ? middle : `pci 0000:00:0${line % 8}.0: something`);
  }
  return text + (init ? stamp(time + step, 'Run /init as init process') : '');
}

describe('stalls', () => {
  it('names the lines on both sides, the seconds and the subsystem', () => {
    const report = parseKernelLog(boot(100, 0.01, 34.9));
    expect(report.stalls).toHaveLength(1);
    expect(report.stalls[0]).toMatchObject({ before: 'virtio_blk virtio0: [vda] 1 sector', after: 'pci 0000:00:02.0: something', subsystem: 'virtio' });
    expect(report.stalls[0]!.seconds).toBeCloseTo(34.9, 5);
    expect(report.findings).toMatchObject([{ kind: 'boot-stall', title: 'boot stalled after virtio' }]);
  });

  it('has an absolute floor', () => {
    expect(parseKernelLog(boot(100, 0.001, STALL_FLOOR - 0.1)).stalls).toEqual([]);
    expect(parseKernelLog(boot(100, 0.001, STALL_FLOOR + 0.1)).stalls).toHaveLength(1);
  });

  it('measures a pause against the rhythm of its own boot', () => {
    expect(parseKernelLog(boot(100, 0.6, 5)).stalls).toEqual([]);
    expect(parseKernelLog(boot(100, 0.6, 20)).stalls).toHaveLength(1);
  });

  it('finds several, and does not let them hide each other', () => {
    const twice = boot(60, 0.01, 20, { init: false });
    const text = twice + stamp(21, 'loop: module loaded') + stamp(40, 'brd: module loaded') + stamp(41, 'Run /init as init process');
    expect(parseKernelLog(text).stalls.map(({ seconds }) => Math.round(seconds))).toEqual([20, 19]);
  });

  it('knows what computes for long on an emulated CPU, up to a limit', () => {
    const ciphers = (pause: number): string => `${boot(60, 0.01, 0.02, { init: false })}${stamp(2, "Asymmetric key parser 'x509' registered")}${stamp(2.1, 'clocksource: Switched to clocksource tsc')}${stamp(2.1 + pause, 'io scheduler bfq registered')}${stamp(pause + 3, 'Run /init as init process')}`;
    expect(parseKernelLog(ciphers(3.6))).toMatchObject({ findings: [], stalls: [{ explained: 'tests its ciphers' }] });
    expect(parseKernelLog(ciphers(5))).toMatchObject({ findings: [{ kind: 'boot-stall' }] });
  });

  it('stops at user space', () => {
    for (const last of ['Run /sbin/init as init process', 'Freeing unused kernel memory: 1572K', 'systemd[1]: systemd 232 running in system mode'])
      expect(parseKernelLog(boot(50, 0.01, 0.01, { init: false }) + stamp(1, last) + stamp(60, 'EXT4-fs (vda): mounted')).stalls, last).toEqual([]);
  });

  it('stops at a panic', () => {
    expect(parseKernelLog(boot(50, 0.01, 0.01, { init: false }) + stamp(1, 'Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)') + stamp(11, 'Rebooting in 1 seconds..')).stalls).toEqual([]);
  });

  it('keeps a pause that was announced, but does not complain of it', () => {
    const report = parseKernelLog(boot(100, 0.01, 20, { middle: 'Waiting 20 sec before mounting root device...' }));
    expect(report.stalls).toMatchObject([{ explained: 'waits for its root device' }]);
    expect(report.findings).toEqual([]);
  });

  it('takes every boot of a log by itself', () => {
    const report = parseKernelLog(boot(50, 0.01, 9) + boot(50, 0.01, 0.01));
    expect(report.boots).toBe(2);
    expect(report.stalls).toHaveLength(1);
  });

  it('sees no boot in the middle of a log, nor where somebody left lines out', () => {
    expect(parseKernelLog(stamp(50_000, 'loop: module loaded') + stamp(50_100, 'brd: module loaded')).stalls).toEqual([]);
    expect(parseKernelLog(START + stamp(1, 'pci 0000:00:01.0: x') + '...\n' + stamp(300, 'XFS (pmem0): Mounting V5 Filesystem')).stalls).toEqual([]);
  });

  it('reads wall-clock logs of whole boots', () => {
    const wall = (seconds: number, text: string): string => `Jul 03 14:00:${String(seconds).padStart(2, '0')} pm1 kernel: ${text}\n`;
    const report = parseKernelLog(wall(0, 'Linux version 5.10.0 (x@y) #1 SMP') + wall(1, 'SCSI subsystem initialized') + wall(41, 'brd: module loaded') + wall(41, 'Run /init as init process'));
    expect(report.stalls).toMatchObject([{ seconds: 40, before: 'SCSI subsystem initialized', after: 'brd: module loaded' }]);
    expect(report.clock).toBe('wall');
  });
});

describe('real boots', () => {
  const healthy = loadFixtures().filter(({ name }) => /^guest\/.*\/healthy\.log$/.test(name));

  it('are there', () => expect(healthy.length).toBeGreaterThanOrEqual(5));

  it.each(healthy.map(({ name, raw }) => [name, raw.toString()] as const))('%s: a pause put in anywhere is found, with the lines on both sides', (_, text) => {
    const lines = text.split('\n');
    const end = lines.findIndex((line) => /Freeing unused|Run \/init/.test(line));
    const start = lines.findIndex((line) => / 0\.[1-9]\d+\]/.test(line));
    expect(end - start).toBeGreaterThan(100);
    for (let at = start; at < end; at += 7) {
      const moved = lines.map((line, index) => (index < at ? line : line.replace(/^\[ *(\d+\.\d+)\]/, (_stamp, time: string) => `[${(Number(time) + 7).toFixed(6).padStart(12)}]`)));
      const { stalls } = parseKernelLog(moved.join('\n'));
      expect(stalls.map(({ beforeLine, afterLine, seconds }) => [beforeLine, afterLine, Math.round(seconds)]), lines[at]).toEqual([[at, at + 1, 7]]);
    }
  });
});

describe('milestones', () => {
  it('are kept with their times, and say how far the boot got', () => {
    const text = START + stamp(0, 'BIOS-provided physical RAM map:') + stamp(0.1, 'Memory: 1000K/2000K available (x)') + stamp(1, 'nd_pmem namespace0.0: unable to guarantee persistence of writes') + stamp(2, 'EXT4-fs (vda1): mounted filesystem') + stamp(3, 'Run /init as init process');
    const report = parseKernelLog(text);
    expect(report.milestones.map(({ name, time }) => [name, time])).toEqual([['start', 0], ['e820', 0], ['memory', 0.1], ['nvdimm', 1], ['pmem', 1], ['filesystem', 2], ['init', 3]]);
    expect(report.boot).toEqual({ outcome: 'user-space', seconds: 2 });
    expect(parseKernelLog(text.slice(0, text.indexOf('Run') - 15)).boot).toMatchObject({ outcome: 'unfinished' });
  });
});
