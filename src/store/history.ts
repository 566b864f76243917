// Series as trends: one session per run and kernel, oldest first. What is judged and what is drawn is decided by who asks.
import { acceptedOf } from './accepted.js';
import type { Database } from './database.js';
import type { Environment } from './environment.js';
import { quartiles, samplesOf } from './summary.js';

export interface Series {
  id: number;
  /** workload/metric */
  name: string;
  workload: string;
  metric: string;
  params: Record<string, string | number | boolean>;
  unit: string;
  clock: 'wall' | 'icount' | 'count';
  environment: Environment;
}

/** What one run measured of a series on one kernel: with --repeat, several results. */
export interface Session {
  run: string;
  folder: string;
  kernel: string;
  /** Milliseconds since 1970, start of the run. */
  started: number;
  version: string;
  n: number;
  median: number;
  q1: number;
  q3: number;
  /** Rows of the samples table. */
  results: number[];
}

export interface SessionFilter {
  /** Milliseconds since 1970. */
  since?: number;
  /** Globs over the release. */
  kernels?: readonly string[];
}

const SERIES = `SELECT series.id, name, workload, metric, params, unit, clock, environments.facts AS environment
  FROM series JOIN environments ON environments.id = series.environment`;

interface SeriesRow extends Omit<Series, 'params' | 'environment'> {
  params: string;
  environment: string;
}

/** Series whose name fits one of the globs (all, without any), by name, parameters and environment. */
export function findSeries({ db }: Database, globs: readonly string[] = []): Series[] {
  const where = globs.length === 0 ? '' : `WHERE ${globs.map(() => 'name GLOB ?').join(' OR ')}`;
  const rows = db.prepare(`${SERIES} ${where} ORDER BY name, params, environment, unit, clock`).all(...globs) as SeriesRow[];
  return rows.map(({ params, environment, ...row }) => ({ ...row, params: JSON.parse(params) as Series['params'], environment: JSON.parse(environment) as Environment }));
}

/** Names of all metrics that samples are recorded of. */
export function metricNames({ db }: Database): string[] {
  return db.prepare('SELECT DISTINCT name FROM series WHERE EXISTS (SELECT 1 FROM samples WHERE samples.series = series.id) ORDER BY name').pluck().all() as string[];
}

type SampleRow = [result: number, run: number, kernel: string, count: number, median: number, q1: number, q3: number];

export interface RunRow {
  run: string;
  folder: string;
  started: number;
  version: string;
}

/** Reads sessions; made once for many series, as runs are shared among them. */
export class SessionReader {
  readonly #database: Database;
  readonly #runs: Map<number, RunRow>;
  readonly #rows;
  readonly #data;

  constructor(database: Database) {
    const { db } = database;
    this.#database = database;
    const runs = db.prepare('SELECT id, run, folder, started, version FROM runs').all() as (RunRow & { id: number })[];
    this.#runs = new Map(runs.map(({ id, ...run }) => [id, run]));
    // What a workload measured before it failed is no measurement of a working kernel.
    this.#rows = db
      .prepare(
        `SELECT samples.result, results.run, results.kernel, count, median, q1, q3
         FROM samples CROSS JOIN results ON results.id = samples.result
         WHERE samples.series = ? AND samples.started >= ? AND results.outcome IN ('pass', 'xfail')
         ORDER BY samples.started DESC`,
      )
      .raw();
    this.#data = db.prepare('SELECT data FROM samples WHERE series = ? AND started = ? AND result = ?').pluck();
  }

  /** Oldest first; of one run, by kernel. With `limit`, only so many of the newest. */
  sessions(series: Series, { since = -Infinity, kernels }: SessionFilter = {}, limit = Infinity): Session[] {
    const patterns = kernels?.map(globToRegExp);
    /** By run, then kernel; runs newest first. */
    const found = new Map<number, Map<string, Session>>();
    let count = 0;
    for (const row of this.#rows.iterate(series.id, Math.max(since, -8.64e15)) as Iterable<SampleRow>) {
      const [result, id, kernel, n, median, q1, q3] = row;
      const run = this.#runs.get(id);
      // Recorded since this reader was made.
      if (!run || (patterns && !patterns.some((pattern) => pattern.test(kernel)))) continue;
      let sessions = found.get(id);
      if (!sessions) {
        if (count >= limit) break;
        found.set(id, (sessions = new Map<string, Session>()));
      }
      const session = sessions.get(kernel);
      if (session) {
        session.results.push(result);
        session.n += n;
      } else {
        sessions.set(kernel, { ...run, kernel, n, median, q1, q3, results: [result] });
        count++;
      }
    }
    const all = [...found.values()].flatMap((sessions) => [...sessions.values()]);
    for (const session of all) {
      if (session.results.length === 1) continue;
      session.results.sort((a, b) => a - b);
      Object.assign(session, quartiles(this.samples(series, session)));
    }
    all.sort((a, b) => a.started - b.started || compareText(a.run, b.run) || compareKernels(a.kernel, b.kernel));
    return limit === Infinity ? all : all.slice(-limit);
  }

  /** Tells whether a change of level was accepted at a session. */
  accepted(series: Series): (session: Session) => boolean {
    return acceptedOf(this.#database, series);
  }

  samples(series: Series, session: Session): Float64Array {
    const parts = session.results.map((result) => samplesOf(this.#data.get(series.id, session.started, result) as Buffer));
    if (parts.length === 1) return parts[0]!;
    const all = new Float64Array(session.n);
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }
}

const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Releases by their numbers: 6.1.0-9 before 6.1.0-13; a release candidate before its release. */
export function compareKernels(a: string, b: string): number {
  const key = (release: string): string => release.replace(/-rc/, '~rc').replace(/\d+/g, (number) => number.padStart(8, '0'));
  const [p, q] = [key(a), key(b)];
  // As Debian sorts versions: "~" before the end of the text.
  const ranked = (text: string): string => `${text}\x01`.replaceAll('~', '\0');
  return compareText(ranked(p), ranked(q));
}

/** Major and minor: the line that stable kernels of one base share. */
export const kernelLine = (release: string): string => /^\d+\.\d+/.exec(release)?.[0] ?? release;

export function globToRegExp(glob: string): RegExp {
  return new RegExp(`^${[...glob].map((char) => (char === '*' ? '.*' : char === '?' ? '.' : char.replace(/[.+^${}()|[\]\\]/g, '\\$&'))).join('')}$`);
}
