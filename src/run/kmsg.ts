// The kernel's log from a cursor on: /dev/kmsg gives one record per read, with its sequence number, so that nothing
// printed before a workload began, or between two reads, is ever mistaken (Documentation/ABI/testing/dev-kmsg).
import fs from 'node:fs';
import { codeOf } from '../errors.js';
import { seekToEnd } from '../native.js';
import { ExpectationError, type LogCursor } from '../workload/types.js';

const RECORD = 8192 + 256; // LOG_LINE_MAX and its prefix, with room

/** The kernel's log since this object was made. */
export class KmsgCursor implements LogCursor, Disposable {
  readonly #fd: number;
  readonly #records: string[] = [];
  /** How often the ring buffer had dropped records before they were read. */
  lost = 0;

  constructor(file = '/dev/kmsg', fromStart = false) {
    this.#fd = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    // Not by reading: the records of a boot are hundreds of system calls.
    if (!fromStart) seekToEnd(this.#fd);
  }

  /** Every line that the kernel's buffer still holds, oldest first. */
  static everything(): string[] {
    using cursor = new KmsgCursor('/dev/kmsg', true);
    return cursor.lines();
  }

  #drain(): void {
    const buffer = Buffer.alloc(RECORD);
    for (;;) {
      try {
        const count = fs.readSync(this.#fd, buffer);
        if (count === 0) return;
        this.#records.push(buffer.toString('utf8', 0, count));
      } catch (error) {
        if (codeOf(error) === 'EAGAIN') return;
        // EPIPE: records were overwritten before we came; the next read goes on with the oldest there is.
        if (codeOf(error) !== 'EPIPE') throw error;
        this.lost++;
      }
    }
  }

  /** Raw records, as /dev/kmsg gives them. */
  records(): readonly string[] {
    this.#drain();
    return this.#records;
  }

  lines(): string[] {
    return this.records().map(lineOf);
  }

  take(pattern: RegExp): string[] {
    this.#drain();
    const lines = this.#records.map(lineOf);
    const taken = lines.map((line) => pattern.test(line));
    this.#records.splice(0, this.#records.length, ...this.#records.filter((_, i) => !taken[i]));
    return lines.filter((_, i) => taken[i]);
  }

  async waitFor(pattern: RegExp, what: string, ms = 5000): Promise<string> {
    for (const deadline = Date.now() + ms; ; ) {
      const line = this.lines().find((candidate) => pattern.test(candidate));
      if (line !== undefined) return line;
      if (Date.now() > deadline) throw new ExpectationError(`the kernel's log should say ${what}`, { lines: this.lines().slice(-5) });
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  [Symbol.dispose](): void {
    fs.closeSync(this.#fd);
  }
}

/** "[   12.345678] text" of a record "prefix,seq,usec,flags;text". Further lines of a record are its key=value pairs. */
export function lineOf(record: string): string {
  const [head, ...rest] = record.split(';');
  const usec = Number(head!.split(',')[2] ?? 0);
  const text = rest.join(';').split('\n')[0] ?? '';
  return `[${(usec / 1e6).toFixed(6).padStart(12)}] ${text.replace(/\\x([0-9a-f]{2})/g, (_, byte: string) => String.fromCharCode(parseInt(byte, 16)))}`;
}
