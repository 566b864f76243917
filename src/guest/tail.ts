// Follows a file that another process appends to, as QEMU does to a serial port's file.
import fs from 'node:fs';

/** Reads what was appended since the last call. `wait` resolves when there may be more, or after `ms`. */
export class Tail {
  readonly #file: string;
  #fd: number | undefined;
  #position = 0;
  #watcher: fs.FSWatcher | undefined;
  #wake: (() => void) | undefined;
  #changed = false;

  constructor(file: string) {
    this.#file = file;
  }

  read(): Buffer {
    if (this.#fd === undefined) {
      if (!fs.existsSync(this.#file)) return Buffer.alloc(0);
      this.#fd = fs.openSync(this.#file, 'r');
      this.#watcher = fs.watch(this.#file, () => {
        this.#changed = true;
        this.#wake?.();
      });
    }
    const chunks: Buffer[] = [];
    for (;;) {
      const chunk = Buffer.alloc(64 * 1024);
      const count = fs.readSync(this.#fd, chunk, 0, chunk.length, this.#position);
      if (count === 0) break;
      this.#position += count;
      chunks.push(chunk.subarray(0, count));
    }
    return Buffer.concat(chunks);
  }

  /** Waits for a change of the file or `ms` milliseconds, whichever comes first. */
  async wait(ms: number): Promise<void> {
    if (this.#changed) {
      this.#changed = false;
      return;
    }
    // A watch needs the file; until it exists, look often.
    const limit = this.#fd === undefined ? Math.min(ms, 5) : ms;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, limit);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
    this.#changed = false;
  }

  close(): void {
    this.#watcher?.close();
    this.#wake?.();
    if (this.#fd !== undefined) fs.closeSync(this.#fd);
    this.#fd = undefined;
  }
}
