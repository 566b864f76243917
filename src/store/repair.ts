// A database that is broken is put aside and made anew from the run directories that it knew: they are the truth, it is an index.
import fs from 'node:fs';
import path from 'node:path';
import { BrokenError, UsageError, codeOf } from '../errors.js';
import { acceptedRows, restoreAccepted, type AcceptedRow } from './accepted.js';
import { defaultDatabase, isOurs, lockOf, openForWriting, type OpenOptions } from './database.js';
import { importRuns, noCounts, type ImportCounts } from './import.js';
import { runsRoot } from './rundir.js';
import { looksLikeRun } from './runfile.js';
import { explained, isCorruption, isReadOnly, loadSqlite } from './sqlite.js';

export interface Repair {
  /** Where the broken file is now. */
  kept: string;
  /** Run directories that it knew and that are still there, and those of the default place. */
  counts: ImportCounts;
  /** Those that are gone. */
  gone: string[];
}

/**
 * Puts a sound database in the place of the broken one, which is kept beside it. Undefined when another process has done so by now.
 * Throws UsageError for a file that is no timings database, which stays as it is.
 */
export async function repair(file: string, options: OpenOptions & { note: (line: string) => void }): Promise<Repair | undefined> {
  if (!isOurs(file)) throw new UsageError(`${file}: is no timings database; name another with --db FILE`);
  const Sqlite = await loadSqlite();
  let lock;
  try {
    // One at a time; a lock of SQLite's is gone with the process, however that ends.
    lock = new Sqlite(lockOf(file), { timeout: Math.max(1, options.wait * 1000) });
    lock.exec('BEGIN EXCLUSIVE');
    if (await isSound(file)) return undefined;
    const { folders, gone } = await knownFolders(file);
    const accepted = await knownAccepted(file);
    const fresh = `${file}.new`;
    for (const suffix of ['', '-wal', '-shm']) fs.rmSync(`${fresh}${suffix}`, { force: true });
    let counts = noCounts();
    {
      using database = await openForWriting(fresh, options);
      counts = importRuns(database, folders, { note: options.note });
      restoreAccepted(database.db, accepted);
      database.db.pragma('wal_checkpoint(TRUNCATE)');
    }
    return { kept: swap(file, fresh), counts, gone };
  } catch (error) {
    if (isCorruption(error)) throw new BrokenError(`${file}: is broken and could not be made anew; move it away and import again`, { cause: error });
    if (isReadOnly(error)) throw new UsageError(`${file}: is broken, and cannot be made anew because it or its folder cannot be written (${codeOf(error)})`, { cause: error });
    throw explained(error, file, options.wait);
  } finally {
    // Its file stays: removed under a process that waits for it, it would fail that one.
    lock?.close();
  }
}

/** The new file takes the place in one step: whoever opens `file` meanwhile finds the one or the other. */
function swap(file: string, fresh: string): string {
  const date = new Date().toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-');
  let kept = `${file}.broken-${date}`;
  for (let i = 2; fs.existsSync(kept); i++) kept = `${file}.broken-${date}-${i}`;
  try {
    fs.linkSync(file, kept);
  } catch {
    fs.copyFileSync(file, kept); // a file system without hard links
  }
  // What SQLite kept beside the broken file must not be taken for the new one's. Nobody makes it anew: openers wait for the lock.
  const log = fs.statSync(`${file}-wal`, { throwIfNoEntry: false });
  if (log && log.size > 0) fs.renameSync(`${file}-wal`, `${kept}-wal`);
  for (const suffix of ['-wal', '-shm']) fs.rmSync(`${file}${suffix}`, { force: true });
  fs.renameSync(fresh, file);
  return kept;
}

async function isSound(file: string): Promise<boolean> {
  const Sqlite = await loadSqlite();
  let db;
  try {
    db = new Sqlite(file, { fileMustExist: true });
    return db.pragma('integrity_check(1)', { simple: true }) === 'ok';
  } catch (error) {
    if (isCorruption(error)) return false;
    throw error;
  } finally {
    db?.close();
  }
}

/** Accepted changes, as far as they can still be read. */
async function knownAccepted(file: string): Promise<AcceptedRow[]> {
  const Sqlite = await loadSqlite();
  let db;
  try {
    db = new Sqlite(file, { readonly: true });
    return acceptedRows(db);
  } catch (error) {
    if (!codeOf(error)?.startsWith('SQLITE_')) throw error; // that part is broken, too, or older than they are
    return [];
  } finally {
    db?.close();
  }
}

/** Folders of the runs that can still be read out of a broken file, from either end of its table; for the default one, also those where runs go. */
async function knownFolders(file: string): Promise<{ folders: string[]; gone: string[] }> {
  const Sqlite = await loadSqlite();
  const found = new Set<string>();
  for (const order of ['ASC', 'DESC']) {
    let db;
    try {
      db = new Sqlite(file, { readonly: true });
      for (const folder of db.prepare(`SELECT folder FROM runs NOT INDEXED ORDER BY id ${order}`).pluck().iterate()) found.add(path.resolve(String(folder)));
    } catch (error) {
      if (!codeOf(error)?.startsWith('SQLITE_')) throw error; // as far as it goes
    } finally {
      db?.close();
    }
  }
  const all = [...found];
  const there = [...all.filter(looksLikeRun), ...(path.resolve(file) === path.resolve(defaultDatabase()) ? inDefaultPlace() : [])];
  return { folders: [...new Set(there.map((folder) => fs.realpathSync(folder)))], gone: all.filter((folder) => !looksLikeRun(folder)) };
}

/** The runs that the database of the default place is made of, whatever can still be read of it. */
function inDefaultPlace(): string[] {
  const root = runsRoot();
  const names = fs.existsSync(root) ? fs.readdirSync(root) : [];
  return names.map((name) => path.join(root, name)).filter(looksLikeRun);
}
