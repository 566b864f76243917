// The pure parts of the guest side: layouts, arguments, versions, archives, module order.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { CpioArchive } from '../../src/guest/cpio.js';
import { loadedPart } from '../../src/guest/elf.js';
import { compareVersions, namesKernel, parseDeb822, parseOneLine } from '../../src/guest/debian.js';
import { findLayout, layoutFrom, layouts, memmapParams, checkLayout } from '../../src/guest/layout.js';
import { planModules, readModuleTree } from '../../src/guest/modules.js';
import { jobBlock, kernelCommandLine, qemuArgs, type GuestConfig } from '../../src/guest/qemu.js';
import { identifyImage } from '../../src/guest/vmlinux.js';
import { parseMountinfo, mountOf } from '../../src/device/mounts.js';
import { GiB } from '../../src/units.js';

describe('layouts', () => {
  it.each(layouts().map((layout) => [layout.name, layout] as const))('%s keeps its own rules', (_, layout) => checkLayout(layout));
  it('numa-hole is the layout of the report: the pmem ends where node 0 ends', () => {
    const layout = findLayout('numa-hole');
    expect([layout.memory, layout.numaNodes, memmapParams(layout)]).toEqual([8 * GiB, 2, ['memmap=1G!4G']]);
  });
  it('colliding has two regions in one 128 MiB section, misaligned by 64 and by 16 MiB', () => {
    const section = 128 * 2 ** 20;
    const [a, b, c] = findLayout('colliding').pmem;
    expect(Math.floor((a!.end - 1) / section)).toBe(Math.floor(b!.start / section));
    expect([b!.start % section, c!.start % section]).toEqual([64 * 2 ** 20, 16 * 2 ** 20]);
  });
  it('soft-reserved memory is carved out of RAM by its e820 type', () => {
    expect(memmapParams(findLayout('hmem'))).toEqual(['memmap=1G%4G-1+0xefffffff']);
    expect(() => checkLayout({ ...findLayout('hmem'), softReserved: [{ start: 100 * GiB, end: 101 * GiB }] })).toThrow(/outside the guest's RAM/);
  });
  it('a free layout has its text and its arguments from one value', () => {
    const layout = layoutFrom({ memmap: ['1G!6G', '512M!5G'], guestMem: '8G', numa: 2 });
    expect(memmapParams(layout)).toEqual(['memmap=1G!6G', 'memmap=512M!5G']);
    expect(layout.name).toBe('1G!6G,512M!5G,8G,2nodes');
  });
});

const config = (layout: string, more: Partial<GuestConfig> = {}): GuestConfig => ({
  qemu: { path: 'qemu', version: '7.2' }, accel: 'tcg', clock: 'wall', cpus: 2, layout: findLayout(layout), initramfs: 'i',
  kernel: { spec: 's', release: '6.1', image: 'k', imageKind: 'vmlinux', digest: 'd' }, ...more,
});
const files = { console: 'c', events: 'e', job: 'j', ram: '/r' };

describe('QEMU arguments', () => {
  it('count instructions on one CPU without hardware randomness', () => {
    const args = qemuArgs(config('default', { clock: 'icount' }), files, { kind: 'boot', ram: 'shared' }).join(' ');
    expect(args).toContain('-icount shift=0,sleep=off -smp 1 -cpu max,-erms,-fsrm,-rdrand,-rdseed -rtc base=2026-01-01,clock=vm');
  });
  it('share RAM when booting, and map it privately when restoring', () => {
    expect(qemuArgs(config('default'), files, { kind: 'boot', ram: 'shared' }).join(' ')).toContain('mem-path=/proc/self/fd/3,share=on');
    const restore = qemuArgs(config('default'), files, { kind: 'restore', ram: 'copied' }).join(' ');
    expect(restore).toContain('mem-path=/r/ram0,share=off');
    expect(restore).toContain('-incoming defer');
  });
  it('give each node its RAM and the devices theirs', () => {
    expect(qemuArgs(config('numa-hole'), files, { kind: 'boot', ram: 'shared' }).join(' ')).toMatch(/-numa node,nodeid=0,memdev=ram0,cpus=0 -numa node,nodeid=1,memdev=ram1,cpus=1/);
    expect(qemuArgs(config('nfit'), files, { kind: 'boot', ram: 'shared' }).join(' ')).toMatch(/-device nvdimm,id=nvdimm1,memdev=nv1,label-size=131072/);
  });
  it('escape commas in file names', () => expect(qemuArgs(config('default'), { ...files, console: 'a,b' }, { kind: 'boot', ram: 'own' })).toContain('file,id=console,path=a,,b'));
  it('append the user\'s words last', () => expect(kernelCommandLine({ layout: findLayout('default'), clock: 'wall', append: 'foo=1' })).toMatch(/memmap=1G!4G foo=1$/));
  it('have addresses that are not random where instructions are counted, and only there', () => {
    const words = (clock: 'wall' | 'icount') => kernelCommandLine({ layout: findLayout('default'), clock }).split(' ');
    expect(words('icount')).toContain('norandmaps');
    expect(words('wall')).not.toContain('norandmaps');
  });
  it('a job fits its block or is refused', () => {
    expect(JSON.parse(jobBlock({ a: 1 }).toString().replace(/\0+$/, ''))).toEqual({ a: 1 });
    expect(() => jobBlock('x'.repeat(70_000))).toThrow(/a guest takes/);
  });
});

describe('Debian versions', () => {
  it.each([
    ['6.1.192-2', '6.1.176-1', 1],
    ['7.3~rc7-1~exp1', '7.3-1', -1],
    ['6.12.9-1', '6.12.107-1', -1],
    ['1:1-1', '2-1', 1],
    ['6.18.15-1~bpo13+1', '6.18.15-1', -1],
    ['5.10.0', '5.10.0', 0],
  ])('%s against %s', (a, b, sign) => expect(Math.sign(compareVersions(a, b))).toBe(sign));
  it('a version names its kernels by beginning or glob, not by a cut number', () => {
    const kernel = { release: '6.12.107+deb13-amd64', version: '6.12.107-1' };
    expect(['6.12', '6.12.107', '6.12.*', '6.12.107-1', '6.12.107+deb13-amd64'].map((pattern) => namesKernel(pattern, kernel))).toEqual([true, true, true, true, true]);
    expect(['6.1', '6.12.10', '6'].map((pattern) => namesKernel(pattern, kernel))).toEqual([false, false, true]);
  });
  it('reads both forms of apt sources', () => {
    expect(parseOneLine('# x\ndeb [signed-by=/k arch=amd64] http://h/debian bookworm main contrib # c\ndeb-src http://h/debian x main')).toEqual([{ options: 'signed-by=/k arch=amd64', uri: 'http://h/debian', suites: ['bookworm'], components: 'main contrib' }]);
    expect(parseDeb822('# c\nTypes: deb deb-src\nURIs: http://h/debian/\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /k\n\nTypes: deb\nEnabled: no\nURIs: http://x\nSuites: s\nComponents: main\n')).toEqual([{ options: 'signed-by=/k', uri: 'http://h/debian', suites: ['bookworm', 'bookworm-updates'], components: 'main' }]);
  });
});

it('kernel images are told from other files', () => {
  expect(identifyImage(Buffer.alloc(0))).toMatchObject({ kind: 'none', why: 'an empty file' });
  expect(identifyImage(Buffer.from('!<arch>\n'.padEnd(1000)))).toMatchObject({ kind: 'none' });
  const old = Buffer.alloc(2000);
  old.write('HdrS', 0x202, 'latin1');
  old.writeUInt16LE(0x0204, 0x206);
  expect(identifyImage(old)).toMatchObject({ kind: 'none', why: expect.stringContaining('older than 2.8') });
});

it('a cpio archive is equal for equal content, whatever the order, and holds its folders', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'daxrig-test-cpio-'));
  try {
    const write = (name: string, archive: CpioArchive): Buffer => {
      const fd = fs.openSync(path.join(folder, name), 'w+');
      archive.writeTo(fd);
      fs.closeSync(fd);
      return fs.readFileSync(path.join(folder, name));
    };
    const entry = (name: string) => ({ kind: 'file' as const, name, mode: 0o644, content: Buffer.from('same') });
    const one = write('one', new CpioArchive().add(entry('b/c')).add(entry('a')));
    const two = write('two', new CpioArchive().add(entry('/a')).add(entry('./b/c')));
    expect(one.equals(two)).toBe(true);
    expect(one.toString('latin1').match(/070701/g)).toHaveLength(4);
    expect(one.length % 4).toBe(0);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});

it('a program runs without what lies behind its segments; other files, and payloads, are left alone', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'daxrig-test-elf-'));
  try {
    const node = fs.readFileSync(process.execPath);
    const [size, sections] = [node.length, node.readBigUInt64LE(0x28)];
    const payload = Buffer.concat([fs.readFileSync('/bin/sh'), Buffer.from('payload')]);
    const partOf = (file: Buffer) => loadedPart(Buffer.from(file.subarray(0, 4096)), file.length);
    expect(partOf(payload)).toEqual({ head: payload.subarray(0, 4096), length: payload.length });
    const text = Buffer.from('#!/bin/sh\n'.padEnd(200));
    expect(partOf(text)).toEqual({ head: text, length: 200 });
    const { head, length } = partOf(node);
    expect(length).toBeLessThanOrEqual(Number(sections));
    expect(length).toBeLessThan(size);
    fs.writeFileSync(path.join(folder, 'node'), Buffer.concat([head, node.subarray(head.length, length)]), { mode: 0o755 });
    expect(execFileSync(path.join(folder, 'node'), ['-p', '6 * 7'], { encoding: 'utf8' })).toBe('42\n');
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});

it('modules are loaded after what they need, soft dependencies too, whatever their spelling', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'daxrig-test-mod-'));
  try {
    fs.writeFileSync(path.join(folder, 'modules.dep'), 'kernel/fs/xfs.ko.xz: kernel/lib/libcrc32c.ko.xz\nkernel/lib/libcrc32c.ko.xz:\nkernel/crypto/crc32c_generic.ko.xz:\nkernel/d/dax-pmem.ko.xz: kernel/d/device_dax.ko.xz kernel/d/libnvdimm.ko.xz\nkernel/d/device_dax.ko.xz: kernel/d/libnvdimm.ko.xz\nkernel/d/libnvdimm.ko.xz:\n');
    fs.writeFileSync(path.join(folder, 'modules.softdep'), 'softdep libcrc32c pre: crc32c_generic\n');
    fs.writeFileSync(path.join(folder, 'modules.builtin'), 'kernel/fs/ext4/ext4.ko\n');
    const tree = readModuleTree(folder)!;
    expect(planModules(tree, ['dax_pmem', 'xfs', 'ext4', 'nfit'])).toEqual({ order: ['libnvdimm', 'device_dax', 'dax_pmem', 'crc32c_generic', 'libcrc32c', 'xfs'], absent: ['nfit'] });
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});

it('a path\'s mount is the last one on the longest mount point', () => {
  const all = parseMountinfo('1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 259:0 / /mnt/a\\040b rw,noatime shared:1 - xfs /dev/pmem0 rw,dax=always\n3 1 0:5 / /mnt rw - tmpfs none rw\n');
  expect(mountOf('/mnt/a b/file', all)).toMatchObject({ type: 'xfs', dev: '259:0', options: ['rw', 'noatime', 'rw', 'dax=always'] });
  expect(mountOf('/mnt/ab', all)?.type).toBe('tmpfs');
  expect(mountOf('/x', all)?.type).toBe('ext4');
});
