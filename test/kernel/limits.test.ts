// No input makes the log reader slow, large or wrong about what it kept.
import { describe, expect, it } from 'vitest';
import { KernelLog, parseKernelLog } from '../../src/kernel/klog.js';
import { loadFixtures } from './fixture.js';

let seed = 1;
const random = (below: number): number => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed % below;
};

/** CPU milliseconds per mebibyte for a log built to a size: a busy machine does not count. */
function cost(build: (bytes: number) => string, bytes: number): number {
  const text = Buffer.from(build(bytes));
  const log = new KernelLog();
  const start = process.cpuUsage();
  for (let at = 0; at < text.length; at += 65_536) log.push(text.subarray(at, at + 65_536));
  log.end();
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000 / (text.length / 2 ** 20);
}

const fill = (piece: string) => (bytes: number) => piece.repeat(Math.ceil(bytes / piece.length));

describe('time', () => {
  it.each<[string, (bytes: number) => string]>([
    ['one line without an end', fill('x')],
    ['one line of words that matter', fill('BUG: WARNING: Oops Kernel panic - not syncing: ')],
    ['nothing but line ends', fill('\n')],
    ['nothing but carriage returns', fill('\r')],
    ['escape codes', fill('\x1b[1;31m')],
    ['unfinished escape codes', fill('\x1b]')],
    ['quote marks', fill('> ')],
    ['spaces and open brackets', fill('[    ')],
    ['time stamps in one line', fill('[    1.000000] ')],
    ['headers only', fill('[    1.000000] BUG: unable to handle kernel paging request at ffff888000000000\n')],
    ['prelude lines only', fill('------------[ cut here ]------------\n')],
    ['a report without an end', (bytes) => `[    1.000000] BUG: KASAN: use-after-free in f+0x1/0x2\n${fill('[    1.000001]  g+0x1/0x2\n')(bytes)}`],
    ['a CPU line of taints', fill(`CPU: 1 PID: 1 Comm: ${'Tainted: A '.repeat(90)}\n`)],
    ['a Code line', (bytes) => `[    1.000000] Oops: 0000 [#1]\n${fill(`[    1.000001] Code: ${'0000000 '.repeat(100)}x\n`)(bytes)}`],
    ['many caller ids', (bytes) => Array.from({ length: Math.ceil(bytes / 70) }, (_, index) => `[    1.000000][T${index}] BUG: unable to handle kernel paging request\n`).join('')],
    ['journal records', fill('{"MESSAGE":"BUG: unable to handle kernel paging request at 0000000000000001","_TRANSPORT":"kernel"}\n')],
  ])('is linear for %s', (_, build) => {
    cost(build, 2 ** 16);
    const small = Math.min(cost(build, 2 ** 18), cost(build, 2 ** 18), cost(build, 2 ** 18));
    const large = Math.min(cost(build, 2 ** 21), cost(build, 2 ** 21));
    // Eight times the input for the same price per byte; the rest is what a shared machine adds.
    expect(large).toBeLessThan(Math.max(4 * small, 40));
  });
});

describe('fuzzing', () => {
  const raws = loadFixtures().map(({ raw }) => raw);

  it('takes any bytes without failing', () => {
    for (let round = 0; round < 60; round++) {
      const bytes = Buffer.alloc(20_000, 0).map(() => random(256));
      expect(() => parseKernelLog(bytes)).not.toThrow();
    }
  });

  it('takes mangled logs without failing, and never more memory for findings than it says', () => {
    for (let round = 0; round < 120; round++) {
      const raw = Buffer.from(raws[random(raws.length)]!);
      for (let edits = 1 + random(20); edits > 0; edits--) raw[random(raw.length)] = [0, 10, 13, 27, 32, 91, 255, random(256)][random(8)]!;
      const from = random(raw.length);
      const mixed = Buffer.concat([raw.subarray(from), raws[random(raws.length)]!.subarray(0, random(3000)), raw.subarray(0, from)]);
      const report = parseKernelLog(mixed);
      for (const finding of report.findings) {
        expect(finding.title).not.toBe('');
        expect(finding.title).not.toMatch(/\{|\}|undefined|\n/);
        expect(finding.excerpt.length).toBeLessThan(20_000);
        expect(finding.endLine).toBeGreaterThanOrEqual(finding.line);
      }
    }
  });

  it('does not depend on where the log is cut into chunks', () => {
    for (const raw of raws) {
      const whole = parseKernelLog(raw);
      const log = new KernelLog();
      for (let at = 0; at < raw.length; ) {
        const size = 1 + random(200);
        log.push(raw.subarray(at, at + size));
        at += size;
      }
      expect(log.end()).toEqual(whole);
    }
  });
});

describe('bounds', () => {
  it('keeps so many findings, and counts the others', () => {
    const oops = (name: string, time: number): string => `[${time.toFixed(6)}] BUG: unable to handle kernel paging request at ffff888000000000\n[${time.toFixed(6)}] RIP: 0010:${name}+0x1/0x2\n[${time.toFixed(6)}] Call Trace:\n[${time.toFixed(6)}]  g+0x1/0x2\n[${time.toFixed(6)}] ---[ end trace 0 ]---\n`;
    const same = parseKernelLog(Array.from({ length: 50 }, (_, index) => oops('f', index)).join(''));
    expect(same.findings).toHaveLength(20);
    expect(same.findings[0]!.repeats).toBe(30);
    expect(same.omitted).toBe(30);
    const different = parseKernelLog(Array.from({ length: 50 }, (_, index) => oops(`f${index}`, index)).join(''), { maxFindings: 10 });
    expect(different.findings).toHaveLength(10);
    expect(different.omitted).toBe(40);
  });

  it('finds a header behind a line that is far too long', () => {
    const report = parseKernelLog(`${'x'.repeat(100_000)}\n[    1.000000] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n${'\0'.repeat(50_000)}`);
    expect(report.findings).toMatchObject([{ kind: 'panic', line: 2 }]);
  });

  it('counts lines and bytes as an editor does', () => {
    expect(parseKernelLog('a\r\nb\rc\nd')).toMatchObject({ lines: 3, bytes: 8 });
    expect(parseKernelLog('a\nb\n')).toMatchObject({ lines: 2, bytes: 4 });
    expect(parseKernelLog('')).toMatchObject({ lines: 0, bytes: 0 });
  });
});
