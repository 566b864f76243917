// daxrig klog: files, gzip, stdin, exit codes, JSON.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import yargs from 'yargs';
import { command } from '../../src/cli/klog.js';
import { UsageError } from '../../src/errors.js';

const OOPS = `[   11.278768] BUG: unable to handle kernel NULL pointer dereference at 0000000000000440
[   11.281024] CPU: 0 PID: 1 Comm: swapper/0 Not tainted 4.16.0 #1
[   11.283333] RIP: 0010:fs_dax_release+0x5/0x90
[   11.290001] Call Trace:
[   11.290444]  ext4_fill_super+0x2d4/0x3560
[   11.299999] ---[ end trace 2a9f3a5ad1f2ab47 ]---
`;
const HEALTHY = '[    1.000000] EXT4-fs (pmem0): DAX enabled. Warning: EXPERIMENTAL, use at your own risk\n';
const POISON = '[    1.000000] Memory failure: 0x14d400: recovery action for dax page: Recovered\n';

const folder = mkdtempSync(path.join(tmpdir(), 'klog-test-'));
afterAll(() => rmSync(folder, { recursive: true }));

const file = (name: string, content: string | Buffer): string => {
  const full = path.join(folder, name);
  writeFileSync(full, content);
  return full;
};

let out = '';
beforeEach(() => {
  out = '';
  process.exitCode = undefined;
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    out += String(text);
    return true;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
});

const klog = async (...args: string[]): Promise<number> => {
  await yargs(['klog', ...args]).command(command as never).strict().exitProcess(false).fail((message, error) => { throw error ?? new Error(message); }).parseAsync();
  return Number(process.exitCode ?? 0);
};

describe('klog', () => {
  it('tells people what is in a log and exits 1 for a complaint', async () => {
    expect(await klog(file('oops.log', OOPS))).toBe(1);
    expect(out).toContain('1 complaint in 6 lines');
    expect(out).toContain('1. null-deref: BUG: unable to handle kernel NULL pointer dereference in fs_dax_release');
    expect(out).toContain('line 1, at 11.278768 s, task swapper/0 (pid 1), address 0x440');
    expect(out).toContain('    | [   11.283333] RIP: 0010:fs_dax_release+0x5/0x90');
  });

  it('exits 0 for a healthy log', async () => {
    expect(await klog(file('healthy.log', HEALTHY))).toBe(0);
    expect(out).toBe('no complaint in 1 line\n');
  });

  it('takes kinds that were provoked for no complaint', async () => {
    const log = file('poison.log', POISON);
    expect(await klog(log)).toBe(1);
    expect(await klog(log, '--expect', 'memory-failure')).toBe(0);
    expect(out).toContain('memory-failure (no complaint): Memory failure: dax page: Recovered');
    await expect(klog(log, '--expect', 'nonsense')).rejects.toThrow(/nonsense/);
  });

  it('prints one JSON document with the fields of the contract', async () => {
    expect(await klog(file('json.log', OOPS), '--json')).toBe(1);
    const report = JSON.parse(out) as Record<string, unknown>;
    expect(report).toMatchObject({ findings: [{ kind: 'null-deref', title: expect.any(String), function: 'fs_dax_release', time: 11.278768, line: 1, excerpt: expect.stringContaining('RIP: 0010') }], stalls: [], e820: { bios: [], user: [] }, nodes: [], pmem: [] });
  });

  it('bounds the excerpts it shows', async () => {
    await klog(file('short.log', OOPS), '--excerpt', '2');
    expect(out).toContain('    | ... 4 lines more');
    out = '';
    await klog(file('none.log', OOPS), '--excerpt', '0');
    expect(out).not.toContain('|');
    await expect(klog(file('x.log', OOPS), '--excerpt', '-1')).rejects.toThrow(UsageError);
  });

  it('reads gzip whatever the file is called, also one that breaks off', async () => {
    const packed = gzipSync(HEALTHY.repeat(5000) + OOPS);
    expect(await klog(file('packed.txt', packed))).toBe(1);
    expect(out).toContain('fs_dax_release');
    out = '';
    const noise = Array.from({ length: 20_000 }, (_, index) => `[    1.000000] line ${(index * 2654435761) % 4294967296}\n`).join('');
    const cut = gzipSync(OOPS + noise);
    expect(await klog(file('cut.gz', cut.subarray(0, cut.length / 2)))).toBe(1);
    expect(out).toContain('fs_dax_release');
  });

  it('refuses what it cannot read in one line', async () => {
    await expect(klog(path.join(folder, 'missing'))).rejects.toThrow(new UsageError(`klog: ${folder}/missing: no such file`));
    await expect(klog(folder)).rejects.toThrow(/is a folder/);
    await expect(klog(file('bad.gz', Buffer.from([0x1f, 0x8b, 0xff, 0xff, 1, 2, 3])))).rejects.toThrow(UsageError);
  });

  it('reads an empty log', async () => {
    expect(await klog(file('empty.log', ''))).toBe(0);
    expect(out).toBe('no complaint in 0 lines\n');
  });

  it.each([
    ['as it is', Buffer.from(HEALTHY + OOPS)],
    ['gzipped', gzipSync(HEALTHY + OOPS)],
  ])('reads stdin %s, also byte by byte', async (_, content) => {
    vi.spyOn(process, 'stdin', 'get').mockReturnValue(Readable.from([...content].map((byte) => Buffer.from([byte]))) as never);
    expect(await klog('-')).toBe(1);
    expect(out).toContain('fs_dax_release');
  });
});
