// Changes of level that somebody has accepted: from such a session on a trend is judged by its new level. They are the one thing in
// the database that no run directory has, so a database that is made anew takes them over.
import { canonical } from './environment.js';
import type { Database } from './database.js';
import type { Series, Session } from './history.js';
import type { Connection } from './sqlite.js';

const COLUMNS = ['name', 'params', 'unit', 'clock', 'environment', 'run', 'kernel', 'at'] as const;
const INSERT = `INSERT OR IGNORE INTO accepted (${COLUMNS.join(', ')}) VALUES (${COLUMNS.map(() => '?').join(', ')})`;

/** What stands for a series in any database. The fields of an environment keep their order, as they are stored. */
const keyOf = ({ name, params, unit, clock, environment }: Series): string[] => [name, canonical(params), unit, clock, JSON.stringify(environment)];

/** Accepts the level that begins with each session; once more changes nothing. Gives how many were not accepted before. */
export function accept({ db }: Database, sessions: readonly { series: Series; session: Pick<Session, 'run' | 'kernel'> }[], at = Date.now()): number {
  const insert = db.prepare(INSERT);
  return db.transaction(() => sessions.reduce((count, { series, session }) => count + insert.run(...keyOf(series), session.run, session.kernel, at).changes, 0)).immediate();
}

/** Tells whether a session of the series was accepted. */
export function acceptedOf({ db }: Database, series: Series): (session: Pick<Session, 'run' | 'kernel'>) => boolean {
  const rows = db.prepare('SELECT run, kernel FROM accepted WHERE name = ? AND params = ? AND unit = ? AND clock = ? AND environment = ?').all(...keyOf(series)) as { run: string; kernel: string }[];
  return ({ run, kernel }) => rows.some((row) => row.run === run && row.kernel === kernel);
}

export type AcceptedRow = readonly (string | number)[];

/** All of them, as restoreAccepted() takes them. */
export const acceptedRows = (db: Connection): AcceptedRow[] => db.prepare(`SELECT ${COLUMNS.join(', ')} FROM accepted`).raw().all() as AcceptedRow[];

export function restoreAccepted(db: Connection, rows: readonly AcceptedRow[]): void {
  const insert = db.prepare(INSERT);
  db.transaction(() => rows.forEach((row) => insert.run(...row))).immediate();
}
