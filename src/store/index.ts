// The timings database as the rest of daxrig uses it.
import fs from 'node:fs';
import { BrokenError } from '../errors.js';
import type { ImportCounts } from './import.js';
import { importRuns } from './import.js';
import { openForReading, openForWriting, type Database, type OpenOptions } from './database.js';
import { repair } from './repair.js';
import { explained, isCorruption } from './sqlite.js';

export { accept } from './accepted.js';
export { defaultDatabase, type Database } from './database.js';
export { describeEnvironment, machineFacts, type Environment } from './environment.js';
export { compareKernels, findSeries, kernelLine, metricNames, SessionReader, type Series, type Session, type SessionFilter } from './history.js';
export { checkJson, checkText, csvHeader, csvLines, trendJson, trendText } from './present.js';
export { checkSeries, trendsOf, type Better, type Check, type Trend, type TrendOptions } from './trend.js';
export { findRunFolders, type ImportCounts } from './import.js';

export interface StoreOptions extends OpenOptions {
  /** One line that the user should hear: of damaged runs, of a broken database. */
  note: (line: string) => void;
}

/** As often as another process may put a repaired file in the place of ours while we use it. */
const ATTEMPTS = 3;

/** Does `work`; once more when the file turned out broken and was made anew, or was replaced meanwhile. */
async function withRepair<T, Options extends StoreOptions>(file: string, given: Options, work: (options: Options) => Promise<T | typeof REPLACED>): Promise<T> {
  const said = new Set<string>();
  const options = { ...given, note: (line: string) => void (said.has(line) || (said.add(line), given.note(line))) };
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    try {
      const result = await work(options);
      if (result !== REPLACED) return result;
    } catch (error) {
      if (!isCorruption(error)) throw explained(error, file, options.wait);
      const repaired = await repair(file, options);
      if (!repaired) continue;
      const { kept, counts, gone } = repaired;
      const runs = counts.imported;
      options.note(`${file}: was broken; kept as ${kept}, made anew from ${runs === 0 ? 'nothing: no run directory that it knew could be read; import them again' : `${runs} run director${runs === 1 ? 'y' : 'ies'}`}`);
      for (const folder of gone) options.note(`${folder}: was in the broken database and is gone; import it from where it is now`);
    }
  }
  throw new BrokenError(`${file}: broke, or was replaced, ${ATTEMPTS} times in a row; see the kernel log for errors of its disk`);
}

const REPLACED = Symbol('another file stands in its place');

export interface ImportRequest extends StoreOptions {
  progress?: (done: number, total: number) => void;
  again?: boolean;
}

/** Records the runs of the folders. Throws DaxrigError where the database cannot be used. */
export function record(file: string, folders: readonly string[], options: ImportRequest): Promise<ImportCounts> {
  return withRepair(file, options, async (options) => {
    using database = await openForWriting(file, options);
    const counts = importRuns(database, folders, options);
    return database.isCurrentFile() ? counts : REPLACED;
  });
}

/** Gives the database to `work` for writing. Throws DaxrigError where it cannot be written. */
export function change<T>(file: string, options: StoreOptions, work: (database: Database) => T): Promise<T> {
  return withRepair<T, StoreOptions>(file, options, async (options) => {
    using database = await openForWriting(file, options);
    const result = work(database);
    return database.isCurrentFile() ? result : REPLACED;
  });
}

/** Folders of the recorded runs: those that are there, and those that are gone. */
export async function recordedFolders(file: string, options: StoreOptions): Promise<{ there: string[]; gone: string[] }> {
  const all = await read(file, options, ({ db }) => db.prepare('SELECT folder FROM runs ORDER BY id').pluck().all() as string[]);
  const there = new Set((all ?? []).filter((folder) => fs.existsSync(folder)));
  return { there: [...there], gone: (all ?? []).filter((folder) => !there.has(folder)) };
}

/** Gives the database to `work` for reading. Undefined: there is none. */
export function read<T>(file: string, options: StoreOptions, work: (database: Database) => T): Promise<T | undefined> {
  return withRepair<T | undefined, StoreOptions>(file, options, async () => {
    using database = await openForReading(file, options);
    return database && work(database);
  });
}
