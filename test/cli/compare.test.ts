// Comparing two run directories: what is refused, and what is left out.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { daxrig, result, scratch, writeRun, type RunSpec } from '../store/support.js';

type Spoil = (document: { results: { metrics: { unit: string; clock: string; samples: unknown }[]; outcome: string }[]; run: Record<string, unknown> }) => void;

/** Two runs of one counted metric, the second changed. */
async function compared(spoil: Spoil, more: RunSpec = {}): Promise<{ code: number | null; stdout: string; stderr: string; second: string }> {
  const spec = { results: [result({ clock: 'icount', samples: { m: [100, 100, 100, 100, 100, 100, 100, 100], n: [5, 5, 5, 5, 5, 5, 5, 5] } })], ...more };
  const [first, second] = [writeRun(scratch(), spec), writeRun(scratch(), spec)];
  const file = path.join(second, 'run.json');
  const document = JSON.parse(fs.readFileSync(file, 'utf8')) as Parameters<Spoil>[0];
  spoil(document);
  fs.writeFileSync(file, JSON.stringify(document));
  return { ...(await daxrig('compare', first, second)), second };
}

describe('daxrig compare A B', () => {
  it('compares what both measured', async () => {
    const { code, stdout } = await compared((document) => (document.results[0]!.metrics[0]!.samples = Array.from({ length: 8 }, () => 110)));
    expect(code).toBe(1);
    expect(stdout).toMatch(/^regressed +fsdax\/faults: m +100 -> 110 ns/m);
    expect(stdout).toMatch(/^unchanged +fsdax\/faults: n/m);
  });

  it.each<[string, Spoil, RegExp]>([
    ['a sample that is null', ({ results }) => ((results[0]!.metrics[0]!.samples as unknown[])[0] = null), /metric "m": samples\[0\] is null, no measurement/],
    ['a negative sample', ({ results }) => ((results[0]!.metrics[0]!.samples as unknown[])[0] = -5), /samples\[0\] is -5/],
    ['samples that are no list', ({ results }) => (results[0]!.metrics[0]!.samples = 'x'), /samples is no list/],
    ['another unit', ({ results }) => (results[0]!.metrics[0]!.unit = 'us'), /measured in ns and in us; the two cannot be compared/],
    ['another clock', ({ results }) => (results[0]!.metrics[0]!.clock = 'wall'), /measured by icount and by wall/],
    ['no host', ({ run }) => delete run.host, /run\.host or run\.guests is missing/],
    ['no start', ({ run }) => delete run.startedAt, /run\.startedAt is no date/],
    ['another machine', ({ run }) => ((run.guests as Record<string, unknown>[])[0]!.qemu = '9.0'), /the runs differ in qemu: 7\.2\.22 against 9\.0; their timings cannot be compared/],
  ])('refuses %s, in one line that names it', async (_, spoil, line) => {
    const { code, stdout, stderr } = await compared(spoil);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(line);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  });

  it.each<[string, Record<string, string>, string]>([
    ['a CPU', { cpu: 'Another CPU' }, 'cpu: Some CPU against Another CPU'],
    ['a microcode', { microcode: '0x2' }, 'microcode: not known against 0x2'],
    ['a governor', { governor: 'powersave' }, 'governor: not known against powersave'],
  ])('refuses wall times that differ in %s, and takes counted instructions', async (_, host, named) => {
    for (const clock of ['wall', 'icount'] as const) {
      const results = [result({ clock, samples: { m: [100, 101, 100] } })];
      const { code, stderr } = await daxrig('compare', writeRun(scratch(), { results }), writeRun(scratch(), { results, host }));
      expect([code, stderr.trimEnd()]).toEqual(clock === 'wall' ? [2, `daxrig: fsdax/faults: the runs differ in ${named}; their timings cannot be compared`] : [0, '']);
    }
  });

  it('leaves out what has no samples, and what a failed workload measured', async () => {
    const empty = await compared(({ results }) => (results[0]!.metrics[0]!.samples = []));
    expect(empty.stdout).not.toMatch(/: m /);
    expect(empty.stdout).toMatch(/1 unchanged/);
    expect(await compared(({ results }) => (results[0]!.outcome = 'fail'))).toMatchObject({ code: 4, stdout: expect.stringMatching(/0 regressed/) as string });
  });

  it('names a directory that holds no run', async () => {
    expect(await daxrig('compare', '/nonexistent', scratch())).toMatchObject({ code: 2, stderr: expect.stringMatching(/^daxrig: \/nonexistent: no run\.json; name/) as string });
  });
});
