import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { compareKernels, findRunFolders, findSeries, kernelLine, metricNames, read, record, SessionReader, type Database } from '../../src/store/index.js';
import { csvHeader, csvLine, csvLines, sparkline, trendText } from '../../src/store/present.js';
import { formatValue } from '../../src/units.js';
import { checkSeries, trendsOf, type CheckOptions, type TrendOptions } from '../../src/store/trend.js';
import { result, scratch, writeRun, writeSessions } from './support.js';

const quiet = { wait: 5, note: () => {} };

async function withRuns<T>(write: (runs: string) => void, work: (database: Database) => T): Promise<T> {
  const folder = scratch();
  const runs = path.join(folder, 'runs');
  fs.mkdirSync(runs);
  write(runs);
  await record(path.join(folder, 't.db'), findRunFolders([runs]), quiet);
  return (await read(path.join(folder, 't.db'), quiet, work))!;
}

const trends = (database: Database, options: TrendOptions = {}) => findSeries(database).flatMap((series) => trendsOf(new SessionReader(database), series, options));
const checks = (database: Database, options: Partial<CheckOptions> = {}) =>
  findSeries(database).flatMap((series) => checkSeries(new SessionReader(database), series, { better: () => 'lower', ...options }));
const noisy = (count: number, level = 100): number[] => Array.from({ length: count }, (_, i) => level * (1 + 0.01 * Math.sin(i * 12.9898)));

describe('series', () => {
  it('are found by globs over workload/metric', () =>
    withRuns(
      (runs) => {
        for (const workload of ['fsdax/faults', 'devdax/faults', 'fsdax/msync']) writeRun(runs, { results: [result({ workload })] });
      },
      (database) => {
        expect(metricNames(database)).toEqual(['devdax/faults/first write', 'fsdax/faults/first write', 'fsdax/msync/first write']);
        expect(findSeries(database, ['fsdax/*']).map(({ workload }) => workload)).toEqual(['fsdax/faults', 'fsdax/msync']);
        expect(findSeries(database, ['*faults*', 'fsdax/*'])).toHaveLength(3);
        expect(findSeries(database, ['faults'])).toEqual([]);
        expect(findSeries(database, ['fsdax/msync/first write'])[0]).toMatchObject({ metric: 'first write', params: { fs: 'ext4' }, unit: 'ns', clock: 'wall' });
      },
    ));
});

describe('sessions', () => {
  it('are one per run and kernel, with the samples of all its repetitions, and only of what passed', () =>
    withRuns(
      (runs) =>
        void writeRun(runs, {
          results: [
            result({ samples: { m: [1, 2, 3] } }),
            result({ samples: { m: [10] }, kernel: '6.1.0-9-amd64' }),
            result({ samples: { m: [7, 9] } }),
            result({ samples: { m: [1000] }, outcome: 'fail' }),
            result({ samples: { m: [5] }, outcome: 'xfail' }),
          ],
        }),
      (database) => {
        const reader = new SessionReader(database);
        const [series] = findSeries(database);
        const sessions = reader.sessions(series!);
        expect(sessions.map(({ kernel, n, median, q1, q3 }) => ({ kernel, n, median, q1, q3 }))).toEqual([
          { kernel: '6.1.0-9-amd64', n: 1, median: 10, q1: 10, q3: 10 },
          { kernel: '6.1.0-40-amd64', n: 6, median: 4, q1: 2.25, q3: 6.5 },
        ]);
        expect([...reader.samples(series!, sessions[1]!)]).toEqual([1, 2, 3, 7, 9, 5]);
      },
    ));

  it('are filtered by date and kernel, and the newest come last', () =>
    withRuns(
      (runs) => ['6.1.0', '6.2.0', '6.10.0'].forEach((kernel) => writeSessions(runs, [1, 2], { kernel })),
      (database) => {
        const medians = (options: TrendOptions, limit?: number) => new SessionReader(database).sessions(findSeries(database)[0]!, options, limit).map(({ kernel, started }) => `${kernel} ${new Date(started).getUTCHours()}`);
        expect(medians({})).toHaveLength(6);
        expect(medians({ since: Date.UTC(2026, 0, 1, 1) })).toEqual(['6.1.0 1', '6.2.0 1', '6.10.0 1']);
        expect(medians({ kernels: ['6.1*'] })).toEqual(['6.1.0 0', '6.10.0 0', '6.1.0 1', '6.10.0 1']);
        expect(medians({ kernels: ['6.2.?', '7.*'] })).toEqual(['6.2.0 0', '6.2.0 1']);
        expect(medians({}, 2)).toHaveLength(2);
        expect(medians({ kernels: ['5.*'] })).toEqual([]);
      },
    ));
});

describe('a trend', () => {
  it('shows where the level changed, also when only its end is wanted', () =>
    withRuns(
      (runs) => writeSessions(runs, [...noisy(20), ...noisy(20, 150)]),
      (database) => {
        const [all] = trends(database);
        expect(all!.changes.map(({ index }) => index)).toEqual([20]);
        expect(all!.changes[0]!.shift).toBeCloseTo(0.5, 1);
        const [end] = trends(database, { limit: 25 });
        expect([end!.sessions.length, end!.older, end!.changes.map(({ index }) => index)]).toEqual([25, true, [5]]);
        expect(trends(database, { limit: 10 })[0]!.changes).toEqual([]);
        expect(trends(database, { limit: 40 })[0]!.older).toBe(false);
      },
    ));

  it('is one per kernel line where runs measured several side by side', () =>
    withRuns(
      (runs) => {
        for (let i = 0; i < 12; i++)
          writeRun(runs, { started: new Date(Date.UTC(2026, 0, 1, i)).toISOString(), results: ['6.1.0-40', '6.18.0'].map((kernel, k) => result({ kernel, samples: { m: [noisy(12, 100 * (k + 1))[i]!] } })) });
      },
      (database) => {
        expect(trends(database).map(({ line, sessions, changes }) => [line, sessions.length, changes])).toEqual([['6.1', 12, []], ['6.18', 12, []]]);
        expect(trends(database, { limit: 3 }).map(({ sessions }) => sessions.map(({ kernel }) => kernel))).toEqual([Array(3).fill('6.1.0-40'), Array(3).fill('6.18.0')]);
        expect(trends(database, { perKernel: false }).map(({ line, sessions }) => [line, sessions.length])).toEqual([[undefined, 24]]);
        expect(checks(database).map(({ line, sessions, candidate, regressed }) => [line, sessions, candidate.kernel, regressed])).toEqual([['6.1', 11, '6.1.0-40', false], ['6.18', 11, '6.18.0', false]]);
      },
    ));

  it('is one over kernels that came after each other', () =>
    withRuns(
      (runs) => ['6.1.0', '6.2.0'].forEach((kernel, i) => writeSessions(runs, [1], { kernel }, { started: `2026-01-0${i + 1}T00:00:00.000Z` })),
      (database) => {
        expect(trends(database)).toHaveLength(1);
        expect(trends(database, { perKernel: true }).map(({ line }) => line)).toEqual(['6.1', '6.2']);
      },
    ));
});

describe('the newest session', () => {
  const verdicts = (levels: number[], options: Partial<CheckOptions> = {}, spec: Parameters<typeof writeSessions>[2] = {}) =>
    withRuns((runs) => writeSessions(runs, levels, spec), (database) => checks(database, options));

  it('is called regressed, improved or unchanged', async () => {
    expect(await verdicts([...noisy(20), 150])).toMatchObject([{ verdict: 'regressed', regressed: true, sessions: 20 }]);
    expect(await verdicts([...noisy(20), 60])).toMatchObject([{ verdict: 'improved', regressed: false }]);
    expect(await verdicts(noisy(21))).toMatchObject([{ regressed: false }]);
  });

  it('is judged by what is better for its metric', async () => {
    expect(await verdicts([...noisy(20), 60], { better: () => 'higher' })).toMatchObject([{ verdict: 'regressed', regressed: true }]);
    expect(await verdicts([...noisy(20), 150], { better: () => 'neither' })).toMatchObject([{ verdict: 'regressed', regressed: false }]);
  });

  it('of counted instructions shows half a percent', async () => {
    expect(await verdicts([...Array<number>(10).fill(11_035), 11_146], {}, { clock: 'icount' })).toMatchObject([{ verdict: 'regressed', clock: 'icount' }]);
    expect(await verdicts(Array<number>(11).fill(11_035), {}, { clock: 'icount' })).toMatchObject([{ verdict: 'unchanged', shift: 0 }]);
  });

  it('with few before it is inconclusive, also when it is the first', async () => {
    expect(await verdicts([100])).toMatchObject([{ verdict: 'inconclusive', sessions: 0, b: 100 }]);
    expect(await verdicts([100, 100, 500])).toMatchObject([{ verdict: 'inconclusive', sessions: 2 }]);
  });

  it('is judged by the last 60 only, and by the level they are at', async () => {
    const [check] = await verdicts([...noisy(20, 500), ...noisy(70), 150]);
    expect(check).toMatchObject({ verdict: 'regressed', sessions: 60 });
  });

  it('is left out when it is older than asked for', async () => {
    expect(await verdicts(noisy(10), { since: Date.UTC(2026, 0, 1, 9) })).toHaveLength(1);
    expect(await verdicts(noisy(10), { since: Date.UTC(2026, 0, 1, 10) })).toEqual([]);
  });

  it('is never held against another clock, parameter or machine', async () => {
    const all = await withRuns(
      (runs) => {
        writeSessions(runs, noisy(10));
        const started = '2026-02-01T00:00:00.000Z';
        for (const [spec, run] of [[{ clock: 'icount' }, {}], [{ params: { fs: 'xfs' } }, {}], [{}, { host: { cpu: 'Slow CPU' } }]] as const) writeSessions(runs, [500], spec, { started, ...run });
      },
      (database) => checks(database),
    );
    expect(all.map(({ sessions }) => sessions).sort()).toEqual([0, 0, 0, 9]);
    expect(all.every(({ regressed }) => !regressed)).toBe(true);
  });
});

describe('kernels', () => {
  it('are ordered by their numbers, candidates before the release', () => {
    const releases = ['5.10.0-46-amd64', '6.1.0-9-amd64', '6.1.0-13-amd64', '6.18.0-rc2', '6.18.0-rc10', '6.18.0', '6.18.1', '7.3.0'];
    expect([...releases].reverse().sort(compareKernels)).toEqual(releases);
    expect(releases.map(kernelLine)).toEqual(['5.10', '6.1', '6.1', '6.18', '6.18', '6.18', '6.18', '7.3']);
    expect(kernelLine('next')).toBe('next');
  });
});

describe('text', () => {
  it('shows values to the last instruction and never as powers', () => {
    expect([13_172, 1e20, 0.000123456, 1234.5678, 123_456.7, 0].map(formatValue)).toEqual(['13172', '100000000000000000000', '0.00012346', '1234.6', '123457', '0']);
  });

  it('draws a line of heights', () => {
    expect(sparkline([1, 2, 3])).toBe('▁▅█');
    expect(sparkline([5, 5])).toBe('▁▁');
    expect(sparkline([])).toBe('');
  });

  it('quotes CSV where it must', () => {
    expect(csvLine(['a', 'b,c', 'say "x"', 'two\nlines', 1])).toBe('a,"b,c","say ""x""","two\nlines",1');
  });

  it('of a trend has a row per session, and marks a new level', () =>
    withRuns(
      (runs) => writeSessions(runs, [...Array<number>(8).fill(100), ...Array<number>(8).fill(119)], { clock: 'icount' }),
      (database) => {
        const [trend] = trends(database, { limit: 9 });
        expect(trendText(trend!).split('\n')).toEqual([
          'fsdax/faults/first write fs=ext4  (ns, icount)',
          '  guest, tcg, QEMU 7.2.22, layout default, 2 CPUs, daxrig 0.1',
          '  kernel          date (UTC)        n  median  spread  change',
          '  6.1.0-40-amd64  2026-01-01 07:00  5     100   0.00%',
          '  6.1.0-40-amd64  2026-01-01 08:00  5     119   0.00%  +19.0%  new level: 100 -> 119 (+19.0%)',
          ...Array.from({ length: 7 }, (_, i) => `  6.1.0-40-amd64  2026-01-01 ${String(i + 9).padStart(2, '0')}:00  5     119   0.00%       =`),
          '  older sessions are not shown; --limit 0 shows all',
          '  ▁████████',
        ]);
        const rows = [csvHeader(false), ...csvLines(trend!)].map((line) => line.split(','));
        expect(rows).toHaveLength(10);
        expect(rows.every(({ length }) => length === rows[0]!.length)).toBe(true);
        expect(Object.fromEntries(rows[0]!.map((name, i) => [name, rows[2]![i]]))).toMatchObject({ workload: 'fsdax/faults', metric: 'first write', params: 'fs=ext4', clock: 'icount', qemu: '7.2.22', median: '119', n: '5' });
      },
    ));
});
