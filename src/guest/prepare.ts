// A saved guest made ready for many jobs alike: restored once, given a job that prepares, and saved again, in memory. Copies of it
// start where all of them would have come to by themselves.
import fs from 'node:fs';
import path from 'node:path';
import { cacheRoot } from './cache.js';
import type { GuestConfig, GuestFiles } from './qemu.js';
import { RamInMemory } from './ram.js';
import type { Session } from './session.js';
import { restore, resume, save, type SavedState } from './state.js';

export interface PreparedGuest {
  state: SavedState;
  /** Gives its memory back; only once no copy is being restored from it any more. */
  release(): void;
}

/**
 * `follow` listens to the guest until it is prepared, and gives undefined then, or what became of it instead. The base's RAM must be in
 * files (`sharedRam`).
 */
export async function prepareGuest<Instead>(config: GuestConfig, base: SavedState, files: Omit<GuestFiles, 'ram'>, job: unknown, follow: (session: Session) => Promise<Instead | undefined>): Promise<PreparedGuest | { instead: Instead }> {
  // Named as what is being built is: should this process be killed, the next run removes it.
  const folder = fs.mkdtempSync(path.join(cacheRoot(), 'states', `prepared.new-${process.pid}-`));
  const memory = new RamInMemory(config.layout);
  let lent = false;
  try {
    await memory.copyFrom(base.folder, base.unused);
    const session = await restore(config, base, files, job, { memory });
    try {
      await resume(session);
      const instead = await follow(session);
      if (instead !== undefined) return { instead };
      const state = path.join(folder, 'state');
      await save(session, state);
      const { unused: _, ...rest } = base;
      const prepared = { state: { ...rest, folder: memory.lend(state, true) }, release: () => memory.release() };
      lent = true;
      return prepared;
    } finally {
      session.killNow();
      await session.ended; // the next copy writes to the same files
    }
  } finally {
    if (!lent) memory.release();
    fs.rmSync(folder, { recursive: true, force: true });
  }
}
