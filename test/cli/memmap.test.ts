// daxrig memmap: the reports' layouts, exit codes, JSON, usage errors.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import yargs from 'yargs';
import { command } from '../../src/cli/memmap.js';
import { UsageError } from '../../src/errors.js';

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

const memmap = async (...args: string[]): Promise<number> => {
  await yargs(['memmap', ...args]).parserConfiguration({ 'parse-positional-numbers': false }).command(command as never).strict().exitProcess(false).fail((message, error) => { throw error ?? new Error(message); }).parseAsync();
  return Number(process.exitCode ?? 0);
};

describe('memmap', () => {
  it('names the node-end hazard of 1G!4G and none of 1G!7G', async () => {
    expect(await memmap('1G!4G', '--guest-mem', '8G', '--numa', '2')).toBe(0);
    expect(out).toMatch(/^0x100000000-0x13fffffff {2}pmem, 1 GiB, node 0\nwarning: node-end: /);
    out = '';
    expect(await memmap('1G!7G', '--guest-mem', '8G', '--numa', '2')).toBe(0);
    expect(out).toBe('0x1c0000000-0x1ffffffff  pmem, 1 GiB, node 1\nno hazard\n');
  });

  it('exits 1 when a hazard is an error', async () => {
    expect(await memmap('1G!4G', '--guest-mem', '8G', '--numa', '2', '--kernel-version', '4.16')).toBe(1);
    expect(await memmap('memmap=1G!3G', '--guest-mem', '8G')).toBe(1);
  });

  it('prints the contract as JSON', async () => {
    expect(await memmap('448M!0x107000000', '512M!0x124000000', '--guest-mem', '8G', '--kernel-version', '4.20', '--json')).toBe(0);
    expect(JSON.parse(out)).toMatchObject({
      ranges: [{ start: '0x107000000', end: '0x122ffffff', node: 0 }, { start: '0x124000000', end: '0x143ffffff', node: 0 }],
      hazards: [{ id: 'section-shared', severity: 'warning', message: expect.any(String) }, { id: 'section-shared' }],
      startPad: [{ startPad: 16777216, endTrunc: 50331648 }, { startPad: 67108864, endTrunc: 67108864 }],
    });
  });

  it('predicts padding of real regions', async () => {
    expect(await memmap('--region', '0x187c000000-0x577bffffff', '--region', '0x577c000000-0x967bffffff', '--kernel-version', '4.20')).toBe(0);
    expect(out).toContain('0x577c000000: start_pad 64 MiB (67108864 bytes), end_trunc 0 bytes (kernels: 4.20)');
    const folder = mkdtempSync(path.join(tmpdir(), 'memmap-test-'));
    try {
      writeFileSync(path.join(folder, 'iomem'), '100000000-187bffffff : System RAM\n187c000000-967bffffff : Persistent Memory\n');
      out = '';
      expect(await memmap('--iomem', path.join(folder, 'iomem'), '--json')).toBe(0);
      expect(JSON.parse(out)).toMatchObject({ startPad: [{ start: '0x187c000000', startPad: 67108864, kernels: 'before 5.3' }] });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it.each<[string[], RegExp]>([
    [[], /name a layout/],
    [['1G!4G'], /--guest-mem 8G/],
    [['1G!4G', '--guest-mem', 'much'], /"much" is not a size/],
    [['1G', '--guest-mem', '8G', '--numa', '0'], /nodes/],
    [['1X!4G', '--guest-mem', '8G'], /"1X" is not a size/],
    [['1G!4G', '--guest-mem', '8G', '--kernel-version', 'new'], /"new" is none/],
    [['1G!4G', '--region', '0x1-0x2'], /leave the memmap= layout out/],
    [['--region', '5'], /first and last byte/],
    [['--iomem', '/nonexistent'], /ENOENT/],
  ])('refuses %j', async (args, message) => {
    const failure = memmap(...args);
    await expect(failure).rejects.toThrow(UsageError);
    await expect(memmap(...args)).rejects.toThrow(message);
  });
});
