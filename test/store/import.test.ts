import fs from 'node:fs';
import path from 'node:path';
import Sqlite from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/errors.js';
import { findRunFolders, record, type ImportCounts } from '../../src/store/index.js';
import { daxrig, eventLines, result, runDocument, scratch, start, writeRun, writeSessions } from './support.js';

const options = (notes: string[] = []) => ({ wait: 5, note: (line: string) => void notes.push(line) });

/** Imports everything below `folder`. */
async function importAll(db: string, folder: string, notes: string[] = [], again = false): Promise<ImportCounts> {
  return record(db, findRunFolders([folder]), { ...options(notes), again });
}

/** Rows of all tables, without the ids that depend on order. */
function contents(file: string): Record<string, unknown[]> {
  const db = new Sqlite(file, { readonly: true });
  try {
    return {
      integrity: db.pragma('integrity_check') as unknown[],
      foreign: db.pragma('foreign_key_check') as unknown[],
      runs: db.prepare('SELECT run, digest, folder, started, ended, source, version, facts FROM runs ORDER BY run').all(),
      samples: db
        .prepare(
          `SELECT runs.run, position, results.workload, results.params, kernel, outcome, name, unit, clock, environments.facts, count, median, q1, q3, hex(data) AS data
           FROM runs JOIN results ON results.run = runs.id LEFT JOIN samples ON samples.result = results.id
           LEFT JOIN series ON series.id = samples.series LEFT JOIN environments ON environments.id = environment ORDER BY runs.run, position, name`,
        )
        .all(),
    };
  } finally {
    db.close();
  }
}

const count = (file: string, table: string): number => {
  const db = new Sqlite(file, { readonly: true });
  try {
    return db.prepare(`SELECT count(*) FROM ${table}`).pluck().get() as number;
  } finally {
    db.close();
  }
};

describe('import', () => {
  it('records each run once', async () => {
    const folder = scratch();
    const db = path.join(folder, 'data', 'timings.db');
    writeSessions(path.join(folder, 'runs'), [100, 101, 102]);
    expect(await importAll(db, path.join(folder, 'runs'))).toMatchObject({ directories: 3, imported: 3, known: 0, results: 3, samples: 15 });
    const before = contents(db);
    expect(before.integrity).toEqual([{ integrity_check: 'ok' }]);
    expect(before.samples).toHaveLength(3);
    expect(await importAll(db, path.join(folder, 'runs'))).toMatchObject({ imported: 0, known: 3, results: 0 });
    expect(await importAll(db, path.join(folder, 'runs'), [], true)).toMatchObject({ imported: 0, updated: 3 });
    expect(contents(db)).toEqual(before);
  });

  it('gives the same from the directories whatever the order', async () => {
    const folder = scratch();
    const [a, b] = ['a.db', 'b.db'].map((name) => path.join(folder, name));
    writeSessions(path.join(folder, 'runs'), [100, 101, 102], { workload: 'a/b' });
    writeRun(path.join(folder, 'runs'), { results: [result({ clock: 'icount' }), result({ outcome: 'skip', samples: {} })] });
    const folders = findRunFolders([path.join(folder, 'runs')]);
    await record(a!, folders, options());
    await record(b!, [...folders].reverse(), options());
    expect(contents(b!)).toEqual(contents(a!));
  });

  it('keeps samples to the last bit, and in their order', async () => {
    const folder = scratch();
    const samples = [0.1, 3, Number.MIN_VALUE, Number.MAX_VALUE, 2 ** 53, 0];
    writeRun(folder, { results: [result({ samples: { m: samples } })] });
    await importAll(path.join(folder, 't.db'), folder);
    const [row] = contents(path.join(folder, 't.db')).samples as { data: string; count: number }[];
    expect(row!.count).toBe(6);
    expect([...new Float64Array(new Uint8Array(Buffer.from(row!.data, 'hex')).buffer)]).toEqual(samples);
  });

  it('names damaged directories, one line each, and records the rest', async () => {
    const folder = scratch();
    writeRun(folder);
    const cut = writeRun(folder);
    fs.truncateSync(path.join(cut, 'run.json'), 100);
    fs.rmSync(path.join(cut, 'events.ndjson'));
    const killed = writeRun(folder);
    fs.rmSync(path.join(killed, 'run.json'));
    fs.mkdirSync(path.join(folder, 'no-run'));
    const notes: string[] = [];
    expect(await importAll(path.join(folder, 't.db'), folder, notes)).toMatchObject({ directories: 3, imported: 2, recovered: 1, damaged: 1 });
    expect(notes).toEqual([`${cut}: run.json is not JSON (cut off?); no events.ndjson either; skipped`, `${killed}: no run.json; 1 result recovered from events.ndjson`]);
  });

  it('takes up what a run has done since it was imported, and never goes back', async () => {
    const folder = scratch();
    const db = path.join(folder, 't.db');
    const results = ['a/one', 'a/two'].map((workload) => result({ workload }));
    const target = writeRun(path.join(folder, 'runs'), { id: '20260101-000000-00beef', results: results.slice(0, 1), ended: false });
    const early = path.join(folder, 'copies', 'early');
    fs.cpSync(target, early, { recursive: true });
    await importAll(db, target);
    expect(count(db, 'results')).toBe(1);
    fs.writeFileSync(path.join(target, 'run.json'), JSON.stringify(runDocument({ id: '20260101-000000-00beef', results })));
    expect(await importAll(db, target)).toMatchObject({ updated: 1 });
    expect(count(db, 'results')).toBe(2);
    expect(await importAll(db, early)).toMatchObject({ known: 1 });
    expect(await importAll(db, early, [], true)).toMatchObject({ known: 1 });
    expect([count(db, 'runs'), count(db, 'results'), count(db, 'samples')]).toEqual([1, 2, 2]);
  });

  it('puts the whole run in the place of what was recovered of it', async () => {
    const folder = scratch();
    const db = path.join(folder, 't.db');
    const target = path.join(folder, 'out');
    fs.mkdirSync(target);
    fs.writeFileSync(path.join(target, 'events.ndjson'), eventLines([result()]));
    await importAll(db, target);
    fs.writeFileSync(path.join(target, 'run.json'), JSON.stringify(runDocument()));
    await importAll(db, target);
    expect(contents(db).runs).toMatchObject([{ source: 'complete' }]);
  });

  it('remembers where a run was moved to', async () => {
    const folder = scratch();
    const db = path.join(folder, 't.db');
    const target = writeRun(path.join(folder, 'here'));
    await importAll(db, target);
    fs.renameSync(path.join(folder, 'here'), path.join(folder, 'there'));
    await importAll(db, path.join(folder, 'there'));
    expect(contents(db).runs).toMatchObject([{ folder: target.replace('/here/', '/there/') }]);
  });

  it('keeps what differs in any way apart', async () => {
    const folder = scratch();
    const db = path.join(folder, 't.db');
    const specs = [
      { results: [result()] },
      { results: [result({ clock: 'icount' })] },
      { results: [result({ params: { fs: 'xfs' } })] },
      { results: [result()], host: { cpu: 'Another CPU' } },
      { results: [result()], guest: { qemu: '10.0.0' } },
      { results: [result()], guest: { cpus: 1 } },
      { results: [result({ accel: 'kvm (works)' })] },
      { results: [result()], version: '0.2.0' },
      { results: [result()], command: ['run', '--append=quiet'] },
    ];
    specs.forEach((spec) => writeRun(folder, spec));
    await importAll(db, folder);
    expect(count(db, 'series')).toBe(specs.length);
    // Neither the kernel nor the date, and not the order in which parameters were written.
    writeRun(folder, { results: [result({ kernel: '6.18.0', params: { fs: 'ext4' } })], version: '0.1.9' });
    await importAll(db, folder);
    expect(count(db, 'series')).toBe(specs.length);
  });
});

describe('folders of runs', () => {
  it('are the named ones, or those right below', () => {
    const folder = scratch();
    const run = writeRun(path.join(folder, 'runs'));
    const other = writeRun(path.join(folder, 'runs'));
    expect(findRunFolders([run, path.join(folder, 'runs')])).toEqual([run, other].sort());
  });

  it('that hold none are refused before anything is recorded', () => {
    const folder = scratch();
    fs.writeFileSync(path.join(folder, 'file'), '');
    expect(() => findRunFolders([path.join(folder, 'gone')])).toThrow(/no such folder/);
    expect(() => findRunFolders([path.join(folder, 'file')])).toThrow(/is no folder/);
    expect(() => findRunFolders([folder])).toThrow(UsageError);
    expect(() => findRunFolders([folder])).toThrow(/holds no run directory/);
  });
});

describe('several importers', () => {
  it('at once lose nothing and record nothing twice', async () => {
    const folder = scratch();
    const db = path.join(folder, 't.db');
    const parts = ['a', 'b', 'c'].map((name) => path.join(folder, name));
    parts.forEach((part) => writeSessions(part, Array.from({ length: 60 }, () => 100)));
    // All but the first overlap, and all begin with making the database.
    const ended = await Promise.all([daxrig('import', parts[0]!, parts[1]!, '--db', db), daxrig('import', parts[2]!, parts[1]!, '--db', db), daxrig('import', ...parts, '--db', db)]);
    expect(ended.map(({ code, stderr }) => [code, stderr])).toEqual([[0, ''], [0, ''], [0, '']]);
    expect([count(db, 'runs'), count(db, 'results'), count(db, 'samples'), count(db, 'series')]).toEqual([180, 180, 180, 1]);
    expect(contents(db).integrity).toEqual([{ integrity_check: 'ok' }]);
  });

  it('killed at any moment leave each run recorded or not', async () => {
    const folder = scratch();
    const runs = path.join(folder, 'runs');
    const samples = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`metric ${i}`, [1, 2, 3]]));
    for (let i = 0; i < 150; i++) writeRun(runs, { results: [result({ samples }), result({ workload: 'a/b', samples })] });
    const db = path.join(folder, 't.db');
    let killed = 0;
    for (let round = 1; round <= 4; round++) {
      const child = start(['import', runs, '--db', db]);
      const recorded = (): number => {
        try {
          return count(db, 'runs');
        } catch {
          return 0; // not made yet
        }
      };
      const before = recorded();
      let ended = false;
      void child.ended.then(() => (ended = true));
      while (!ended && recorded() < before + 8 * round) await new Promise((resolve) => setTimeout(resolve, 1));
      child.process.kill('SIGKILL');
      if ((await child.ended).signal === 'SIGKILL') killed++;
      const check = new Sqlite(db);
      const whole = check.prepare('SELECT count(*) FROM runs WHERE (SELECT count(*) FROM results JOIN samples ON samples.result = results.id WHERE results.run = runs.id) = 40').pluck().get();
      expect(check.pragma('integrity_check', { simple: true })).toBe('ok');
      expect(whole).toBe(check.prepare('SELECT count(*) FROM runs').pluck().get());
      check.close();
    }
    expect(killed).toBeGreaterThan(0);
    expect(await daxrig('import', runs, '--db', db)).toMatchObject({ code: 0, stderr: '' });
    expect([count(db, 'runs'), count(db, 'samples')]).toEqual([150, 6000]);
  });
});
