import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { accept, change, findRunFolders, findSeries, read, record, SessionReader } from '../../src/store/index.js';
import { checkSeries } from '../../src/store/trend.js';
import { daxrig, scratch, start, writeSessions } from './support.js';

const quiet = { wait: 5, note: () => {} };
const level = (count: number, at: number): number[] => Array.from({ length: count }, (_, i) => at * (1 + 0.01 * Math.sin(i * 12.9898)));
const check = async (db: string) => (await read(db, quiet, (database) => findSeries(database).flatMap((series) => checkSeries(new SessionReader(database), series, { better: () => 'lower' }))))!;

async function recorded(medians: readonly number[]): Promise<{ folder: string; runs: string; db: string }> {
  const folder = scratch();
  const runs = path.join(folder, 'runs');
  const db = path.join(folder, 'timings.db');
  writeSessions(runs, medians);
  await record(db, findRunFolders([runs]), quiet);
  return { folder, runs, db };
}

describe('an accepted change', () => {
  it('fails no check, and what comes after is judged by the new level', async () => {
    const { db, runs } = await recorded([...level(12, 100), 150]);
    expect(await daxrig('history', '--check', '--db', db)).toMatchObject({ code: 1 });
    const said = await daxrig('history', '--accept', '--db', db);
    expect(said).toMatchObject({ code: 0, stderr: '' });
    expect(said.stdout).toMatch(/^accepted {5}fsdax\/faults\/first write fs=ext4\n[^]*\n1 accepted\n$/);
    expect(await daxrig('history', '--check', '--db', db)).toMatchObject({ code: 0, stdout: expect.stringMatching(/^accepted/) as string });

    const next = path.join(path.dirname(runs), 'next');
    writeSessions(next, [150.5], {}, { started: '2026-02-01T00:00:00.000Z' });
    await record(db, findRunFolders([next]), quiet);
    const [same] = await check(db);
    expect(same).toMatchObject({ accepted: false, regressed: false, since: 12 });
    expect(same!.a).toBeCloseTo(150, -1);
    const worse = path.join(path.dirname(runs), 'worse');
    writeSessions(worse, [190], {}, { started: '2026-02-02T00:00:00.000Z' });
    await record(db, findRunFolders([worse]), quiet);
    expect(await check(db)).toMatchObject([{ regressed: true }]);
  });

  it('is only what differs, and once is as good as twice', async () => {
    const { db } = await recorded(level(12, 100));
    expect((await daxrig('history', '--accept', '--db', db)).stdout).toBe('nothing to accept: no newest session differs from those before it\n');
    const shifted = await recorded([...level(12, 100), 50]);
    const twice = [1, 2].map(() => change(shifted.db, quiet, (database) => {
      const [series] = findSeries(database);
      return accept(database, [{ series: series!, session: new SessionReader(database).sessions(series!).at(-1)! }]);
    }));
    expect(await Promise.all(twice)).toEqual([1, 0]);
  });

  it('outlives importing the runs again, and a database that breaks', async () => {
    const { db, folder } = await recorded([...level(40, 100), 150]);
    await daxrig('history', '--accept', '--db', db);
    const env = { ...process.env, XDG_STATE_HOME: path.join(folder, 'none') };
    expect(await start(['import', '--rebuild', '--db', db], { env }).ended).toMatchObject({ code: 0, stdout: expect.stringMatching(/^41 updated/) as string });
    expect(await check(db)).toMatchObject([{ accepted: true }]);
    // The last pages, which hold runs; what was accepted lies in one of the first.
    const pages = fs.statSync(db).size / 4096;
    const fd = fs.openSync(db, 'r+');
    fs.writeSync(fd, Buffer.alloc(2 * 4096, 0xa5), 0, undefined, (pages - 2) * 4096);
    fs.closeSync(fd);
    await daxrig('import', path.join(folder, 'runs'), '--db', db);
    expect(fs.readdirSync(folder).some((name) => name.includes('.broken-'))).toBe(true);
    expect(await check(db)).toMatchObject([{ accepted: true, sessions: 40 }]);
  });

  it('needs a database, and a form of output that shows it', async () => {
    expect(await daxrig('history', '--accept', '--db', path.join(scratch(), 'none.db'))).toMatchObject({ code: 2, stderr: expect.stringMatching(/no timings are recorded yet/) as string });
    const { db } = await recorded([100]);
    for (const option of ['--check', '--csv']) expect(await daxrig('history', '--accept', option, '--db', db)).toMatchObject({ code: 2, stderr: expect.stringMatching(/--accept/) as string });
  });
});
