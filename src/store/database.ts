// The file of the timings database: where it is, how it is opened, and what is done when it cannot be.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { UsageError, codeOf } from '../errors.js';
import { APPLICATION_ID, checkSchema, isCurrent, migrate } from './schema.js';
import { explained, isBusy, isReadOnly, loadSqlite, type Connection } from './sqlite.js';

/** Where timings go unless --db says otherwise: $XDG_DATA_HOME/daxrig/timings.db, else ~/.local/share/daxrig/timings.db. */
export function defaultDatabase(): string {
  return path.join(process.env.XDG_DATA_HOME || path.join(os.homedir(), '.local/share'), 'daxrig', 'timings.db');
}

export interface OpenOptions {
  /** Seconds that a lock of another process is waited for. */
  wait: number;
}

export interface Database extends Disposable {
  readonly db: Connection;
  readonly file: string;
  /** The file itself is not open, or not for writing. */
  readonly readOnly: boolean;
  /** Whether `file` is still what was opened: a repair by another process puts a new one in its place. */
  isCurrentFile(): boolean;
}

const MAGIC = 'SQLite format 3\0';
const APPLICATION_ID_AT = 68;

/** Inode of a file that exists. */
function inodeOf(file: string): number | undefined {
  return fs.statSync(file, { throwIfNoEntry: false })?.ino;
}

/**
 * Whether a file that SQLite calls broken was a timings database: its header says so, or it stands where only ours does.
 * Any other file that --db named is not touched.
 */
export function isOurs(file: string): boolean {
  if (path.resolve(file) === path.resolve(defaultDatabase())) return true;
  const header = Buffer.alloc(100);
  const fd = fs.openSync(file, 'r');
  try {
    fs.readSync(fd, header, 0, header.length, 0);
  } finally {
    fs.closeSync(fd);
  }
  return header.toString('latin1', 0, MAGIC.length) === MAGIC && header.readUInt32BE(APPLICATION_ID_AT) === APPLICATION_ID;
}

/** Held, by a lock of SQLite's, while a new database is put in the place of a broken one. */
export const lockOf = (file: string): string => `${file}.lock`;

/** Waits while another process makes the file anew. What one that was killed left behind is no lock. */
function awaitRepair(Sqlite: Awaited<ReturnType<typeof loadSqlite>>, file: string, wait: number): void {
  if (inodeOf(lockOf(file)) === undefined) return;
  const lock = connect(Sqlite, lockOf(file), { wait });
  try {
    lock.exec('BEGIN EXCLUSIVE');
  } finally {
    lock.close();
  }
}

function connect(Sqlite: Awaited<ReturnType<typeof loadSqlite>>, file: string, options: { wait: number; readonly?: boolean; fileMustExist?: boolean }): Connection {
  const { wait, ...rest } = options;
  return new Sqlite(file, { ...rest, timeout: Math.max(1, Math.round(wait * 1000)) });
}

function opened(db: Connection, file: string, readOnly: boolean, onClose: () => void = () => {}): Database {
  const inode = inodeOf(file);
  return {
    db,
    file,
    readOnly,
    isCurrentFile: () => inodeOf(file) === inode,
    [Symbol.dispose]() {
      db.close();
      onClose();
    },
  };
}

/** For recording: made if it is not there, brought to the present schema. */
export async function openForWriting(file: string, { wait }: OpenOptions): Promise<Database> {
  const Sqlite = await loadSqlite();
  let db: Connection | undefined;
  try {
    fs.mkdirSync(path.dirname(path.resolve(file)), { recursive: true });
    awaitRepair(Sqlite, file, wait);
    db = connect(Sqlite, file, { wait });
    checkSchema(db, file);
    retryingBusy(wait, () => db!.pragma('journal_mode = WAL'));
    // With a write-ahead log this survives any crash of the process; a power cut may take the newest runs, which can be imported again.
    db.pragma('synchronous = NORMAL');
    // 32 MiB: runs of many metrics touch the same pages again and again, and merging those back is what an import waits for.
    db.pragma('wal_autocheckpoint = 8192');
    db.pragma('foreign_keys = ON');
    migrate(db, file);
    return opened(db, file, false);
  } catch (error) {
    db?.close();
    if (['ENOTDIR', 'EISDIR', 'EEXIST'].includes(codeOf(error) ?? '')) throw new UsageError(`--db ${file}: cannot be made (${codeOf(error)})`, { cause: error });
    throw explained(error, file, wait);
  }
}

/** SQLite does not wait for every lock by itself: not for the change to a write-ahead log. */
function retryingBusy(wait: number, step: () => void): void {
  for (const deadline = Date.now() + wait * 1000; ; ) {
    try {
      return step();
    } catch (error) {
      if (!isBusy(error) || Date.now() >= deadline) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
    }
  }
}

/** For reading: also where the file, or its folder, cannot be written. Undefined: there is no such file. */
export async function openForReading(file: string, { wait }: OpenOptions): Promise<Database | undefined> {
  const Sqlite = await loadSqlite();
  if (inodeOf(file) === undefined) return undefined;
  let db: Connection | undefined;
  try {
    awaitRepair(Sqlite, file, wait);
    db = connect(Sqlite, file, { wait, fileMustExist: true });
    checkSchema(db, file);
    if (!isCurrent(db)) migrate(db, file);
    return opened(db, file, false);
  } catch (error) {
    db?.close();
    if (!isReadOnly(error)) throw explained(error, file, wait);
  }
  return openCopy(Sqlite, file, wait);
}

/** SQLite writes beside a database with a write-ahead log even to read it; where it cannot, a copy is read. */
function openCopy(Sqlite: Awaited<ReturnType<typeof loadSqlite>>, file: string, wait: number): Database {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'daxrig-timings-'));
  const remove = (): void => fs.rmSync(folder, { recursive: true, force: true });
  let db: Connection | undefined;
  try {
    const copy = path.join(folder, 'timings.db');
    for (const suffix of ['', '-wal']) if (fs.existsSync(`${file}${suffix}`)) fs.copyFileSync(`${file}${suffix}`, `${copy}${suffix}`);
    fs.chmodSync(copy, 0o600);
    db = connect(Sqlite, copy, { wait });
    checkSchema(db, file);
    migrate(db, file);
    return opened(db, file, true, remove);
  } catch (error) {
    db?.close();
    remove();
    if (codeOf(error) === 'EACCES' || codeOf(error) === 'EISDIR') throw new UsageError(`${file}: cannot be read (${codeOf(error)})`, { cause: error });
    throw error;
  }
}
