// Where daxrig keeps what it can make again: unpacked kernels, guest images, saved states. Everything is built in a
// folder beside its final name and renamed into place, so that another run, or a kill, never meets half of it.
import crypto from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { BrokenError, codeOf, messageOf } from '../errors.js';

/** The cache folder: $DAXRIG_CACHE, else $XDG_CACHE_HOME/daxrig, else ~/.cache/daxrig. */
export function cacheRoot(): string {
  const own = process.env.DAXRIG_CACHE;
  if (own) return path.resolve(own);
  return path.join(process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'daxrig');
}

/** A digest of anything that JSON can hold, short enough for a file name. */
export function digestOf(...parts: (string | Uint8Array)[]): string {
  const hash = crypto.createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex').slice(0, 20);
}

/** Makes a folder of the cache, with those above it. Throws BrokenError that says which cache and what to do. */
export function makeCacheFolder(folder: string): void {
  try {
    fs.mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw cacheError(error, folder);
  }
}

/** Why nothing can be made in the nearest folder that exists: Node's mkdir says ENOENT of read-only file systems. */
function unwritable(folder: string): string | undefined {
  while (!fs.existsSync(folder)) folder = path.dirname(folder);
  try {
    fs.accessSync(folder, fs.constants.W_OK);
    return undefined;
  } catch (error) {
    return codeOf(error);
  }
}

/** Turns an error of the file system into one line that says which cache and what to do. */
export function cacheError(error: unknown, folder: string): Error {
  const why: Record<string, string> = {
    EROFS: 'is read-only',
    EACCES: 'is not writable',
    EPERM: 'is not writable',
    ENOSPC: 'is full',
    ENOTDIR: 'is not a folder',
    EEXIST: 'is not a folder',
  };
  const code = codeOf(error) === 'ENOENT' ? unwritable(folder) : codeOf(error);
  if (code === undefined || why[code] === undefined) return error instanceof Error ? error : new Error(messageOf(error));
  return new BrokenError(`cache ${folder} ${why[code]}; free or change it, or set DAXRIG_CACHE to another folder`, { cause: error });
}

const building = new Map<string, Promise<string>>();

/**
 * The folder `kind`/`key` of the cache, built by `build` when it is not there. Two runs may build the same key at
 * once: the first to finish wins, the other takes what it finds.
 */
export async function cached(kind: string, key: string, build: (folder: string) => Promise<void> | void): Promise<string> {
  const final = path.join(cacheRoot(), kind, key);
  if (fs.existsSync(final)) {
    touch(final);
    return final;
  }
  // Asked for twice in one process, it is built once.
  const pending = building.get(final) ?? buildEntry(final, build).finally(() => building.delete(final));
  building.set(final, pending);
  return pending;
}

async function buildEntry(final: string, build: (folder: string) => Promise<void> | void): Promise<string> {
  const [base, key] = [path.dirname(final), path.basename(final)];
  const work = path.join(base, `${key}.new-${process.pid}-${crypto.randomBytes(3).toString('hex')}`);
  try {
    fs.mkdirSync(work, { recursive: true });
    removeStale(base);
    await build(work);
    try {
      fs.renameSync(work, final);
    } catch (error) {
      if (codeOf(error) !== 'ENOTEMPTY' && codeOf(error) !== 'EEXIST') throw error;
    }
    return final;
  } catch (error) {
    throw cacheError(error, base);
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
  }
}

/** Marks an entry as used now: eviction goes by this time. */
export function touch(entry: string): void {
  const now = new Date();
  try {
    fs.utimesSync(entry, now, now);
  } catch (error) {
    // A cache that may only be read, or an entry that another run just evicted, is still usable as far as it goes.
    if (!['EROFS', 'EACCES', 'EPERM', 'ENOENT'].includes(codeOf(error) ?? '')) throw error;
  }
}

/** Removes what builders that no longer run have left behind. */
function removeStale(base: string): void {
  for (const name of fs.readdirSync(base)) {
    const pid = /\.new-(\d+)-/.exec(name)?.[1];
    if (pid !== undefined && !isRunning(Number(pid))) fs.rmSync(path.join(base, name), { recursive: true, force: true });
  }
}

export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === 'EPERM';
  }
}

export interface CacheEntry {
  path: string;
  /** Bytes on disk (blocks, so that holes do not count). */
  bytes: number;
  /** Last use, milliseconds since the epoch. */
  used: number;
}

/** Entries of one kind, least recently used first. */
export function cacheEntries(kind: string): CacheEntry[] {
  const base = path.join(cacheRoot(), kind);
  if (!fs.existsSync(base)) return [];
  return fs
    .readdirSync(base)
    .filter((name) => !name.includes('.new-'))
    .map((name) => path.join(base, name))
    .map((entry) => ({ path: entry, bytes: diskUsage(entry), used: fs.statSync(entry).mtimeMs }))
    .sort((a, b) => a.used - b.used);
}

/** Removes least recently used entries of one kind until at most `limit` bytes are left; never `keep`. */
export function evict(kind: string, limit: number, keep: string): string[] {
  const entries = cacheEntries(kind);
  let total = entries.reduce((sum, entry) => sum + entry.bytes, 0);
  const gone: string[] = [];
  for (const entry of entries) {
    if (total <= limit) break;
    if (entry.path === keep) continue;
    fs.rmSync(entry.path, { recursive: true, force: true });
    total -= entry.bytes;
    gone.push(entry.path);
  }
  return gone;
}

export function diskUsage(entry: string): number {
  const stat = fs.lstatSync(entry, { throwIfNoEntry: false });
  if (!stat) return 0;
  if (!stat.isDirectory()) return stat.blocks * 512;
  return fs.readdirSync(entry).reduce((sum, name) => sum + diskUsage(path.join(entry, name)), stat.blocks * 512);
}
