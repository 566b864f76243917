// Files, file systems, clocks and the rest of the machine on the real addon.
import { spawnSync } from 'node:child_process';
import { closeSync, fstatSync, ftruncateSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import {
  ADVICE, FALLOCATE_MODES, INODE_FLAGS, MOUNT_FLAGS, Mapping, addEntropy, blockDevice, changeInodeFlags, clocks, copyFileRange,
  copyFileRangeAsync, copySparseAsync, deleteModule, drainSignals, errnoName, fallocate, fallocateAsync, fiemap, finitModule, getInodeFlags, memoryFile, mount,
  mountAsync, nothing, prctlMceKill, reflink, runProgram, statx, syncfs, syncfsAsync, umount, umountAsync,
} from '../../src/native.js';
import type { UmountFlag } from '../../src/native.js';
import { KiB } from '../../src/units.js';
import { codeRejected, codeThrown, root, scratchFile, scratchFolder } from './support.js';

const PAGE = 4 * KiB;
const addonPath = process.env['DAXRIG_ADDON'] ?? join(root, 'build/Release/daxrig.node');
const isRoot = process.getuid?.() === 0;
/** Containers often forbid block devices even to root. */
function openIfAllowed(path: string): number | undefined {
  try {
    return openSync(path, 'r');
  } catch {
    return undefined;
  }
}
/** Not every file system has every call. */
const UNSUPPORTED = /EOPNOTSUPP|ENOTTY|EINVAL/;

describe('names', () => {
  it('are all known to the addon', () => {
    using mapping = Mapping.anonymous({ length: PAGE });
    // Nothing is advised: the length is 0.
    for (const advice of ADVICE) expect(codeThrown(() => mapping.madvise(0, 0, advice))).toMatch(/^(nothing|E[A-Z]+)$/);
    for (const mode of FALLOCATE_MODES) expect(codeThrown(() => fallocate(0x7fffffff, mode, 0, 1))).toBe('EBADF');
    expect(codeThrown(() => changeInodeFlags(0x7fffffff, { set: INODE_FLAGS, clear: INODE_FLAGS }))).toBe('EBADF');
    const nowhere = '/nonexistent/target';
    for (const name of MOUNT_FLAGS)
      expect(codeThrown(() => mount({ source: 'none', target: nowhere, type: 'tmpfs', flags: [name] }))).toMatch(/^(ENOENT|EPERM)$/);
    for (const name of ['force', 'detach', 'expire', 'nofollow'] as UmountFlag[])
      expect(codeThrown(() => umount(nowhere, [name]))).toMatch(/^(ENOENT|EPERM)$/);
  });

  it('are given to errno values', () => {
    expect([1, 14, 95, 133].map(errnoName)).toEqual(['EPERM', 'EFAULT', 'EOPNOTSUPP', 'EHWPOISON']);
    expect(errnoName(0)).toBeUndefined();
    expect(errnoName(100000)).toBeUndefined();
  });
});

describe('files', () => {
  it('allocate, punch and map extents', async (test) => {
    using file = scratchFile(0);
    if (UNSUPPORTED.test(codeThrown(() => fallocate(file.fd, 'allocate', 0, 16 * PAGE)))) return test.skip('no fallocate here');
    using mapping = Mapping.map({ fd: file.fd, length: 16 * PAGE });
    mapping.fill(0, mapping.length, { kind: 'byte', value: 1 });
    mapping.msync(0, mapping.length);
    if (UNSUPPORTED.test(codeThrown(() => fiemap(file.fd)))) return test.skip('no fiemap here');
    const before = fiemap(file.fd);
    expect(before.reduce((sum, extent) => sum + extent.length, 0)).toBe(16 * PAGE);
    expect(before.at(-1)!.flags).toContain('last');
    await fallocateAsync(file.fd, 'punch-hole', 4 * PAGE, 4 * PAGE);
    const after = fiemap(file.fd);
    expect(after.reduce((sum, extent) => sum + extent.length, 0)).toBe(12 * PAGE);
    expect(after.some((extent) => extent.logical === 8 * PAGE)).toBe(true);
    expect(mapping.verify(4 * PAGE, 4 * PAGE, { kind: 'byte', value: 0 }).ok).toBe(true);
    fallocate(file.fd, 'keep-size', 0, 32 * PAGE);
    expect(statx(file.fd).size).toBe(16 * PAGE);
    expect(codeThrown(() => fallocate(file.fd, 'allocate', 0, 0))).toBe('EINVAL');
    return undefined;
  });

  it('say by statx what stat says, and more', () => {
    using file = scratchFile(5 * PAGE);
    const stat = statSync(file.path);
    const seen = statx(file.path);
    expect(seen).toMatchObject({ size: stat.size, ino: stat.ino, mode: stat.mode, blocks: stat.blocks });
    expect((seen.dev.major << 8) | seen.dev.minor).toBe(stat.dev);
    expect(statx(file.fd)).toEqual(seen);
    const mountIds = readFileSync('/proc/self/mountinfo', 'utf8').split('\n').map((line) => Number(line.split(' ')[0]));
    if (seen.mountId !== undefined) expect(mountIds).toContain(seen.mountId);
    // Absent, or a statement: never a guess.
    if (seen.dax !== undefined) expect(seen.dax).toBe(seen.attributes.includes('dax'));
    expect(statx('/dev/null').rdev).toEqual({ major: 1, minor: 3 });
    expect(codeThrown(() => statx('/nonexistent/file'))).toBe('ENOENT');
    expect(() => statx('/nonexistent/file')).toThrow('statx: ENOENT (/nonexistent/file)');
  });

  it('change inode flags one by one', (test) => {
    using file = scratchFile(PAGE);
    if (UNSUPPORTED.test(codeThrown(() => getInodeFlags(file.fd)))) return test.skip('no FS_IOC_FSGETXATTR here');
    expect(getInodeFlags(file.fd).flags).not.toContain('noatime');
    changeInodeFlags(file.fd, { set: ['noatime', 'nodump'] });
    changeInodeFlags(file.fd, { clear: ['nodump'] });
    expect(getInodeFlags(file.fd).flags).toContain('noatime');
    expect(getInodeFlags(file.fd).flags).not.toContain('nodump');
    return undefined;
  });

  it('copy ranges, and share blocks where they can', async () => {
    using from = scratchFile(4 * PAGE);
    using to = scratchFile(0);
    using mapping = Mapping.map({ fd: from.fd, length: 4 * PAGE });
    mapping.fill(0, 4 * PAGE, { kind: 'words', seed: 1 });
    mapping.msync(0, 4 * PAGE);
    expect(copyFileRange({ from: from.fd, fromOffset: PAGE, to: to.fd, length: PAGE })).toBe(PAGE);
    expect(await copyFileRangeAsync({ from: from.fd, to: to.fd, toOffset: PAGE, length: PAGE })).toBe(PAGE);
    using copied = Mapping.map({ fd: to.fd, length: 2 * PAGE });
    expect(copied.verify(0, PAGE, { kind: 'words', seed: 1, base: PAGE }).ok).toBe(true);
    expect(copied.verify(PAGE, PAGE, { kind: 'words', seed: 1 }).ok).toBe(true);
    expect(copyFileRange({ from: from.fd, fromOffset: 8 * PAGE, to: to.fd, length: PAGE })).toBe(0);
    expect(codeThrown(() => reflink(to.fd, from.fd))).toMatch(/^(nothing|EOPNOTSUPP|EINVAL|EXDEV|ENOTTY)$/);
    syncfs(to.fd);
    await syncfsAsync(to.fd);
  });

  it('in memory are copied without holes, zero pages and what is to be skipped', async () => {
    const from = memoryFile('daxrig-test');
    try {
      using to = scratchFile(0);
      ftruncateSync(from, 4000 * PAGE);
      for (const [page, byte] of [[0, 1], [1, 0], [2, 2], [1000, 3], [1001, 4], [3999, 5]] as const) writeSync(from, Buffer.alloc(PAGE, byte), 0, PAGE, page * PAGE);
      expect(await copySparseAsync(from, to.fd, { skip: { start: 1000 * PAGE, end: 1001 * PAGE }, behindOthers: true })).toBe(4 * PAGE);
      const copy = readFileSync(`/proc/self/fd/${to.fd}`);
      expect(copy.length).toBe(4000 * PAGE);
      expect([0, 1, 2, 3, 1000, 1001, 3999].map((page) => copy[page * PAGE + 17])).toEqual([1, 0, 2, 0, 0, 4, 5]);
      expect(fstatSync(to.fd).blocks * 512).toBeLessThan(64 * PAGE);
    } finally {
      closeSync(from);
    }
    expect(() => memoryFile('a\0b')).toThrow();
  });

  it('are no block devices', () => {
    using file = scratchFile(PAGE);
    expect(codeThrown(() => blockDevice(file.fd))).toBe('ENOTTY');
    expect(codeThrown(() => fiemap(0x7fffffff))).toBe('EBADF');
  });

  it.skipIf(!isRoot)('show the size of a real block device', (test) => {
    const name = readFileSync('/proc/partitions', 'utf8').split('\n').map((line) => line.trim().split(/\s+/)).find((row) => Number(row[2]) > 1024);
    if (name === undefined) return test.skip('no block device here');
    const fd = openIfAllowed(`/dev/${name[3]!}`);
    if (fd === undefined) return test.skip('block devices may not be opened here');
    try {
      const device = blockDevice(fd);
      expect(device.size).toBe(Number(name[2]) * KiB);
      expect(device.logicalBlockSize).toBeGreaterThanOrEqual(512);
      expect(device.physicalBlockSize % device.logicalBlockSize).toBe(0);
    } finally {
      closeSync(fd);
    }
    return undefined;
  });
});

describe('system', () => {
  it.skipIf(!isRoot)('mounts and unmounts', async () => {
    using folder = scratchFolder();
    const target = join(folder.path, 'mnt');
    mkdirSync(target);
    const mounted = (): string | undefined =>
      readFileSync('/proc/self/mounts', 'utf8').split('\n').find((line) => line.split(' ')[1] === target);
    mount({ source: 'daxrig-test', target, type: 'tmpfs', flags: ['noexec'], data: 'size=64k' });
    try {
      expect(mounted()).toMatch(/^daxrig-test .* tmpfs .*noexec.*size=64k/);
      writeFileSync(join(target, 'file'), 'x');
    } finally {
      umount(target);
    }
    expect(mounted()).toBeUndefined();
    await mountAsync({ source: 'daxrig-test', target, type: 'tmpfs' });
    await umountAsync(target, ['detach']);
    expect(mounted()).toBeUndefined();
    expect(codeThrown(() => umount(target))).toBe('EINVAL');
    expect(() => mount({ source: 'a', target, type: 'no-such-fs' })).toThrow(`mount: ENODEV (a on ${target})`);
    expect(await codeRejected(mountAsync({ source: 'a', target: '/nonexistent', type: 'tmpfs' }))).toBe('ENOENT');
  });

  it('refuses what is no module', () => {
    using file = scratchFile(PAGE);
    expect(codeThrown(() => finitModule(file.fd))).toMatch(/^(ENOEXEC|EPERM|EINVAL|ENOSYS|ELIBBAD|ETXTBSY)$/);
    expect(codeThrown(() => deleteModule('daxrig_no_such_module'))).toMatch(/^(ENOENT|EPERM|ENOSYS)$/);
  });

  it('sets the policy for lost memory', () => {
    for (const policy of ['early', 'late', 'default'] as const)
      expect(codeThrown(() => prctlMceKill(policy))).toMatch(/^(nothing|EINVAL)$/); // EINVAL: a kernel without memory failures
  });

  it('adds entropy, or says why not', () => {
    expect(codeThrown(() => addEntropy(Buffer.alloc(32, 7)))).toMatch(isRoot ? /^(nothing|EPERM)$/ : /^(EPERM|EACCES)$/);
    expect(() => addEntropy(Buffer.alloc(65537))).toThrow(RangeError);
  });

  it('knows its clocks', () => {
    const { raw, monotonic, tsc } = clocks();
    for (const clock of [raw, monotonic, ...(tsc === undefined ? [] : [tsc])]) {
      expect(clock.overheadNs).toBeGreaterThan(0);
      expect(clock.overheadNs).toBeLessThan(1e6);
      expect(clock.resolutionNs).toBeGreaterThan(0);
    }
    if (tsc !== undefined) expect(tsc.ticksPerNs).toBeGreaterThan(0.01);
  });

  it('has nothing to drain, and does nothing', () => {
    expect(drainSignals()).toEqual({ signals: [], lost: 0 });
    expect(nothing()).toBeUndefined();
  });

  it('works in worker threads, and ends with them', async () => {
    using file = scratchFile(PAGE);
    const code = `
      const { parentPort } = require('node:worker_threads');
      const addon = require(${JSON.stringify(addonPath)});
      const kept = addon.map(${file.fd}, 4096, 0, 'rw', 'shared', 0, 0, 0, false, false);
      const hole = addon.map(-1, 4096, 0, 'none', 'private', 0, 0, 0, false, false);
      const { signal } = addon.touch(hole.handle, 0, 1, 8, 'read', 0n, 'none', false, 0n);
      const running = addon.async.fill(kept.handle, 0, 4096, 1, 0n, 0);
      parentPort.postMessage({ signal, handle: kept.handle });
    `;
    for (let round = 0; round < 3; round++) {
      const worker = new Worker(code, { eval: true });
      const message = await new Promise<{ signal: unknown; handle: number }>((resolve, reject) =>
        worker.once('message', resolve).once('error', reject),
      );
      expect(message.signal).toEqual({ signal: 'SIGSEGV', code: 'SEGV_ACCERR', offset: 0 });
      expect(message.handle).toBe(1); // handles are the thread's own
      await new Promise((resolve) => worker.once('exit', resolve));
    }
    await sleep(10);
    expect(readFileSync('/proc/self/maps', 'utf8')).not.toContain(file.path);
  }, 30_000);

  it.each([
    ['its worker thread is terminated', 'const { Worker } = require("node:worker_threads"); const worker = new Worker(code, { eval: true }); worker.on("message", () => setTimeout(() => worker.terminate(), 5));'],
    ['the process exits', 'eval(code); setTimeout(() => process.exit(0), 5);'],
    ['an error is thrown', 'process.on("uncaughtException", () => process.exit(0)); eval(code); setTimeout(() => { throw new Error("meant"); }, 5);'],
  ])('ends well when %s in the middle of operations', (_when, script) => {
    const code = `
      const addon = require(${JSON.stringify(addonPath)});
      const mapping = addon.map(-1, 64 << 20, 0, 'rw', 'private', 0, 0, 0, false, false);
      for (let i = 0; i < 8; i++) addon.async.fill(mapping.handle, 0, 64 << 20, -1, 1n, 0);
      addon.async.statx(-1, '/nonexistent').catch(() => {});
      require('node:worker_threads').parentPort?.postMessage('running');
    `;
    const run = spawnSync(process.execPath, ['-e', `const code = ${JSON.stringify(code)}; ${script}`], { encoding: 'utf8' });
    expect({ status: run.status, signal: run.signal, err: run.stderr }).toEqual({ status: 0, signal: null, err: '' });
  }, 30_000);
});

describe('runProgram', () => {
  it('gives status, signal and both outputs', async () => {
    expect(await runProgram('/bin/sh', ['-c', 'echo one; echo two >&2; exit 3'])).toEqual({ status: 3, stdout: 'one\n', stderr: 'two\n' });
    expect(await runProgram('/bin/sh', ['-c', 'kill -TERM $$'])).toEqual({ signal: 15, stdout: '', stderr: '' });
    expect(await runProgram('/bin/cat', [])).toMatchObject({ status: 0, stdout: '' }); // no input
  });
  it('leaves the child no signal that Node ignores or blocks', async () => {
    const { stdout } = await runProgram('/bin/grep', ['-E', '^Sig(Blk|Ign)', '/proc/self/status']);
    const [blocked, ignored] = [...stdout.matchAll(/\t(\w+)/g)].map(([, mask]) => BigInt(`0x${mask}`));
    expect(blocked).toBe(0n);
    expect(ignored! & 0x7fffffffn).toBe(0n); // those above are the C library's own
  });
  it('takes outputs larger than a pipe on both sides, up to the limit', async () => {
    const both = await runProgram('/bin/sh', ['-c', 'head -c 3000000 /dev/zero | tr "\\0" a; head -c 3000000 /dev/zero | tr "\\0" b >&2']);
    expect([both.status, both.stdout.length, both.stderr.length]).toEqual([0, 3e6, 3e6]);
    expect(await runProgram('/usr/bin/yes', [], { maxBytes: 100_000 })).toMatchObject({ signal: 9, killed: 'output' });
  });
  it('kills what takes too long, and says so', async () => {
    const began = performance.now();
    expect(await runProgram('/bin/sleep', ['60'], { timeoutMs: 100 })).toMatchObject({ signal: 9, killed: 'timeout' });
    expect(performance.now() - began).toBeLessThan(30_000);
  });
  it('cannot start what is not there, and refuses what is no text', async () => {
    expect(await codeRejected(runProgram('/nonexistent/program', []))).toBe('ENOENT');
    await expect(runProgram('/bin/true', ['a\0b'])).rejects.toThrow(RangeError);
  });
});
