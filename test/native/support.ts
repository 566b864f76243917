// Files and folders for tests of the real addon, gone with the `using` that holds them.
import { closeSync, constants, ftruncateSync, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SystemError } from '../../src/errors.js';

export const root = fileURLToPath(new URL('../..', import.meta.url));

/** A folder in the checkout, not in /tmp: that is often a tmpfs, which lacks extents and, before 6.6, O_DIRECT. */
export function scratchFolder(): { path: string } & Disposable {
  mkdirSync(join(root, 'build'), { recursive: true });
  const path = mkdtempSync(join(root, 'build', 'test-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

export interface Scratch extends Disposable {
  fd: number;
  path: string;
  truncate(length: number): void;
}

/** An open file of `length` zero bytes. */
export function scratchFile(length: number, flags = 0): Scratch {
  const folder = scratchFolder();
  const path = join(folder.path, 'file');
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | flags, 0o600);
  ftruncateSync(fd, length);
  return {
    fd,
    path,
    truncate: (to) => ftruncateSync(fd, to),
    [Symbol.dispose]: () => {
      closeSync(fd);
      folder[Symbol.dispose]();
    },
  };
}

/** The code of the SystemError that a call throws, or what came instead. */
export function codeThrown(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    return error instanceof SystemError ? error.code : `${String(error)}`;
  }
  return 'nothing';
}
export async function codeRejected(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return error instanceof SystemError ? error.code : `${String(error)}`;
  }
  return 'nothing';
}
