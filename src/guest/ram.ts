// A guest's RAM while it lives in this process's memory: to be saved to the cache, or to serve copies for as long as the process runs.
import fs from 'node:fs';
import path from 'node:path';
import * as native from '../native.js';
import { cacheRoot } from './cache.js';
import type { Layout } from './layout.js';
import { ramFiles } from './qemu.js';

export interface ByteRange {
  start: number;
  end: number;
}

/** Size and modification time of each file of a saved state. */
export type FileStamps = Record<string, { size: number; mtimeMs: number }>;

/**
 * RAM files of a guest that is to be saved: in memory alone, since a file system takes note of each page that is written, which costs
 * as much as booting.
 */
export class RamInMemory {
  readonly #files: { name: string; fd: number }[];
  #state: number | undefined;
  #folder: string | undefined;

  constructor(layout: Layout) {
    const { ram, nvdimms } = ramFiles(layout);
    this.#files = [...ram, ...nvdimms].map(({ file }) => ({ name: file, fd: native.memoryFile(file) }));
  }

  get fds(): number[] {
    return this.#files.map(({ fd }) => fd);
  }

  /** Fills the files with those of a saved state; `unused` is a part of the first that may be left out. */
  async copyFrom(folder: string, unused: ByteRange | undefined): Promise<void> {
    for (const [i, { name, fd }] of this.#files.entries()) {
      const from = fs.openSync(path.join(folder, name), 'r');
      try {
        await native.copySparseAsync(from, fd, i === 0 && unused ? { skip: unused } : {});
      } finally {
        fs.closeSync(from);
      }
    }
  }

  /** A folder that looks like a saved state's: its files lead to this process's open ones. */
  lend(state: string, sharedRam: boolean): string {
    this.#state = fs.openSync(state, 'r');
    // Named as what is being built is: should this process be killed, the next run removes it.
    this.#folder = fs.mkdtempSync(path.join(cacheRoot(), 'states', `early.new-${process.pid}-`));
    const lent = [{ name: 'state', fd: this.#state }, ...(sharedRam ? this.#files : [])];
    for (const { name, fd } of lent) fs.symlinkSync(`/proc/${process.pid}/fd/${fd}`, path.join(this.#folder, name));
    lentFolders.add(this.#folder);
    return this.#folder;
  }

  /** Copies what is in use to a state's folder; gives the stamps of all its files. `unused` is a part of the first that is left out. */
  async copyTo(folder: string, sharedRam: boolean, unused: ByteRange | undefined): Promise<FileStamps> {
    const names = ['state'];
    for (const [i, { name, fd }] of (sharedRam ? this.#files : []).entries()) {
      const to = fs.openSync(path.join(folder, name), 'wx', 0o600);
      try {
        // The guest that is being kept has copies that run already.
        await native.copySparseAsync(fd, to, { behindOthers: true, ...(i === 0 && unused ? { skip: unused } : {}) });
      } finally {
        fs.closeSync(to);
      }
      names.push(name);
    }
    return Object.fromEntries(names.map((name) => {
      const { size, mtimeMs } = fs.statSync(path.join(folder, name));
      return [name, { size, mtimeMs }] as const;
    }));
  }

  release(): void {
    if (this.#folder !== undefined) fs.rmSync(this.#folder, { recursive: true, force: true });
    if (this.#folder !== undefined) lentFolders.delete(this.#folder);
    // The last one to close frees the memory: not while everyone waits.
    for (const fd of [...this.fds, ...(this.#state === undefined ? [] : [this.#state])]) fs.close(fd, () => {});
    this.#files.length = 0;
    this.#state = undefined;
    this.#folder = undefined;
  }
}

const lentFolders = new Set<string>();
process.on('exit', () => lentFolders.forEach((folder) => fs.rmSync(folder, { recursive: true, force: true })));
