// From run directories into the database: one transaction per run, so that whatever ends an import, each run is recorded or not.
import fs from 'node:fs';
import path from 'node:path';
import { UsageError, codeOf } from '../errors.js';
import { quartiles } from './summary.js';
import type { Database } from './database.js';
import { canonical } from './environment.js';
import { DamagedRun, looksLikeRun, readRun, type StoredResult, type StoredRun } from './runfile.js';
import type { Statement } from './sqlite.js';

export interface ImportOptions {
  /** Reads again what is known already. */
  again?: boolean;
  /** One line about a run directory that the user should hear of. */
  note: (line: string) => void;
  progress?: (done: number, total: number) => void;
}

export interface ImportCounts {
  /** Run directories looked at. */
  directories: number;
  imported: number;
  /** Recorded before, unchanged. */
  known: number;
  /** Recorded before, and more is there now. */
  updated: number;
  /** Taken from events.ndjson, in part or as a whole. */
  recovered: number;
  /** Not recorded: nothing could be read. */
  damaged: number;
  /** Metrics without usable samples. */
  leftOut: number;
  results: number;
  samples: number;
}

export const noCounts = (): ImportCounts => ({ directories: 0, imported: 0, known: 0, updated: 0, recovered: 0, damaged: 0, leftOut: 0, results: 0, samples: 0 });

/** The run directories that the names stand for: each one itself, or those right below it. Throws UsageError for one that has none. */
export function findRunFolders(names: readonly string[]): string[] {
  return [...new Set(names.flatMap(foldersOf))];
}

function foldersOf(name: string): string[] {
  let folder: string;
  let entries: fs.Dirent[];
  try {
    folder = fs.realpathSync(name);
    entries = fs.readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    const code = codeOf(error);
    throw new UsageError(`${name}: ${code === 'ENOENT' ? 'no such folder' : code === 'ENOTDIR' ? 'is no folder; name a run directory, or a folder of them' : `cannot be read (${code})`}`, { cause: error });
  }
  if (looksLikeRun(folder)) return [folder];
  const below = entries
    .filter((entry) => entry.isDirectory() || entry.isSymbolicLink())
    .map(({ name: entry }) => path.join(folder, entry))
    .filter(looksLikeRun)
    .sort();
  if (below.length === 0) throw new UsageError(`${name}: holds no run directory (no run.json, no events.ndjson, neither in it nor right below it)`);
  return below;
}

/** Records the runs of the folders. Damaged ones are noted and skipped. */
export function importRuns(database: Database, folders: readonly string[], options: ImportOptions): ImportCounts {
  const recorder = new Recorder(database, options.again ?? false);
  const counts = noCounts();
  for (const folder of folders) {
    options.progress?.(counts.directories, folders.length);
    counts.directories++;
    let run: StoredRun | undefined;
    try {
      run = readRun(folder, (digest) => recorder.knows(digest, folder));
    } catch (error) {
      if (!(error instanceof DamagedRun)) throw error;
      counts.damaged++;
      options.note(`${folder}: ${error.message}; skipped`);
      continue;
    }
    const what = run === undefined ? 'known' : recorder.record(run);
    counts[what]++;
    if (run === undefined || what === 'known') continue;
    for (const line of [...run.notes, ...run.leftOut]) options.note(`${folder}: ${line}`);
    if (run.notes.length > 0) counts.recovered++;
    counts.leftOut += run.leftOut.length;
    counts.results += run.results.length;
    for (const { metrics } of run.results) for (const { samples } of metrics) counts.samples += samples.length;
  }
  options.progress?.(folders.length, folders.length);
  return counts;
}

interface KnownRun {
  id: number;
  digest: string;
  folder: string;
  source: string;
  results: number;
}

const STATEMENTS = {
  byDigest: 'SELECT id, folder FROM runs WHERE digest = ?',
  byRun: 'SELECT id, digest, folder, source, (SELECT count(*) FROM results WHERE results.run = runs.id) AS results FROM runs WHERE run = ?',
  move: 'UPDATE runs SET folder = ? WHERE id = ?',
  remove: 'DELETE FROM runs WHERE id = ?',
  removeRecovered: "DELETE FROM runs WHERE folder = ? AND run <> ? AND source = 'recovered'",
  addRun: 'INSERT INTO runs (run, digest, folder, started, ended, source, version, facts) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
  addResult: 'INSERT INTO results (run, position, workload, params, kernel, outcome, reason, seconds, seed, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
  findEnvironment: 'SELECT id FROM environments WHERE facts = ?',
  addEnvironment: 'INSERT INTO environments (facts) VALUES (?)',
  findSeries: 'SELECT id FROM series WHERE name = ? AND params = ? AND unit = ? AND clock = ? AND environment = ? AND workload = ?',
  addSeries: 'INSERT INTO series (name, params, unit, clock, environment, workload, metric) VALUES (?, ?, ?, ?, ?, ?, ?)',
  addSamples: 'INSERT INTO samples (series, started, result, count, median, q1, q3, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
} as const;

class Recorder {
  readonly #sql: Record<keyof typeof STATEMENTS, Statement>;
  readonly #record: (run: StoredRun) => 'imported' | 'known' | 'updated';
  /** Ids of environments and series by their key: these rows are never removed. */
  readonly #ids = new Map<string, number>();
  readonly #again: boolean;

  constructor({ db }: Database, again: boolean) {
    this.#again = again;
    this.#sql = Object.fromEntries(Object.entries(STATEMENTS).map(([name, text]) => [name, db.prepare(text)])) as Record<keyof typeof STATEMENTS, Statement>;
    const transaction = db.transaction((run: StoredRun) => this.#recordIn(run));
    this.#record = (run) => transaction.immediate(run);
  }

  /** Whether a run with this run.json is recorded. One that was moved since is remembered by its new place. */
  knows(digest: string, folder: string): boolean {
    const row = this.#sql.byDigest.get(digest) as { id: number; folder: string } | undefined;
    if (row && row.folder !== folder && !fs.existsSync(row.folder)) this.#sql.move.run(folder, row.id);
    return row !== undefined && !this.#again;
  }

  record(run: StoredRun): 'imported' | 'known' | 'updated' {
    try {
      return this.#record(run);
    } catch (error) {
      this.#ids.clear(); // rows of a transaction that did not happen
      throw error;
    }
  }

  #recordIn(run: StoredRun): 'imported' | 'known' | 'updated' {
    // Asked inside the transaction: another process may have recorded it meanwhile.
    const before = this.#sql.byRun.get(run.run) as KnownRun | undefined;
    if (before && (isOlderCopy(run, before) || (before.digest === run.digest && !this.#again))) return 'known';
    if (before) this.#sql.remove.run(before.id);
    if (run.source !== 'recovered') this.#sql.removeRecovered.run(run.folder, run.run);
    const { lastInsertRowid: id } = this.#sql.addRun.run(run.run, run.digest, run.folder, run.started, run.ended, run.source, run.version, JSON.stringify(run.facts));
    run.results.forEach((result, position) => this.#addResult(Number(id), run.started, position, result));
    return before ? 'updated' : 'imported';
  }

  #addResult(run: number, started: number, position: number, result: StoredResult): void {
    const params = canonical(result.params);
    const { lastInsertRowid: id } = this.#sql.addResult.run(run, position, result.workload, params, result.kernel, result.outcome, result.reason, result.seconds, result.seed, result.digest);
    if (result.metrics.length === 0) return;
    const environment = this.#idOf('environment', JSON.stringify(result.environment));
    for (const { name, unit, clock, samples } of result.metrics) {
      const series = this.#idOf('series', `${result.workload}/${name}`, params, unit, clock, environment, result.workload, name);
      const { median, q1, q3 } = quartiles(samples);
      this.#sql.addSamples.run(series, started, id, samples.length, median, q1, q3, Buffer.from(samples.buffer, samples.byteOffset, samples.byteLength));
    }
  }

  #idOf(table: 'environment' | 'series', ...key: (string | number)[]): number {
    const text = JSON.stringify([table, ...key]);
    const cached = this.#ids.get(text);
    if (cached !== undefined) return cached;
    const [find, add] = table === 'series' ? [this.#sql.findSeries, this.#sql.addSeries] : [this.#sql.findEnvironment, this.#sql.addEnvironment];
    const found = find.get(...key.slice(0, 6)) as { id: number } | undefined;
    const id = found?.id ?? Number(add.run(...key).lastInsertRowid);
    this.#ids.set(text, id);
    return id;
  }
}

const COMPLETENESS = ['recovered', 'unfinished', 'complete'];

/** A copy of the directory made while the run went on says less than what is recorded. */
function isOlderCopy(run: StoredRun, before: KnownRun): boolean {
  const more = COMPLETENESS.indexOf(run.source) - COMPLETENESS.indexOf(before.source);
  return more < 0 || (more === 0 && run.results.length < before.results);
}
