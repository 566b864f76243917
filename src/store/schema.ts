// The tables of the timings database, and the steps from each earlier form to the next. A step is never edited once released.
import { UsageError } from '../errors.js';
import type { Connection } from './sqlite.js';

/** "DAXR": tells our file from any other SQLite database, which is never written to. */
export const APPLICATION_ID = 0x44415852;

/** MIGRATIONS[n] leads from user_version n to n + 1. */
const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL UNIQUE,
    -- of the files that the run was read from: what is known already is not read again
    digest TEXT NOT NULL,
    folder TEXT NOT NULL,
    -- milliseconds since 1970
    started INTEGER NOT NULL,
    ended INTEGER,
    source TEXT NOT NULL CHECK (source IN ('complete', 'unfinished', 'recovered')),
    version TEXT NOT NULL,
    -- JSON: what else run.json says of host and guests
    facts TEXT NOT NULL
  ) STRICT;
  CREATE INDEX runs_digest ON runs (digest);
  CREATE INDEX runs_folder ON runs (folder);

  CREATE TABLE environments (
    id INTEGER PRIMARY KEY,
    -- JSON of the fields of src/store/environment.ts, in their order
    facts TEXT NOT NULL UNIQUE
  ) STRICT;

  CREATE TABLE results (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    position INTEGER NOT NULL,
    workload TEXT NOT NULL,
    -- JSON, keys in alphabetical order
    params TEXT NOT NULL,
    kernel TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT,
    seconds REAL NOT NULL,
    seed INTEGER,
    -- of a counted run: equal digests mean equal events, samples and log
    digest TEXT,
    UNIQUE (run, position)
  ) STRICT;

  CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    -- workload/metric
    name TEXT NOT NULL,
    workload TEXT NOT NULL,
    metric TEXT NOT NULL,
    params TEXT NOT NULL,
    unit TEXT NOT NULL,
    clock TEXT NOT NULL,
    environment INTEGER NOT NULL REFERENCES environments,
    UNIQUE (name, params, unit, clock, environment, workload)
  ) STRICT;

  -- One row per metric of a result. Clustered by series and time: a trend is read from neighbouring pages.
  CREATE TABLE samples (
    series INTEGER NOT NULL REFERENCES series,
    -- of the run, once more: the newest sessions of a series are the end of its rows
    started INTEGER NOT NULL,
    result INTEGER NOT NULL REFERENCES results ON DELETE CASCADE,
    count INTEGER NOT NULL,
    median REAL NOT NULL,
    q1 REAL NOT NULL,
    q3 REAL NOT NULL,
    -- float64, little-endian, in the order they were taken
    data BLOB NOT NULL,
    PRIMARY KEY (series, started, result)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX samples_result ON samples (result);
  `,
  `
  -- Sessions at which a change of level was accepted. By what they are, not by ids: a run that is imported again gets another one.
  CREATE TABLE accepted (
    name TEXT NOT NULL,
    params TEXT NOT NULL,
    unit TEXT NOT NULL,
    clock TEXT NOT NULL,
    -- environments.facts
    environment TEXT NOT NULL,
    run TEXT NOT NULL,
    kernel TEXT NOT NULL,
    -- milliseconds since 1970
    at INTEGER NOT NULL,
    PRIMARY KEY (name, params, unit, clock, environment, run, kernel)
  ) STRICT, WITHOUT ROWID;
  `,
];

export const SCHEMA_VERSION = MIGRATIONS.length;

const pragma = (db: Connection, name: string): number => db.pragma(name, { simple: true }) as number;

/** Throws UsageError when the file is no timings database, or one that a newer daxrig wrote. */
export function checkSchema(db: Connection, file: string): void {
  const version = pragma(db, 'user_version');
  const foreign = pragma(db, 'application_id') !== APPLICATION_ID && !isEmpty(db);
  if (foreign) throw new UsageError(`${file}: is a SQLite database, but not of timings; name another with --db FILE`);
  if (version > SCHEMA_VERSION)
    throw new UsageError(`${file}: was written by a newer daxrig (schema ${version}, this one knows ${SCHEMA_VERSION}); update daxrig, or name another database with --db FILE`);
}

export const isCurrent = (db: Connection): boolean => pragma(db, 'user_version') === SCHEMA_VERSION;

const isEmpty = (db: Connection): boolean => db.prepare('SELECT count(*) FROM sqlite_schema').pluck().get() === 0 && pragma(db, 'user_version') === 0;

/** Brings the file to the present schema in one transaction; of two that try at once, the second finds it done. */
export function migrate(db: Connection, file: string): void {
  if (isCurrent(db) && pragma(db, 'application_id') === APPLICATION_ID) return;
  db.transaction(() => {
    checkSchema(db, file);
    for (let version = pragma(db, 'user_version'); version < SCHEMA_VERSION; version++) db.exec(MIGRATIONS[version]!);
    db.pragma(`application_id = ${APPLICATION_ID}`);
    db.pragma(`user_version = ${SCHEMA_VERSION}`);
  }).immediate();
}
