import fs from 'node:fs';
import path from 'node:path';
import Sqlite from 'better-sqlite3';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { BrokenError, UsageError } from '../../src/errors.js';
import { openForReading, openForWriting } from '../../src/store/database.js';
import { findRunFolders, metricNames, read, record } from '../../src/store/index.js';
import { APPLICATION_ID, SCHEMA_VERSION } from '../../src/store/schema.js';
import { daxrig, program, scratch, start, writeRun, writeSessions } from './support.js';

afterEach(() => vi.unstubAllEnvs());

const options = (notes: string[] = [], wait = 5) => ({ wait, note: (line: string) => void notes.push(line) });

interface Stored {
  folder: string;
  runs: string;
  db: string;
}

/** A database of `sessions` runs, enough to fill many pages. */
async function stored(sessions = 40, name = 'timings.db'): Promise<Stored> {
  const folder = scratch();
  const runs = path.join(folder, 'runs');
  const db = path.join(folder, name);
  writeSessions(runs, Array.from({ length: sessions }, () => 100));
  await record(db, findRunFolders([runs]), options());
  return { folder, runs, db };
}

const runsIn = (file: string): number => {
  const db = new Sqlite(file);
  try {
    return db.prepare('SELECT count(*) FROM runs').pluck().get() as number;
  } finally {
    db.close();
  }
};

function overwrite(file: string, from: number, to: number): void {
  const fd = fs.openSync(file, 'r+');
  fs.writeSync(fd, Buffer.alloc(to - from, 0xa5), 0, to - from, from);
  fs.closeSync(fd);
}

const brokenFiles = (folder: string): string[] => fs.readdirSync(folder).filter((name) => name.includes('.broken-'));

describe('a new database', () => {
  it('is marked as ours, with a write-ahead log and the present schema', async () => {
    const file = path.join(scratch(), 'new', 'folder', 'timings.db');
    using database = await openForWriting(file, { wait: 1 });
    const pragmas = ['application_id', 'user_version', 'journal_mode', 'foreign_keys', 'busy_timeout'].map((name) => database.db.pragma(name, { simple: true }));
    expect(pragmas).toEqual([APPLICATION_ID, SCHEMA_VERSION, 'wal', 1, 1000]);
  });

  it('is brought from an earlier schema to the present one, also for reading', async () => {
    const file = path.join(scratch(), 'timings.db');
    new Sqlite(file).exec(`PRAGMA application_id = ${APPLICATION_ID}; CREATE TABLE old (x); DROP TABLE old`).close();
    using database = (await openForReading(file, { wait: 1 }))!;
    expect(database.db.pragma('user_version', { simple: true })).toBe(SCHEMA_VERSION);
    expect(metricNames(database)).toEqual([]);
  });

  it('leaves nothing behind when a step of the schema fails', async () => {
    const file = path.join(scratch(), 'timings.db');
    // A table that the first step is about to make.
    new Sqlite(file).exec(`PRAGMA application_id = ${APPLICATION_ID}; CREATE TABLE results (x)`).close();
    await expect(openForWriting(file, { wait: 1 })).rejects.toThrow(/already exists/);
    const db = new Sqlite(file);
    expect(db.prepare('SELECT name FROM sqlite_schema').pluck().all()).toEqual(['results']);
    expect(db.pragma('user_version', { simple: true })).toBe(0);
    db.close();
  });

  it('cannot be where a folder is, or below a file', async () => {
    const folder = scratch();
    fs.writeFileSync(path.join(folder, 'file'), '');
    await expect(openForWriting(folder, { wait: 1 })).rejects.toThrow(UsageError);
    await expect(openForWriting(path.join(folder, 'file', 'timings.db'), { wait: 1 })).rejects.toThrow(/--db .*: cannot be made \(E/);
  });
});

describe('a file that is not to be used', () => {
  it('is refused when a newer daxrig wrote it', async () => {
    const { db, runs } = await stored(1);
    const newer = new Sqlite(db);
    newer.pragma(`user_version = ${SCHEMA_VERSION + 6}`);
    newer.close();
    const message = `${db}: was written by a newer daxrig (schema ${SCHEMA_VERSION + 6}, this one knows ${SCHEMA_VERSION})`;
    await expect(record(db, findRunFolders([runs]), options())).rejects.toThrow(message);
    await expect(read(db, options(), () => 0)).rejects.toThrow(message);
    await expect(read(db, options(), () => 0)).rejects.toThrow(UsageError);
  });

  it('is refused, and not touched, when it is of another program', async () => {
    const folder = scratch();
    const [other, text] = ['other.db', 'notes.txt'].map((name) => path.join(folder, name));
    new Sqlite(other!).exec('CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)').close();
    fs.writeFileSync(text!, 'not a database, and longer than the header of one would be: '.repeat(10));
    const before = [other!, text!].map((file) => fs.readFileSync(file));
    await expect(record(other!, [], options())).rejects.toThrow(/is a SQLite database, but not of timings/);
    await expect(record(text!, [], options())).rejects.toThrow(/is no timings database/);
    await expect(read(text!, options(), () => 0)).rejects.toThrow(UsageError);
    expect([other!, text!].map((file) => fs.readFileSync(file))).toEqual(before);
    expect(fs.readdirSync(folder).sort()).toEqual(['notes.txt', 'other.db']);
  });
});

describe('a locked database', () => {
  it('is waited for, then said so; reading goes on', async () => {
    const { db, runs } = await stored(2);
    const holder = new Sqlite(db);
    holder.exec('BEGIN IMMEDIATE');
    writeSessions(runs, [1]);
    const started = Date.now();
    const refused = record(db, findRunFolders([runs]), options([], 0.5));
    await expect(refused).rejects.toThrow(/another process has been writing it for 0.5 s/);
    await expect(refused).rejects.toThrow(BrokenError);
    expect(Date.now() - started).toBeGreaterThanOrEqual(450);
    expect(await read(db, options(), metricNames)).toEqual(['fsdax/faults/first write']);
    const child = start(['import', runs, '--db', db]);
    await new Promise((resolve) => setTimeout(resolve, 600));
    holder.exec('ROLLBACK');
    holder.close();
    expect(await child.ended).toMatchObject({ code: 0, stderr: '' });
    expect(runsIn(db)).toBe(3);
  });
});

describe('a broken database', () => {
  it.each([
    ['the table of runs', 4096, 3 * 4096],
    ['all but its header', 100, 60_000],
  ])('in %s is kept aside and made anew from the directories', async (_, from, to) => {
    const { db, runs, folder } = await stored();
    const before = runsIn(db);
    overwrite(db, from, Math.min(to, fs.statSync(db).size));
    const damaged = fs.readFileSync(db);
    const notes: string[] = [];
    const counts = await record(db, findRunFolders([runs]), options(notes));
    expect(counts.imported + counts.known).toBe(before);
    expect(runsIn(db)).toBe(before);
    const [kept] = brokenFiles(folder);
    expect(kept).toMatch(/^timings\.db\.broken-\d{8}-\d{6}$/);
    expect(fs.readFileSync(path.join(folder, kept!))).toEqual(damaged);
    expect(notes[0]).toMatch(/was broken; kept as .*broken-.*, made anew from /);
    expect(fs.readdirSync(folder).filter((name) => name.startsWith('timings.db.new'))).toEqual([]);
  });

  it('is made anew by reading, too, from the directories that it knew', async () => {
    const { db, runs, folder } = await stored();
    // An inner page of samples: the table of runs can still be read.
    const inner = new Sqlite(db);
    const page = inner.prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'samples'").pluck().get() as number;
    inner.close();
    overwrite(db, (page - 1) * 4096, page * 4096);
    const [gone] = findRunFolders([runs]);
    fs.rmSync(gone!, { recursive: true });
    const notes: string[] = [];
    expect(await read(db, options(notes), metricNames)).toEqual(['fsdax/faults/first write']);
    expect(runsIn(db)).toBe(39);
    expect(notes).toEqual([expect.stringMatching(/made anew from 39 run directories$/), `${gone}: was in the broken database and is gone; import it from where it is now`]);
    expect(brokenFiles(folder)).toHaveLength(1);
  });

  it('is waited for while another process makes it anew, but not if that was killed', async () => {
    const { db, runs } = await stored(2);
    const repairing = new Sqlite(`${db}.lock`);
    repairing.exec('BEGIN EXCLUSIVE');
    await expect(record(db, findRunFolders([runs]), options([], 0.2))).rejects.toThrow(/another process/);
    repairing.close();
    expect(fs.existsSync(`${db}.lock`)).toBe(true);
    expect(await record(db, findRunFolders([runs]), options([], 0.2))).toMatchObject({ known: 2 });
  });

  it('without a header is ours only in the default place', async () => {
    const { db, folder } = await stored(3);
    overwrite(db, 0, 4096);
    await expect(read(db, options(), metricNames)).rejects.toThrow(/is no timings database/);
    expect(brokenFiles(folder)).toEqual([]);
    vi.stubEnv('XDG_DATA_HOME', folder);
    vi.stubEnv('XDG_STATE_HOME', path.join(folder, 'none'));
    fs.mkdirSync(path.join(folder, 'daxrig'));
    const standard = path.join(folder, 'daxrig', 'timings.db');
    fs.copyFileSync(db, standard);
    const notes: string[] = [];
    expect(await read(standard, options(notes), metricNames)).toEqual([]);
    expect(notes[0]).toMatch(/made anew from nothing: no run directory that it knew could be read; import them again$/);
  });

  it('of the default place is made anew from the default runs, too, though nothing of it can be read', async () => {
    const { db, folder } = await stored(3);
    vi.stubEnv('XDG_DATA_HOME', folder);
    vi.stubEnv('XDG_STATE_HOME', path.join(folder, 'state'));
    for (let i = 0; i < 4; i++) writeRun(path.join(folder, 'state/daxrig/runs'));
    fs.mkdirSync(path.join(folder, 'daxrig'));
    const standard = path.join(folder, 'daxrig', 'timings.db');
    fs.copyFileSync(db, standard);
    overwrite(standard, 0, fs.statSync(standard).size);
    const notes: string[] = [];
    expect(await read(standard, options(notes), metricNames)).toEqual(['fsdax/faults/first write']);
    expect(notes).toEqual([expect.stringMatching(/made anew from 4 run directories$/)]);
  });

  it('is made anew once when several find it so', async () => {
    const { db, runs, folder } = await stored();
    overwrite(db, 4096, 3 * 4096);
    const ended = await Promise.all([1, 2, 3].map(() => daxrig('import', runs, '--db', db)));
    expect(ended.map(({ code }) => code)).toEqual([0, 0, 0]);
    expect(runsIn(db)).toBe(40);
    expect(brokenFiles(folder)).toHaveLength(1);
  });
});

describe('a database that is replaced while it is written', () => {
  it('is written again', async () => {
    const { db, runs } = await stored(3);
    const other = await stored(1);
    writeSessions(runs, [7]);
    let done = false;
    await record(db, findRunFolders([runs]), {
      ...options(),
      progress: () => {
        if (done) return;
        done = true;
        for (const suffix of ['-wal', '-shm']) fs.rmSync(`${db}${suffix}`);
        fs.renameSync(other.db, db);
      },
    });
    expect(runsIn(db)).toBe(5);
  });
});

const NOBODY = 65_534;

describe.runIf(process.getuid?.() === 0)('for a user who may not write', () => {
  const asNobody = (...words: string[]) => start(words, { uid: NOBODY, gid: NOBODY, cwd: '/', env: { PATH: process.env.PATH, HOME: '/nonexistent' } }).ended;
  const reachable = async (): Promise<boolean> => (program(), (await asNobody('--version')).code === 0);

  it('history works and import says why it does not', async (context) => {
    if (!(await reachable())) context.skip('this checkout is not open to other users');
    const { db, runs, folder } = await stored(4);
    fs.chmodSync(db, 0o644);
    expect(fs.existsSync(`${db}-wal`)).toBe(false);
    const read = await asNobody('history', '--db', db);
    expect(read).toMatchObject({ code: 0, stderr: '' });
    expect(read.stdout).toContain('fsdax/faults/first write');
    writeSessions(runs, [5]);
    const refused = await asNobody('import', runs, '--db', db);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(/^daxrig: .*timings\.db: cannot be written \(SQLITE_\w+\); make it and its folder writable, or name another database with --db FILE\n$/);
    const below = await asNobody('import', runs, '--db', path.join(folder, 'not', 'there.db'));
    expect(below).toMatchObject({ code: 2, stderr: expect.stringContaining('cannot be written (EACCES)') as string });
    expect(fs.readdirSync(folder).sort()).toEqual(['runs', 'timings.db']);
  });

  it('what a writer has not yet merged is read, too', async (context) => {
    if (!(await reachable())) context.skip('this checkout is not open to other users');
    const { db, folder } = await stored(4);
    const writer = new Sqlite(db);
    writer.exec("UPDATE series SET name = 'fsdax/faults/renamed'");
    for (const file of fs.readdirSync(folder)) fs.chmodSync(path.join(folder, file), file === 'runs' ? 0o755 : 0o644);
    const read = await asNobody('history', '--db', db);
    writer.close();
    expect(read).toMatchObject({ code: 0, stderr: '' });
    expect(read.stdout).toContain('fsdax/faults/renamed');
  });

  it('a broken one is named, and left as it is', async (context) => {
    if (!(await reachable())) context.skip('this checkout is not open to other users');
    const { db, folder } = await stored();
    overwrite(db, 4096, 3 * 4096);
    fs.chmodSync(db, 0o644);
    const refused = await asNobody('history', '--db', db);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(/is broken, and cannot be made anew because it or its folder cannot be written/);
    expect(brokenFiles(folder)).toEqual([]);
  });
});
