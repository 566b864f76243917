// Follows a file that another process appends to, as QEMU does to a serial port's file.
import fs from 'node:fs';

/** A file that grows byte by byte is looked at so often at most, ms. */
const PAUSE = 3;

const buffer = Buffer.alloc(64 * 1024);

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
      const count = fs.readSync(this.#fd, buffer, 0, buffer.length, this.#position);
      this.#position += count;
      chunks.push(Buffer.from(buffer.subarray(0, count)));
      if (count < buffer.length) return Buffer.concat(chunks);
    }
  }

  /** Waits for a change of the file or `ms` milliseconds, whichever comes first. */
  async wait(ms: number): Promise<void> {
    await this.#changeOr(ms);
    if (this.#fd !== undefined) await new Promise((resolve) => setTimeout(resolve, PAUSE));
    this.#changed = false;
  }

  async #changeOr(ms: number): Promise<void> {
    if (this.#changed) return;
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
  }

  close(): void {
    this.#watcher?.close();
    this.#wake?.();
    if (this.#fd !== undefined) fs.closeSync(this.#fd);
    this.#fd = undefined;
  }
}
