import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { daxrig, program, result, scratch, start, writeRun, writeSessions } from '../store/support.js';

let db: string;
let empty: string;

beforeAll(async () => {
  const folder = scratch();
  db = path.join(folder, 'timings.db');
  empty = path.join(folder, 'empty.db');
  const levels = Array.from({ length: 12 }, (_, i) => 100 * (1 + 0.01 * Math.sin(i * 12.9898)));
  writeSessions(path.join(folder, 'runs'), levels);
  writeSessions(path.join(folder, 'runs'), [...levels, 150], { workload: 'devdax/faults', params: {} });
  writeSessions(path.join(folder, 'runs'), [7, 7], { clock: 'icount', kernel: '5.10.0-46-amd64' });
  await daxrig('import', path.join(folder, 'runs'), '--db', db);
  writeRun(path.join(folder, 'nothing measured'), { results: [result({ samples: {} })] });
  await daxrig('import', path.join(folder, 'nothing measured'), '--db', empty);
}, 60_000);

const history = (...words: string[]) => daxrig('history', ...words, '--db', db);

describe('daxrig history', () => {
  it('shows a table per series', async () => {
    const { code, stdout, stderr } = await history('fsdax/*', '--limit', '3');
    expect([code, stderr]).toEqual([0, '']);
    const tables = stdout.split('\n\n');
    expect(tables.map((text) => text.split('\n')[0])).toEqual(['fsdax/faults/first write fs=ext4  (ns, wall)', 'fsdax/faults/first write fs=ext4  (ns, icount)'].sort((a) => (a.includes('icount') ? -1 : 1)));
    expect(stdout).toContain('older sessions are not shown');
  });

  it('exports JSON and CSV, with every sample if wanted', async () => {
    const json = JSON.parse((await history('*', '--json')).stdout) as { series: { name: string; better: string; sessions: object[] }[] };
    expect(json.series.map(({ name, sessions }) => [name, sessions.length])).toEqual([['devdax/faults/first write', 13], ['fsdax/faults/first write', 2], ['fsdax/faults/first write', 12]]);
    expect(json.series[1]!.sessions[0]).toEqual({ run: expect.any(String) as string, kernel: '5.10.0-46-amd64', date: '2026-01-01T00:00:00.000Z', version: '0.1.0', folder: expect.any(String) as string, n: 5, median: 7, q1: 7, q3: 7 });
    const csv = (await history('devdax/*', '--csv')).stdout.trimEnd().split('\n');
    expect(csv).toHaveLength(14);
    const samples = (await history('*', '--kernel', '5.*', '--csv', '--samples')).stdout.trimEnd().split('\n');
    expect(samples).toHaveLength(11);
    expect(samples[0]).toMatch(/,sample,value$/);
    expect(samples[1]).toMatch(/^fsdax\/faults,first write,fs=ext4,ns,icount,.*,5\.10\.0-46-amd64,.*,0,7$/);
    const all = JSON.parse((await history('*', '--kernel', '5.*', '--json', '--samples')).stdout) as { series: { sessions: { samples: number[] }[] }[] };
    expect(all.series[0]!.sessions[0]!.samples).toEqual([7, 7, 7, 7, 7]);
  });

  it('--check exits 1 for a regression and says which', async () => {
    const { code, stdout } = await history('--check');
    expect(code).toBe(1);
    expect(stdout).toMatch(/^regressed {4}devdax\/faults\/first write\n {13}[\d.]+ -> 150(\.\d+)? ns; \+\d+\.\d%/);
    expect(stdout).toMatch(/1 regressed, .*\n.*confirm with daxrig compare\n$/);
    expect((await history('--check', 'fsdax/*')).code).toBe(0);
  });

  it('--check --json has a verdict per series', async () => {
    const { code, stdout } = await history('--check', '--json', 'devdax/*');
    expect(code).toBe(1);
    const { metrics } = JSON.parse(stdout) as { metrics: Record<string, unknown>[] };
    expect(metrics).toMatchObject([{ metric: 'devdax/faults/first write', verdict: 'regressed', regressed: true, clock: 'wall', sessions: 12, kernel: '6.1.0-40-amd64', better: 'lower', levelSince: expect.any(String) as string }]);
    for (const field of ['a', 'b', 'shift', 'minimumDetectable']) expect(typeof metrics[0]![field]).toBe('number');
    expect(metrics[0]!.ci).toHaveLength(2);
  });

  it.each<[string[], RegExp]>([
    [['fsdax/fault/first write'], /no metric "fsdax\/fault\/first write" is recorded; did you mean "fsdax\/faults\/first write"\?/],
    [['first'], /no metric "first" is recorded; did you mean/],
    [['*', '--kernel', '4.*'], /no session fits --kernel 4\.\*/],
    [['*', '--since', '2030-01-01', '--check'], /no session fits --since 2030-01-01/],
    [['*', '--since', 'yesterday'], /--since yesterday: write a date such as/],
    [['*', '--param', 'fs=btrfs'], /no series with --param fs=btrfs is recorded/],
    [['*', '--param', 'fs'], /--param fs: write KEY=VALUE/],
    [['*', '--limit', '-1'], /--limit -1: a whole number/],
    [['*', '--limit', '1.5'], /--limit 1.5: a whole number/],
    [['*', '--samples'], /--samples: say in what form/],
    [['*', '--json', '--csv'], /--json and --csv both want stdout/],
    [['*', '--check', '--csv'], /--check: verdicts come as text or --json/],
  ])('refuses %j', async (words, message) => {
    const { code, stdout, stderr } = await history(...words);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^daxrig: [^\n]*\n$/);
  });

  it('says how to record something when nothing is', async () => {
    const missing = path.join(scratch(), 'none.db');
    expect(await daxrig('history', '--db', missing)).toMatchObject({ code: 2, stderr: `daxrig: ${missing}: no timings are recorded yet; import runs with: daxrig import DIR...\n` });
    expect(fs.existsSync(missing)).toBe(false);
    expect(await daxrig('history', '--db', empty)).toMatchObject({ code: 2, stderr: expect.stringMatching(/no timings are recorded yet; import runs that measured something/) as string });
  });

  it('ends quietly when its reader has seen enough', async () => {
    const child = spawn('sh', ['-c', `"$0" "$1" history --csv --samples --db "$2" | head -n 1; exit \${PIPESTATUS:-0}`, process.execPath, path.join(program(), 'dist/cli/main.js'), db], { stdio: ['ignore', 'pipe', 'pipe'] });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.stdout.resume();
    await once(child, 'close');
    expect(stderr).toBe('');
  });
});

describe('without better-sqlite3', () => {
  const copy = (change: (modules: string) => void): string => {
    const folder = scratch();
    fs.cpSync(path.join(program(), 'dist'), path.join(folder, 'dist'), { recursive: true });
    fs.copyFileSync(path.join(program(), 'package.json'), path.join(folder, 'package.json'));
    fs.symlinkSync(path.join(program(), 'build'), path.join(folder, 'build'));
    const modules = path.join(folder, 'node_modules');
    fs.mkdirSync(modules);
    for (const name of fs.readdirSync(path.join(program(), 'node_modules')).filter((entry) => entry !== 'better-sqlite3')) fs.symlinkSync(path.join(program(), 'node_modules', name), path.join(modules, name));
    change(modules);
    return path.join(folder, 'dist/cli/main.js');
  };
  const run = async (main: string, ...words: string[]) => {
    const child = spawn(process.execPath, [main, ...words], { stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    const [code] = (await once(child, 'close')) as [number];
    return { code, stderr };
  };

  it('one line says what to do, and the other commands work', async () => {
    const main = copy(() => {});
    expect(await run(main, 'history', '--db', db)).toEqual({ code: 3, stderr: expect.stringMatching(/^daxrig: the timings database needs better-sqlite3, which is not installed; run npm install in [^\n]*\n$/) as string });
    expect(await run(main, 'layouts')).toEqual({ code: 0, stderr: '' });
    const unbuilt = copy((modules) => {
      const from = path.join(program(), 'node_modules/better-sqlite3');
      fs.mkdirSync(path.join(modules, 'better-sqlite3'));
      for (const name of ['package.json', 'lib']) fs.cpSync(path.join(from, name), path.join(modules, 'better-sqlite3', name), { recursive: true });
    });
    expect(await run(unbuilt, 'history', '--db', db)).toEqual({ code: 3, stderr: expect.stringMatching(/^daxrig: the timings database's library is not built yet; [^\n]*\/scripts\/daxrig import builds it, in about a minute\n$/) as string });
  });

  it('a run does not load it', async () => {
    const { code, stderr } = await start(['workloads'], { env: { ...process.env, NODE_DEBUG: 'module' } }).ended;
    expect(code).toBe(0);
    expect(stderr).not.toMatch(/better-sqlite3/);
  });
});
