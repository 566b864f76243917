// The reports, from a document with every outcome in it.
import { describe, expect, it } from 'vitest';
import { FORMATS, parseFormat } from '../../src/report/index.js';
import { mediansText } from '../../src/report/terminal.js';
import { totalsOf, exitCodeOf, type Outcome, type RunResult } from '../../src/run/result.js';
import type { RunDocument } from '../../src/run/runner.js';

const result = (outcome: Outcome, more: Partial<RunResult> = {}): RunResult => ({
  id: `group/${outcome} fs=ext4`, workload: `group/${outcome}`, params: { fs: 'ext4' }, kernel: '6.1.0', outcome, findings: [], metrics: [], evidence: {}, injected: 0, log: [], seconds: 1.5, seed: 1, clock: 'wall',
  ...(outcome === 'pass' ? {} : { reason: `because <of> "${outcome}" & #1` }),
  ...more,
});

const document = (results: RunResult[]): RunDocument => ({
  schema: 's', run: { id: 'r', startedAt: '2026-01-02T03:04:05.000Z', folder: '/f', version: '1', command: [], host: {}, guests: [] }, results, totals: totalsOf(results),
});

const all = document((['pass', 'fail', 'xfail', 'skip', 'broken', 'lost'] as const).map((outcome) => result(outcome, outcome === 'fail' ? { detail: 'line\x01 1\nline ]]> 2' } : {})));

describe('ktap', () => {
  it('has a plan, numbers in order, directives, and diagnostics before what they explain', () =>
    expect(FORMATS.ktap!(all).split('\n')).toEqual([
      'KTAP version 1',
      '1..6',
      'ok 1 group/pass fs=ext4',
      '# fail: because <of> "fail" & #1',
      '# line\x01 1',
      '# line ]]> 2',
      'not ok 2 group/fail fs=ext4',
      'ok 3 group/xfail fs=ext4 # XFAIL because <of> "xfail" & \\#1',
      'ok 4 group/skip fs=ext4 # SKIP because <of> "skip" & \\#1',
      '# broken: because <of> "broken" & #1',
      'not ok 5 group/broken fs=ext4',
      '# lost: because <of> "lost" & #1',
      'not ok 6 group/lost fs=ext4',
      '',
    ]));

  it('nests one level for several kernels', () => {
    const text = FORMATS.ktap!(document([result('pass'), result('fail', { kernel: '6.12' })]));
    expect(text.split('\n').filter((line) => /ok|\.\./.test(line))).toEqual(['1..2', '    1..1', '    ok 1 group/pass fs=ext4', 'ok 1 6.1.0', '    1..1', '    not ok 1 group/fail fs=ext4', 'not ok 2 6.12']);
  });
});

describe('junit', () => {
  const xml = FORMATS.junit!(all);
  it('counts failures, errors and skips apart', () => expect(xml).toContain('<testsuites name="daxrig" tests="6" failures="1" errors="2" skipped="2" time="9.000">'));
  it('has no character that XML forbids, and escapes the rest', () => {
    expect(xml).not.toMatch(/[\x00-\x08\x0b\x0c\x0e-\x1f]/);
    expect(xml).toContain('message="because &lt;of&gt; &quot;fail&quot; &amp; #1"');
    expect(xml).toContain('line ]]&gt; 2');
  });
  it('is well formed: every tag is closed in order', () => {
    const open: string[] = [];
    for (const [, close, name, self] of xml.matchAll(/<(\/?)([a-z]+)(?:\s[^<>]*?)?(\/?)>/g)) {
      if (close) expect(open.pop()).toBe(name);
      else if (!self) open.push(name!);
    }
    expect(open).toEqual([]);
  });
});

describe('exit codes', () => {
  const code = (...outcomes: Outcome[]): [number, number] => {
    const totals = totalsOf(outcomes.map((outcome) => ({ outcome })));
    return [exitCodeOf(totals), exitCodeOf(totals, true)];
  };
  it.each<[Outcome[], [number, number]]>([
    [['pass', 'skip'], [0, 0]],
    [['pass', 'xfail'], [0, 0]],
    [['pass', 'fail', 'lost'], [1, 1]],
    [['pass', 'broken'], [3, 125]],
    [['pass', 'lost'], [3, 125]],
    [['skip'], [4, 125]],
    [[], [4, 125]],
  ])('%j', (outcomes, codes) => expect(code(...outcomes)).toEqual(codes));
});

describe('--format', () => {
  it.each([['ktap', { format: 'ktap' }], ['junit=a=b.xml', { format: 'junit', file: 'a=b.xml' }], ['text', { format: 'text' }]])('%s', (value, request) => expect(parseFormat(value)).toEqual(request));
  it.each(['html', 'x', 'ktap='])('refuses %s', (value) => expect(() => parseFormat(value)).toThrow(/--format/));
});

describe('the table of medians', () => {
  const metric = (name: string, samples: number[]) => ({ name, unit: 'ns', clock: 'icount' as const, samples });
  it('has a line per metric of what passed, and both ends where an instance ran several times', () => {
    const text = mediansText(document([
      result('pass', { metrics: [metric('first fault', [3, 1, 2]), metric('none', [])] }),
      result('pass', { metrics: [metric('first fault', [5, 5])] }),
      result('fail', { metrics: [metric('first fault', [99])] }),
    ]));
    expect(text.split('\n')).toEqual(['medians', 'group/pass fs=ext4  first fault  2 to 5  ns  5 samples']);
  });
  it('says which kernel where there are several', () => {
    const text = mediansText(document([result('pass', { metrics: [metric('m', [1])] }), result('pass', { kernel: '6.12', metrics: [metric('m', [2])] })]));
    expect(text).toContain('group/pass fs=ext4 [6.1.0]');
  });
});
