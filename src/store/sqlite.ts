// The one place that loads better-sqlite3, and only when a command needs the database: a run does not pay for it, and a guest
// has none.
import type Sqlite from 'better-sqlite3';
import { BrokenError, type DaxrigError, UsageError, codeOf, messageOf } from '../errors.js';
import { programRoot } from '../paths.js';

export type Connection = Sqlite.Database;
export type Statement = Sqlite.Statement<unknown[], unknown>;

let loaded: typeof Sqlite | undefined;

/** The module, ready to open databases. Throws BrokenError when it is not installed, or not built for this Node. */
export async function loadSqlite(): Promise<typeof Sqlite> {
  if (loaded) return loaded;
  try {
    const { default: module } = await import('better-sqlite3');
    // The native part is loaded with the first database, not with the module.
    new module(':memory:').close();
    return (loaded = module);
  } catch (error) {
    const missing = codeOf(error) === 'ERR_MODULE_NOT_FOUND';
    // A checkout builds it when it is first asked for.
    if (!missing && /Could not locate the bindings file/.test(messageOf(error)))
      throw new BrokenError(`the timings database's library is not built yet; ${programRoot}/scripts/daxrig import builds it, in about a minute`, { cause: error });
    const what = missing ? 'is not installed' : `does not load (${messageOf(error).split('\n')[0]})`;
    throw new BrokenError(`the timings database needs better-sqlite3, which ${what}; run ${missing ? 'npm install' : 'npm rebuild better-sqlite3'} in ${programRoot}`, { cause: error });
  }
}

const has = (error: unknown, ...codes: string[]): boolean => {
  const code = codeOf(error) ?? '';
  return codes.some((name) => code === name || code.startsWith(`${name}_`));
};

/** The file is no longer a sound database. */
export const isCorruption = (error: unknown): boolean => has(error, 'SQLITE_CORRUPT', 'SQLITE_NOTADB');
/** Another process holds a lock that this one waits for. */
export const isBusy = (error: unknown): boolean => has(error, 'SQLITE_BUSY', 'SQLITE_LOCKED');
/** It, or what SQLite keeps beside it, cannot be written here. */
export const isReadOnly = (error: unknown): boolean => has(error, 'SQLITE_READONLY', 'SQLITE_CANTOPEN', 'EACCES', 'EROFS', 'EPERM');

/** What a failure of SQLite means to the user; anything else as it is. */
export function explained(error: unknown, file: string, waited: number): unknown {
  const table: [test: boolean, make: () => DaxrigError][] = [
    [isBusy(error), () => new BrokenError(`${file}: another process has been writing it for ${waited} s; try again later, or wait longer with --wait SECONDS`, { cause: error })],
    [isReadOnly(error), () => new UsageError(`${file}: cannot be written (${codeOf(error)}); make it and its folder writable, or name another database with --db FILE`, { cause: error })],
    [has(error, 'SQLITE_FULL', 'ENOSPC'), () => new BrokenError(`${file}: no space left; what was recorded before is kept`, { cause: error })],
    [has(error, 'SQLITE_IOERR'), () => new BrokenError(`${file}: the disk failed (${codeOf(error)}); see the kernel log`, { cause: error })],
  ];
  return table.find(([test]) => test)?.[1]() ?? error;
}
