// Addresses of a log become functions, files and lines: against an ELF file with debug information, made here.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseKernelLog } from '../../src/kernel/klog.js';
import { addLines, isOtherKernel, SymbolTableBuilder, wantedLines } from '../../src/kernel/symbols.js';
import { parseLines, sourceLines } from '../../src/symbols/lines.js';
import { loadSystemMap, loadVmlinux, type KernelSymbols } from '../../src/symbols/load.js';

const SOURCE = `const char linux_banner[] = "Linux version 5.10.0-test (builder)";
static inline __attribute__((always_inline)) int deep(volatile int *p) {
  return *p + 1;
}
__attribute__((noinline)) int fs_dax_release(volatile int *p) {
  return deep(p) * 3;
}
__attribute__((noinline)) int ext4_fill_super(volatile int *p) {
  int x = fs_dax_release(p);
  return x + 2;
}
static __attribute__((noinline)) int mount_bdev(volatile int *p) {
  return ext4_fill_super(p) - 1;
}
void _start(void) {
  int x = 0;
  mount_bdev(&x);
  for (;;) {}
}
`;

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'daxrig-symbols-'));
const file = (name: string): string => path.join(folder, name);
let kernel: KernelSymbols;

beforeAll(() => {
  fs.mkdirSync(file('kernel'));
  fs.writeFileSync(file('kernel/dax.c'), SOURCE);
  execFileSync('gcc', ['-g', '-O1', '-fcf-protection=none', '-fno-pie', '-no-pie', '-nostdlib', '-static', '-mcmodel=kernel', '-Wl,-Ttext=0xffffffff81000000', '-o', file('vmlinux'), file('kernel/dax.c')]);
  execFileSync('strip', ['-o', file('stripped'), file('vmlinux')]);
  execFileSync('strip', ['--strip-debug', '-o', file('no-debug'), file('vmlinux')]);
  fs.writeFileSync(file('System.map'), execFileSync('nm', ['-n', file('vmlinux')]));
  kernel = loadVmlinux(file('vmlinux'));
});
afterAll(() => fs.rmSync(folder, { recursive: true }));

const addressOf = (name: string): bigint => kernel.table.find(name)[0]!;
const sizeOf = (name: string): number => kernel.table.resolve(addressOf(name))!.size;
const hex = (value: bigint | number): string => `0x${value.toString(16)}`;

/** An oops of a kernel without kallsyms, moved by KASLR: frames are return addresses behind the calls. */
function oops(shift: bigint, last: string): string {
  const inside = (name: string, offset: number): string => hex(addressOf(name) + BigInt(offset) + shift);
  return `[    1.278768] BUG: kernel NULL pointer dereference, address: 0000000000000440
[    1.280500] Oops: 0002 [#1] SMP PTI
[    1.281024] CPU: 0 PID: 1 Comm: swapper/0 Not tainted 5.10.0-test #1
[    1.283333] RIP: 0010:${inside('fs_dax_release', 0)}
[    1.290001] Call Trace:
[    1.290444]  ? 0xffffffff00000000
[    1.290445]  [<${inside('ext4_fill_super', 5).slice(2)}>] ${inside('ext4_fill_super', 5)}
[    1.290446]  [<${inside('mount_bdev', 5).slice(2)}>]
[    1.299999] ---[ end trace 2a9f3a5ad1f2ab47 ]---
${last}`;
}

describe('bare addresses', () => {
  it('become functions, and the title follows', () => {
    const log = oops(0n, '');
    expect(parseKernelLog(log).findings[0]).toMatchObject({ title: 'BUG: unable to handle kernel NULL pointer dereference' });
    const report = parseKernelLog(log, { symbols: kernel.table });
    expect(report.findings[0]).toMatchObject({ title: 'BUG: unable to handle kernel NULL pointer dereference in fs_dax_release', function: 'fs_dax_release' });
    expect(report.findings[0]!.trace).toEqual(['? 0xffffffff00000000', `ext4_fill_super+${hex(5)}/${hex(sizeOf('ext4_fill_super'))}`, `mount_bdev+0x5/${hex(sizeOf('mount_bdev'))}`]);
    expect(report.symbols).toEqual({ checked: 0, matched: 0, addresses: 4, named: 3 });
  });

  it('are moved back by what KASLR moved them, told after the report', () => {
    const report = parseKernelLog(oops(0x1e000000n, '[    1.300000] Kernel Offset: 0x1e000000 from 0xffffffff81000000 (relocation range: 0xffffffff80000000-0xffffffffbfffffff)\n'), { symbols: kernel.table });
    expect(report.findings[0]).toMatchObject({ function: 'fs_dax_release', frames: [{ address: hex(addressOf('fs_dax_release')), pc: true }, { function: 'ext4_fill_super' }, { function: 'mount_bdev' }] });
  });

  it('are taken as they are by symbols that are moved as well', () => {
    const moved = new SymbolTableBuilder();
    for (const line of fs.readFileSync(file('System.map'), 'utf8').split('\n')) moved.line(line.replace(/^[0-9a-f]+/, (digits) => (BigInt(`0x${digits}`) + 0x1e000000n).toString(16)));
    moved.line('ffffffff9f000000 T _text');
    const report = parseKernelLog(oops(0x1e000000n, '[    1.300000] Kernel Offset: 0x1e000000 from 0xffffffff81000000 (relocation range: 0)\n'), { symbols: moved.build() });
    expect(report.findings[0]).toMatchObject({ function: 'fs_dax_release' });
  });

  it('a return address behind the last byte is that of the function that called', () => {
    const end = addressOf('fs_dax_release') + BigInt(sizeOf('fs_dax_release'));
    const log = `[    1.000000] WARNING: CPU: 0 PID: 1 at fs/dax.c:3 0x1234\n[    1.000001] Call Trace:\n[    1.000002]  ${hex(end)}\n`;
    expect(parseKernelLog(log, { symbols: kernel.table }).findings[0]!.trace).toEqual([`fs_dax_release+${hex(sizeOf('fs_dax_release'))}/${hex(sizeOf('fs_dax_release'))}`]);
  });

  it('each boot of a log has its own offset', () => {
    const boot = (shift: bigint): string => `[    0.000000] Linux version 5.10.0-test (builder)\n${oops(shift, `[    1.300000] Kernel Offset: ${hex(shift)} from 0xffffffff81000000 (relocation range: 0)\n`)}`;
    const { findings } = parseKernelLog(boot(0x1e000000n) + boot(0x2c000000n), { symbols: kernel.table });
    expect(findings.map((finding) => finding.function)).toEqual(['fs_dax_release', 'fs_dax_release']);
  });

  it('stay what they are, and are counted, without the offset', () => {
    const report = parseKernelLog(oops(0x1e000000n, ''), { symbols: kernel.table });
    expect(report.symbols).toMatchObject({ addresses: 4, named: 0 });
    expect(report.findings[0]!.function).toBeUndefined();
  });
});

describe('files and lines', () => {
  it('come with what was inlined, and calls have the line of the call', async () => {
    const { findings } = parseKernelLog(oops(0n, ''), { symbols: kernel.table });
    addLines(findings, await sourceLines(kernel.file, wantedLines(findings)));
    const place = (line: number): string => `${file('kernel/dax.c')}:${line}`;
    expect(findings[0]).toMatchObject({
      source: place(3),
      frames: [
        { function: 'fs_dax_release', source: place(6), inlined: [{ function: 'deep', source: place(3) }] },
        { function: 'ext4_fill_super', source: place(9) },
        { function: 'mount_bdev', source: place(13) },
      ],
    });
  });

  it('are found for function+offset/size', async () => {
    const log = `[    1.0] WARNING: CPU: 0 PID: 1 at fs/dax.c:3 fs_dax_release+0x0/${hex(sizeOf('fs_dax_release'))}
[    1.000001] Call Trace:
[    1.000002]  ext4_fill_super+${hex(5)}/${hex(sizeOf('ext4_fill_super'))}
[    1.000003]  mount_bdev+0x5/0xfff
`;
    const { findings, symbols } = parseKernelLog(log, { symbols: kernel.table });
    addLines(findings, await sourceLines(kernel.file, wantedLines(findings)));
    expect(symbols).toMatchObject({ checked: 2, matched: 1 });
    expect(findings[0]!.frames).toMatchObject([{ function: 'ext4_fill_super', source: `${file('kernel/dax.c')}:9` }, { function: 'mount_bdev' }]);
    expect(findings[0]!.frames![1]!.address).toBeUndefined();
  });

  it('lose the folder of the build', async () => {
    const found = await sourceLines(kernel.file, [addressOf('fs_dax_release')]);
    expect(found.get(addressOf('fs_dax_release'))!.source).toBe(`${file('kernel/dax.c')}:6`);
    fs.renameSync(file('kernel/dax.c'), file('kernel/panic.c'));
    execFileSync('gcc', ['-g', '-O1', '-fno-pie', '-no-pie', '-nostdlib', '-static', '-mcmodel=kernel', '-Wl,-Ttext=0xffffffff81000000', '-o', file('vmlinux-panic'), file('kernel/panic.c')]);
    const other = loadVmlinux(file('vmlinux-panic'));
    const short = await sourceLines(other.file, other.table.find('fs_dax_release'), other.table.find('mount_bdev')[0]);
    expect(short.get(other.table.find('fs_dax_release')[0]!)!.source).toBe('kernel/panic.c:6');
  });

  it('reads what the tools write', () => {
    expect(parseLines('0xffffffff81000003\ndeep\n/b/fs/../fs/dax.c:3\nrelease\n/b/fs/dax.c:6 (discriminator 2)\n0x2\n??\n??:0\n')).toEqual(
      new Map([[0xffffffff81000003n, { source: '/b/fs/dax.c:6', inlined: [{ function: 'deep', source: '/b/fs/dax.c:3' }] }]]),
    );
  });
});

describe('another kernel', () => {
  it('is told by the sizes of its functions', () => {
    const trace = (size: number): string => `[    1.0] Oops: 0002 [#1]\n[    1.000001] RIP: 0010:fs_dax_release+0x0/${hex(size)}\n[    1.000002] Call Trace:\n[    1.000003]  vfs_read+0x1/0x99\n`;
    expect(isOtherKernel(parseKernelLog(trace(0x999), { symbols: kernel.table }).symbols!)).toBe(true);
    expect(isOtherKernel(parseKernelLog(trace(sizeOf('fs_dax_release')), { symbols: kernel.table }).symbols!)).toBe(false);
  });
});

describe('symbol files', () => {
  it('say which kernel they are of, and agree', async () => {
    expect(kernel).toMatchObject({ release: '5.10.0-test', lines: true });
    expect(loadVmlinux(file('no-debug'))).toMatchObject({ lines: false });
    const { table } = await loadSystemMap(file('System.map'));
    expect(table.resolve(addressOf('mount_bdev') + 5n)).toEqual(kernel.table.resolve(addressOf('mount_bdev') + 5n));
  });

  it('name modules as /proc/kallsyms does', () => {
    const builder = new SymbolTableBuilder();
    for (const line of ['ffffffffc0000000 t pmem_do_bvec\t[nd_pmem]', 'ffffffffc0000100 t pmem_submit_bio\t[nd_pmem]']) expect(builder.line(line)).toBe(true);
    expect(builder.build().resolve(0xffffffffc0000012n)).toEqual({ name: 'pmem_do_bvec', offset: 0x12, size: 0x100, module: 'nd_pmem' });
  });

  it.each<[string, () => unknown, RegExp]>([
    ['a stripped vmlinux', () => loadVmlinux(file('stripped')), /stripped/],
    ['a text', () => loadVmlinux(file('System.map')), /not an ELF file; give a System\.map as --system-map/],
    ['no file', () => loadVmlinux(file('nowhere')), /no such file/],
    ['a folder', () => loadVmlinux(folder), /is a folder/],
    ['a cut off vmlinux', () => (fs.writeFileSync(file('cut'), fs.readFileSync(file('vmlinux')).subarray(0, 5000)), loadVmlinux(file('cut'))), /cut off/],
    ['a vmlinux as System.map', () => loadSystemMap(file('vmlinux')), /is an ELF file; give it as --vmlinux/],
    ['a Debian stub', () => (fs.writeFileSync(file('stub'), 'ffffffffffffffff B The real System.map is in the linux-image-6.1.0-56-amd64-dbg package\n'), loadSystemMap(file('stub'))), /install the package linux-image-6\.1\.0-56-amd64-dbg/],
    ['hidden addresses', () => (fs.writeFileSync(file('hidden'), '0000000000000000 T _text\n0000000000000000 T do_one_initcall\n'), loadSystemMap(file('hidden'))), /kptr_restrict/],
    ['a log', () => (fs.writeFileSync(file('log'), oops(0n, '')), loadSystemMap(file('log'))), /holds no symbols/],
    ['nothing', () => (fs.writeFileSync(file('empty'), ''), loadSystemMap(file('empty'))), /holds no symbols/],
  ])('refuses %s', async (_, load, message) => {
    await expect(Promise.resolve().then(load)).rejects.toThrow(message);
  });
});
